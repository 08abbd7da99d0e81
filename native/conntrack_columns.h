// How entries cross to JavaScript and back: one block of bytes, cut into columns in a fixed order, widest
// elements first so that every column is aligned. src/native/conntrack-columns.ts cuts the same block in the
// same order. Node-free.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "conntrack_attributes.h"
#include "result.h"

namespace ravel::conntrack {

// id, status, mark, timeout; four ports and the zone; family, protocol, zone directions; four addresses.
inline constexpr size_t kBytesPerEntry = 4 * 4 + 5 * 2 + 3 + 4 * 16;

std::vector<uint8_t> ColumnsOf(std::span<const EntryRecord> entries);

// The entries of some rows. kProtocol for a block of another size than `count` entries have, a row outside it,
// and an entry that cannot be deleted: of an unknown family, protocol or zone direction.
Result<std::vector<EntryRecord>> EntriesAt(std::span<const uint8_t> block, size_t count,
                                           std::span<const uint32_t> rows);

}  // namespace ravel::conntrack

#include "conntrack_columns.h"

#include <cstring>
#include <string>

#include "conntrack.h"

namespace ravel::conntrack {
namespace {

Failure BadBlock(const std::string& what) { return ProtocolFailure("conntrack.remove", what); }

// Visits every column of a block with its field: the one place that knows the order.
template <typename Entry, typename Visit>
void ForColumns(Entry& entry, const Visit& visit) {
  visit(entry.id);
  visit(entry.status);
  visit(entry.mark);
  visit(entry.timeout);
  visit(entry.original.source_port);
  visit(entry.original.destination_port);
  visit(entry.reply.source_port);
  visit(entry.reply.destination_port);
  visit(entry.zone);
  visit(entry.family);
  visit(entry.protocol);
  visit(entry.zone_directions);
  visit(entry.original.source);
  visit(entry.original.destination);
  visit(entry.reply.source);
  visit(entry.reply.destination);
}

EntryRecord EntryAt(std::span<const uint8_t> block, size_t count, size_t row) {
  EntryRecord entry;
  size_t column = 0;
  ForColumns(entry, [&](auto& field) {
    std::memcpy(&field, block.data() + column + row * sizeof(field), sizeof(field));
    column += count * sizeof(field);
  });
  return entry;
}

}  // namespace

std::vector<uint8_t> ColumnsOf(std::span<const EntryRecord> entries) {
  std::vector<uint8_t> block(entries.size() * kBytesPerEntry);
  for (size_t row = 0; row < entries.size(); ++row) {
    size_t column = 0;
    ForColumns(entries[row], [&](const auto& field) {
      std::memcpy(block.data() + column + row * sizeof(field), &field, sizeof(field));
      column += entries.size() * sizeof(field);
    });
  }
  return block;
}

Result<std::vector<EntryRecord>> EntriesAt(std::span<const uint8_t> block, size_t count,
                                           std::span<const uint32_t> rows) {
  if (block.size() % kBytesPerEntry != 0 || block.size() / kBytesPerEntry != count) {
    return BadBlock("columns of another size than " + std::to_string(count) + " entries have");
  }
  std::vector<EntryRecord> entries;
  entries.reserve(rows.size());
  for (const uint32_t row : rows) {
    if (row >= count) return BadBlock("row " + std::to_string(row) + " of " + std::to_string(count));
    const EntryRecord& entry = entries.emplace_back(EntryAt(block, count, row));
    if ((entry.family != 4 && entry.family != 6) || !HasPorts(entry.protocol) || entry.zone_directions > kZoneBoth) {
      return BadBlock("row " + std::to_string(row) + ": not an entry of a protocol with ports");
    }
  }
  return entries;
}

}  // namespace ravel::conntrack

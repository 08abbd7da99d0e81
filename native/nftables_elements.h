// Set elements: many rows into messages that respect the 64 KiB of a nest, and back into columns. Node-free.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "message.h"
#include "nftables_types.h"

namespace ravel::nft {

// Elements to write: views over columns of `count` rows (see nftables_program.h).
struct ElementRows {
  uint32_t count = 0;
  std::span<const uint8_t> keys;
  std::span<const uint8_t> values;    // ValueKind::kData
  std::span<const uint8_t> verdicts;  // kVerdict: i32 each
  std::span<const uint8_t> chain;     // kVerdict: u16 each, index into chains
  std::vector<std::string_view> chains;
  std::span<const uint8_t> comment;  // u32 each; empty when no row has one
  std::vector<std::string_view> comments;
};

// Appends as many messages as needed; reports the first row of each through `begun`. False when an index
// points outside its list.
bool WriteElements(MessageWriter& writer, uint8_t message, uint16_t flags, const Table& table, const SetSpec& set,
                   const ElementRows& rows, std::vector<uint32_t>* begun);

// Collects the replies of one NFT_MSG_GETSETELEM dump. A dump resumes by position, and a hash table that grows
// meanwhile moves what was already sent (nft_rhash_walk, rhashtable_walk_next): repeated elements count once.
class ColumnBuilder {
 public:
  ColumnBuilder(uint32_t key_length, uint32_t value_length, bool verdicts);
  void Clear();
  // The attributes of one NFT_MSG_NEWSETELEM; false when malformed.
  bool Append(std::span<const uint8_t> attributes);
  [[nodiscard]] ElementColumns& columns() { return columns_; }

 private:
  bool AppendElement(std::span<const uint8_t> element);
  bool AppendVerdict(std::span<const uint8_t> data);
  bool AppendCounter(std::span<const uint8_t> expression);

  uint32_t key_length_;    // on the wire
  uint32_t value_length_;  // on the wire; 0 for sets and verdict maps
  bool verdicts_;
  ElementColumns columns_;
  std::unordered_map<std::string, uint16_t> chain_index_;
  std::unordered_set<std::string> seen_;  // key and flags: the end of an interval may have the key of a start
};

}  // namespace ravel::nft

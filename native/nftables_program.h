// The compact program that src/native/nftables-encode.ts makes of NftOperation[], and its translation
// into one nfnetlink batch. Node-free.
//
// A program is a sequence of operations; integers are little-endian, a string is u16 length and bytes:
//   u8 operation, u8 family (NFPROTO_*), string table, then by operation
//   chain add, create       string name, u8 base, [string type, u32 hook, i32 priority]
//   chain delete, flush     string name
//   rule add, insert        string chain, statements, string comment
//   rule replace            string chain, u64 handle, statements, string comment
//   rule delete             string chain, u64 handle
//   set add, create         set
//   set delete, flush       string name
//   elements                set, u32 count, keys, then for add and create: values, comments
// set       string name, types key, u8 value kind, types value, u8 counter;  types: u8 count, u8 each
// statements  u8 count, each u8 kind and its fields (ReadStatement)
// keys      count * key width bytes
// values    data: count * value width bytes; verdict: i32[count], u16[count] chain, u16 n, n strings
// comments  u8 present, [u32[count] index, u32 n, n strings; index 0 is none, k is string k-1]
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "message.h"
#include "nftables_types.h"
#include "result.h"

namespace ravel::nft {

enum class OperationCode : uint8_t {
  kAddTable,
  kCreateTable,
  kDeleteTable,
  kFlushTable,
  kAddChain,
  kCreateChain,
  kDeleteChain,
  kFlushChain,
  kAddRule,
  kInsertRule,
  kReplaceRule,
  kDeleteRule,
  kAddSet,
  kCreateSet,
  kDeleteSet,
  kFlushSet,
  kAddElements,
  kCreateElements,
  kDeleteElements,
};

// Where a message of the batch came from.
struct Origin {
  int64_t operation = -1;  // -1: the batch itself
  int64_t element = -1;    // first element in the message, for element messages
};

struct Batch {
  MessageWriter writer;
  std::vector<Origin> origins;  // one for each message
  size_t operations = 0;        // messages between BATCH_BEGIN and BATCH_END
  size_t fence = 0;             // the message that asks for the acknowledgement
};

// Frames the program. With `generation`, BATCH_BEGIN carries NFNL_BATCH_GENID and the kernel refuses
// (ERESTART) when the ruleset has changed since. Without `apply` the batch has no BATCH_END: the kernel
// judges every message and then drops the transaction (nfnetlink_rcv_batch).
Result<Batch> BuildBatch(std::span<const uint8_t> program, std::optional<uint32_t> generation, bool apply);

}  // namespace ravel::nft

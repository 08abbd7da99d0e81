// nf_tables expressions: the instructions a rule is made of. Only those our statements compile to, in
// normal form, so that two lists can be compared. Node-free.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "message.h"
#include "nftables_types.h"

namespace ravel::nft {

enum class ExpressionKind : uint8_t {
  kPayload,
  kMeta,
  kMetaSet,
  kCt,
  kNumgen,
  kLookup,
  kCompare,
  kBitwise,
  kNat,
  kMasquerade,
  kCounter,
  kImmediate,
  kTcpOptionSet,
};

struct Expression {
  ExpressionKind kind = ExpressionKind::kCounter;
  uint32_t source = 0;                // NFTA_*_SREG
  uint32_t destination = 0;           // NFTA_*_DREG
  bool has_destination = false;       // lookup: the value is wanted (register 0 takes a verdict)
  uint32_t base = 0;                  // payload: NFT_PAYLOAD_*_HEADER
  uint32_t offset = 0;                // payload and exthdr, bytes
  uint32_t length = 0;                // payload, bitwise and exthdr, bytes
  uint32_t key = 0;                   // meta NFT_META_*, ct NFT_CT_*, exthdr TCPOPT_*
  bool directed = false;              // ct: the key has a direction
  uint8_t direction = 0;              // ct: IP_CT_DIR_*
  uint32_t modulus = 0;               // numgen
  uint32_t operation = 0;             // cmp: NFT_CMP_*
  bool inverted = false;              // lookup: NFT_LOOKUP_F_INV
  std::vector<uint8_t> data;          // cmp value, bitwise mask, immediate value
  std::vector<uint8_t> exclusive_or;  // bitwise
  std::string set;                    // lookup
  uint32_t family = 0;                // nat: NFPROTO_*
  uint32_t address = 0;               // nat: register of the address
  uint32_t port = 0;                  // nat: register of the port
  Verdict verdict;                    // immediate, when the destination is NFT_REG_VERDICT
  bool operator==(const Expression&) const = default;
};

// Number of the register that begins at 32-bit word `word` (0..15), as the kernel prints it
// (nft_dump_register): 128-bit names where they fit, NFT_REG32_* elsewhere.
constexpr uint32_t Register(uint32_t word) { return word % 4 == 0 ? NFT_REG_1 + word / 4 : NFT_REG32_00 + word; }

// Kind of an NFTA_EXPR_NAME; kMeta for both kinds of `meta`.
std::optional<ExpressionKind> ExpressionKindOf(std::string_view name);
// NFTA_EXPR_NAME of a kind.
const char* ExpressionName(ExpressionKind kind);

// Module that registers an expression, for kernels that build it as one; nullptr for the built-in ones.
const char* ExpressionModule(std::string_view name);

// Appends one NFTA_LIST_ELEM.
void WriteExpression(MessageWriter& writer, const Expression& expression);

// The payload of NFTA_RULE_EXPRESSIONS; nothing when one expression is outside the vocabulary or malformed.
std::optional<std::vector<Expression>> ReadExpressions(std::span<const uint8_t> list);

// NFTA_DATA_VERDICT: code and chain.
void WriteVerdict(MessageWriter& writer, const Verdict& verdict);
// The payload of an NFTA_*_DATA nest that holds a verdict; nothing when it holds none.
std::optional<Verdict> ReadVerdict(std::span<const uint8_t> data);
// The payload of a nest that holds NFTA_DATA_VALUE; nothing when it holds none.
std::optional<std::span<const uint8_t>> ReadValue(std::span<const uint8_t> data);

}  // namespace ravel::nft

// The reading half of nftables_statements.h.
#include <algorithm>
#include <cstring>
#include <span>

#include "nftables_key_parts.h"
#include "nftables_statements.h"

namespace ravel::nft {
namespace {

uint32_t HostWord(const std::vector<uint8_t>& bytes) {
  uint32_t value = 0;
  if (bytes.size() == sizeof(value)) std::memcpy(&value, bytes.data(), sizeof(value));
  return value;
}

// Reads statements off a list of expressions without caring whether they fit together: Decompile()
// compiles the result again and compares.
class Decompiler {
 public:
  explicit Decompiler(const std::vector<Expression>& expressions) : rest_(expressions) {}

  bool Next(Statement* out, bool* skip);
  [[nodiscard]] bool done() const { return rest_.empty(); }

 private:
  const Expression* Peek(ExpressionKind kind, size_t ahead = 0) const {
    return ahead < rest_.size() && rest_[ahead].kind == kind ? &rest_[ahead] : nullptr;
  }
  bool Accept(size_t count) {
    rest_ = rest_.subspan(count);
    return true;
  }
  std::vector<KeyPart> TakeKey();
  bool Keyed(std::vector<KeyPart> key, Statement* out);
  bool Mark(Statement* out);
  bool Address(Statement* out);
  bool Protocol(Statement* out);
  bool InputInterface(Statement* out);
  bool MaxSegment(Statement* out);
  bool Flag(StatementKind kind, Statement* out);

  std::span<const Expression> rest_;
};

std::vector<KeyPart> Decompiler::TakeKey() {
  std::vector<KeyPart> key;
  uint32_t word = 0;
  while (!rest_.empty()) {
    const Expression& e = rest_.front();
    bool found = false;
    for (size_t i = 0; i < std::size(kParts) && !found; ++i) {
      const KeyPart part{static_cast<KeyPartKind>(i), e.modulus};
      if (word < kRegisterWords && LoadPart(part, Register(word)) == e) {
        key.push_back({part.kind, kParts[i].load == Load::kNumgen ? e.modulus : 0});
        word += Padded(kParts[i].length) / 4;
        found = true;
      }
    }
    if (!found) break;
    Accept(1);
  }
  return key;
}

bool Decompiler::Keyed(std::vector<KeyPart> key, Statement* out) {
  const Expression* lookup = Peek(ExpressionKind::kLookup);
  if (lookup == nullptr) return false;
  out->key = std::move(key);
  out->set = lookup->set;
  out->inverted = lookup->inverted;
  if (!lookup->has_destination) {
    out->kind = StatementKind::kInSet;
    return Accept(1);
  }
  if (lookup->destination == NFT_REG_VERDICT) {
    out->kind = StatementKind::kVmap;
    return Accept(1);
  }
  out->kind = StatementKind::kDnatMap;
  return Peek(ExpressionKind::kNat, 1) != nullptr && Accept(2);
}

bool Decompiler::Mark(Statement* out) {
  const Expression* bitwise = Peek(ExpressionKind::kBitwise, 1);
  const size_t after = bitwise == nullptr ? 1 : 2;
  if (Peek(ExpressionKind::kMetaSet, after) != nullptr && bitwise != nullptr) {
    out->kind = StatementKind::kMarkOr;
    out->mask = HostWord(bitwise->exclusive_or);
    return Accept(3);
  }
  const Expression* compare = Peek(ExpressionKind::kCompare, after);
  if (compare == nullptr) return false;
  out->kind = StatementKind::kMarkIs;
  out->mask = bitwise == nullptr ? ~0U : HostWord(bitwise->data);
  out->value = HostWord(compare->data);
  return Accept(after + 1);
}

bool Decompiler::Address(Statement* out) {
  const Expression& load = rest_.front();
  const Expression* bitwise = Peek(ExpressionKind::kBitwise, 1);
  const Expression* compare = Peek(ExpressionKind::kCompare, bitwise == nullptr ? 1 : 2);
  if (compare == nullptr || load.base != NFT_PAYLOAD_NETWORK_HEADER) return false;
  for (const KeyPartKind kind :
       {KeyPartKind::kIpSource, KeyPartKind::kIpDestination, KeyPartKind::kIp6Source, KeyPartKind::kIp6Destination}) {
    const PartRow& row = Row(kind);
    // IPv4 daddr and IPv6 saddr overlap in bytes 8 to 24: the offset tells them apart.
    if (load.offset != row.position || load.length > row.length) continue;
    out->kind = kind == KeyPartKind::kIpSource || kind == KeyPartKind::kIp6Source ? StatementKind::kSource
                                                                                  : StatementKind::kDestination;
    out->inverted = compare->operation == NFT_CMP_NEQ;
    out->address = compare->data;
    out->address.resize(row.length);
    size_t bits = size_t{load.length} * 8;
    if (bitwise != nullptr) {
      for (bits = 0; bits < bitwise->data.size() * 8 && (bitwise->data[bits / 8] & 0x80 >> bits % 8) != 0;) ++bits;
    }
    out->prefix = static_cast<uint8_t>(bits);
    return Accept(bitwise == nullptr ? 2 : 3);
  }
  return false;
}

bool Decompiler::Protocol(Statement* out) {
  const Expression* compare = Peek(ExpressionKind::kCompare, 1);
  if (compare == nullptr || compare->data.size() != 1) return false;
  out->kind = StatementKind::kProtocol;
  out->protocol = compare->data[0];
  return Accept(2);
}

bool Decompiler::InputInterface(Statement* out) {
  const Expression* compare = Peek(ExpressionKind::kCompare, 1);
  if (compare == nullptr) return false;
  const auto end = std::ranges::find(compare->data, 0);
  out->kind = StatementKind::kInputInterface;
  out->interface.assign(compare->data.begin(), end);
  return Accept(2);
}

// A mask and a comparison that only one value of the vocabulary has: the second compilation checks it.
bool Decompiler::Flag(StatementKind kind, Statement* out) {
  if (Peek(ExpressionKind::kBitwise, 1) == nullptr || Peek(ExpressionKind::kCompare, 2) == nullptr) return false;
  out->kind = kind;
  return Accept(3);
}

bool Decompiler::MaxSegment(Statement* out) {
  const std::vector<uint8_t>& value = rest_.front().data;
  if (value.size() != 2 || Peek(ExpressionKind::kTcpOptionSet, 1) == nullptr) return false;
  out->kind = StatementKind::kMaxSegment;
  out->segment = static_cast<uint16_t>(value[0] << 8 | value[1]);
  return Accept(2);
}

// `*skip` instead of a statement: the match on the layer-3 protocol that the compiler adds by itself.
bool Decompiler::Next(Statement* out, bool* skip) {
  const Expression& first = rest_.front();
  const bool compared = Peek(ExpressionKind::kCompare, 1) != nullptr || Peek(ExpressionKind::kBitwise, 1) != nullptr;
  switch (first.kind) {
    case ExpressionKind::kMasquerade:
      out->kind = StatementKind::kMasquerade;
      return Accept(1);
    case ExpressionKind::kCounter:
      out->kind = StatementKind::kCounter;
      return Accept(1);
    case ExpressionKind::kImmediate:
      if (first.destination != NFT_REG_VERDICT) return MaxSegment(out);
      out->kind = StatementKind::kVerdict;
      out->verdict = first.verdict;
      return Accept(1);
    case ExpressionKind::kMeta:
      if (first.key == NFT_META_MARK) return Mark(out);
      if (first.key == NFT_META_IIFNAME) return InputInterface(out);
      if (first.key == NFT_META_NFPROTO) {
        *skip = true;
        return compared && Accept(2);
      }
      if (compared) return Protocol(out);
      break;
    case ExpressionKind::kPayload:
      if (compared && first == LoadTcpFlags()) return Flag(StatementKind::kTcpSyn, out);
      if (compared) return Address(out);
      break;
    case ExpressionKind::kCt:
      if (first.key == NFT_CT_STATUS) return Flag(StatementKind::kDestinationTranslated, out);
      break;
    default:
      break;
  }
  return Keyed(TakeKey(), out);
}

}  // namespace

std::optional<std::vector<Statement>> Decompile(uint8_t family, const std::vector<Expression>& expressions) {
  Decompiler decompiler(expressions);
  std::vector<Statement> statements;
  while (!decompiler.done()) {
    Statement statement;
    bool skip = false;
    if (!decompiler.Next(&statement, &skip)) return std::nullopt;
    if (!skip) statements.push_back(std::move(statement));
  }
  const auto again = Compile(family, statements);
  if (!again || *again != expressions) return std::nullopt;
  return statements;
}

}  // namespace ravel::nft

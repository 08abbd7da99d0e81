#include "nftables_statements.h"

#include <linux/netfilter/nf_conntrack_tuple_common.h>

#include <cstring>

namespace ravel::nft {
namespace {

constexpr uint32_t kFirst = Register(0);
constexpr uint32_t kRegisterWords = 16;  // NFT_REG32_COUNT

enum class Load : uint8_t { kNetwork, kTransport, kMeta, kCt, kNumgen };

// How a part of a key is loaded. `position` is the byte offset in the header, or the meta or ct key.
struct PartRow {
  Load load;
  uint32_t position;
  uint32_t length;
  uint8_t family;  // the layer-3 protocol it needs, NFPROTO_UNSPEC for any
};

// In the order of KeyPartKind.
constexpr PartRow kParts[] = {
    {Load::kNetwork, 12, 4, NFPROTO_IPV4},               // struct iphdr saddr
    {Load::kNetwork, 16, 4, NFPROTO_IPV4},               // struct iphdr daddr
    {Load::kNetwork, 8, 16, NFPROTO_IPV6},               // struct ipv6hdr saddr
    {Load::kNetwork, 24, 16, NFPROTO_IPV6},              // struct ipv6hdr daddr
    {Load::kMeta, NFT_META_L4PROTO, 1, NFPROTO_UNSPEC},  //
    {Load::kTransport, 0, 2, NFPROTO_UNSPEC},            // source port of tcp, udp, sctp
    {Load::kTransport, 2, 2, NFPROTO_UNSPEC},            // destination port
    {Load::kCt, NFT_CT_DST_IP, 4, NFPROTO_UNSPEC},       // nft asks for no protocol match before it
    {Load::kNumgen, 0, 4, NFPROTO_UNSPEC},               //
};

const PartRow& Row(KeyPartKind kind) { return kParts[static_cast<size_t>(kind)]; }

Expression LoadPart(const KeyPart& part, uint32_t destination) {
  const PartRow& row = Row(part.kind);
  Expression e;
  e.destination = destination;
  switch (row.load) {
    case Load::kNetwork:
    case Load::kTransport:
      e.kind = ExpressionKind::kPayload;
      e.base = row.load == Load::kNetwork ? NFT_PAYLOAD_NETWORK_HEADER : NFT_PAYLOAD_TRANSPORT_HEADER;
      e.offset = row.position;
      e.length = row.length;
      break;
    case Load::kMeta:
      e.kind = ExpressionKind::kMeta;
      e.key = row.position;
      break;
    case Load::kCt:
      e.kind = ExpressionKind::kCt;
      e.key = row.position;
      e.direction = IP_CT_DIR_ORIGINAL;
      break;
    case Load::kNumgen:
      e.kind = ExpressionKind::kNumgen;
      e.modulus = part.modulus;
      break;
  }
  return e;
}

Expression Compare(uint32_t operation, std::vector<uint8_t> data) {
  Expression e;
  e.kind = ExpressionKind::kCompare;
  e.source = kFirst;
  e.operation = operation;
  e.data = std::move(data);
  return e;
}

Expression Bitwise(std::vector<uint8_t> mask, std::vector<uint8_t> exclusive_or) {
  Expression e;
  e.kind = ExpressionKind::kBitwise;
  e.source = e.destination = kFirst;
  e.length = static_cast<uint32_t>(mask.size());
  e.data = std::move(mask);
  e.exclusive_or = std::move(exclusive_or);
  return e;
}

// Marks are host order in registers.
std::vector<uint8_t> HostWord(uint32_t value) {
  std::vector<uint8_t> bytes(sizeof(value));
  std::memcpy(bytes.data(), &value, sizeof(value));
  return bytes;
}

uint32_t HostWord(const std::vector<uint8_t>& bytes) {
  uint32_t value = 0;
  if (bytes.size() == sizeof(value)) std::memcpy(&value, bytes.data(), sizeof(value));
  return value;
}

std::vector<uint8_t> PrefixMask(size_t length, uint8_t prefix) {
  std::vector<uint8_t> mask(length);
  for (size_t bit = 0; bit < prefix; ++bit) mask[bit / 8] |= static_cast<uint8_t>(0x80 >> bit % 8);
  return mask;
}

class Compiler {
 public:
  explicit Compiler(uint8_t family) : family_(family) {}

  bool Add(const Statement& statement);
  std::vector<Expression>& expressions() { return expressions_; }

 private:
  void Push(Expression expression) { expressions_.push_back(std::move(expression)); }
  bool Require(uint8_t protocol);
  bool LoadKey(const std::vector<KeyPart>& key);
  bool Address(const Statement& statement);
  bool DnatMap(const Statement& statement);
  void LoadMark() {
    Expression e;
    e.kind = ExpressionKind::kMeta;
    e.key = NFT_META_MARK;
    e.destination = kFirst;
    Push(std::move(e));
  }
  void Lookup(const Statement& statement, std::optional<uint32_t> destination) {
    Expression e;
    e.kind = ExpressionKind::kLookup;
    e.source = kFirst;
    e.set = statement.set;
    e.inverted = statement.inverted;
    e.has_destination = destination.has_value();
    e.destination = destination.value_or(0);
    Push(std::move(e));
  }

  uint8_t family_;
  uint8_t protocol_ = NFPROTO_UNSPEC;  // what `meta nfproto` was matched against so far
  std::vector<Expression> expressions_;
};

// Header fields mean something only under their own protocol: a table of one family implies it, an
// `inet` table needs the match that nft puts there once.
bool Compiler::Require(uint8_t protocol) {
  if (protocol == NFPROTO_UNSPEC || protocol == protocol_ || protocol == family_) return true;
  if (family_ != NFPROTO_INET) return false;
  Expression e;
  e.kind = ExpressionKind::kMeta;
  e.key = NFT_META_NFPROTO;
  e.destination = kFirst;
  Push(std::move(e));
  Push(Compare(NFT_CMP_EQ, {protocol}));
  protocol_ = protocol;
  return true;
}

bool Compiler::LoadKey(const std::vector<KeyPart>& key) {
  for (const KeyPart& part : key) {
    if (!Require(Row(part.kind).family)) return false;
  }
  uint32_t word = 0;
  for (const KeyPart& part : key) {
    const uint32_t words = Padded(Row(part.kind).length) / 4;
    if (word + words > kRegisterWords) return false;
    Push(LoadPart(part, Register(word)));
    word += words;
  }
  return !key.empty();
}

// nft compares only the bytes of a prefix that ends on a byte border, and masks otherwise.
bool Compiler::Address(const Statement& s) {
  const bool ipv4 = s.address.size() == 4;
  const bool source = s.kind == StatementKind::kSource;
  if (s.prefix == 0 || s.prefix > s.address.size() * 8 || (!ipv4 && s.address.size() != 16)) return false;
  const auto kind = ipv4 ? (source ? KeyPartKind::kIpSource : KeyPartKind::kIpDestination)
                         : (source ? KeyPartKind::kIp6Source : KeyPartKind::kIp6Destination);
  if (!Require(Row(kind).family)) return false;
  Expression load = LoadPart({kind, 0}, kFirst);
  std::vector<uint8_t> value = s.address;
  const std::vector<uint8_t> mask = PrefixMask(value.size(), s.prefix);
  for (size_t i = 0; i < value.size(); ++i) value[i] &= mask[i];
  if (s.prefix % 8 == 0) {
    load.length = s.prefix / 8;
    value.resize(load.length);
    Push(std::move(load));
  } else {
    Push(std::move(load));
    Push(Bitwise(mask, std::vector<uint8_t>(mask.size())));
  }
  Push(Compare(s.inverted ? NFT_CMP_NEQ : NFT_CMP_EQ, std::move(value)));
  return true;
}

bool Compiler::DnatMap(const Statement& s) {
  if (!LoadKey(s.key)) return false;
  uint8_t protocol = family_;
  for (const KeyPart& part : s.key) {
    if (Row(part.kind).family != NFPROTO_UNSPEC) protocol = Row(part.kind).family;
  }
  if (protocol != NFPROTO_IPV4 && protocol != NFPROTO_IPV6) return false;
  Lookup(s, kFirst);
  Expression e;
  e.kind = ExpressionKind::kNat;
  e.family = protocol;
  e.address = kFirst;
  e.port = Register(protocol == NFPROTO_IPV4 ? 1 : 4);  // the field after the address
  Push(std::move(e));
  return true;
}

bool Compiler::Add(const Statement& s) {
  Expression e;
  switch (s.kind) {
    case StatementKind::kVmap:
      if (!LoadKey(s.key)) return false;
      Lookup(s, NFT_REG_VERDICT);
      return true;
    case StatementKind::kInSet:
      if (!LoadKey(s.key)) return false;
      Lookup(s, std::nullopt);
      return true;
    case StatementKind::kDnatMap:
      return DnatMap(s);
    case StatementKind::kProtocol:
      Push(LoadPart({KeyPartKind::kL4Protocol, 0}, kFirst));
      Push(Compare(NFT_CMP_EQ, {s.protocol}));
      return true;
    case StatementKind::kSource:
    case StatementKind::kDestination:
      return Address(s);
    case StatementKind::kMarkOr:
      LoadMark();
      // x | bits is (x & ~bits) ^ bits.
      Push(Bitwise(HostWord(~s.mask), HostWord(s.mask)));
      e.kind = ExpressionKind::kMetaSet;
      e.key = NFT_META_MARK;
      e.source = kFirst;
      break;
    case StatementKind::kMarkIs:
      LoadMark();
      if (s.mask != ~0U) Push(Bitwise(HostWord(s.mask), HostWord(0U)));
      e = Compare(NFT_CMP_EQ, HostWord(s.value));
      break;
    case StatementKind::kMasquerade:
      e.kind = ExpressionKind::kMasquerade;
      break;
    case StatementKind::kCounter:
      e.kind = ExpressionKind::kCounter;
      break;
    case StatementKind::kVerdict:
      e.kind = ExpressionKind::kImmediate;
      e.verdict = s.verdict;
      break;
  }
  Push(std::move(e));
  return true;
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
    size_t bits = load.length * 8;
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
      out->kind = StatementKind::kVerdict;
      out->verdict = first.verdict;
      return Accept(1);
    case ExpressionKind::kMeta:
      if (first.key == NFT_META_MARK) return Mark(out);
      if (first.key == NFT_META_NFPROTO) {
        *skip = true;
        return compared && Accept(2);
      }
      if (compared) return Protocol(out);
      break;
    case ExpressionKind::kPayload:
      if (compared) return Address(out);
      break;
    default:
      break;
  }
  return Keyed(TakeKey(), out);
}

}  // namespace

std::optional<std::vector<Expression>> Compile(uint8_t family, const std::vector<Statement>& statements) {
  Compiler compiler(family);
  for (const Statement& statement : statements) {
    if (!compiler.Add(statement)) return std::nullopt;
  }
  return std::move(compiler.expressions());
}

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

#include "nftables_statements.h"

#include <linux/netfilter/nf_conntrack_common.h>
#include <net/if.h>

#include <cstring>

#include "nftables_key_parts.h"

namespace ravel::nft {
namespace {

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

// Names in registers are IFNAMSIZ bytes, filled with zeros.
std::vector<uint8_t> InterfaceName(const std::string& name) {
  std::vector<uint8_t> bytes(name.begin(), name.end());
  bytes.resize(IFNAMSIZ);
  return bytes;
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
  void LoadMeta(uint32_t key) {
    Expression e;
    e.kind = ExpressionKind::kMeta;
    e.key = key;
    e.destination = kFirst;
    Push(std::move(e));
  }
  void DestinationTranslated();
  bool TcpSyn();
  bool MaxSegment(uint16_t segment);
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
  uint8_t transport_ = 0;              // what `meta l4proto` was matched against last
  std::vector<Expression> expressions_;
};

// Header fields mean something only under their own protocol: a table of one family implies it, an
// `inet` table needs the match that nft puts there once.
bool Compiler::Require(uint8_t protocol) {
  if (protocol == NFPROTO_UNSPEC || protocol == protocol_ || protocol == family_) return true;
  if (family_ != NFPROTO_INET) return false;
  LoadMeta(NFT_META_NFPROTO);
  Push(Compare(NFT_CMP_EQ, {protocol}));
  protocol_ = protocol;
  return true;
}

bool Compiler::LoadKey(const std::vector<KeyPart>& key) {
  for (const KeyPart& part : key) {
    if (!Require(Row(part.kind).family)) return false;
    if (part.kind == KeyPartKind::kCtOriginalTransportDestination && transport_ == 0) return false;
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

// nft's form of a flag that is set: any bit left of the mask.
void Compiler::DestinationTranslated() {
  Expression e;
  e.kind = ExpressionKind::kCt;
  e.key = NFT_CT_STATUS;
  e.destination = kFirst;
  Push(std::move(e));
  Push(Bitwise(HostWord(IPS_DST_NAT), HostWord(0)));
  Push(Compare(NFT_CMP_NEQ, HostWord(0)));
}

bool Compiler::TcpSyn() {
  if (transport_ != IPPROTO_TCP) return false;
  Push(LoadTcpFlags());
  Push(Bitwise({kTcpSynFlag}, {0}));
  Push(Compare(NFT_CMP_NEQ, {0}));
  return true;
}

bool Compiler::MaxSegment(uint16_t segment) {
  if (transport_ != IPPROTO_TCP) return false;
  Expression value;
  value.kind = ExpressionKind::kImmediate;
  value.destination = kFirst;
  value.data = {static_cast<uint8_t>(segment >> 8), static_cast<uint8_t>(segment)};
  Push(std::move(value));
  Push(WriteMaxSegment());
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
      transport_ = s.protocol;
      return true;
    case StatementKind::kSource:
    case StatementKind::kDestination:
      return Address(s);
    case StatementKind::kMarkOr:
      LoadMeta(NFT_META_MARK);
      // x | bits is (x & ~bits) ^ bits.
      Push(Bitwise(HostWord(~s.mask), HostWord(s.mask)));
      e.kind = ExpressionKind::kMetaSet;
      e.key = NFT_META_MARK;
      e.source = kFirst;
      break;
    case StatementKind::kMarkIs:
      LoadMeta(NFT_META_MARK);
      if (s.mask != ~0U) Push(Bitwise(HostWord(s.mask), HostWord(0U)));
      e = Compare(NFT_CMP_EQ, HostWord(s.value));
      break;
    case StatementKind::kMasquerade:
      e.kind = ExpressionKind::kMasquerade;
      break;
    case StatementKind::kCounter:
      e.kind = ExpressionKind::kCounter;
      break;
    case StatementKind::kInputInterface:
      // A name of IFNAMSIZ bytes has no room for its end; a shorter comparison is nft's wildcard.
      if (s.interface.empty() || s.interface.size() >= IFNAMSIZ) return false;
      LoadMeta(NFT_META_IIFNAME);
      e = Compare(NFT_CMP_EQ, InterfaceName(s.interface));
      break;
    case StatementKind::kDestinationTranslated:
      DestinationTranslated();
      return true;
    case StatementKind::kTcpSyn:
      return TcpSyn();
    case StatementKind::kMaxSegment:
      return MaxSegment(s.segment);
    case StatementKind::kVerdict:
      e.kind = ExpressionKind::kImmediate;
      e.verdict = s.verdict;
      break;
  }
  Push(std::move(e));
  return true;
}

}  // namespace

std::optional<std::vector<Expression>> Compile(uint8_t family, const std::vector<Statement>& statements) {
  Compiler compiler(family);
  for (const Statement& statement : statements) {
    if (!compiler.Add(statement)) return std::nullopt;
  }
  return std::move(compiler.expressions());
}

}  // namespace ravel::nft

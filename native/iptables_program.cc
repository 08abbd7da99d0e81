#include "iptables_program.h"

#include <netinet/in.h>
//
#include <linux/netfilter/x_tables.h>
#include <linux/netfilter/xt_comment.h>

#include <bit>
#include <cstring>
#include <string_view>

#include "netlink.h"

namespace ravel::ipt {
namespace {

static_assert(std::endian::native == std::endian::little, "numbers are copied as they are");

// xt_statistic's probability 1.
constexpr uint32_t kCertain = 0x80000000;

constexpr uint32_t Bit(RuleField field) { return 1U << static_cast<uint8_t>(field); }

// Cursor with a sticky error: after it everything reads as zero or empty.
class Reader {
 public:
  Reader(std::span<const uint8_t> bytes, Family family) : rest_(bytes), family_(family) {}

  template <typename T>
  T Number() {
    T value = 0;
    const auto bytes = Bytes(sizeof(T));
    if (ok_) std::memcpy(&value, bytes.data(), sizeof(T));
    return value;
  }
  // At most `limit` bytes, none of them NUL: the kernel's own arrays end with one.
  std::string String(size_t limit) {
    const auto bytes = Bytes(Number<uint16_t>());
    std::string text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (text.size() > limit || text.find('\0') != std::string::npos) Fail();
    return text;
  }
  std::string Name() {
    std::string name = String(XT_EXTENSION_MAXNAMELEN - 1);
    if (name.empty()) Fail();
    return name;
  }
  Address ReadAddress() {
    Address address{};
    const auto bytes = Bytes(AddressSize(family_));
    if (ok_) std::memcpy(address.data(), bytes.data(), bytes.size());
    return address;
  }
  // A count of things of at least `size` bytes: what cannot be there is not allocated for.
  uint32_t Count(size_t size) {
    const auto count = Number<uint32_t>();
    if (count > rest_.size() / size) Fail();
    return ok_ ? count : 0;
  }
  void Fail() { ok_ = false; }
  [[nodiscard]] bool ok() const { return ok_; }
  [[nodiscard]] bool done() const { return rest_.empty(); }
  [[nodiscard]] Family family() const { return family_; }

 private:
  std::span<const uint8_t> Bytes(size_t size) {
    if (size > rest_.size()) Fail();
    if (!ok_) return {};
    const auto bytes = rest_.first(size);
    rest_ = rest_.subspan(size);
    return bytes;
  }

  std::span<const uint8_t> rest_;
  Family family_;
  bool ok_ = true;
};

void ClearHostBits(Prefix& prefix) {
  for (size_t byte = 0; byte < prefix.address.size(); ++byte) {
    const int bits = prefix.length - static_cast<int>(byte * 8);
    if (bits >= 8) continue;
    prefix.address.at(byte) &= static_cast<uint8_t>(bits <= 0 ? 0 : 0xff << (8 - bits));
  }
}

Prefix ReadPrefix(Reader& in) {
  Prefix prefix;
  prefix.address = in.ReadAddress();
  prefix.length = in.Number<uint8_t>();
  prefix.inverted = in.Number<uint8_t>() != 0;
  // A mask of no bits matches everything and reads back as no match at all.
  if (prefix.length == 0 || prefix.length > AddressSize(in.family()) * 8) in.Fail();
  ClearHostBits(prefix);
  return prefix;
}

Mark ReadMark(Reader& in) {
  Mark mark;
  mark.value = in.Number<uint32_t>();
  mark.mask = in.Number<uint32_t>();
  return mark;
}

bool HasPorts(uint8_t protocol) {
  return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_SCTP;
}

Rule ReadRule(Reader& in) {
  Rule rule;
  const auto fields = in.Number<uint16_t>();
  const auto has = [fields](RuleField field) { return (fields & Bit(field)) != 0; };
  if (has(RuleField::kSource)) rule.source = ReadPrefix(in);
  if (has(RuleField::kDestination)) rule.destination = ReadPrefix(in);
  if (has(RuleField::kProtocol)) rule.protocol = in.Number<uint8_t>();
  if (has(RuleField::kPort)) rule.port = in.Number<uint16_t>();
  if (has(RuleField::kComment)) rule.comment = in.String(XT_MAX_COMMENT_LEN - 1);
  if (has(RuleField::kProbability)) rule.probability = in.Number<uint32_t>();
  if (has(RuleField::kMark)) rule.mark = ReadMark(in);
  rule.opening = has(RuleField::kOpening);
  const auto target = in.Number<uint8_t>();
  if (target > static_cast<uint8_t>(TargetKind::kMasquerade)) in.Fail();
  if (!in.ok()) return rule;
  rule.target = static_cast<TargetKind>(target);
  switch (rule.target) {
    case TargetKind::kJump:
      rule.chain = in.Name();
      break;
    case TargetKind::kSetMark:
      rule.set = ReadMark(in);
      break;
    case TargetKind::kDnat:
      rule.to = in.ReadAddress();
      rule.to_port = in.Number<uint16_t>();
      break;
    case TargetKind::kMasquerade:
      break;
  }
  const bool needs_ports = rule.port.has_value() || (rule.target == TargetKind::kDnat && rule.to_port != 0);
  const bool opens = rule.port.has_value() && rule.protocol == IPPROTO_TCP;
  if (rule.probability > kCertain || (needs_ports && !HasPorts(rule.protocol)) || (rule.opening && !opens)) in.Fail();
  return rule;
}

class Writer {
 public:
  explicit Writer(Family family) : family_(family) {}

  template <typename T>
  void Number(T value) {
    const auto* raw = reinterpret_cast<const uint8_t*>(&value);
    bytes_.insert(bytes_.end(), raw, raw + sizeof(T));
  }
  void String(std::string_view text) {
    Number(static_cast<uint16_t>(text.size()));
    bytes_.insert(bytes_.end(), text.begin(), text.end());
  }
  void WriteAddress(const Address& address) {
    bytes_.insert(bytes_.end(), address.begin(), address.begin() + static_cast<std::ptrdiff_t>(AddressSize(family_)));
  }
  std::vector<uint8_t> Take() { return std::move(bytes_); }

 private:
  std::vector<uint8_t> bytes_;
  Family family_;
};

void WritePrefix(Writer& out, const Prefix& prefix) {
  out.WriteAddress(prefix.address);
  out.Number(prefix.length);
  out.Number(static_cast<uint8_t>(prefix.inverted));
}

void WriteMark(Writer& out, const Mark& mark) {
  out.Number(mark.value);
  out.Number(mark.mask);
}

void WriteRule(Writer& out, const Rule& rule) {
  const auto bit = [](RuleField field, bool present) { return present ? Bit(field) : 0; };
  out.Number(static_cast<uint16_t>(
      bit(RuleField::kSource, rule.source.has_value()) | bit(RuleField::kDestination, rule.destination.has_value()) |
      bit(RuleField::kProtocol, rule.protocol != 0) | bit(RuleField::kPort, rule.port.has_value()) |
      bit(RuleField::kComment, !rule.comment.empty()) | bit(RuleField::kProbability, rule.probability != 0) |
      bit(RuleField::kMark, rule.mark.has_value()) | bit(RuleField::kOpening, rule.opening)));
  if (rule.source) WritePrefix(out, *rule.source);
  if (rule.destination) WritePrefix(out, *rule.destination);
  if (rule.protocol != 0) out.Number(rule.protocol);
  if (rule.port) out.Number(*rule.port);
  if (!rule.comment.empty()) out.String(rule.comment);
  if (rule.probability != 0) out.Number(rule.probability);
  if (rule.mark) WriteMark(out, *rule.mark);
  out.Number(static_cast<uint8_t>(rule.target));
  switch (rule.target) {
    case TargetKind::kJump:
      out.String(rule.chain);
      break;
    case TargetKind::kSetMark:
      WriteMark(out, rule.set);
      break;
    case TargetKind::kDnat:
      out.WriteAddress(rule.to);
      out.Number(rule.to_port);
      break;
    case TargetKind::kMasquerade:
      break;
  }
}

void WriteListed(Writer& out, const ListedRule& listed) {
  out.Number(listed.packets);
  out.Number(listed.bytes);
  out.Number(static_cast<uint8_t>(listed.rule.has_value()));
  if (listed.rule) {
    WriteRule(out, *listed.rule);
  } else {
    out.String(listed.foreign);
  }
}

}  // namespace

bool Program::Owns(std::string_view name) const {
  return name.starts_with(prefix) && (name.size() == prefix.size() || name[prefix.size()] == '-');
}

Result<Program> ReadProgram(std::span<const uint8_t> bytes, Family family) {
  Reader in(bytes, family);
  Program program;
  program.prefix = in.Name();
  for (uint32_t left = in.Count(4); left > 0 && in.ok(); --left) {
    Jump& jump = program.jumps.emplace_back();
    jump.from = in.Name();
    jump.to = in.Name();
    if (program.Owns(jump.from) || !program.Owns(jump.to)) in.Fail();
  }
  for (uint32_t left = in.Count(6); left > 0 && in.ok(); --left) {
    Chain& chain = program.chains.emplace_back();
    chain.name = in.Name();
    // The last guard before somebody else's chain.
    if (!program.Owns(chain.name)) in.Fail();
    const uint32_t rules = in.Count(3);
    chain.rules.reserve(rules);
    for (uint32_t rule = 0; rule < rules && in.ok(); ++rule) chain.rules.push_back(ReadRule(in));
  }
  if (!in.ok() || !in.done()) return ProtocolFailure("iptables.commit", "malformed program");
  return program;
}

std::vector<uint8_t> WriteListing(const Listing& listing, Family family) {
  Writer out(family);
  out.Number(static_cast<uint8_t>(listing.present));
  out.Number(static_cast<uint32_t>(listing.jumps.size()));
  for (const ListedJump& jump : listing.jumps) {
    out.String(jump.from);
    WriteListed(out, jump.rule);
  }
  out.Number(static_cast<uint32_t>(listing.chains.size()));
  for (const ListedChain& chain : listing.chains) {
    out.String(chain.name);
    out.Number(static_cast<uint32_t>(chain.rules.size()));
    for (const ListedRule& rule : chain.rules) WriteListed(out, rule);
  }
  return out.Take();
}

}  // namespace ravel::ipt

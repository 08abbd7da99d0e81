// Entries back to rules. Their bytes are the kernel's and anybody's who writes to it: nothing in them is believed.
#include <algorithm>
#include <cstring>
#include <iterator>
#include <string>
#include <string_view>
#include <type_traits>

#include "iptables_entry.h"
#include "iptables_entry_layout.h"

namespace ravel::ipt {
namespace {

Prefix PrefixOf(const void* address, const void* mask, size_t size, bool inverted, bool* ok) {
  Prefix prefix;
  std::memcpy(prefix.address.data(), address, size);
  prefix.inverted = inverted;
  Address bits{};
  std::memcpy(bits.data(), mask, size);
  while (prefix.length < size * 8 && (bits.at(prefix.length / 8) & (0x80 >> (prefix.length % 8))) != 0) ++prefix.length;
  for (size_t bit = prefix.length; bit < size * 8; ++bit) {
    if ((bits.at(bit / 8) & (0x80 >> (bit % 8))) != 0) *ok = false;
  }
  return prefix;
}

// One match or target of an entry; the spans stay inside the entry's bytes.
struct ExtensionView {
  std::string_view name;
  uint8_t revision = 0;
  std::span<const uint8_t> data;
};

std::optional<ExtensionView> ReadExtension(std::span<const uint8_t> bytes) {
  if (bytes.size() < kHeader) return std::nullopt;
  xt_entry_match header{};
  std::memcpy(&header, bytes.data(), sizeof(header));
  const size_t size = header.u.user.match_size;
  if (size < kHeader || size > bytes.size()) return std::nullopt;
  const auto* name = reinterpret_cast<const char*>(bytes.data()) + offsetof(xt_entry_match, u.user.name);
  return ExtensionView{
      {name, strnlen(name, XT_EXTENSION_MAXNAMELEN)}, header.u.user.revision, bytes.subspan(kHeader, size - kHeader)};
}

// The extension's data, when it has exactly the size the kernel gives it.
template <typename T>
bool Data(const ExtensionView& extension, uint8_t revision, T* out) {
  static_assert(std::is_trivially_copyable_v<T>);
  if (extension.revision != revision || extension.data.size() != XT_ALIGN(sizeof(T))) return false;
  std::memcpy(out, extension.data.data(), sizeof(T));
  return true;
}

template <typename T>
bool OnePort(const T& info, uint16_t* port) {
  *port = info.dpts[0];
  return info.dpts[0] == info.dpts[1];
}

bool DecodePort(const ExtensionView& match, uint8_t protocol, uint16_t* port, bool* opening) {
  if (protocol == IPPROTO_TCP && match.name == "tcp") {
    xt_tcp info{};
    if (!Data(match, 0, &info)) return false;
    *opening = info.flg_mask == kOpeningMask && info.flg_cmp == kSyn;
    const bool any_flags = info.flg_mask == 0 && info.flg_cmp == 0;
    return OnePort(info, port) && info.spts[0] == 0 && info.spts[1] == 0xffff && info.option == 0 &&
           (*opening || any_flags) && info.invflags == 0;
  }
  if (protocol == IPPROTO_UDP && match.name == "udp") {
    xt_udp info{};
    return Data(match, 0, &info) && OnePort(info, port) && info.spts[0] == 0 && info.spts[1] == 0xffff &&
           info.invflags == 0;
  }
  if (protocol == IPPROTO_SCTP && match.name == "sctp") {
    xt_sctp_info info{};
    return Data(match, 0, &info) && OnePort(info, port) && info.flags == XT_SCTP_DEST_PORTS && info.invflags == 0;
  }
  return false;
}

// Takes the match into the rule; false when the rule has one of its kind already or cannot say this.
bool DecodeMatch(const ExtensionView& match, Rule& rule) {
  if (match.name == "comment") {
    xt_comment_info info{};
    if (!rule.comment.empty() || !Data(match, 0, &info)) return false;
    rule.comment.assign(static_cast<const char*>(info.comment), strnlen(info.comment, sizeof(info.comment)));
    return !rule.comment.empty();
  }
  if (match.name == "statistic") {
    xt_statistic_info info{};
    if (rule.probability != 0 || !Data(match, 0, &info)) return false;
    rule.probability = info.u.random.probability;
    return info.mode == XT_STATISTIC_MODE_RANDOM && info.flags == 0 && rule.probability != 0;
  }
  if (match.name == "mark") {
    xt_mark_mtinfo1 info{};
    if (rule.mark || !Data(match, 1, &info)) return false;
    rule.mark = Mark{info.mark, info.mask};
    return info.invert == 0;
  }
  uint16_t port = 0;
  if (rule.port || !DecodePort(match, rule.protocol, &port, &rule.opening)) return false;
  rule.port = port;
  return true;
}

bool DecodeMasquerade(const ExtensionView& target, Family family) {
  if (family == Family::kIpv4) {
    nf_nat_ipv4_multi_range_compat info{};
    return Data(target, 0, &info) && info.rangesize == 1 && info.range[0].flags == 0;
  }
  nf_nat_range info{};
  return Data(target, 0, &info) && info.flags == 0;
}

bool DecodeTarget(const ExtensionView& target, Family family, Rule& rule) {
  if (target.name == "MARK") {
    xt_mark_tginfo2 info{};
    rule.target = TargetKind::kSetMark;
    if (!Data(target, 2, &info)) return false;
    rule.set = Mark{info.mark, info.mask};
    return true;
  }
  if (target.name == "MASQUERADE") {
    rule.target = TargetKind::kMasquerade;
    return DecodeMasquerade(target, family);
  }
  nf_nat_range2 info{};
  if (target.name != "DNAT" || !Data(target, 2, &info)) return false;
  rule.target = TargetKind::kDnat;
  if (!std::ranges::equal(info.min_addr.all, info.max_addr.all)) return false;
  std::memcpy(rule.to.data(), &info.min_addr, AddressSize(family));
  if (info.flags == NF_NAT_RANGE_MAP_IPS) return true;
  rule.to_port = ntohs(info.min_proto.all);
  return info.flags == (NF_NAT_RANGE_MAP_IPS | NF_NAT_RANGE_PROTO_SPECIFIED) && rule.to_port != 0 &&
         info.min_proto.all == info.max_proto.all;
}

bool AllZero(const auto& bytes) {
  return std::all_of(std::begin(bytes), std::end(bytes), [](auto byte) { return byte == 0; });
}

// What the entry's own header matches, in the rule; false when that is more than a rule can say.
template <typename V>
bool DecodeHeader(const typename V::Entry& entry, Rule& rule) {
  const auto& ip = V::Ip(entry);
  constexpr size_t kAddress = AddressSize(V::kFamily);
  bool ok = true;
  const Prefix source = PrefixOf(&ip.src, &ip.smsk, kAddress, (ip.invflags & V::kInvertSource) != 0, &ok);
  const Prefix destination = PrefixOf(&ip.dst, &ip.dmsk, kAddress, (ip.invflags & V::kInvertDestination) != 0, &ok);
  if (source.length > 0 || source.inverted) rule.source = source;
  if (destination.length > 0 || destination.inverted) rule.destination = destination;
  rule.protocol = static_cast<uint8_t>(ip.proto);
  return ok && ip.proto <= 0xff && AllZero(ip.iniface_mask) && AllZero(ip.outiface_mask) && V::Plain(entry) &&
         (ip.flags & ~V::kIgnoredFlags) == 0 && (ip.invflags & ~(V::kInvertSource | V::kInvertDestination)) == 0;
}

// Calls `take` with each match until it says false; false then, and when the bytes are not what they say.
template <typename V>
bool WalkMatches(std::span<const uint8_t> bytes, typename V::Entry* entry, const auto& take) {
  if (bytes.size() < sizeof(*entry)) return false;
  std::memcpy(entry, bytes.data(), sizeof(*entry));
  constexpr size_t kStart = XT_ALIGN(sizeof(typename V::Entry));
  if (entry->target_offset < kStart || entry->target_offset > bytes.size()) return false;
  auto rest = bytes.subspan(kStart, entry->target_offset - kStart);
  while (!rest.empty()) {
    const auto match = ReadExtension(rest);
    if (!match || !take(*match)) return false;
    rest = rest.subspan(kHeader + match->data.size());
  }
  return true;
}

// The kernel's standard target has no name; libiptc names what its number means.
bool IsChain(const ExtensionView& target, std::string_view name) {
  constexpr std::string_view kVerdicts[] = {"", "ACCEPT", "DROP", "QUEUE", "RETURN"};
  return target.name.empty() && std::find(std::begin(kVerdicts), std::end(kVerdicts), name) == std::end(kVerdicts);
}

template <typename V>
std::optional<ExtensionView> TargetOf(std::span<const uint8_t> bytes) {
  typename V::Entry entry{};
  if (bytes.size() < sizeof(entry)) return std::nullopt;
  std::memcpy(&entry, bytes.data(), sizeof(entry));
  if (entry.target_offset < sizeof(entry) || entry.target_offset > bytes.size()) return std::nullopt;
  return ReadExtension(bytes.subspan(entry.target_offset));
}

template <typename V>
std::optional<Rule> Decode(std::span<const uint8_t> bytes, std::string_view target) {
  Rule rule;
  // The port match needs the protocol, so the header comes first.
  typename V::Entry entry{};
  if (!WalkMatches<V>(bytes, &entry, [](const ExtensionView&) { return true; })) return std::nullopt;
  if (!DecodeHeader<V>(entry, rule)) return std::nullopt;
  if (!WalkMatches<V>(bytes, &entry, [&](const ExtensionView& match) { return DecodeMatch(match, rule); })) {
    return std::nullopt;
  }
  const auto view = TargetOf<V>(bytes);
  if (!view) return std::nullopt;
  if (IsChain(*view, target)) {
    rule.target = TargetKind::kJump;
    rule.chain = target;
    return rule;
  }
  if (!DecodeTarget(*view, V::kFamily, rule)) return std::nullopt;
  return rule;
}

template <typename V>
std::string Describe(std::span<const uint8_t> bytes, std::string_view target) {
  std::string text;
  const auto add = [&text](std::string_view words) { text.append(text.empty() ? "" : " ").append(words); };
  const auto prefix = [&add](const char* option, const Prefix& value) {
    char address[INET6_ADDRSTRLEN] = "";
    inet_ntop(V::kFamily == Family::kIpv4 ? AF_INET : AF_INET6, value.address.data(), address, sizeof(address));
    add(std::string(value.inverted ? "! " : "") + option + " " + address + "/" + std::to_string(value.length));
  };
  typename V::Entry entry{};
  std::string matches;
  static_cast<void>(WalkMatches<V>(bytes, &entry, [&matches](const ExtensionView& match) {
    matches.append(" -m ").append(match.name);
    return true;
  }));
  Rule rule;
  static_cast<void>(DecodeHeader<V>(entry, rule));
  if (rule.source) prefix("-s", *rule.source);
  if (rule.destination) prefix("-d", *rule.destination);
  if (rule.protocol != 0) add("-p " + std::to_string(rule.protocol));
  if (!matches.empty()) add(std::string_view(matches).substr(1));
  if (!target.empty()) add(std::string("-j ").append(target));
  return text;
}

}  // namespace

std::optional<Rule> DecodeEntry(std::span<const uint8_t> entry, std::string_view target, Family family) {
  return family == Family::kIpv4 ? Decode<V4>(entry, target) : Decode<V6>(entry, target);
}

bool EntersChain(std::span<const uint8_t> entry, std::string_view target, Family family) {
  const auto view = family == Family::kIpv4 ? TargetOf<V4>(entry) : TargetOf<V6>(entry);
  return view && IsChain(*view, target);
}

std::string DescribeEntry(std::span<const uint8_t> entry, std::string_view target, Family family) {
  return family == Family::kIpv4 ? Describe<V4>(entry, target) : Describe<V6>(entry, target);
}

}  // namespace ravel::ipt

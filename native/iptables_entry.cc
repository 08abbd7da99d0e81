#include "iptables_entry.h"

#include <cstring>
#include <string_view>

#include "iptables_entry_layout.h"

namespace ravel::ipt {
namespace {

// libxt_DNAT.c writes revision 2 with struct nf_nat_range2; libxt_MARK.c 2, libxt_mark.c 1; the others 0.
constexpr Extension kExtensions[] = {
    {"tcp", "xt_tcpudp", 0, false},      {"udp", "xt_tcpudp", 0, false},
    {"comment", "xt_comment", 0, false}, {"statistic", "xt_statistic", 0, false},
    {"mark", "xt_mark", 1, false},       {"MARK", "xt_mark", 2, true},
    {"DNAT", "xt_nat", 2, true},         {"MASQUERADE", "xt_MASQUERADE", 0, true},
};

Address MaskOf(uint8_t length) {
  Address mask{};
  for (size_t bit = 0; bit < length; ++bit) mask.at(bit / 8) |= static_cast<uint8_t>(0x80 >> (bit % 8));
  return mask;
}

template <typename T>
void Append(std::vector<uint8_t>& out, std::string_view name, uint8_t revision, const T& data) {
  const size_t start = out.size();
  const size_t size = kHeader + XT_ALIGN(sizeof(T));
  out.resize(start + size);
  xt_entry_match header{};
  header.u.user.match_size = static_cast<uint16_t>(size);
  name.copy(static_cast<char*>(header.u.user.name), sizeof(header.u.user.name) - 1);
  header.u.user.revision = revision;
  std::memcpy(&out[start], &header, sizeof(header));
  std::memcpy(&out[start + kHeader], &data, sizeof(T));
}

// From any port to one.
template <typename T>
T Ports(uint16_t port) {
  T info{};
  info.spts[1] = 0xffff;
  info.dpts[0] = info.dpts[1] = port;
  return info;
}

void AppendPort(std::vector<uint8_t>& out, uint8_t protocol, uint16_t port, bool opening) {
  if (protocol == IPPROTO_TCP) {
    auto info = Ports<xt_tcp>(port);
    if (opening) {
      info.flg_mask = kOpeningMask;
      info.flg_cmp = kSyn;
    }
    Append(out, "tcp", 0, info);
  } else if (protocol == IPPROTO_UDP) {
    Append(out, "udp", 0, Ports<xt_udp>(port));
  } else {
    auto info = Ports<xt_sctp_info>(port);
    info.flags = XT_SCTP_DEST_PORTS;
    Append(out, "sctp", 0, info);
  }
}

void AppendMatches(std::vector<uint8_t>& out, const Rule& rule) {
  if (rule.port) AppendPort(out, rule.protocol, *rule.port, rule.opening);
  if (rule.mark) {
    Append(out, "mark", 1, xt_mark_mtinfo1{.mark = rule.mark->value, .mask = rule.mark->mask, .invert = 0});
  }
  if (!rule.comment.empty()) {
    xt_comment_info info{};
    rule.comment.copy(static_cast<char*>(info.comment), sizeof(info.comment) - 1);
    Append(out, "comment", 0, info);
  }
  if (rule.probability != 0) {
    xt_statistic_info info{};
    info.mode = XT_STATISTIC_MODE_RANDOM;
    info.u.random.probability = rule.probability;
    Append(out, "statistic", 0, info);
  }
}

nf_inet_addr NatAddress(const Address& address) {
  nf_inet_addr out{};
  std::memcpy(&out, address.data(), address.size());
  return out;
}

void AppendTarget(std::vector<uint8_t>& out, const Rule& rule, Family family) {
  switch (rule.target) {
    case TargetKind::kJump:
      Append(out, rule.chain, 0, int{0});  // xt_standard_target
      return;
    case TargetKind::kSetMark:
      Append(out, "MARK", 2, xt_mark_tginfo2{.mark = rule.set.value, .mask = rule.set.mask});
      return;
    case TargetKind::kDnat: {
      nf_nat_range2 range{};
      range.flags = NF_NAT_RANGE_MAP_IPS;
      range.min_addr = range.max_addr = NatAddress(rule.to);
      if (rule.to_port != 0) {
        range.flags |= NF_NAT_RANGE_PROTO_SPECIFIED;
        range.min_proto.all = range.max_proto.all = htons(rule.to_port);
      }
      Append(out, "DNAT", 2, range);
      return;
    }
    case TargetKind::kMasquerade:
      if (family == Family::kIpv4) {
        Append(out, "MASQUERADE", 0, nf_nat_ipv4_multi_range_compat{.rangesize = 1, .range = {}});
      } else {
        Append(out, "MASQUERADE", 0, nf_nat_range{});
      }
      return;
  }
}

template <typename V>
std::vector<uint8_t> Encode(const Rule& rule) {
  constexpr size_t kAddress = AddressSize(V::kFamily);
  std::vector<uint8_t> out;
  out.reserve(768);
  out.resize(XT_ALIGN(sizeof(typename V::Entry)));
  typename V::Entry entry{};
  auto& ip = V::Ip(entry);
  if (rule.source) {
    std::memcpy(&ip.src, rule.source->address.data(), kAddress);
    std::memcpy(&ip.smsk, MaskOf(rule.source->length).data(), kAddress);
    if (rule.source->inverted) ip.invflags |= V::kInvertSource;
  }
  if (rule.destination) {
    std::memcpy(&ip.dst, rule.destination->address.data(), kAddress);
    std::memcpy(&ip.dmsk, MaskOf(rule.destination->length).data(), kAddress);
    if (rule.destination->inverted) ip.invflags |= V::kInvertDestination;
  }
  if (rule.protocol != 0) V::SetProtocol(entry, rule.protocol);
  AppendMatches(out, rule);
  entry.target_offset = static_cast<uint16_t>(out.size());
  AppendTarget(out, rule, V::kFamily);
  entry.next_offset = static_cast<uint16_t>(out.size());
  std::memcpy(out.data(), &entry, sizeof(entry));
  return out;
}

}  // namespace

std::span<const Extension> Extensions() { return kExtensions; }

std::vector<uint8_t> EncodeEntry(const Rule& rule, Family family) {
  return family == Family::kIpv4 ? Encode<V4>(rule) : Encode<V6>(rule);
}

}  // namespace ravel::ipt

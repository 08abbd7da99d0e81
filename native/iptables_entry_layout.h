// Where an entry has what, in both families: what its writer and its reader have in common.
#pragma once

// Before any header of the kernel, which defines the same things where libc has not.
#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
//
#include <linux/netfilter.h>
#include <linux/netfilter/nf_nat.h>
#include <linux/netfilter/x_tables.h>
#include <linux/netfilter/xt_comment.h>
#include <linux/netfilter/xt_mark.h>
#include <linux/netfilter/xt_statistic.h>
#include <linux/netfilter/xt_tcpudp.h>
#include <linux/netfilter_ipv4/ip_tables.h>
#include <linux/netfilter_ipv6/ip6_tables.h>

// The header is C and has inline functions; C++ has no such word.
#define _Bool bool  // NOLINT(bugprone-reserved-identifier)
#include <linux/netfilter/xt_sctp.h>
#undef _Bool

#include <cstddef>
#include <cstdint>

#include "iptables_types.h"

namespace ravel::ipt {

// struct ipt_entry and struct ip6t_entry, by the same words.
struct V4 {
  using Entry = ipt_entry;
  static constexpr Family kFamily = Family::kIpv4;
  static constexpr uint8_t kInvertSource = IPT_INV_SRCIP;
  static constexpr uint8_t kInvertDestination = IPT_INV_DSTIP;
  static auto& Ip(auto& entry) { return entry.ip; }
  static void SetProtocol(Entry& entry, uint8_t protocol) { entry.ip.proto = protocol; }
  // The flags that have no meaning of their own.
  static constexpr uint8_t kIgnoredFlags = 0;
  static bool Plain(const Entry& /*entry*/) { return true; }
};

struct V6 {
  using Entry = ip6t_entry;
  static constexpr Family kFamily = Family::kIpv6;
  static constexpr uint8_t kInvertSource = IP6T_INV_SRCIP;
  static constexpr uint8_t kInvertDestination = IP6T_INV_DSTIP;
  static auto& Ip(auto& entry) { return entry.ipv6; }
  static void SetProtocol(Entry& entry, uint8_t protocol) {
    entry.ipv6.proto = protocol;
    entry.ipv6.flags |= IP6T_F_PROTO;
  }
  static constexpr uint8_t kIgnoredFlags = IP6T_F_PROTO;
  static bool Plain(const Entry& entry) { return entry.ipv6.tos == 0; }
};

// Both begin with the size, the name and the revision, and have the data after XT_ALIGN(sizeof).
static_assert(sizeof(xt_entry_match) == sizeof(xt_entry_target) &&
              offsetof(xt_entry_match, u.user.revision) == offsetof(xt_entry_target, u.user.revision));
constexpr size_t kHeader = XT_ALIGN(sizeof(xt_entry_match));

// The flags that tell a segment which opens a connection: FIN, SYN, RST, ACK of the TCP header (RFC 9293 section 3.1),
// and SYN.
constexpr uint8_t kOpeningMask = 0x17;
constexpr uint8_t kSyn = 0x02;

}  // namespace ravel::ipt

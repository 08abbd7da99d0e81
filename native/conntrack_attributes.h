// The attributes of ctnetlink (linux/netfilter/nfnetlink_conntrack.h) as tables: one row per attribute that is
// read or written, so that encoder, decoder and reviewer hold the same list. Node-free.
#pragma once

#include <linux/netfilter/nfnetlink_conntrack.h>

#include <array>
#include <cstddef>
#include <cstdint>

namespace ravel::conntrack {

using AddressBytes = std::array<uint8_t, 16>;  // network order; IPv4 fills the first four

// One direction of a flow, as the first packet in that direction has it. Ports in host order.
struct Tuple {
  AddressBytes source{};
  AddressBytes destination{};
  uint16_t source_port = 0;
  uint16_t destination_port = 0;

  bool operator==(const Tuple&) const = default;
};

// Bits of EntryRecord::zone_directions (NF_CT_ZONE_DIR_ORIG, NF_CT_ZONE_DIR_REPL; net/netfilter/nf_conntrack_zones.h).
inline constexpr uint8_t kZoneOriginal = 1;
inline constexpr uint8_t kZoneReply = 2;
inline constexpr uint8_t kZoneBoth = kZoneOriginal | kZoneReply;

struct EntryRecord {
  uint8_t family = 0;    // 4 or 6
  uint8_t protocol = 0;  // IPPROTO_*
  uint16_t zone = 0;
  uint8_t zone_directions = 0;  // 0 in the default zone
  uint32_t id = 0;
  uint32_t status = 0;   // IPS_*
  uint32_t timeout = 0;  // seconds; 0 when the kernel gives none (a flow that is offloaded)
  uint32_t mark = 0;
  Tuple original = {};
  Tuple reply = {};
};

// How a value stands on the wire: everything of ctnetlink is in network order.
enum class Wire : uint8_t { kU8, kU16Be, kU32Be, kAddress4, kAddress16 };

struct Row {
  uint16_t attribute;
  Wire wire;
  uint16_t offset;  // of the field in the record
  const char* name;
};

#define RAVEL_ROW(attribute, wire, record, field) \
  Row { attribute, Wire::wire, static_cast<uint16_t>(offsetof(record, field)), #attribute }

// clang-format off
// Of the message itself; CTA_TUPLE_ORIG, CTA_TUPLE_REPLY and CTA_ZONE are read by hand (ctnetlink_fill_info).
inline constexpr std::array kEntryRows = {
    RAVEL_ROW(CTA_STATUS,  kU32Be, EntryRecord, status),
    RAVEL_ROW(CTA_TIMEOUT, kU32Be, EntryRecord, timeout),
    RAVEL_ROW(CTA_MARK,    kU32Be, EntryRecord, mark),
    RAVEL_ROW(CTA_ID,      kU32Be, EntryRecord, id),
};

// Inside CTA_TUPLE_IP (ctnetlink_dump_tuples_ip: ipv4_tuple_to_nlattr, ipv6_tuple_to_nlattr).
inline constexpr std::array kIpv4Rows = {
    RAVEL_ROW(CTA_IP_V4_SRC, kAddress4, Tuple, source),
    RAVEL_ROW(CTA_IP_V4_DST, kAddress4, Tuple, destination),
};
inline constexpr std::array kIpv6Rows = {
    RAVEL_ROW(CTA_IP_V6_SRC, kAddress16, Tuple, source),
    RAVEL_ROW(CTA_IP_V6_DST, kAddress16, Tuple, destination),
};

// Inside CTA_TUPLE_PROTO beside CTA_PROTO_NUM (ctnetlink_dump_tuples_proto: nf_ct_port_tuple_to_nlattr).
inline constexpr std::array kPortRows = {
    RAVEL_ROW(CTA_PROTO_SRC_PORT, kU16Be, Tuple, source_port),
    RAVEL_ROW(CTA_PROTO_DST_PORT, kU16Be, Tuple, destination_port),
};
// clang-format on

#undef RAVEL_ROW

// Bits of CTA_FILTER_ORIG_FLAGS: the fields of CTA_TUPLE_ORIG that a dump is to match (CTA_FILTER_F_* in
// net/netfilter/nf_internals.h, since 5.8). Older kernels do not know CTA_FILTER and send everything.
inline constexpr uint32_t kFilterDestinationAddress = 1U << 1;  // CTA_FILTER_F_CTA_IP_DST
inline constexpr uint32_t kFilterProtocol = 1U << 3;            // CTA_FILTER_F_CTA_PROTO_NUM

}  // namespace ravel::conntrack

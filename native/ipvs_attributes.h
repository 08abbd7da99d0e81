// The generic netlink attributes of IPVS (linux/ip_vs.h) as tables: one row per attribute, the index
// is the attribute's number, so that encoder, decoder and reviewer hold the same list. Node-free.
#pragma once

#include <linux/ip_vs.h>
#include <netinet/in.h>

#include <array>
#include <cstddef>
#include <cstdint>

namespace ravel::ipvs {

// How a value stands on the wire. Integers are host order unless Be (ip_vs_svc_policy and
// ip_vs_dest_policy in net/netfilter/ipvs/ip_vs_ctl.c).
enum class Wire : uint8_t {
  kSkip,  // padding, or nothing we read
  kU8,
  kU16,
  kU16Be,
  kU32,
  kU64,
  kAddress,     // union nf_inet_addr: 16 bytes, an IPv4 address in the first four
  kAddress4,    // 4 bytes, network order
  kName,        // NUL-terminated, NUL included at most kNameSize
  kFlags,       // struct ip_vs_flags
  kStatistics,  // nest of IPVS_STATS_ATTR_*
};

// When an attribute is sent. Deletions and lookups carry the identity only; IPVS_CMD_NEW_* and SET_*
// want the whole specification each time (ip_vs_genl_parse_service, ip_vs_genl_parse_dest).
enum class Use : uint8_t {
  kIdentity,
  kIdentityOfSocket,  // a service named by address, port and protocol
  kIdentityOfMark,    // a service named by firewall mark
  kSpecification,
  kEngine,  // specification, only when a persistence engine is named
  kTunnel,  // specification, only where it differs from plain IP-in-IP: kernels before 5.3 have no such attribute
  kReport,  // only ever read
};

struct Row {
  uint16_t attribute;
  Wire wire;
  Use use;
  uint16_t offset;  // of the field in the record
  const char* name;
};

inline constexpr size_t kNameSize = 16;  // IP_VS_SCHEDNAME_MAXLEN, IP_VS_PENAME_MAXLEN, IP_VS_IFNAME_MAXLEN
inline constexpr size_t kStatisticsCount = 10;

// Counters and rates in the order of IPVS_STATS_ATTR_CONNS .. _OUTBPS.
using Statistics = std::array<uint64_t, kStatisticsCount>;

// One service with everything the kernel says of it. Host order but for address and netmask.
struct ServiceRecord {
  uint16_t family = 0;  // AF_INET, AF_INET6
  uint16_t protocol = 0;
  std::array<uint8_t, 16> address{};
  uint16_t port = 0;
  uint32_t fwmark = 0;
  std::array<char, kNameSize> scheduler{};
  ip_vs_flags flags{};
  uint32_t timeout = 0;  // seconds
  // IPv4: a network mask in network order; IPv6: a prefix length. As the kernel has it.
  uint32_t netmask = 0;
  std::array<char, kNameSize> engine{};
  Statistics statistics{};
};

struct DestinationRecord {
  std::array<uint8_t, 16> address{};
  uint16_t port = 0;
  uint32_t forward = 0;
  uint32_t weight = 0;
  uint32_t upper = 0;
  uint32_t lower = 0;
  uint32_t active = 0;
  uint32_t inactive = 0;
  uint32_t persistent = 0;
  uint16_t family = 0;
  uint8_t tunnel_type = 0;
  uint16_t tunnel_port = 0;
  uint16_t tunnel_flags = 0;
  Statistics statistics{};
};

struct DaemonRecord {
  uint32_t state = 0;  // IP_VS_STATE_MASTER, IP_VS_STATE_BACKUP
  std::array<char, kNameSize> device{};
  uint32_t sync_id = 0;
  uint16_t max_length = 0;
  std::array<uint8_t, 4> group{};
  std::array<uint8_t, 16> group6{};
  uint16_t port = 0;
  uint8_t ttl = 0;

  bool operator==(const DaemonRecord&) const = default;
};

#define RAVEL_ROW(attribute, wire, use, record, field) \
  Row { attribute, Wire::wire, Use::use, static_cast<uint16_t>(offsetof(record, field)), #attribute }
#define RAVEL_NO_ROW(attribute) \
  Row { attribute, Wire::kSkip, Use::kReport, 0, #attribute }

// clang-format off
inline constexpr std::array kServiceRows = {
    RAVEL_NO_ROW(IPVS_SVC_ATTR_UNSPEC),
    RAVEL_ROW(IPVS_SVC_ATTR_AF,         kU16,        kIdentity,         ServiceRecord, family),
    RAVEL_ROW(IPVS_SVC_ATTR_PROTOCOL,   kU16,        kIdentityOfSocket, ServiceRecord, protocol),
    RAVEL_ROW(IPVS_SVC_ATTR_ADDR,       kAddress,    kIdentityOfSocket, ServiceRecord, address),
    RAVEL_ROW(IPVS_SVC_ATTR_PORT,       kU16Be,      kIdentityOfSocket, ServiceRecord, port),
    RAVEL_ROW(IPVS_SVC_ATTR_FWMARK,     kU32,        kIdentityOfMark,   ServiceRecord, fwmark),
    RAVEL_ROW(IPVS_SVC_ATTR_SCHED_NAME, kName,       kSpecification,    ServiceRecord, scheduler),
    RAVEL_ROW(IPVS_SVC_ATTR_FLAGS,      kFlags,      kSpecification,    ServiceRecord, flags),
    RAVEL_ROW(IPVS_SVC_ATTR_TIMEOUT,    kU32,        kSpecification,    ServiceRecord, timeout),
    RAVEL_ROW(IPVS_SVC_ATTR_NETMASK,    kU32,        kSpecification,    ServiceRecord, netmask),
    RAVEL_ROW(IPVS_SVC_ATTR_STATS,      kStatistics, kReport,           ServiceRecord, statistics),
    RAVEL_ROW(IPVS_SVC_ATTR_PE_NAME,    kName,       kEngine,           ServiceRecord, engine),
    RAVEL_ROW(IPVS_SVC_ATTR_STATS64,    kStatistics, kReport,           ServiceRecord, statistics),
};

inline constexpr std::array kDestinationRows = {
    RAVEL_NO_ROW(IPVS_DEST_ATTR_UNSPEC),
    RAVEL_ROW(IPVS_DEST_ATTR_ADDR,          kAddress,    kIdentity,      DestinationRecord, address),
    RAVEL_ROW(IPVS_DEST_ATTR_PORT,          kU16Be,      kIdentity,      DestinationRecord, port),
    RAVEL_ROW(IPVS_DEST_ATTR_FWD_METHOD,    kU32,        kSpecification, DestinationRecord, forward),
    RAVEL_ROW(IPVS_DEST_ATTR_WEIGHT,        kU32,        kSpecification, DestinationRecord, weight),
    RAVEL_ROW(IPVS_DEST_ATTR_U_THRESH,      kU32,        kSpecification, DestinationRecord, upper),
    RAVEL_ROW(IPVS_DEST_ATTR_L_THRESH,      kU32,        kSpecification, DestinationRecord, lower),
    RAVEL_ROW(IPVS_DEST_ATTR_ACTIVE_CONNS,  kU32,        kReport,        DestinationRecord, active),
    RAVEL_ROW(IPVS_DEST_ATTR_INACT_CONNS,   kU32,        kReport,        DestinationRecord, inactive),
    RAVEL_ROW(IPVS_DEST_ATTR_PERSIST_CONNS, kU32,        kReport,        DestinationRecord, persistent),
    RAVEL_ROW(IPVS_DEST_ATTR_STATS,         kStatistics, kReport,        DestinationRecord, statistics),
    RAVEL_ROW(IPVS_DEST_ATTR_ADDR_FAMILY,   kU16,        kIdentity,      DestinationRecord, family),
    RAVEL_ROW(IPVS_DEST_ATTR_STATS64,       kStatistics, kReport,        DestinationRecord, statistics),
    RAVEL_ROW(IPVS_DEST_ATTR_TUN_TYPE,      kU8,         kTunnel,        DestinationRecord, tunnel_type),
    RAVEL_ROW(IPVS_DEST_ATTR_TUN_PORT,      kU16Be,      kTunnel,        DestinationRecord, tunnel_port),
    RAVEL_ROW(IPVS_DEST_ATTR_TUN_FLAGS,     kU16,        kTunnel,        DestinationRecord, tunnel_flags),
};

// Widths of IPVS_*_ATTR_STATS; in IPVS_*_ATTR_STATS64 every value is a u64. `offset` is the index in Statistics.
inline constexpr std::array kStatisticsRows = {
    RAVEL_NO_ROW(IPVS_STATS_ATTR_UNSPEC),
    Row{IPVS_STATS_ATTR_CONNS,    Wire::kU32, Use::kReport, 0, "IPVS_STATS_ATTR_CONNS"},
    Row{IPVS_STATS_ATTR_INPKTS,   Wire::kU32, Use::kReport, 1, "IPVS_STATS_ATTR_INPKTS"},
    Row{IPVS_STATS_ATTR_OUTPKTS,  Wire::kU32, Use::kReport, 2, "IPVS_STATS_ATTR_OUTPKTS"},
    Row{IPVS_STATS_ATTR_INBYTES,  Wire::kU64, Use::kReport, 3, "IPVS_STATS_ATTR_INBYTES"},
    Row{IPVS_STATS_ATTR_OUTBYTES, Wire::kU64, Use::kReport, 4, "IPVS_STATS_ATTR_OUTBYTES"},
    Row{IPVS_STATS_ATTR_CPS,      Wire::kU32, Use::kReport, 5, "IPVS_STATS_ATTR_CPS"},
    Row{IPVS_STATS_ATTR_INPPS,    Wire::kU32, Use::kReport, 6, "IPVS_STATS_ATTR_INPPS"},
    Row{IPVS_STATS_ATTR_OUTPPS,   Wire::kU32, Use::kReport, 7, "IPVS_STATS_ATTR_OUTPPS"},
    Row{IPVS_STATS_ATTR_INBPS,    Wire::kU32, Use::kReport, 8, "IPVS_STATS_ATTR_INBPS"},
    Row{IPVS_STATS_ATTR_OUTBPS,   Wire::kU32, Use::kReport, 9, "IPVS_STATS_ATTR_OUTBPS"},
};

// Read only; what is sent for a daemon depends on its role (EncodeDaemon in ipvs_codec.cc).
inline constexpr std::array kDaemonRows = {
    RAVEL_NO_ROW(IPVS_DAEMON_ATTR_UNSPEC),
    RAVEL_ROW(IPVS_DAEMON_ATTR_STATE,       kU32,  kReport, DaemonRecord, state),
    RAVEL_ROW(IPVS_DAEMON_ATTR_MCAST_IFN,   kName, kReport, DaemonRecord, device),
    RAVEL_ROW(IPVS_DAEMON_ATTR_SYNC_ID,     kU32,  kReport, DaemonRecord, sync_id),
    RAVEL_ROW(IPVS_DAEMON_ATTR_SYNC_MAXLEN, kU16,  kReport, DaemonRecord, max_length),
    RAVEL_ROW(IPVS_DAEMON_ATTR_MCAST_GROUP, kAddress4, kReport, DaemonRecord, group),
    RAVEL_ROW(IPVS_DAEMON_ATTR_MCAST_GROUP6, kAddress, kReport, DaemonRecord, group6),
    RAVEL_ROW(IPVS_DAEMON_ATTR_MCAST_PORT,  kU16,  kReport, DaemonRecord, port),
    RAVEL_ROW(IPVS_DAEMON_ATTR_MCAST_TTL,   kU8,   kReport, DaemonRecord, ttl),
};

// Direct attributes of a command, for IPVS_CMD_GET_INFO and IPVS_CMD_GET_CONFIG.
struct InfoRecord {
  uint32_t version = 0;  // IP_VS_VERSION_CODE: 0xMMmmpp
  uint32_t table_size = 0;
};

struct TimeoutRecord {
  uint32_t tcp = 0;  // seconds, all three
  uint32_t tcp_fin = 0;
  uint32_t udp = 0;
};

inline constexpr std::array kInfoRows = {
    RAVEL_NO_ROW(IPVS_INFO_ATTR_UNSPEC),
    RAVEL_ROW(IPVS_INFO_ATTR_VERSION,       kU32, kReport, InfoRecord, version),
    RAVEL_ROW(IPVS_INFO_ATTR_CONN_TAB_SIZE, kU32, kReport, InfoRecord, table_size),
};

inline constexpr std::array kTimeoutRows = {
    RAVEL_NO_ROW(IPVS_CMD_ATTR_UNSPEC),
    RAVEL_NO_ROW(IPVS_CMD_ATTR_SERVICE),
    RAVEL_NO_ROW(IPVS_CMD_ATTR_DEST),
    RAVEL_NO_ROW(IPVS_CMD_ATTR_DAEMON),
    RAVEL_ROW(IPVS_CMD_ATTR_TIMEOUT_TCP,     kU32, kReport, TimeoutRecord, tcp),
    RAVEL_ROW(IPVS_CMD_ATTR_TIMEOUT_TCP_FIN, kU32, kReport, TimeoutRecord, tcp_fin),
    RAVEL_ROW(IPVS_CMD_ATTR_TIMEOUT_UDP,     kU32, kReport, TimeoutRecord, udp),
};
// clang-format on

#undef RAVEL_ROW
#undef RAVEL_NO_ROW

template <size_t N>
constexpr bool IndexIsAttribute(const std::array<Row, N>& rows) {
  for (size_t i = 0; i < N; i++) {
    if (rows[i].attribute != i) return false;
  }
  return true;
}
static_assert(IndexIsAttribute(kServiceRows) && kServiceRows.size() == IPVS_SVC_ATTR_STATS64 + 1);
static_assert(IndexIsAttribute(kDestinationRows) && kDestinationRows.size() == IPVS_DEST_ATTR_TUN_FLAGS + 1);
static_assert(IndexIsAttribute(kStatisticsRows) && kStatisticsRows.size() == kStatisticsCount + 1);
static_assert(IndexIsAttribute(kDaemonRows) && IndexIsAttribute(kInfoRows) && IndexIsAttribute(kTimeoutRows));

}  // namespace ravel::ipvs

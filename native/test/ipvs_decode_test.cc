// Replies of the kernel, whole, old, newer than we know, and damaged.
#include <cstdlib>
#include <cstring>
#include <random>

#include "check.h"
#include "ipvs_messages.h"

namespace ravel::test {
namespace {

using ipvs::DestinationRecord;
using ipvs::ServiceRecord;

constexpr std::array<uint8_t, 16> kVip{192, 0, 2, 10};
constexpr std::array<uint8_t, 16> kReal{10, 0, 0, 1};

struct ServiceOptions {
  bool statistics = true;
  bool wide = true;
  bool wide_first = false;
  std::function<void(MessageWriter&)> extra = {};
};

void PutBothStatistics(MessageWriter& writer, uint16_t narrow, uint16_t wide, const ServiceOptions& options) {
  if (options.wide && options.wide_first) PutStatistics(writer, wide, true, uint64_t{1} << 40);
  if (options.statistics) PutStatistics(writer, narrow, false, 100);
  if (options.wide && !options.wide_first) PutStatistics(writer, wide, true, uint64_t{1} << 40);
}

// ip_vs_genl_fill_service()
Reply ServiceReply(const ServiceOptions& options = {}) {
  return Reply(IPVS_CMD_NEW_SERVICE, [&](MessageWriter& writer) {
    const size_t nest = writer.BeginNest(IPVS_CMD_ATTR_SERVICE);
    writer.U16(IPVS_SVC_ATTR_AF, AF_INET);
    writer.U16(IPVS_SVC_ATTR_PROTOCOL, IPPROTO_TCP);
    writer.Bytes(IPVS_SVC_ATTR_ADDR, kVip);
    writer.U16Be(IPVS_SVC_ATTR_PORT, 80);
    writer.String(IPVS_SVC_ATTR_SCHED_NAME, "wrr");
    writer.String(IPVS_SVC_ATTR_PE_NAME, "sip");
    const ip_vs_flags flags{.flags = IP_VS_SVC_F_PERSISTENT | IP_VS_SVC_F_HASHED, .mask = ~0U};
    writer.Attribute(IPVS_SVC_ATTR_FLAGS, &flags, sizeof(flags));
    writer.U32(IPVS_SVC_ATTR_TIMEOUT, 300);
    writer.U32(IPVS_SVC_ATTR_NETMASK, htonl(0xffffff00));
    PutBothStatistics(writer, IPVS_SVC_ATTR_STATS, IPVS_SVC_ATTR_STATS64, options);
    if (options.extra) options.extra(writer);
    static_cast<void>(writer.EndNest(nest));
  });
}

// ip_vs_genl_fill_dest()
Reply DestinationReply(const ServiceOptions& options = {}, bool family = true) {
  return Reply(IPVS_CMD_NEW_DEST, [&](MessageWriter& writer) {
    const size_t nest = writer.BeginNest(IPVS_CMD_ATTR_DEST);
    writer.Bytes(IPVS_DEST_ATTR_ADDR, kReal);
    writer.U16Be(IPVS_DEST_ATTR_PORT, 8080);
    writer.U32(IPVS_DEST_ATTR_FWD_METHOD, IP_VS_CONN_F_TUNNEL);
    writer.U32(IPVS_DEST_ATTR_WEIGHT, 7);
    writer.U8(IPVS_DEST_ATTR_TUN_TYPE, IP_VS_CONN_F_TUNNEL_TYPE_GUE);
    writer.U16Be(IPVS_DEST_ATTR_TUN_PORT, 6080);
    writer.U16(IPVS_DEST_ATTR_TUN_FLAGS, IP_VS_TUNNEL_ENCAP_FLAG_CSUM);
    writer.U32(IPVS_DEST_ATTR_U_THRESH, 1000);
    writer.U32(IPVS_DEST_ATTR_L_THRESH, 500);
    writer.U32(IPVS_DEST_ATTR_ACTIVE_CONNS, 1);
    writer.U32(IPVS_DEST_ATTR_INACT_CONNS, 2);
    writer.U32(IPVS_DEST_ATTR_PERSIST_CONNS, 3);
    if (family) writer.U16(IPVS_DEST_ATTR_ADDR_FAMILY, AF_INET);
    PutBothStatistics(writer, IPVS_DEST_ATTR_STATS, IPVS_DEST_ATTR_STATS64, options);
    if (options.extra) options.extra(writer);
    static_cast<void>(writer.EndNest(nest));
  });
}

TEST(IpvsDecodesService) {
  ServiceRecord service;
  REQUIRE(ipvs::DecodeService(ServiceReply().view(), &service).ok());
  CHECK(service.family == AF_INET && service.protocol == IPPROTO_TCP && service.port == 80 && service.fwmark == 0);
  CHECK(service.address == kVip);
  CHECK(std::strcmp(service.scheduler.data(), "wrr") == 0 && std::strcmp(service.engine.data(), "sip") == 0);
  CHECK(service.timeout == 300 && ipvs::PrefixOf(service) == 24);
  for (size_t k = 0; k < ipvs::kStatisticsCount; k++) CHECK(service.statistics[k] == (uint64_t{1} << 40) + k);
}

TEST(IpvsDecodesDestination) {
  DestinationRecord destination;
  REQUIRE(ipvs::DecodeDestination(DestinationReply().view(), AF_INET6, &destination).ok());
  CHECK(destination.family == AF_INET && destination.address == kReal && destination.port == 8080);
  CHECK(destination.forward == 2 && destination.weight == 7 && destination.upper == 1000 && destination.lower == 500);
  CHECK(destination.active == 1 && destination.inactive == 2 && destination.persistent == 3);
  CHECK(destination.tunnel_type == 1 && destination.tunnel_port == 6080 && destination.tunnel_flags == 1);
  CHECK(destination.statistics[9] == (uint64_t{1} << 40) + 9);
}

TEST(IpvsPrefersWideStatisticsInAnyOrder) {
  ServiceRecord service;
  REQUIRE(ipvs::DecodeService(ServiceReply({.wide_first = true}).view(), &service).ok());
  CHECK(service.statistics[3] == (uint64_t{1} << 40) + 3);
}

TEST(IpvsFallsBackToNarrowStatistics) {
  ServiceRecord service;
  REQUIRE(ipvs::DecodeService(ServiceReply({.wide = false}).view(), &service).ok());
  DestinationRecord destination;
  REQUIRE(ipvs::DecodeDestination(DestinationReply({.wide = false}).view(), AF_INET, &destination).ok());
  for (size_t k = 0; k < ipvs::kStatisticsCount; k++) {
    CHECK(service.statistics[k] == 100 + k && destination.statistics[k] == 100 + k);
  }
  REQUIRE(ipvs::DecodeService(ServiceReply({.statistics = false, .wide = false}).view(), &(service = {})).ok());
  CHECK(service.statistics == ipvs::Statistics{});
}

// Kernels before 3.18: the destination's family is the service's.
TEST(IpvsTakesTheServicesFamilyWhereTheDestinationHasNone) {
  DestinationRecord destination;
  REQUIRE(ipvs::DecodeDestination(DestinationReply({}, false).view(), AF_INET6, &destination).ok());
  CHECK(destination.family == AF_INET6);
  CHECK(!ipvs::DecodeDestination(DestinationReply({}, false).view(), 0, &(destination = {})).ok());
}

TEST(IpvsSkipsUnknownAttributes) {
  const auto extra = [](MessageWriter& writer) {
    writer.U64(40, 1);
    writer.String(16383, "later");
    writer.Flag(31);
    writer.Bytes(0, {});
  };
  ServiceRecord service;
  ServiceRecord plain;
  REQUIRE(ipvs::DecodeService(ServiceReply({.extra = extra}).view(), &service).ok());
  REQUIRE(ipvs::DecodeService(ServiceReply().view(), &plain).ok());
  CHECK(ipvs::SnapshotBlock::From({.services = {service}, .destinations = {}, .first = {0}}).bytes ==
        ipvs::SnapshotBlock::From({.services = {plain}, .destinations = {}, .first = {0}}).bytes);
  DestinationRecord destination;
  CHECK(ipvs::DecodeDestination(DestinationReply({.extra = extra}).view(), AF_INET, &destination).ok());
}

void Refused(const Result<Done>& result, const std::string& attribute, const char* file, int line) {
  if (result.ok()) return Fail(file, line, attribute + " was accepted");
  if (result.failure().kind != FailureKind::kProtocol || result.failure().subject != attribute) {
    Fail(file, line, attribute + " was refused as " + result.failure().subject + ": " + result.failure().message);
  }
}
#define REFUSED(result, attribute) Refused(result, attribute, __FILE__, __LINE__)

// Every known attribute with one byte too many, and with one too few.
TEST(IpvsRefusesWrongLengthsByName) {
  for (const ipvs::Row& row : ipvs::kServiceRows) {
    if (row.attribute == 0 || row.wire == ipvs::Wire::kName || row.wire == ipvs::Wire::kStatistics) continue;
    for (const size_t length : {0, 1, 3, 5, 7, 9, 15, 17, 200}) {
      const std::vector<uint8_t> bytes(length, 1);
      ServiceRecord service;
      REFUSED(ipvs::DecodeService(
                  ServiceReply({.extra = [&](MessageWriter& w) { w.Bytes(row.attribute, bytes); }}).view(), &service),
              row.name);
    }
  }
  for (const ipvs::Row& row : ipvs::kDestinationRows) {
    if (row.attribute == 0 || row.wire == ipvs::Wire::kStatistics) continue;
    for (const size_t length : {0, 3, 5, 15, 17}) {
      const std::vector<uint8_t> bytes(length, 1);
      DestinationRecord destination;
      REFUSED(ipvs::DecodeDestination(
                  DestinationReply({.extra = [&](MessageWriter& w) { w.Bytes(row.attribute, bytes); }}).view(), AF_INET,
                  &destination),
              row.name);
    }
  }
}

TEST(IpvsRefusesLongNames) {
  for (const uint16_t attribute : {IPVS_SVC_ATTR_SCHED_NAME, IPVS_SVC_ATTR_PE_NAME}) {
    ServiceRecord service;
    const auto fifteen = [&](MessageWriter& writer) { writer.String(attribute, "fifteen-letters"); };
    CHECK(ipvs::DecodeService(ServiceReply({.extra = fifteen}).view(), &service).ok());
    const auto sixteen = [&](MessageWriter& writer) { writer.String(attribute, "sixteen-letters-"); };
    REFUSED(ipvs::DecodeService(ServiceReply({.extra = sixteen}).view(), &service), ipvs::kServiceRows[attribute].name);
    // Without a NUL, as a broken sender would have it.
    const std::vector<uint8_t> open(16, 'x');
    const auto unended = [&](MessageWriter& writer) { writer.Bytes(attribute, open); };
    REFUSED(ipvs::DecodeService(ServiceReply({.extra = unended}).view(), &service), ipvs::kServiceRows[attribute].name);
  }
}

TEST(IpvsRefusesWrongStatistics) {
  const auto narrow_in_wide = [](MessageWriter& writer) { PutStatistics(writer, IPVS_SVC_ATTR_STATS64, false, 1); };
  ServiceRecord service;
  REFUSED(ipvs::DecodeService(ServiceReply({.wide = false, .extra = narrow_in_wide}).view(), &service),
          "IPVS_STATS_ATTR_CONNS");
}

TEST(IpvsRefusesServicesWithoutIdentity) {
  ServiceRecord service;
  REFUSED(ipvs::DecodeService(Reply(IPVS_CMD_NEW_SERVICE, [](MessageWriter&) {}).view(), &service),
          "IPVS_CMD_ATTR_SERVICE");
  const auto only = [](uint16_t family) {
    return Reply(IPVS_CMD_NEW_SERVICE, [&](MessageWriter& writer) {
      const size_t nest = writer.BeginNest(IPVS_CMD_ATTR_SERVICE);
      writer.U16(IPVS_SVC_ATTR_AF, family);
      static_cast<void>(writer.EndNest(nest));
    });
  };
  REFUSED(ipvs::DecodeService(only(AF_INET).view(), &(service = {})), "IPVS_CMD_ATTR_SERVICE");
  REFUSED(ipvs::DecodeService(only(AF_UNIX).view(), &(service = {})), "IPVS_SVC_ATTR_AF");
  DestinationRecord destination;
  const Reply empty(IPVS_CMD_NEW_DEST, [](MessageWriter& writer) {
    const size_t nest = writer.BeginNest(IPVS_CMD_ATTR_DEST);
    static_cast<void>(writer.EndNest(nest));
  });
  REFUSED(ipvs::DecodeDestination(empty.view(), AF_INET, &destination), "IPVS_CMD_ATTR_DEST");
}

TEST(IpvsClearsTheUnusedPartOfAnIpv4Address) {
  std::array<uint8_t, 16> dirty = kVip;
  dirty[15] = 0xee;
  ServiceRecord service;
  const auto extra = [&](MessageWriter& writer) { writer.Bytes(IPVS_SVC_ATTR_ADDR, dirty); };
  REQUIRE(ipvs::DecodeService(ServiceReply({.extra = extra}).view(), &service).ok());
  CHECK(service.address == kVip);
}

TEST(IpvsDecodesInfoTimeoutsAndDaemons) {
  ipvs::InfoRecord info;
  const Reply info_reply(IPVS_CMD_SET_INFO, [](MessageWriter& writer) {
    writer.U32(IPVS_INFO_ATTR_VERSION, IP_VS_VERSION_CODE);
    writer.U32(IPVS_INFO_ATTR_CONN_TAB_SIZE, 4096);
  });
  REQUIRE(ipvs::DecodeInfo(info_reply.view(), &info).ok());
  CHECK(info.version == 0x010201 && info.table_size == 4096);
  CHECK(!ipvs::DecodeInfo(Reply(IPVS_CMD_SET_INFO, [](MessageWriter&) {}).view(), &info).ok());

  ipvs::TimeoutRecord timeouts;
  const Reply timeout_reply(IPVS_CMD_SET_CONFIG, [](MessageWriter& writer) {
    writer.U32(IPVS_CMD_ATTR_TIMEOUT_TCP, 900);
    writer.U32(IPVS_CMD_ATTR_TIMEOUT_TCP_FIN, 120);
    writer.U32(IPVS_CMD_ATTR_TIMEOUT_UDP, 300);
  });
  REQUIRE(ipvs::DecodeTimeouts(timeout_reply.view(), &timeouts).ok());
  CHECK(timeouts.tcp == 900 && timeouts.tcp_fin == 120 && timeouts.udp == 300);

  ipvs::DaemonRecord daemon;
  ipvs::DaemonRecord given{.state = IP_VS_STATE_BACKUP, .sync_id = 7, .max_length = 1400, .port = 8848, .ttl = 3};
  std::memcpy(given.device.data(), "eth0", 4);
  given.group = {224, 0, 0, 81};
  MessageWriter writer;
  ipvs::EncodeDaemon(&writer, kIpvsFamily, IPVS_CMD_NEW_DAEMON, given);
  REQUIRE(ipvs::DecodeDaemon(Reply::ViewOf(writer.bytes()), &daemon).ok());
  CHECK(given == daemon);
  writer.Clear();
  ipvs::EncodeDaemon(&writer, kIpvsFamily, IPVS_CMD_DEL_DAEMON, given);
  REFUSED(ipvs::DecodeDaemon(Reply::ViewOf(writer.bytes()), &daemon), "IPVS_CMD_ATTR_DAEMON");
}

TEST(IpvsLaysOutSnapshots) {
  ipvs::Table table;
  table.services.resize(2);
  REQUIRE(ipvs::DecodeService(ServiceReply().view(), &table.services[0]).ok());
  table.services[1].family = AF_INET6;
  table.services[1].fwmark = 0xdeadbeef;
  table.services[1].protocol = IPPROTO_TCP;  // as the kernel has it for a mark
  table.services[1].netmask = 128;
  table.destinations.resize(1);
  REQUIRE(ipvs::DecodeDestination(DestinationReply().view(), AF_INET, &table.destinations[0]).ok());
  table.first = {0, 1};
  const auto block = ipvs::SnapshotBlock::From(table);
  REQUIRE(block.bytes.size() == ipvs::SnapshotBlock::Size(2, 1));
  CHECK((block.names == std::vector<std::string>{"", "wrr", "sip"}));
  const auto u32 = [&](size_t at) {
    uint32_t value = 0;
    std::memcpy(&value, block.bytes.data() + at, sizeof(value));
    return value;
  };
  size_t at = 3 * ipvs::kStatisticsCount * 8;
  CHECK(u32(at) == 0 && u32(at + 4) == 0xdeadbeef);                         // fwmark
  CHECK(u32(at + 8) == IP_VS_SVC_F_PERSISTENT && u32(at + 12) == 0);        // flags, less IP_VS_SVC_F_HASHED
  CHECK(u32(at + 16) == 300);                                               // timeout
  CHECK(u32(at + 24) == 0 && u32(at + 28) == 1 && u32(at + 32) == 1);       // firstDestination
  CHECK(u32(at + 36) == 7 && u32(at + 40) == 1000 && u32(at + 44) == 500);  // weight, thresholds
  at += 9 * 4 + 6 * 4 + 3 * 2 * 2 + 3 * 2;
  CHECK(block.bytes[at] == 4 && block.bytes[at + 1] == 6);      // family
  CHECK(block.bytes[at + 2] == 6 && block.bytes[at + 3] == 0);  // protocol
  CHECK(block.bytes[at + 4] == 24 && block.bytes[at + 5] == 128);
}

// Damaged replies are decoded or refused as malformed; the sanitizers see to the rest.
TEST(IpvsDecodeSurvivesDamage) {
  const char* chosen = std::getenv("RAVEL_FUZZ_SEED");
  const uint64_t seed = chosen == nullptr ? 20240229 : std::strtoull(chosen, nullptr, 10);
  const char* asked = std::getenv("RAVEL_FUZZ_ROUNDS");
  const uint64_t rounds = asked == nullptr ? 100000 : std::strtoull(asked, nullptr, 10);
  std::mt19937_64 random(seed);
  const std::vector<uint8_t> whole_service = ServiceReply().bytes();
  const std::vector<uint8_t> whole_destination = DestinationReply().bytes();
  size_t refused = 0;
  for (uint64_t round = 0; round < rounds; round++) {
    const bool is_service = random() % 2 == 0;
    std::vector<uint8_t> bytes = is_service ? whole_service : whole_destination;
    // Past the netlink header, whose length MessageReader has judged.
    for (size_t n = 1 + random() % 4; n > 0; n--) {
      bytes[NLMSG_HDRLEN + random() % (bytes.size() - NLMSG_HDRLEN)] = static_cast<uint8_t>(random());
    }
    if (random() % 8 == 0) bytes.resize(NLMSG_HDRLEN + random() % (bytes.size() - NLMSG_HDRLEN));
    MessageView view = Reply::ViewOf(is_service ? whole_service : whole_destination);
    // An exact copy, so that a read past its end is a read past an allocation.
    const std::vector<uint8_t> payload(bytes.begin() + NLMSG_HDRLEN, bytes.end());
    view.payload = payload;
    ipvs::Table table;
    table.first = {0};
    Result<Done> result = Done{};
    if (is_service) {
      table.services.resize(1);
      result = ipvs::DecodeService(view, table.services.data());
    } else {
      table.destinations.resize(1);
      result = ipvs::DecodeDestination(view, AF_INET, table.destinations.data());
    }
    if (!result.ok()) {
      refused++;
      CHECK(result.failure().kind == FailureKind::kProtocol);
    }
    ipvs::DaemonRecord daemon;
    ipvs::InfoRecord info;
    ipvs::TimeoutRecord timeouts;
    static_cast<void>(ipvs::DecodeDaemon(view, &daemon).ok());
    static_cast<void>(ipvs::DecodeInfo(view, &info).ok());
    static_cast<void>(ipvs::DecodeTimeouts(view, &timeouts).ok());
    if (!is_service) table.first.clear();
    static_cast<void>(ipvs::SnapshotBlock::From(table));
  }
  if (refused < rounds / 10 || refused == rounds) {
    Fail(__FILE__, __LINE__,
         std::to_string(refused) + " of " + std::to_string(rounds) + " refused, seed " + std::to_string(seed));
  }
}

}  // namespace
}  // namespace ravel::test

#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>

#include <array>

#include "../links.h"
#include "check.h"
#include "messages.h"

namespace ravel::links {
namespace {

using test::Only;

const AddressBytes kVip = {192, 0, 2, 10};

TEST(add_address_reads_back_as_the_same_address) {
  OperationRecord operation;
  operation.code = static_cast<uint8_t>(OperationCode::kAddAddress);
  operation.family = 4;
  operation.prefix = 32;
  operation.protocol = 77;
  operation.flags = IFA_F_NOPREFIXROUTE;
  operation.valid = 300;
  operation.address = kVip;
  MessageWriter writer;
  WriteOperation(writer, operation, "ravel0", 9);
  const MessageView message = Only(writer);
  CHECK(message.type == RTM_NEWADDR);
  CHECK(message.flags == (NLM_F_CREATE | NLM_F_EXCL));
  AddressRecord address;
  REQUIRE(ReadAddress(message, &address));
  CHECK(address.index == 9 && address.family == 4 && address.prefix == 32 && address.protocol == 77);
  CHECK(address.address == kVip);
  CHECK(address.flags == IFA_F_NOPREFIXROUTE);
  CHECK(address.valid == 300 && address.preferred == 300);
}

TEST(an_address_that_is_never_preferred_stays_valid) {
  OperationRecord operation;
  operation.code = static_cast<uint8_t>(OperationCode::kAddAddress);
  operation.family = 6;
  operation.prefix = 128;
  operation.never_preferred = 1;
  MessageWriter writer;
  WriteOperation(writer, operation, "eth0", 9);
  AddressRecord address;
  REQUIRE(ReadAddress(Only(writer), &address));
  CHECK(address.valid == 0xffffffff && address.preferred == 0);
}

TEST(tunnels_are_made_by_their_kind_and_up) {
  const std::array<const char*, 4> kinds = {"ipip", "ip6tnl", "gre", "ip6gre"};
  for (uint8_t tunnel = 1; tunnel <= kLastTunnelKind; ++tunnel) {
    OperationRecord operation;
    operation.code = static_cast<uint8_t>(OperationCode::kAddTunnel);
    operation.tunnel = tunnel;
    operation.flags = IFF_UP;
    operation.flags_mask = IFF_UP;
    MessageWriter writer;
    WriteOperation(writer, operation, "tunl0", 0);
    const MessageView message = Only(writer);
    CHECK(message.type == RTM_NEWLINK && message.flags == (NLM_F_CREATE | NLM_F_EXCL));
    LinkRecord link;
    REQUIRE(ReadLink(message, &link));
    CHECK(link.name == "tunl0" && link.kind == kinds[tunnel - 1] && link.flags == IFF_UP);
  }
}

TEST(the_way_to_an_address_is_asked_for_by_its_family) {
  for (const size_t size : {4U, 16U}) {
    const std::vector<uint8_t> address(size, 7);
    MessageWriter writer;
    WriteRouteTo(writer, address);
    const MessageView message = Only(writer);
    rtmsg header;
    REQUIRE(message.Header(&header));
    CHECK(message.type == RTM_GETROUTE && header.rtm_dst_len == size * 8);
    CHECK(header.rtm_family == (size == 4 ? AF_INET : AF_INET6));
  }
}

MessageWriter Way(uint8_t family, const std::vector<uint8_t>& source, uint32_t mtu) {
  MessageWriter writer;
  writer.Begin(RTM_NEWROUTE, 0);
  rtmsg header{};
  header.rtm_family = family;
  header.rtm_flags = RTM_F_CLONED;  // as the kernel marks every answer for one address
  writer.Header(header);
  writer.U32(RTA_OIF, 5);
  writer.Bytes(RTA_PREFSRC, source);
  const size_t metrics = writer.BeginNest(RTA_METRICS);
  if (mtu != 0) writer.U32(RTAX_MTU, mtu);
  static_cast<void>(writer.EndNest(metrics));
  writer.End();
  return writer;
}

TEST(a_way_is_read_with_what_it_names) {
  RouteToRecord way;
  REQUIRE(ReadRouteTo(Only(Way(AF_INET, {192, 0, 2, 1}, 1400)), &way));
  CHECK(way.index == 5 && way.mtu == 1400 && way.source_family == 4 && way.gateway_family == 0);
  CHECK(way.source == (AddressBytes{192, 0, 2, 1}));
  RouteToRecord plain;
  REQUIRE(ReadRouteTo(Only(Way(AF_INET6, {192, 0, 2, 1}, 0)), &plain));
  CHECK(plain.mtu == 0 && plain.source_family == 0);  // of the wrong length: not read
  RouteToRecord bridge;
  CHECK(!ReadRouteTo(Only(Way(AF_BRIDGE, {}, 0)), &bridge));
}

TEST(dummy_is_made_with_its_flags_in_one_message) {
  OperationRecord operation;
  operation.code = static_cast<uint8_t>(OperationCode::kAddDummy);
  operation.flags = IFF_UP | IFF_NOARP;
  operation.flags_mask = IFF_UP | IFF_NOARP;
  operation.mtu = 1400;
  MessageWriter writer;
  WriteOperation(writer, operation, "ravel0", 0);
  CHECK(writer.count() == 1);
  LinkRecord link;
  REQUIRE(ReadLink(Only(writer), &link));
  CHECK(link.name == "ravel0" && link.kind == "dummy" && link.mtu == 1400);
  CHECK(link.flags == (IFF_UP | IFF_NOARP));
}

TEST(routes_read_back_with_gateway_of_either_family) {
  for (const uint8_t gateway : {uint8_t{0}, uint8_t{4}, uint8_t{6}}) {
    OperationRecord operation;
    operation.code = static_cast<uint8_t>(OperationCode::kAddRoute);
    operation.family = 4;
    operation.prefix = 24;
    operation.protocol = 4;
    operation.table = 1000;
    operation.metric = 5;
    operation.address = kVip;
    operation.gateway_family = gateway;
    if (gateway != 0) operation.gateway = {1, 2, 3, 4};
    MessageWriter writer;
    WriteOperation(writer, operation, "", 3);
    RouteRecord route;
    REQUIRE(ReadRoute(Only(writer), &route));
    CHECK(route.table == 1000 && route.metric == 5 && route.index == 3 && route.prefix == 24);
    CHECK(route.gateway_family == gateway);
    CHECK(route.destination == kVip && route.gateway == operation.gateway);
  }
}

TEST(addresses_of_the_wrong_length_are_not_read) {
  for (const size_t size : {0U, 3U, 5U, 16U, 200U}) {
    MessageWriter writer;
    writer.Begin(RTM_NEWADDR, 0);
    writer.Header(ifaddrmsg{AF_INET, 32, 0, 0, 1});
    writer.Bytes(IFA_LOCAL, std::vector<uint8_t>(size, 0xff));
    writer.End();
    AddressRecord address;
    CHECK(!ReadAddress(Only(writer), &address));
  }
}

TEST(hardware_addresses_beyond_the_record_are_left_out) {
  MessageWriter writer;
  writer.Begin(RTM_NEWNEIGH, 0);
  writer.Header(ndmsg{AF_INET, 0, 0, 1, 0, 0, 0});
  writer.Bytes(NDA_DST, std::vector<uint8_t>{192, 0, 2, 7});
  writer.Bytes(NDA_LLADDR, std::vector<uint8_t>(33, 1));
  writer.End();
  NeighbourRecord neighbour;
  REQUIRE(ReadNeighbour(Only(writer), &neighbour));
  CHECK(neighbour.hardware_size == 0);
}

TEST(messages_too_short_for_their_header_are_nothing) {
  for (uint16_t type = RTM_NEWLINK; type <= RTM_GETNEIGH; ++type) {
    const std::vector<uint8_t> bytes(3, AF_INET);
    CHECK(!ReadEvent({.type = type, .payload = bytes}).has_value());
  }
}

TEST(bridge_ports_and_other_families_are_no_events) {
  MessageWriter writer;
  writer.Begin(RTM_NEWLINK, 0);
  ifinfomsg header{};
  header.ifi_family = AF_BRIDGE;
  writer.Header(header);
  writer.End();
  CHECK(!ReadEvent(Only(writer)).has_value());
  MessageWriter route;
  route.Begin(RTM_NEWROUTE, 0);
  rtmsg other{};
  other.rtm_family = 28;  // AF_MPLS
  route.Header(other);
  route.End();
  CHECK(!ReadEvent(Only(route)).has_value());
}

}  // namespace
}  // namespace ravel::links

#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>

#include "../links.h"
#include "check.h"

namespace ravel::links {
namespace {

MessageView Only(const MessageWriter& writer) {
  MessageReader reader(writer.bytes());
  MessageView message;
  CHECK(reader.Next(&message));
  return message;
}

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

// The same core against the running kernel, for what a socketpair cannot show.
#include <linux/rtnetlink.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

#include "../netlink.h"
#include "check.h"

namespace ravel {
namespace {

std::unique_ptr<NetlinkSocket> OpenOrNull(int protocol, int timeout_ms = 5000) {
  auto opened = NetlinkSocket::Open({.protocol = protocol, .timeout_ms = timeout_ms}, "test.open");
  return opened.ok() ? std::move(opened.value()) : nullptr;
}

void LinkDump(MessageWriter& writer) {
  writer.Begin(RTM_GETLINK, 0);
  writer.Header(ifinfomsg{});
  writer.End();
}

TEST(kernel_dump_of_links_has_lo) {
  const auto socket = OpenOrNull(NETLINK_ROUTE);
  REQUIRE(socket != nullptr);
  MessageWriter writer;
  LinkDump(writer);
  bool found = false;
  const auto result = socket->Dump(writer, "test.links", "", [&](const MessageView& message) -> Result<Done> {
    AttributeReader reader(message.After<ifinfomsg>());
    AttributeView attribute;
    while (reader.Next(&attribute)) found = found || (attribute.type == IFLA_IFNAME && attribute.String() == "lo");
    return Done{};
  });
  CHECK(result.ok());
  CHECK(found);
}

TEST(kernel_says_why_in_words) {
  const auto socket = OpenOrNull(NETLINK_ROUTE);
  REQUIRE(socket != nullptr);
  MessageWriter writer;
  writer.Begin(RTM_GETLINK, 0);
  writer.Header(ifinfomsg{});
  writer.String(IFLA_IFNAME, "ravel-missing0");
  writer.End();
  const auto result = socket->Request(writer, "test.link", "ravel-missing0");
  REQUIRE(!result.ok());
  CHECK(result.failure().error == ENODEV);
}

TEST(datagrams_that_are_not_the_kernels_are_dropped_and_counted) {
  const auto socket = OpenOrNull(NETLINK_ROUTE);
  REQUIRE(socket != nullptr);
  const int stranger = ::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
  REQUIRE(stranger >= 0);
  // A forged end of the dump, with the sequence number our next request will have.
  nlmsghdr forged{sizeof(nlmsghdr) + sizeof(int), NLMSG_DONE, NLM_F_MULTI, 1, socket->port()};
  uint8_t bytes[sizeof(forged) + sizeof(int)] = {};
  std::memcpy(bytes, &forged, sizeof(forged));
  sockaddr_nl to{};
  to.nl_family = AF_NETLINK;
  to.nl_pid = socket->port();
  const bool sent = sendto(stranger, bytes, sizeof(bytes), 0, reinterpret_cast<sockaddr*>(&to), sizeof(to)) > 0;
  const int error = errno;
  close(stranger);
  if (!sent && error == EPERM) {
    test::Skip("sending to another socket needs CAP_NET_ADMIN");
    return;
  }
  REQUIRE(sent);
  MessageWriter writer;
  LinkDump(writer);
  int links = 0;
  const auto result = socket->Dump(writer, "test.links", "", [&](const MessageView&) -> Result<Done> {
    ++links;
    return Done{};
  });
  CHECK(result.ok());
  CHECK(links > 0);
  CHECK(socket->dropped() == 1);
}

TEST(generic_families_are_resolved_by_name) {
  const auto socket = OpenOrNull(NETLINK_GENERIC);
  REQUIRE(socket != nullptr);
  const auto id = ResolveGenericFamily(*socket, "nlctrl", "");
  CHECK(id.ok() && id.value() == 16);
  const auto missing = ResolveGenericFamily(*socket, "ravel-none", "modprobe ravel-none");
  REQUIRE(!missing.ok());
  CHECK(missing.failure().kind == FailureKind::kUnsupported);
  CHECK(missing.failure().subject == "ravel-none" && missing.failure().message == "modprobe ravel-none");
}

TEST(opening_an_unknown_protocol_fails) {
  const auto result = NetlinkSocket::Open({.protocol = 31}, "test.open");
  REQUIRE(!result.ok());
  CHECK(result.failure().operation == "test.open" && result.failure().error == EPROTONOSUPPORT);
}

TEST(joining_a_group_that_does_not_exist_fails) {
  const auto result = NetlinkSocket::Open({.protocol = NETLINK_ROUTE, .groups = {4000}}, "test.open");
  CHECK(!result.ok());
}

TEST(errno_names) {
  CHECK(ErrnoName(EEXIST) == "EEXIST");
  CHECK(ErrnoName(EOPNOTSUPP) == "EOPNOTSUPP");
  CHECK(ErrnoName(524) == "ENOTSUPP");
  CHECK(ErrnoName(9999) == "E9999");
}

}  // namespace
}  // namespace ravel

// Which entries are asked for, and conversations with a fake kernel.
#include <cerrno>

#include "check.h"
#include "conntrack_entries.h"
#include "fake_kernel.h"

namespace ravel::test {
namespace {

using conntrack::AddressBytes;
using conntrack::DestinationRecord;

constexpr uint16_t kStatistics = NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET_STATS;

DestinationRecord To(const AddressBytes& address, uint16_t port, uint8_t family = 4) {
  return {.address = address, .port = port, .family = family};
}

TEST(conntrack_destinations_match_by_address_and_port) {
  const EntryRecord entry = Udp4();
  const auto matches = [&](const std::vector<DestinationRecord>& destinations) {
    return conntrack::DestinationSet(destinations).Contains(entry);
  };
  CHECK(matches({To({192, 0, 2, 10}, 53)}));
  CHECK(matches({To({192, 0, 2, 10}, 0)}));
  CHECK(matches({To({192, 0, 2, 9}, 53), To({192, 0, 2, 10}, 53)}));
  CHECK(!matches({To({192, 0, 2, 10}, 54)}));
  CHECK(!matches({To({192, 0, 2, 11}, 53)}));
  CHECK(!matches({To({192, 0, 2, 10}, 53, 6)}));
  CHECK(!matches({To({10, 1, 2, 3}, 5353)}));  // who answers is not the destination
  CHECK(!matches({}));
  EntryRecord portless = entry;
  portless.original.destination_port = 0;
  CHECK(!conntrack::DestinationSet(std::vector<DestinationRecord>{To({192, 0, 2, 10}, 53)}).Contains(portless));
}

TEST(conntrack_reads_by_address_only_while_those_are_few) {
  conntrack::Filter filter;
  CHECK(conntrack::RequestsFor(filter).size() == 2);
  filter.family = 6;
  filter.protocol = IPPROTO_UDP;
  const auto six = conntrack::RequestsFor(filter);
  REQUIRE(six.size() == 1);
  CHECK(six[0].family == 6 && six[0].protocol == IPPROTO_UDP && !six[0].address.has_value());
  filter = {.destinations = std::vector<DestinationRecord>{}};
  CHECK(conntrack::RequestsFor(filter).empty());
  for (uint8_t i = 0; i < 4; ++i) filter.destinations->push_back(To({192, 0, 2, i}, 53));
  filter.destinations->push_back(To({192, 0, 2, 0}, 80));
  const auto few = conntrack::RequestsFor(filter);
  REQUIRE(few.size() == 4);
  CHECK(few[0].address.has_value() && few[3].address.has_value());
  filter.destinations->push_back(To({192, 0, 2, 99}, 80));
  const auto many = conntrack::RequestsFor(filter);
  REQUIRE(many.size() == 1);
  CHECK(many[0].family == 4 && !many[0].address.has_value());
  // The kernel's comparison of IPv6 addresses is not to be used.
  filter.destinations = {To({0x20, 1, 0xd, 0xb8}, 53, 6)};
  const auto one = conntrack::RequestsFor(filter);
  REQUIRE(one.size() == 1);
  CHECK(one[0].family == 6 && !one[0].address.has_value());
}

std::vector<uint8_t> UsageReply(uint32_t sequence) {
  std::vector<uint8_t> bytes;
  MessageWriter writer;
  writer.Begin(kStatistics, 0);
  writer.Header(nfgenmsg{AF_UNSPEC, NFNETLINK_V0, 0});
  writer.U32Be(CTA_STATS_GLOBAL_ENTRIES, 12);
  writer.U32Be(CTA_STATS_GLOBAL_MAX_ENTRIES, 262144);
  writer.End();
  std::memcpy(writer.bytes().data() + offsetof(nlmsghdr, nlmsg_seq), &sequence, sizeof(sequence));
  return writer.bytes();
}

// A client whose opening, with sequence number 1, is over.
std::unique_ptr<conntrack::Client> Opened(FakeKernel& kernel) {
  auto socket = kernel.Open(200);
  kernel.Raw(UsageReply(1));
  kernel.Raw(FakeKernel::Ack(1, 0));
  auto client = conntrack::Client::Over(std::move(socket));
  CHECK(client.ok());
  static_cast<void>(kernel.Taken());
  return client.ok() ? std::move(client.value()) : nullptr;
}

TEST(conntrack_without_ctnetlink_is_unsupported_with_its_module) {
  FakeKernel kernel;
  auto socket = kernel.Open(200);
  kernel.Raw(FakeKernel::Ack(1, EINVAL));  // nfnetlink_rcv_msg() without the subsystem
  const auto client = conntrack::Client::Over(std::move(socket));
  REQUIRE(!client.ok());
  CHECK(client.failure().kind == FailureKind::kUnsupported);
  CHECK(client.failure().subject == "conntrack (ctnetlink)");
  CHECK(client.failure().message == "modprobe nf_conntrack_netlink");
}

TEST(conntrack_without_the_capability_is_a_kernel_error) {
  FakeKernel kernel;
  auto socket = kernel.Open(200);
  kernel.Raw(FakeKernel::Ack(1, EPERM));
  const auto client = conntrack::Client::Over(std::move(socket));
  REQUIRE(!client.ok());
  CHECK(client.failure().kind == FailureKind::kKernel && client.failure().error == EPERM);
  CHECK(client.failure().operation == "conntrack.open");
}

TEST(conntrack_foreign_entries_are_left_out_and_repeated_ones_dropped) {
  FakeKernel kernel;
  const auto client = Opened(kernel);
  REQUIRE(client != nullptr);
  EntryRecord foreign = Udp4(40003);
  foreign.original.destination = {198, 51, 100, 1};
  EntryRecord tcp = Udp4(40004);
  tcp.protocol = IPPROTO_TCP;
  EntryRecord icmp = Udp4(40005);
  icmp.protocol = IPPROTO_ICMP;
  for (const EntryRecord& entry : {Udp4(40001), foreign, tcp, Udp4(40001), Udp4(40002)}) kernel.Raw(Entry(entry, 2));
  kernel.Raw(Entry(icmp, 2, {.ports = false}));
  kernel.Raw(FakeKernel::DumpEnd(2));
  conntrack::Filter filter{.protocol = IPPROTO_UDP, .destinations = std::vector{To({192, 0, 2, 10}, 53)}};
  const auto entries = client->Entries(filter);
  REQUIRE(entries.ok() && entries.value().size() == 2);
  CHECK(Same(entries.value()[0], Udp4(40001)) && Same(entries.value()[1], Udp4(40002)));
}

TEST(conntrack_interrupted_dumps_are_read_again) {
  FakeKernel kernel;
  const auto client = Opened(kernel);
  REQUIRE(client != nullptr);
  kernel.Raw(Entry(Udp4(40001), 2, {}, NLM_F_MULTI | NLM_F_DUMP_INTR));
  kernel.Raw(FakeKernel::DumpEnd(2));
  kernel.Raw(Entry(Udp4(40002), 3));
  kernel.Raw(FakeKernel::DumpEnd(3));
  const auto entries = client->Entries({.family = 4});
  REQUIRE(entries.ok() && entries.value().size() == 1);
  CHECK(Same(entries.value()[0], Udp4(40002)));
  for (uint32_t sequence = 4; sequence < 8; ++sequence) kernel.Raw(FakeKernel::DumpEnd(sequence, EINTR));
  const auto never = client->Entries({.family = 4});
  CHECK(!never.ok() && never.failure().kind == FailureKind::kInterrupted);
}

TEST(conntrack_damaged_entry_fails_the_read) {
  FakeKernel kernel;
  const auto client = Opened(kernel);
  REQUIRE(client != nullptr);
  kernel.Raw(Entry(Udp4(), 2, {.id = false}));
  kernel.Raw(FakeKernel::DumpEnd(2));
  const auto entries = client->Entries({.family = 4});
  CHECK(!entries.ok() && entries.failure().kind == FailureKind::kProtocol);
}

TEST(conntrack_removal_tells_gone_from_refused) {
  FakeKernel kernel;
  const auto client = Opened(kernel);
  REQUIRE(client != nullptr);
  kernel.Raw(FakeKernel::Ack(3, ENOENT));
  kernel.Raw(FakeKernel::Ack(4, EBUSY, "words"));
  kernel.Raw(FakeKernel::Ack(5, 0));
  const std::vector<EntryRecord> entries = {Udp4(1), Udp4(2), Udp4(3), Udp4(4)};
  const auto removal = client->Remove(entries);
  REQUIRE(removal.ok());
  CHECK((removal.value().gone == std::vector<uint32_t>{1}));
  REQUIRE(removal.value().refused.size() == 1);
  CHECK(removal.value().refused[0].index == 2 && removal.value().refused[0].error == EBUSY);
  CHECK(removal.value().refused[0].message == "words");
  // Nothing to delete is no message at all.
  static_cast<void>(kernel.Taken());
  CHECK(client->Remove({}).ok());
  CHECK(kernel.Taken().empty());
}

TEST(conntrack_usage_is_read) {
  FakeKernel kernel;
  const auto client = Opened(kernel);
  REQUIRE(client != nullptr);
  kernel.Raw(UsageReply(2));
  kernel.Raw(FakeKernel::Ack(2, 0));
  const auto usage = client->Usage();
  REQUIRE(usage.ok());
  CHECK(usage.value().entries == 12 && usage.value().limit == 262144);
}

}  // namespace
}  // namespace ravel::test

// ctnetlink: entries whole, of other protocols, and damaged; deletions; columns; conversations with a fake kernel.
#include "../conntrack.h"

#include <linux/netfilter/nfnetlink.h>
#include <netinet/in.h>

#include <algorithm>
#include <cerrno>
#include <random>

#include "../conntrack_columns.h"
#include "check.h"
#include "fake_kernel.h"

namespace ravel::test {
namespace {

using conntrack::AddressBytes;
using conntrack::DestinationRecord;
using conntrack::EntryRecord;

constexpr uint16_t kNew = NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_NEW;
constexpr uint16_t kDelete = NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_DELETE;
constexpr uint16_t kStatistics = NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET_STATS;

EntryRecord Udp4(uint16_t client_port = 40000) {
  EntryRecord entry{.family = 4, .protocol = IPPROTO_UDP, .id = 0xfedcba98U + client_port, .status = 0x1a8};
  entry.timeout = 29;
  entry.mark = 0x4000;
  entry.original = {
      .source = {203, 0, 113, 9}, .destination = {192, 0, 2, 10}, .source_port = client_port, .destination_port = 53};
  entry.reply = {
      .source = {10, 1, 2, 3}, .destination = {203, 0, 113, 9}, .source_port = 5353, .destination_port = client_port};
  return entry;
}

EntryRecord Sctp6() {
  EntryRecord entry{.family = 6, .protocol = IPPROTO_SCTP, .id = 7};
  entry.original = {.source = {0x20, 1, 0xd, 0xb8, 1}, .destination = {0x20, 1, 0xd, 0xb8, 2}, .source_port = 1};
  entry.original.destination_port = 36412;
  entry.reply = {.source = {0xfd, 1}, .destination = {0x20, 1, 0xd, 0xb8, 1}, .source_port = 36412};
  entry.reply.destination_port = 1;
  return entry;
}

struct Oddities {
  std::function<void(MessageWriter&)> extra = {};
  uint8_t reply_protocol = 0;  // another one than the entry's
  bool original = true;
  bool reply = true;
  bool id = true;
  bool ports = true;
};

void PutTuple(MessageWriter& writer, uint16_t type, const EntryRecord& entry, uint8_t protocol, bool ports) {
  const bool original = type == CTA_TUPLE_ORIG;
  const conntrack::Tuple& tuple = original ? entry.original : entry.reply;
  const bool four = entry.family == 4;
  const size_t size = four ? 4 : 16;
  const size_t nest = writer.BeginNest(type);
  const size_t ip = writer.BeginNest(CTA_TUPLE_IP);
  writer.Attribute(four ? CTA_IP_V4_SRC : CTA_IP_V6_SRC, tuple.source.data(), size);
  writer.Attribute(four ? CTA_IP_V4_DST : CTA_IP_V6_DST, tuple.destination.data(), size);
  static_cast<void>(writer.EndNest(ip));
  const size_t l4 = writer.BeginNest(CTA_TUPLE_PROTO);
  writer.U8(CTA_PROTO_NUM, protocol);
  if (ports) {
    writer.U16Be(CTA_PROTO_SRC_PORT, tuple.source_port);
    writer.U16Be(CTA_PROTO_DST_PORT, tuple.destination_port);
  }
  static_cast<void>(writer.EndNest(l4));
  if (entry.zone_directions == (original ? conntrack::kZoneOriginal : conntrack::kZoneReply)) {
    writer.U16Be(CTA_TUPLE_ZONE, entry.zone);
  }
  static_cast<void>(writer.EndNest(nest));
}

// In the order of ctnetlink_fill_info().
std::vector<uint8_t> Entry(const EntryRecord& entry, uint32_t sequence = 1, const Oddities& odd = {},
                           uint16_t flags = NLM_F_MULTI) {
  MessageWriter writer;
  writer.Begin(kNew, flags);
  writer.Header(nfgenmsg{static_cast<uint8_t>(entry.family == 4 ? AF_INET : AF_INET6), NFNETLINK_V0, 0});
  if (odd.original) PutTuple(writer, CTA_TUPLE_ORIG, entry, entry.protocol, odd.ports);
  const uint8_t protocol = odd.reply_protocol == 0 ? entry.protocol : odd.reply_protocol;
  if (odd.reply) PutTuple(writer, CTA_TUPLE_REPLY, entry, protocol, odd.ports);
  if (entry.zone_directions == conntrack::kZoneBoth) writer.U16Be(CTA_ZONE, entry.zone);
  writer.U32Be(CTA_STATUS, entry.status);
  if (entry.timeout != 0) writer.U32Be(CTA_TIMEOUT, entry.timeout);
  writer.U32Be(CTA_MARK, entry.mark);
  if (odd.id) writer.U32Be(CTA_ID, entry.id);
  writer.U32Be(CTA_USE, 1);
  if (odd.extra) odd.extra(writer);
  writer.End();
  std::memcpy(writer.bytes().data() + offsetof(nlmsghdr, nlmsg_seq), &sequence, sizeof(sequence));
  return writer.bytes();
}

Result<bool> Decode(const std::vector<uint8_t>& bytes, EntryRecord* entry) {
  MessageReader reader(bytes);
  MessageView message;
  if (!reader.Next(&message)) return ProtocolFailure("test", "no message");
  return conntrack::DecodeEntry(message, entry);
}

bool Same(const EntryRecord& a, const EntryRecord& b) {
  return a.family == b.family && a.protocol == b.protocol && a.zone == b.zone &&
         a.zone_directions == b.zone_directions && a.id == b.id && a.status == b.status && a.timeout == b.timeout &&
         a.mark == b.mark && a.original == b.original && a.reply == b.reply;
}

std::vector<EntryRecord> Zoned() {
  std::vector<EntryRecord> entries;
  for (const uint8_t directions : {conntrack::kZoneOriginal, conntrack::kZoneReply, conntrack::kZoneBoth}) {
    EntryRecord entry = Udp4();
    entry.zone = 300;
    entry.zone_directions = directions;
    entries.push_back(entry);
  }
  return entries;
}

TEST(conntrack_entries_read_back_whole) {
  std::vector<EntryRecord> entries = Zoned();
  entries.push_back(Udp4());
  entries.push_back(Sctp6());
  for (const EntryRecord& entry : entries) {
    EntryRecord read;
    const Result<bool> decoded = Decode(Entry(entry), &read);
    CHECK(decoded.ok() && decoded.value());
    CHECK(Same(entry, read));
  }
}

TEST(conntrack_attributes_of_a_newer_kernel_are_passed_over) {
  const Oddities odd{.extra = [](MessageWriter& writer) {
    writer.U32(CTA_STATUS_MASK + 20, 1);
    const size_t nest = writer.BeginNest(CTA_PROTOINFO);
    writer.U8(CTA_PROTOINFO_TCP, 1);
    static_cast<void>(writer.EndNest(nest));
  }};
  EntryRecord read;
  const Result<bool> decoded = Decode(Entry(Udp4(), 1, odd), &read);
  CHECK(decoded.ok() && decoded.value() && Same(read, Udp4()));
}

TEST(conntrack_protocols_without_ports_are_nobodys) {
  EntryRecord entry = Udp4();
  for (const uint8_t protocol : {uint8_t{IPPROTO_ICMP}, uint8_t{IPPROTO_GRE}, uint8_t{IPPROTO_DCCP}}) {
    entry.protocol = protocol;
    EntryRecord read;
    const Result<bool> decoded = Decode(Entry(entry, 1, {.ports = false}), &read);
    CHECK(decoded.ok() && !decoded.value());
  }
}

// An entry that is not known whole must never be deleted by half its name.
TEST(conntrack_entries_without_a_part_of_their_name_are_refused) {
  const std::vector<Oddities> odd = {
      {.reply_protocol = IPPROTO_TCP},
      {.original = false},
      {.reply = false},
      {.id = false},
      {.ports = false},
      {.extra = [](MessageWriter& writer) { writer.U8(CTA_ID, 1); }},
      {.extra = [](MessageWriter& writer) { writer.U32Be(CTA_ZONE, 1); }},
      {.extra = [](MessageWriter& writer) { writer.Flag(CTA_TUPLE_ORIG); }},
      {.extra = [](MessageWriter& writer) { writer.U32(CTA_TUPLE_REPLY, 0xffffffff); }},
  };
  for (const Oddities& oddity : odd) {
    EntryRecord read;
    const Result<bool> decoded = Decode(Entry(Udp4(), 1, oddity), &read);
    CHECK(!decoded.ok() && decoded.failure().kind == FailureKind::kProtocol);
  }
}

TEST(conntrack_addresses_of_the_other_family_are_refused) {
  std::vector<uint8_t> bytes = Entry(Udp4());
  bytes[NLMSG_HDRLEN] = AF_INET6;
  EntryRecord read;
  CHECK(!Decode(bytes, &read).ok());
  bytes[NLMSG_HDRLEN] = AF_BRIDGE;
  const Result<bool> foreign = Decode(bytes, &read);
  CHECK(foreign.ok() && !foreign.value());
}

TEST(conntrack_truncated_entries_are_refused_at_every_length) {
  const std::vector<uint8_t> whole = Entry(Sctp6());
  size_t read_whole = 0;
  for (size_t size = NLMSG_HDRLEN; size < whole.size(); ++size) {
    std::vector<uint8_t> bytes(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
    const auto length = static_cast<uint32_t>(size);
    std::memcpy(bytes.data(), &length, sizeof(length));
    EntryRecord read;
    const Result<bool> decoded = Decode(bytes, &read);
    if (decoded.ok() && decoded.value()) ++read_whole;
  }
  // Up to the end of CTA_ID a part of the name is missing; behind it only CTA_USE is cut.
  CHECK(read_whole <= 8);
}

TEST(conntrack_decoder_survives_damage) {
  std::mt19937_64 random(20261121);
  const std::vector<EntryRecord> seeds = {Udp4(), Sctp6(), Zoned()[0], Zoned()[2]};
  size_t accepted = 0;
  constexpr size_t kRounds = 200000;
  for (size_t round = 0; round < kRounds; ++round) {
    std::vector<uint8_t> bytes = Entry(seeds[round % seeds.size()]);
    for (size_t i = 1 + random() % 3; i > 0; --i) {
      const size_t at = NLMSG_HDRLEN + random() % (bytes.size() - NLMSG_HDRLEN);
      bytes[at] = random() % 3 == 0 ? static_cast<uint8_t>(random() % 16) : static_cast<uint8_t>(random());
    }
    // Exactly sized on the heap, so that one byte too far is the sanitizer's to see.
    const std::vector<uint8_t> exact(bytes);
    EntryRecord read;
    const Result<bool> decoded = Decode(exact, &read);
    if (!decoded.ok() || !decoded.value()) continue;
    ++accepted;
    CHECK((read.family == 4 || read.family == 6) && conntrack::HasPorts(read.protocol));
  }
  // Damage to addresses and ports is invisible, damage to lengths and types is not: both must be common.
  CHECK(accepted > kRounds / 10 && accepted < kRounds - kRounds / 10);
}

// What ctnetlink_del_conntrack() would look up: never a message without a tuple, which deletes everything.
TEST(conntrack_deletion_names_the_reply_the_zone_and_the_id) {
  std::vector<EntryRecord> entries = Zoned();
  entries.push_back(Udp4());
  entries.push_back(Sctp6());
  for (const EntryRecord& entry : entries) {
    MessageWriter writer;
    conntrack::EncodeDelete(&writer, entry);
    MessageReader reader(writer.bytes());
    MessageView message;
    REQUIRE(reader.Next(&message));
    CHECK(message.type == kDelete && message.flags == 0);
    nfgenmsg header;
    REQUIRE(message.Header(&header));
    CHECK(header.nfgen_family == (entry.family == 4 ? AF_INET : AF_INET6) && header.version == NFNETLINK_V0);
    AttributeReader attributes(message.After<nfgenmsg>());
    AttributeView attribute;
    std::vector<uint16_t> types;
    while (attributes.Next(&attribute)) {
      types.push_back(attribute.type);
      if (attribute.type == CTA_ID) CHECK(attribute.U32Be() == entry.id);
      if (attribute.type == CTA_ZONE) CHECK(attribute.U16Be() == 300);
      if (attribute.type != CTA_TUPLE_REPLY) continue;
      AttributeReader tuple(attribute.data);
      AttributeView part;
      std::vector<uint16_t> parts;
      while (tuple.Next(&part)) parts.push_back(part.type);
      const bool zone = entry.zone_directions == conntrack::kZoneReply;
      CHECK(tuple.ok() && parts.size() == (zone ? 3U : 2U));
      CHECK((std::find(parts.begin(), parts.end(), CTA_TUPLE_ZONE) != parts.end()) == zone);
    }
    CHECK(attributes.ok());
    if (entry.zone_directions == conntrack::kZoneBoth) {
      CHECK((types == std::vector<uint16_t>{CTA_TUPLE_REPLY, CTA_ZONE, CTA_ID}));
    } else {
      CHECK((types == std::vector<uint16_t>{CTA_TUPLE_REPLY, CTA_ID}));
    }
  }
}

TEST(conntrack_deletion_carries_the_bytes_of_the_reply) {
  // The reply in place of the original tuple, wrapped as a dumped entry, must read back the same.
  const EntryRecord entry = Sctp6();
  MessageWriter writer;
  conntrack::EncodeDelete(&writer, entry);
  MessageReader reader(writer.bytes());
  MessageView message;
  REQUIRE(reader.Next(&message));
  AttributeReader attributes(message.After<nfgenmsg>());
  AttributeView attribute;
  REQUIRE(attributes.Next(&attribute) && attribute.type == CTA_TUPLE_REPLY);
  MessageWriter dumped;
  dumped.Begin(kNew, 0);
  dumped.Header(nfgenmsg{AF_INET6, NFNETLINK_V0, 0});
  dumped.Bytes(CTA_TUPLE_ORIG, attribute.data);
  dumped.Bytes(CTA_TUPLE_REPLY, attribute.data);
  dumped.U32Be(CTA_ID, 1);
  dumped.End();
  EntryRecord read;
  const Result<bool> decoded = Decode(dumped.bytes(), &read);
  REQUIRE(decoded.ok() && decoded.value());
  CHECK(read.reply == entry.reply && read.protocol == entry.protocol);
}

TEST(conntrack_columns_come_back_as_the_same_entries) {
  std::vector<EntryRecord> entries = Zoned();
  entries.push_back(Udp4());
  entries.push_back(Sctp6());
  const std::vector<uint8_t> block = conntrack::ColumnsOf(entries);
  CHECK(block.size() == entries.size() * conntrack::kBytesPerEntry);
  const std::vector<uint32_t> rows = {4, 0, 3, 3};
  const auto back = conntrack::EntriesAt(block, entries.size(), rows);
  REQUIRE(back.ok() && back.value().size() == rows.size());
  for (size_t i = 0; i < rows.size(); ++i) CHECK(Same(back.value()[i], entries[rows[i]]));
  CHECK(conntrack::ColumnsOf({}).empty());
}

TEST(conntrack_columns_that_do_not_add_up_are_refused) {
  const std::vector<EntryRecord> entries = {Udp4(), Sctp6()};
  const std::vector<uint8_t> block = conntrack::ColumnsOf(entries);
  const std::vector<uint32_t> first = {0};
  const auto refused = [](const Result<std::vector<EntryRecord>>& result) {
    return !result.ok() && result.failure().kind == FailureKind::kProtocol;
  };
  CHECK(refused(conntrack::EntriesAt(block, 3, first)));
  CHECK(refused(conntrack::EntriesAt(block, 1, first)));
  CHECK(refused(conntrack::EntriesAt({block.data(), block.size() - 1}, 2, first)));
  CHECK(refused(conntrack::EntriesAt({}, SIZE_MAX, first)));
  CHECK(refused(conntrack::EntriesAt(block, 2, std::vector<uint32_t>{2})));
  CHECK(refused(conntrack::EntriesAt(block, 2, std::vector<uint32_t>{0xffffffff})));
  for (const size_t column : {size_t{26}, size_t{27}, size_t{28}}) {  // family, protocol, zone directions
    std::vector<uint8_t> wrong = block;
    wrong[column * entries.size()] = 200;
    CHECK(refused(conntrack::EntriesAt(wrong, 2, first)));
  }
}

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

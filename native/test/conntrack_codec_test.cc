// ctnetlink: entries whole, of other protocols, and damaged; deletions.
#include <algorithm>
#include <random>

#include "check.h"
#include "conntrack_entries.h"
#include "messages.h"

namespace ravel::test {
namespace {

constexpr uint16_t kDelete = NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_DELETE;

Result<bool> Decode(const std::vector<uint8_t>& bytes, EntryRecord* entry) {
  MessageReader reader(bytes);
  MessageView message;
  if (!reader.Next(&message)) return ProtocolFailure("test", "no message");
  return conntrack::DecodeEntry(message, entry);
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
    const MessageView message = Only(writer);
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
  const MessageView message = Only(writer);
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

}  // namespace
}  // namespace ravel::test

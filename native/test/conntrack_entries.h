// Entries of the connection tracking table for tests, and the messages in which the kernel tells them.
#pragma once

#include <linux/netfilter/nfnetlink.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstring>
#include <functional>
#include <vector>

#include "../conntrack.h"

namespace ravel::test {

using conntrack::EntryRecord;

constexpr uint16_t kNew = NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_NEW;

inline EntryRecord Udp4(uint16_t client_port = 40000) {
  EntryRecord entry{.family = 4, .protocol = IPPROTO_UDP, .id = 0xfedcba98U + client_port, .status = 0x1a8};
  entry.timeout = 29;
  entry.mark = 0x4000;
  entry.original = {
      .source = {203, 0, 113, 9}, .destination = {192, 0, 2, 10}, .source_port = client_port, .destination_port = 53};
  entry.reply = {
      .source = {10, 1, 2, 3}, .destination = {203, 0, 113, 9}, .source_port = 5353, .destination_port = client_port};
  return entry;
}

inline EntryRecord Sctp6() {
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

inline void PutTuple(MessageWriter& writer, uint16_t type, const EntryRecord& entry, uint8_t protocol, bool ports) {
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
inline std::vector<uint8_t> Entry(const EntryRecord& entry, uint32_t sequence = 1, const Oddities& odd = {},
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

inline bool Same(const EntryRecord& a, const EntryRecord& b) {
  return a.family == b.family && a.protocol == b.protocol && a.zone == b.zone &&
         a.zone_directions == b.zone_directions && a.id == b.id && a.status == b.status && a.timeout == b.timeout &&
         a.mark == b.mark && a.original == b.original && a.reply == b.reply;
}

inline std::vector<EntryRecord> Zoned() {
  std::vector<EntryRecord> entries;
  for (const uint8_t directions : {conntrack::kZoneOriginal, conntrack::kZoneReply, conntrack::kZoneBoth}) {
    EntryRecord entry = Udp4();
    entry.zone = 300;
    entry.zone_directions = directions;
    entries.push_back(entry);
  }
  return entries;
}

}  // namespace ravel::test

#include <linux/netfilter/nfnetlink.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>

#include "conntrack.h"

namespace ravel::conntrack {
namespace {

constexpr uint16_t MessageType(uint8_t message) { return NFNL_SUBSYS_CTNETLINK << 8 | message; }
constexpr uint8_t KernelFamily(uint8_t number) { return number == 4 ? AF_INET : AF_INET6; }

Failure Malformed(const std::string& what) { return ProtocolFailure("conntrack.entries", what); }

template <typename T>
void SetField(void* record, size_t offset, T value) {
  std::memcpy(static_cast<uint8_t*>(record) + offset, &value, sizeof(T));
}

// False when the value does not have the length of its kind.
bool ReadRow(const Row& row, const AttributeView& attribute, void* record) {
  bool ok = true;
  switch (row.wire) {
    case Wire::kU8:
      SetField(record, row.offset, attribute.U8(&ok));
      return ok;
    case Wire::kU16Be:
      SetField(record, row.offset, attribute.U16Be(&ok));
      return ok;
    case Wire::kU32Be:
      SetField(record, row.offset, attribute.U32Be(&ok));
      return ok;
    case Wire::kAddress4:
    case Wire::kAddress16: {
      const size_t size = row.wire == Wire::kAddress4 ? 4 : 16;
      if (attribute.data.size() != size) return false;
      std::copy(attribute.data.begin(), attribute.data.end(), static_cast<uint8_t*>(record) + row.offset);
      return true;
    }
  }
  return false;
}

void WriteRow(MessageWriter* writer, const Row& row, const void* record) {
  const uint8_t* field = static_cast<const uint8_t*>(record) + row.offset;
  uint16_t number16 = 0;
  uint32_t number32 = 0;
  switch (row.wire) {
    case Wire::kU8:
      return writer->U8(row.attribute, *field);
    case Wire::kU16Be:
      std::memcpy(&number16, field, sizeof(number16));
      return writer->U16Be(row.attribute, number16);
    case Wire::kU32Be:
      std::memcpy(&number32, field, sizeof(number32));
      return writer->U32Be(row.attribute, number32);
    case Wire::kAddress4:
      return writer->Attribute(row.attribute, field, 4);
    case Wire::kAddress16:
      return writer->Attribute(row.attribute, field, 16);
  }
}

// Finds which rows a nest has: every one is asked for, `found` has a bit for each.
template <size_t N>
bool ReadNest(std::span<const uint8_t> data, const std::array<Row, N>& rows, void* record, uint32_t* found) {
  AttributeReader reader(data);
  AttributeView attribute;
  while (reader.Next(&attribute)) {
    for (size_t i = 0; i < N; ++i) {
      if (rows[i].attribute != attribute.type) continue;
      if (!ReadRow(rows[i], attribute, record)) return false;
      *found |= 1U << i;
    }
  }
  return reader.ok();
}

template <size_t N>
bool ReadWhole(std::span<const uint8_t> data, const std::array<Row, N>& rows, void* record) {
  uint32_t found = 0;
  return ReadNest(data, rows, record, &found) && found == (1U << N) - 1;
}

// The protocol number alone; 0 when there is none.
uint8_t ProtocolOf(std::span<const uint8_t> data) {
  AttributeReader reader(data);
  AttributeView attribute;
  while (reader.Next(&attribute)) {
    if (attribute.type == CTA_PROTO_NUM) return attribute.U8();
  }
  return 0;
}

enum class TupleState : uint8_t { kWhole, kWithoutPorts, kDamaged };

// CTA_TUPLE_ORIG or CTA_TUPLE_REPLY (ctnetlink_dump_tuples); a zone of this direction alone goes to the entry.
TupleState ReadTuple(std::span<const uint8_t> data, uint8_t direction, EntryRecord* entry) {
  Tuple* tuple = direction == kZoneOriginal ? &entry->original : &entry->reply;
  AttributeReader reader(data);
  AttributeView attribute;
  bool addresses = false;
  bool ports = false;
  while (reader.Next(&attribute)) {
    switch (attribute.type) {
      case CTA_TUPLE_IP:
        addresses = entry->family == 4 ? ReadWhole(attribute.data, kIpv4Rows, tuple)
                                       : ReadWhole(attribute.data, kIpv6Rows, tuple);
        if (!addresses) return TupleState::kDamaged;
        break;
      case CTA_TUPLE_PROTO: {
        const uint8_t protocol = ProtocolOf(attribute.data);
        if (protocol == 0) return TupleState::kDamaged;
        if (!HasPorts(protocol)) return TupleState::kWithoutPorts;
        // Both directions of a flow have one protocol.
        if (direction == kZoneReply && protocol != entry->protocol) return TupleState::kDamaged;
        entry->protocol = protocol;
        ports = ReadWhole(attribute.data, kPortRows, tuple);
        if (!ports) return TupleState::kDamaged;
        break;
      }
      case CTA_TUPLE_ZONE: {
        bool ok = true;
        entry->zone = attribute.U16Be(&ok);
        entry->zone_directions |= direction;
        if (!ok) return TupleState::kDamaged;
        break;
      }
      default:
        break;
    }
  }
  return reader.ok() && addresses && ports ? TupleState::kWhole : TupleState::kDamaged;
}

void WriteTupleOf(MessageWriter* writer, const EntryRecord& entry, const Tuple& tuple, uint8_t direction) {
  const size_t ip = writer->BeginNest(CTA_TUPLE_IP);
  for (const Row& row : entry.family == 4 ? kIpv4Rows : kIpv6Rows) WriteRow(writer, row, &tuple);
  static_cast<void>(writer->EndNest(ip));
  const size_t protocol = writer->BeginNest(CTA_TUPLE_PROTO);
  writer->U8(CTA_PROTO_NUM, entry.protocol);
  for (const Row& row : kPortRows) WriteRow(writer, row, &tuple);
  static_cast<void>(writer->EndNest(protocol));
  if (entry.zone_directions == direction) writer->U16Be(CTA_TUPLE_ZONE, entry.zone);
}

void BeginMessage(MessageWriter* writer, uint8_t message, uint8_t family) {
  writer->Begin(MessageType(message), 0);
  writer->Header(nfgenmsg{family, NFNETLINK_V0, 0});
}

}  // namespace

bool HasPorts(uint8_t protocol) {
  return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_SCTP;
}

// What ctnetlink_alloc_filter() reads: the flags name fields of CTA_TUPLE_ORIG.
void EncodeDump(MessageWriter* writer, const DumpRequest& request) {
  BeginMessage(writer, IPCTNL_MSG_CT_GET, KernelFamily(request.family));
  uint32_t flags = 0;
  if (request.address.has_value()) flags |= kFilterDestinationAddress;
  if (request.protocol != 0) flags |= kFilterProtocol;
  if (flags != 0) {
    const size_t tuple = writer->BeginNest(CTA_TUPLE_ORIG);
    if (request.address.has_value()) {
      const size_t ip = writer->BeginNest(CTA_TUPLE_IP);
      writer->Attribute(CTA_IP_V4_DST, request.address->data(), 4);
      static_cast<void>(writer->EndNest(ip));
    }
    if (request.protocol != 0) {
      const size_t protocol = writer->BeginNest(CTA_TUPLE_PROTO);
      writer->U8(CTA_PROTO_NUM, request.protocol);
      static_cast<void>(writer->EndNest(protocol));
    }
    static_cast<void>(writer->EndNest(tuple));
    const size_t filter = writer->BeginNest(CTA_FILTER);
    writer->U32(CTA_FILTER_ORIG_FLAGS, flags);  // host order: ctnetlink_parse_filter() uses nla_get_u32()
    static_cast<void>(writer->EndNest(filter));
  }
  writer->End();
}

Result<bool> DecodeEntry(const MessageView& message, EntryRecord* entry) {
  nfgenmsg header;
  if (message.type != MessageType(IPCTNL_MSG_CT_NEW)) return Malformed("message is not IPCTNL_MSG_CT_NEW");
  if (!message.Header(&header)) return Malformed("entry without nfgenmsg");
  if (header.nfgen_family != AF_INET && header.nfgen_family != AF_INET6) return false;
  *entry = EntryRecord{.family = static_cast<uint8_t>(header.nfgen_family == AF_INET ? 4 : 6)};
  AttributeReader reader(message.After<nfgenmsg>());
  AttributeView attribute;
  uint8_t tuples = 0;
  bool identified = false;
  while (reader.Next(&attribute)) {
    if (attribute.type == CTA_TUPLE_ORIG || attribute.type == CTA_TUPLE_REPLY) {
      const uint8_t direction = attribute.type == CTA_TUPLE_ORIG ? kZoneOriginal : kZoneReply;
      // The original tuple comes first: the protocol of the reply is held against it.
      if (direction == kZoneReply && tuples == 0) return Malformed("CTA_TUPLE_REPLY before CTA_TUPLE_ORIG");
      const TupleState state = ReadTuple(attribute.data, direction, entry);
      if (state == TupleState::kWithoutPorts) return false;
      if (state == TupleState::kDamaged) return Malformed("damaged tuple");
      tuples |= direction;
      continue;
    }
    if (attribute.type == CTA_ZONE) {
      bool ok = true;
      entry->zone = attribute.U16Be(&ok);
      entry->zone_directions = kZoneBoth;
      if (!ok) return Malformed("damaged CTA_ZONE");
      continue;
    }
    for (const Row& row : kEntryRows) {
      if (row.attribute != attribute.type) continue;
      if (!ReadRow(row, attribute, entry)) return Malformed(std::string("damaged ") + row.name);
      if (row.attribute == CTA_ID) identified = true;
    }
  }
  if (!reader.ok()) return Malformed("attribute longer than its message");
  if (tuples != kZoneBoth || !identified) return Malformed("entry without both tuples and CTA_ID");
  return true;
}

// ctnetlink_del_conntrack() finds the entry by one tuple and deletes it when CTA_ID is nf_ct_get_id() of what
// it found, else answers ENOENT. The id is a hash of the entry's memory address, its master, its namespace and
// its ORIGINAL tuple, not a counter: a new flow of the same client that got the same piece of memory has the
// same id, and the slab allocator hands out what was freed last: of 300 flows deleted and begun again, 299 had
// the id of the one before (6.18). So the tuple that is sent is the
// REPLY, which holds what the flow was translated to: a flow that meanwhile goes elsewhere is not found by it.
void EncodeDelete(MessageWriter* writer, const EntryRecord& entry) {
  BeginMessage(writer, IPCTNL_MSG_CT_DELETE, KernelFamily(entry.family));
  const size_t reply = writer->BeginNest(CTA_TUPLE_REPLY);
  WriteTupleOf(writer, entry, entry.reply, kZoneReply);
  static_cast<void>(writer->EndNest(reply));
  // A zone of the original direction alone does not concern the look-up of a reply (nf_ct_zone_id).
  if (entry.zone_directions == kZoneBoth) writer->U16Be(CTA_ZONE, entry.zone);
  writer->U32Be(CTA_ID, entry.id);
  writer->End();
}

void EncodeUsage(MessageWriter* writer) {
  BeginMessage(writer, IPCTNL_MSG_CT_GET_STATS, AF_UNSPEC);
  writer->End();
}

Result<Done> DecodeUsage(const MessageView& message, Usage* usage) {
  AttributeReader reader(message.After<nfgenmsg>());
  AttributeView attribute;
  bool ok = message.type == MessageType(IPCTNL_MSG_CT_GET_STATS);
  while (reader.Next(&attribute)) {
    if (attribute.type == CTA_STATS_GLOBAL_ENTRIES) usage->entries = attribute.U32Be(&ok);
    if (attribute.type == CTA_STATS_GLOBAL_MAX_ENTRIES) usage->limit = attribute.U32Be(&ok);
  }
  if (!ok || !reader.ok()) return ProtocolFailure("conntrack.usage", "damaged answer to IPCTNL_MSG_CT_GET_STATS");
  return Done{};
}

}  // namespace ravel::conntrack

#include "ipvs_codec.h"

#include <endian.h>
#include <linux/genetlink.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <type_traits>
#include <utility>

namespace ravel::ipvs {
namespace {

template <typename T>
T Field(const void* field) {
  T value;
  std::memcpy(&value, field, sizeof(T));
  return value;
}

template <typename T>
void SetField(void* record, size_t offset, T value) {
  std::memcpy(static_cast<uint8_t*>(record) + offset, &value, sizeof(T));
}

// Bytes of all attributes of a table that are ever sent.
template <size_t N>
constexpr size_t LongestNest(const std::array<Row, N>& rows) {
  size_t size = 0;
  for (const Row& row : rows) {
    if (row.use == Use::kReport) continue;
    const bool wide = row.wire == Wire::kAddress || row.wire == Wire::kName;
    size += NLA_HDRLEN + (wide ? 16 : row.wire == Wire::kFlags ? 8 : 4);
  }
  return size;
}

// One command, put together on the stack and appended in one piece: a batch has thousands.
class Command {
 public:
  Command(uint16_t family_id, uint8_t command, uint16_t flags) {
    const nlmsghdr header{0, family_id, static_cast<uint16_t>(NLM_F_REQUEST | flags), 0, 0};
    const genlmsghdr generic{.cmd = command, .version = IPVS_GENL_VERSION, .reserved = 0};
    std::memcpy(bytes_.data(), &header, sizeof(header));
    std::memcpy(bytes_.data() + NLMSG_HDRLEN, &generic, sizeof(generic));
  }

  [[gnu::always_inline]] void Put(uint16_t type, const void* data, size_t size) {
    PutHeader(used_, type, NLA_HDRLEN + size);
    std::memcpy(bytes_.data() + used_ + NLA_HDRLEN, data, size);
    used_ += NLA_HDRLEN + NLA_ALIGN(size);
  }
  template <typename T>
  void PutNumber(uint16_t type, T value) {
    Put(type, &value, sizeof(value));
  }
  size_t BeginNest() {
    const size_t nest = used_;
    used_ += NLA_HDRLEN;
    return nest;
  }
  void EndNest(size_t nest, uint16_t type) { PutHeader(nest, type | NLA_F_NESTED, used_ - nest); }

  [[nodiscard]] std::span<const uint8_t> Finish() {
    const auto length = static_cast<uint32_t>(used_);
    std::memcpy(bytes_.data() + offsetof(nlmsghdr, nlmsg_len), &length, sizeof(length));
    return {bytes_.data(), used_};
  }

 private:
  void PutHeader(size_t at, uint16_t type, size_t length) {
    const nlattr header{static_cast<uint16_t>(length), type};
    std::memcpy(bytes_.data() + at, &header, sizeof(header));
  }

  static constexpr size_t kHeaders = NLMSG_HDRLEN + GENL_HDRLEN + 2 * NLA_HDRLEN;
  std::array<uint8_t, kHeaders + LongestNest(kServiceRows) + LongestNest(kDestinationRows)> bytes_{};
  size_t used_ = NLMSG_HDRLEN + GENL_HDRLEN;
};

template <Use kUse>
bool Wanted(const ServiceRecord& service, Extent extent) {
  static_assert(kUse != Use::kTunnel);
  switch (kUse) {
    case Use::kIdentity:
      return true;
    case Use::kIdentityOfSocket:
      return service.fwmark == 0;
    case Use::kIdentityOfMark:
      return service.fwmark != 0;
    case Use::kEngine:
      return extent == Extent::kFull && service.engine[0] != '\0';
    default:
      return extent == Extent::kFull;
  }
}

template <Use kUse>
bool Wanted(const DestinationRecord& destination, Extent extent) {
  static_assert(kUse == Use::kIdentity || kUse == Use::kSpecification || kUse == Use::kTunnel);
  if (kUse == Use::kIdentity) return true;
  if (extent != Extent::kFull) return false;
  return kUse == Use::kSpecification ||
         (destination.forward == IP_VS_CONN_F_TUNNEL &&
          (destination.tunnel_type != 0 || destination.tunnel_port != 0 || destination.tunnel_flags != 0));
}

template <const auto& kRows, size_t kIndex, typename Record>
[[gnu::always_inline]] inline void EncodeRow(Command* command, const Record& record, Extent extent) {
  constexpr Row kRow = kRows[kIndex];
  if constexpr (kRow.use != Use::kReport) {
    if (!Wanted<kRow.use>(record, extent)) return;
    const auto* field = reinterpret_cast<const uint8_t*>(&record) + kRow.offset;
    if constexpr (kRow.wire == Wire::kU8) {
      command->PutNumber(kRow.attribute, *field);
    } else if constexpr (kRow.wire == Wire::kU16) {
      command->PutNumber(kRow.attribute, Field<uint16_t>(field));
    } else if constexpr (kRow.wire == Wire::kU16Be) {
      command->PutNumber(kRow.attribute, htobe16(Field<uint16_t>(field)));
    } else if constexpr (kRow.wire == Wire::kU32) {
      command->PutNumber(kRow.attribute, Field<uint32_t>(field));
    } else if constexpr (kRow.wire == Wire::kAddress) {
      command->Put(kRow.attribute, field, 16);
    } else if constexpr (kRow.wire == Wire::kFlags) {
      command->Put(kRow.attribute, field, sizeof(ip_vs_flags));
    } else {
      static_assert(kRow.wire == Wire::kName);
      // With its NUL; a record's name always has one.
      command->Put(kRow.attribute, field, strnlen(reinterpret_cast<const char*>(field), kNameSize - 1) + 1);
    }
  }
}

// Row after row at compile time: what is left is the stores that a hand-written encoder would have.
template <const auto& kRows, typename Record>
void PutNest(Command* command, uint16_t type, const Record& record, Extent extent) {
  const size_t nest = command->BeginNest();
  [&]<size_t... kIndex>(std::index_sequence<kIndex...>) { (EncodeRow<kRows, kIndex>(command, record, extent), ...); }
  (std::make_index_sequence<kRows.size()>());
  command->EndNest(nest, type);
}

void Begin(MessageWriter* writer, uint16_t family_id, uint8_t command, uint16_t flags) {
  writer->Begin(family_id, NLM_F_REQUEST | flags);
  writer->Header(genlmsghdr{.cmd = command, .version = IPVS_GENL_VERSION, .reserved = 0});
}

Failure Malformed(const char* attribute, std::string message) {
  return Failure{.kind = FailureKind::kProtocol,
                 .operation = "ipvs.decode",
                 .subject = attribute,
                 .error = 0,
                 .message = std::move(message)};
}

size_t WidthOf(Wire wire) {
  switch (wire) {
    case Wire::kU8:
      return 1;
    case Wire::kU16:
    case Wire::kU16Be:
      return 2;
    case Wire::kU32:
    case Wire::kAddress4:
      return 4;
    case Wire::kU64:
    case Wire::kFlags:
      return 8;
    case Wire::kAddress:
      return 16;
    case Wire::kName:
    case Wire::kStatistics:
    case Wire::kSkip:
      return 0;  // any
  }
  return 0;
}
static_assert(sizeof(ip_vs_flags) == 8);

Result<Done> DecodeRow(const AttributeView& attribute, const Row& row, void* record) {
  const size_t width = WidthOf(row.wire);
  if (width != 0 && attribute.data.size() != width) {
    return Malformed(row.name, std::to_string(attribute.data.size()) + " bytes instead of " + std::to_string(width));
  }
  switch (row.wire) {
    case Wire::kU8:
    case Wire::kU16:
    case Wire::kU32:
    case Wire::kU64:
    case Wire::kAddress4:
    case Wire::kAddress:
    case Wire::kFlags:
      std::memcpy(static_cast<uint8_t*>(record) + row.offset, attribute.data.data(), width);
      break;
    case Wire::kU16Be:
      SetField(record, row.offset, attribute.U16Be());
      break;
    case Wire::kName: {
      const std::string_view text = attribute.String();
      if (text.size() >= kNameSize) return Malformed(row.name, "name of " + std::to_string(text.size()) + " bytes");
      std::array<char, kNameSize> name{};
      std::copy(text.begin(), text.end(), name.begin());
      SetField(record, row.offset, name);
      break;
    }
    case Wire::kStatistics:
    case Wire::kSkip:
      break;
  }
  return Done{};
}

// Bit k set: attribute k was there.
using Seen = uint32_t;

constexpr Seen Bit(uint16_t attribute) { return 1U << attribute; }

template <typename Record, size_t N>
Result<Seen> DecodeAll(std::span<const uint8_t> bytes, const std::array<Row, N>& rows, const char* what,
                       Record* record) {
  static_assert(std::is_trivially_copyable_v<Record> && N <= 32);
  AttributeReader reader(bytes);
  AttributeView attribute;
  Seen seen = 0;
  while (reader.Next(&attribute)) {
    if (attribute.type >= N) continue;
    auto done = DecodeRow(attribute, rows[attribute.type], record);
    if (!done.ok()) return std::move(done.failure());
    seen |= Bit(attribute.type);
  }
  if (!reader.ok()) return Malformed(what, "an attribute runs past the end");
  return seen;
}

// `wide`: IPVS_*_ATTR_STATS64, where every value is a u64.
Result<Done> DecodeStatistics(std::span<const uint8_t> bytes, bool wide, Statistics* statistics) {
  AttributeReader reader(bytes);
  AttributeView attribute;
  while (reader.Next(&attribute)) {
    if (attribute.type == 0 || attribute.type >= kStatisticsRows.size()) continue;
    const Row& row = kStatisticsRows[attribute.type];
    const size_t width = wide ? 8 : WidthOf(row.wire);
    if (attribute.data.size() != width) {
      return Malformed(row.name, std::to_string(attribute.data.size()) + " bytes instead of " + std::to_string(width));
    }
    (*statistics)[row.offset] = width == 8 ? attribute.U64() : attribute.U32();
  }
  if (!reader.ok()) return Malformed("IPVS_STATS_ATTR", "an attribute runs past the end");
  return Done{};
}

// The statistics among `bytes`: those of `wide_attribute` if there, else of `attribute`, else zeros.
Result<Done> DecodeBestStatistics(std::span<const uint8_t> bytes, uint16_t attribute, uint16_t wide_attribute,
                                  Statistics* statistics) {
  AttributeReader reader(bytes);
  AttributeView view;
  AttributeView best;
  while (reader.Next(&view)) {
    if (view.type == wide_attribute || (view.type == attribute && best.type != wide_attribute)) best = view;
  }
  if (best.type == 0) return Done{};
  return DecodeStatistics(best.data, best.type == wide_attribute, statistics);
}

// The bytes of the one nest `attribute` of a reply.
Result<std::span<const uint8_t>> NestOf(const MessageView& message, uint16_t attribute, const char* name) {
  AttributeReader reader(message.After<genlmsghdr>());
  AttributeView view;
  while (reader.Next(&view)) {
    if (view.type == attribute) return view.data;
  }
  return Malformed(name, reader.ok() ? "missing" : "an attribute runs past the end");
}

bool KnownFamily(uint16_t family) { return family == AF_INET || family == AF_INET6; }

// An IPv4 address fills the first four bytes; what else is in the union is nobody's.
void ClearRest(uint16_t family, std::array<uint8_t, 16>* address) {
  if (family == AF_INET) std::fill(address->begin() + 4, address->end(), uint8_t{0});
}

}  // namespace

void EncodeCommand(MessageWriter* writer, uint16_t family_id, uint8_t command, uint16_t flags) {
  Begin(writer, family_id, command, flags);
  writer->End();
}

void EncodeService(MessageWriter* writer, uint16_t family_id, uint8_t command, uint16_t flags,
                   const ServiceRecord& service, Extent extent) {
  Command message(family_id, command, flags);
  PutNest<kServiceRows>(&message, IPVS_CMD_ATTR_SERVICE, service, extent);
  writer->Whole(message.Finish());
}

void OperationEncoder::Encode(size_t row) {
  switch (block_->operation(row)) {
    case Operation::kAddService:
      return EncodeService(writer_, family_id_, IPVS_CMD_NEW_SERVICE, 0, block_->service(row), Extent::kFull);
    case Operation::kSetService:
      return EncodeService(writer_, family_id_, IPVS_CMD_SET_SERVICE, 0, block_->service(row), Extent::kFull);
    case Operation::kDeleteService:
      return EncodeService(writer_, family_id_, IPVS_CMD_DEL_SERVICE, 0, block_->service(row), Extent::kIdentity);
    case Operation::kAddDestination:
      return EncodeDestinationOperation(row, IPVS_CMD_NEW_DEST, Extent::kFull);
    case Operation::kSetDestination:
      return EncodeDestinationOperation(row, IPVS_CMD_SET_DEST, Extent::kFull);
    case Operation::kDeleteDestination:
      return EncodeDestinationOperation(row, IPVS_CMD_DEL_DEST, Extent::kIdentity);
  }
}

void OperationEncoder::EncodeDestinationOperation(size_t row, uint8_t command, Extent extent) {
  if (!have_service_ || block_->service_row(row) != service_row_) {
    have_service_ = true;
    service_row_ = block_->service_row(row);
    service_ = block_->service(row);
  }
  Command message(family_id_, command, 0);
  PutNest<kServiceRows>(&message, IPVS_CMD_ATTR_SERVICE, service_, Extent::kIdentity);
  PutNest<kDestinationRows>(&message, IPVS_CMD_ATTR_DEST, block_->destination(row), extent);
  writer_->Whole(message.Finish());
}

void EncodeTimeouts(MessageWriter* writer, uint16_t family_id, const TimeoutRecord& timeouts) {
  Begin(writer, family_id, IPVS_CMD_SET_CONFIG, 0);
  for (const Row& row : kTimeoutRows) {
    if (row.wire != Wire::kU32) continue;
    const auto seconds = Field<uint32_t>(reinterpret_cast<const uint8_t*>(&timeouts) + row.offset);
    if (seconds != 0) writer->U32(row.attribute, seconds);
  }
  writer->End();
}

void EncodeDaemon(MessageWriter* writer, uint16_t family_id, uint8_t command, const DaemonRecord& daemon) {
  Begin(writer, family_id, command, 0);
  const size_t nest = writer->BeginNest(IPVS_CMD_ATTR_DAEMON);
  writer->U32(IPVS_DAEMON_ATTR_STATE, daemon.state);
  if (command == IPVS_CMD_NEW_DAEMON) {
    writer->String(IPVS_DAEMON_ATTR_MCAST_IFN,
                   std::string_view(daemon.device.data(), strnlen(daemon.device.data(), kNameSize)));
    writer->U32(IPVS_DAEMON_ATTR_SYNC_ID, daemon.sync_id);
    if (daemon.max_length != 0) writer->U16(IPVS_DAEMON_ATTR_SYNC_MAXLEN, daemon.max_length);
    if (daemon.group != std::array<uint8_t, 4>{}) writer->Bytes(IPVS_DAEMON_ATTR_MCAST_GROUP, daemon.group);
    if (daemon.group6 != std::array<uint8_t, 16>{}) writer->Bytes(IPVS_DAEMON_ATTR_MCAST_GROUP6, daemon.group6);
    if (daemon.port != 0) writer->U16(IPVS_DAEMON_ATTR_MCAST_PORT, daemon.port);
    if (daemon.ttl != 0) writer->U8(IPVS_DAEMON_ATTR_MCAST_TTL, daemon.ttl);
  }
  (void)writer->EndNest(nest);
  writer->End();
}

Result<Done> DecodeService(const MessageView& message, ServiceRecord* service) {
  auto nest = NestOf(message, IPVS_CMD_ATTR_SERVICE, "IPVS_CMD_ATTR_SERVICE");
  if (!nest.ok()) return std::move(nest.failure());
  auto seen = DecodeAll(nest.value(), kServiceRows, "IPVS_CMD_ATTR_SERVICE", service);
  if (!seen.ok()) return std::move(seen.failure());
  if (!KnownFamily(service->family)) {
    return Malformed("IPVS_SVC_ATTR_AF", "family " + std::to_string(service->family));
  }
  constexpr Seen kSocket = Bit(IPVS_SVC_ATTR_PROTOCOL) | Bit(IPVS_SVC_ATTR_ADDR) | Bit(IPVS_SVC_ATTR_PORT);
  if (service->fwmark == 0 && (seen.value() & kSocket) != kSocket) {
    return Malformed("IPVS_CMD_ATTR_SERVICE", "neither protocol, address and port nor a firewall mark");
  }
  ClearRest(service->family, &service->address);
  return DecodeBestStatistics(nest.value(), IPVS_SVC_ATTR_STATS, IPVS_SVC_ATTR_STATS64, &service->statistics);
}

Result<Done> DecodeDestination(const MessageView& message, uint16_t service_family, DestinationRecord* destination) {
  auto nest = NestOf(message, IPVS_CMD_ATTR_DEST, "IPVS_CMD_ATTR_DEST");
  if (!nest.ok()) return std::move(nest.failure());
  auto seen = DecodeAll(nest.value(), kDestinationRows, "IPVS_CMD_ATTR_DEST", destination);
  if (!seen.ok()) return std::move(seen.failure());
  constexpr Seen kNeeded =
      Bit(IPVS_DEST_ATTR_ADDR) | Bit(IPVS_DEST_ATTR_PORT) | Bit(IPVS_DEST_ATTR_FWD_METHOD) | Bit(IPVS_DEST_ATTR_WEIGHT);
  if ((seen.value() & kNeeded) != kNeeded) {
    return Malformed("IPVS_CMD_ATTR_DEST", "address, port, forwarding method or weight is missing");
  }
  if ((seen.value() & Bit(IPVS_DEST_ATTR_ADDR_FAMILY)) == 0) destination->family = service_family;
  if (!KnownFamily(destination->family)) {
    return Malformed("IPVS_DEST_ATTR_ADDR_FAMILY", "family " + std::to_string(destination->family));
  }
  ClearRest(destination->family, &destination->address);
  return DecodeBestStatistics(nest.value(), IPVS_DEST_ATTR_STATS, IPVS_DEST_ATTR_STATS64, &destination->statistics);
}

namespace {

template <typename Record, size_t N>
Result<Done> DecodeNeeding(std::span<const uint8_t> bytes, const std::array<Row, N>& rows, Seen needed,
                           const char* what, Record* record) {
  auto seen = DecodeAll(bytes, rows, what, record);
  if (!seen.ok()) return std::move(seen.failure());
  if ((seen.value() & needed) != needed) return Malformed(what, "an attribute is missing");
  return Done{};
}

}  // namespace

Result<Done> DecodeInfo(const MessageView& message, InfoRecord* info) {
  return DecodeNeeding(message.After<genlmsghdr>(), kInfoRows,
                       Bit(IPVS_INFO_ATTR_VERSION) | Bit(IPVS_INFO_ATTR_CONN_TAB_SIZE), "IPVS_CMD_GET_INFO", info);
}

Result<Done> DecodeTimeouts(const MessageView& message, TimeoutRecord* timeouts) {
  // A kernel without TCP or UDP support leaves theirs out; the record then says 0.
  return DecodeNeeding(message.After<genlmsghdr>(), kTimeoutRows, 0, "IPVS_CMD_GET_CONFIG", timeouts);
}

Result<Done> DecodeDaemon(const MessageView& message, DaemonRecord* daemon) {
  auto nest = NestOf(message, IPVS_CMD_ATTR_DAEMON, "IPVS_CMD_ATTR_DAEMON");
  if (!nest.ok()) return std::move(nest.failure());
  return DecodeNeeding(nest.value(), kDaemonRows,
                       Bit(IPVS_DAEMON_ATTR_STATE) | Bit(IPVS_DAEMON_ATTR_MCAST_IFN) | Bit(IPVS_DAEMON_ATTR_SYNC_ID),
                       "IPVS_CMD_ATTR_DAEMON", daemon);
}

}  // namespace ravel::ipvs

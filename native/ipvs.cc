#include "ipvs.h"

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string>
#include <unordered_set>
#include <utility>

namespace ravel::ipvs {
namespace {

// Below sk_sndbuf as it is by default (net.core.wmem_default, 212,992), so that no privilege is needed.
constexpr size_t kChunkBytes = 192 << 10;
// A dump of fewer destinations fits one datagram (netlink_dump() starts with 4 KiB), which the kernel
// fills without letting go of its lock: nothing can be repeated.
constexpr size_t kOneDatagram = 8;

Failure Renamed(Failure failure, const char* operation, const std::string& subject) {
  failure.operation = operation;
  failure.subject = failure.subject.empty() ? subject : subject + " " + failure.subject;
  return failure;
}

std::string IdentityOf(const ServiceRecord& service) {
  std::string identity(reinterpret_cast<const char*>(service.address.data()), service.address.size());
  for (const uint32_t part : {static_cast<uint32_t>(service.family), static_cast<uint32_t>(service.protocol),
                              static_cast<uint32_t>(service.port), service.fwmark}) {
    identity.append(reinterpret_cast<const char*>(&part), sizeof(part));
  }
  return identity;
}

std::string IdentityOf(const DestinationRecord& destination) {
  std::string identity(reinterpret_cast<const char*>(destination.address.data()), destination.address.size());
  const std::array<uint16_t, 2> rest{destination.family, destination.port};
  identity.append(reinterpret_cast<const char*>(rest.data()), sizeof(rest));
  return identity;
}

// Keeps the first of equals in rows[from..].
template <typename Record>
void DropRepeated(std::vector<Record>* rows, size_t from) {
  std::unordered_set<std::string> known;
  const auto repeated = [&](const Record& record) { return !known.insert(IdentityOf(record)).second; };
  rows->erase(std::remove_if(rows->begin() + static_cast<ptrdiff_t>(from), rows->end(), repeated), rows->end());
}

const char* ProtocolName(uint16_t protocol) {
  switch (protocol) {
    case IPPROTO_TCP:
      return "tcp";
    case IPPROTO_UDP:
      return "udp";
    case IPPROTO_SCTP:
      return "sctp";
    default:
      return "protocol?";
  }
}

}  // namespace

std::string Describe(const ServiceRecord& service) {
  const bool six = service.family == AF_INET6;
  if (service.fwmark != 0) return "fwmark " + std::to_string(service.fwmark) + (six ? " ipv6" : " ipv4");
  std::array<char, INET6_ADDRSTRLEN> text{};
  inet_ntop(service.family, service.address.data(), text.data(), text.size());
  const std::string address = six ? "[" + std::string(text.data()) + "]" : std::string(text.data());
  return std::string(ProtocolName(service.protocol)) + " " + address + ":" + std::to_string(service.port);
}

Result<std::unique_ptr<Client>> Client::Open(int timeout_ms, int receive_buffer) {
  auto socket = NetlinkSocket::Open(
      {.protocol = NETLINK_GENERIC, .timeout_ms = timeout_ms, .receive_buffer = receive_buffer}, "ipvs.open");
  if (!socket.ok()) return std::move(socket.failure());
  auto family_id = ResolveGenericFamily(*socket.value(), IPVS_GENL_NAME, "modprobe ip_vs");
  if (!family_id.ok()) return std::move(family_id.failure());
  return std::unique_ptr<Client>(new Client(std::move(socket.value()), family_id.value()));
}

Result<InfoRecord> Client::Info() {
  InfoRecord info;
  writer_.Clear();
  EncodeCommand(&writer_, family_id_, IPVS_CMD_GET_INFO, 0);
  auto done = socket_->Request(writer_, "ipvs.info", "",
                               [&](const MessageView& message) { return DecodeInfo(message, &info); });
  if (!done.ok()) return Renamed(std::move(done.failure()), "ipvs.info", "");
  return info;
}

Result<TimeoutRecord> Client::Timeouts() {
  TimeoutRecord timeouts;
  writer_.Clear();
  EncodeCommand(&writer_, family_id_, IPVS_CMD_GET_CONFIG, 0);
  auto done = socket_->Request(writer_, "ipvs.timeouts", "",
                               [&](const MessageView& message) { return DecodeTimeouts(message, &timeouts); });
  if (!done.ok()) return Renamed(std::move(done.failure()), "ipvs.timeouts", "");
  return timeouts;
}

Result<Done> Client::SetTimeouts(const TimeoutRecord& timeouts) {
  writer_.Clear();
  EncodeTimeouts(&writer_, family_id_, timeouts);
  return socket_->Request(writer_, "ipvs.setTimeouts", "timeouts");
}

Result<std::vector<MessageError>> Client::Apply(MessageWriter& operations, size_t first) {
  if (operations.count() == 0) return std::vector<MessageError>();
  auto errors = socket_->Batch(operations, "ipvs.apply", kChunkBytes);
  if (!errors.ok()) {
    errors.failure().index = static_cast<int64_t>(first) + std::max<int64_t>(errors.failure().index, 0);
    return errors;
  }
  for (MessageError& error : errors.value()) error.index += first;
  return errors;
}

Result<Done> Client::DumpDestinations(const ServiceRecord& service, const char* operation, Table* table) {
  std::vector<DestinationRecord>& rows = table->destinations;
  const size_t from = rows.size();
  writer_.Clear();
  EncodeService(&writer_, family_id_, IPVS_CMD_GET_DEST, NLM_F_DUMP, service, Extent::kIdentity);
  const auto handler = [&](const MessageView& message) -> Result<Done> {
    rows.emplace_back();
    return DecodeDestination(message, service.family, &rows.back());
  };
  auto done = socket_->Dump(writer_, operation, "", handler, [&] { rows.resize(from); });
  if (!done.ok()) return Renamed(std::move(done.failure()), operation, Describe(service));
  if (rows.size() - from > kOneDatagram) DropRepeated(&rows, from);
  return Done{};
}

Result<Table> Client::Snapshot() {
  constexpr const char* kOperation = "ipvs.snapshot";
  // A dump resumes by position in one table for all namespaces (ip_vs_genl_dump_services), so a namespace that
  // goes away meanwhile makes it skip services without a sign. Believed when two reads in a row count the same.
  constexpr int kReads = 5;
  Table table;
  const auto handler = [&](const MessageView& message) -> Result<Done> {
    table.services.emplace_back();
    return DecodeService(message, &table.services.back());
  };
  Result<Done> done = Done{};
  std::optional<size_t> before;
  for (int read = 0; !before.has_value() || *before != table.services.size(); ++read) {
    if (read == kReads) {
      return Failure{.kind = FailureKind::kInterrupted,
                     .operation = kOperation,
                     .subject = "services",
                     .message = "the table changed during each of " + std::to_string(kReads) + " reads"};
    }
    if (read > 0) before = table.services.size();
    table.services.clear();
    writer_.Clear();
    EncodeCommand(&writer_, family_id_, IPVS_CMD_GET_SERVICE, NLM_F_DUMP);
    done = socket_->Dump(writer_, kOperation, "", handler, [&] { table.services.clear(); });
    if (!done.ok()) return Renamed(std::move(done.failure()), kOperation, "services");
    DropRepeated(&table.services, 0);
  }
  table.first.reserve(table.services.size());
  for (const ServiceRecord& service : table.services) {
    table.first.push_back(static_cast<uint32_t>(table.destinations.size()));
    done = DumpDestinations(service, kOperation, &table);
    if (!done.ok()) return std::move(done.failure());
  }
  return table;
}

Result<Table> Client::Destinations(const ServiceRecord& service) {
  Table table;
  table.services.push_back(service);
  table.first.push_back(0);
  auto done = DumpDestinations(service, "ipvs.destinations", &table);
  if (!done.ok()) return std::move(done.failure());
  return table;
}

Result<Done> Client::Zero(const std::optional<ServiceRecord>& service) {
  writer_.Clear();
  if (!service.has_value()) {
    EncodeCommand(&writer_, family_id_, IPVS_CMD_ZERO, 0);
    return socket_->Request(writer_, "ipvs.zero", "all services");
  }
  EncodeService(&writer_, family_id_, IPVS_CMD_ZERO, 0, *service, Extent::kIdentity);
  return socket_->Request(writer_, "ipvs.zero", Describe(*service));
}

Result<std::vector<DaemonRecord>> Client::Daemons() {
  std::vector<DaemonRecord> daemons;
  writer_.Clear();
  EncodeCommand(&writer_, family_id_, IPVS_CMD_GET_DAEMON, NLM_F_DUMP);
  const auto handler = [&](const MessageView& message) -> Result<Done> {
    daemons.emplace_back();
    return DecodeDaemon(message, &daemons.back());
  };
  auto done = socket_->Dump(writer_, "ipvs.syncDaemons", "", handler, [&] { daemons.clear(); });
  if (!done.ok()) return Renamed(std::move(done.failure()), "ipvs.syncDaemons", "sync daemons");
  return daemons;
}

namespace {

std::string Describe(const DaemonRecord& daemon) {
  return std::string(daemon.state == IP_VS_STATE_MASTER ? "master" : "backup") + " sync daemon";
}

}  // namespace

Result<Done> Client::StartDaemon(const DaemonRecord& daemon) {
  writer_.Clear();
  EncodeDaemon(&writer_, family_id_, IPVS_CMD_NEW_DAEMON, daemon);
  return socket_->Request(
      writer_, "ipvs.startSyncDaemon",
      Describe(daemon) + " on " + std::string(daemon.device.data(), strnlen(daemon.device.data(), kNameSize)));
}

Result<Done> Client::StopDaemon(const DaemonRecord& daemon) {
  writer_.Clear();
  EncodeDaemon(&writer_, family_id_, IPVS_CMD_DEL_DAEMON, daemon);
  return socket_->Request(writer_, "ipvs.stopSyncDaemon", Describe(daemon));
}

}  // namespace ravel::ipvs

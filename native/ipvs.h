// IPVS over generic netlink: one socket, used on an executor's thread only. Node-free.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "ipvs_codec.h"
#include "netlink.h"

namespace ravel::ipvs {

class Client {
 public:
  // Opens the socket and resolves the family, which makes the kernel load ip_vs if it can;
  // kUnsupported where it cannot.
  static Result<std::unique_ptr<Client>> Open(int timeout_ms, int receive_buffer);

  Result<InfoRecord> Info();
  Result<TimeoutRecord> Timeouts();
  // Values of 0 stay as they are.
  Result<Done> SetTimeouts(const TimeoutRecord& timeouts);

  // Sends encoded operations in order. Not atomic: refused operations are returned, in order, and the
  // others took effect. A Failure means that the transport broke; its index is the first operation
  // whose outcome is unknown. Indexes count from `first`, the place of the first one in its batch.
  Result<std::vector<MessageError>> Apply(MessageWriter& operations, size_t first);

  // Services, then the destinations of each, one dump after another: the kernel runs one dump per
  // socket at a time (EBUSY otherwise). An entry that a foreign writer's change made the kernel
  // repeat is taken once; one that it made it skip is not seen until the next snapshot, because
  // ip_vs_genl_dump_services() resumes by position and never sets NLM_F_DUMP_INTR.
  Result<Table> Snapshot();
  // As a table of one service, whose record is `service` itself. Empty also when the kernel does not
  // have the service: it does not tell.
  Result<Table> Destinations(const ServiceRecord& service);

  // Resets the statistics of one service and its destinations, or of all.
  Result<Done> Zero(const std::optional<ServiceRecord>& service);

  Result<std::vector<DaemonRecord>> Daemons();
  Result<Done> StartDaemon(const DaemonRecord& daemon);
  Result<Done> StopDaemon(const DaemonRecord& daemon);

  [[nodiscard]] uint16_t family_id() const { return family_id_; }

 private:
  Client(std::unique_ptr<NetlinkSocket> socket, uint16_t family_id)
      : socket_(std::move(socket)), family_id_(family_id) {}

  Result<Done> DumpDestinations(const ServiceRecord& service, const char* operation, Table* table);

  std::unique_ptr<NetlinkSocket> socket_;
  uint16_t family_id_;
  MessageWriter writer_;
};

// `tcp 192.0.2.10:80`, `udp [2001:db8::1]:53`, `fwmark 7 ipv4`: src/native/ipvs-columns.ts says the same.
std::string Describe(const ServiceRecord& service);

}  // namespace ravel::ipvs

// UDP ports on which the kernel takes packets out of UDP (foo-over-UDP, linux/fou.h), over generic
// netlink. Node-free; used on an executor's thread only.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "netlink.h"

namespace ravel::fou {

struct PortRecord {
  uint16_t port = 0;
  uint8_t family = 0;    // 4 or 6
  uint8_t type = 0;      // FOU_ENCAP_*
  uint8_t protocol = 0;  // IPPROTO number of what is inside; 0 with GUE
};

// False when it is no entry, or of a family that is neither.
bool ReadPort(const MessageView& message, PortRecord* out);
// Appends FOU_CMD_ADD or FOU_CMD_DEL for the family with that id.
void WritePort(MessageWriter& writer, uint16_t family_id, uint8_t command, const PortRecord& port);

class Client {
 public:
  // kUnsupported where the module is not loaded: it has no alias by which the kernel would find it.
  static Result<std::unique_ptr<Client>> Open(int timeout_ms, int receive_buffer);

  Result<std::vector<PortRecord>> List();
  Result<Done> Add(const PortRecord& port);
  Result<Done> Remove(const PortRecord& port);

 private:
  Client(std::unique_ptr<NetlinkSocket> socket, uint16_t family_id)
      : socket_(std::move(socket)), family_id_(family_id) {}
  Result<Done> Write(uint8_t command, const char* operation, const PortRecord& port);

  std::unique_ptr<NetlinkSocket> socket_;
  uint16_t family_id_;
};

}  // namespace ravel::fou

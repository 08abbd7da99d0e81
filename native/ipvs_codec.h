// IPVS messages: commands into a MessageWriter, replies into records. Node-free, no I/O.
#pragma once

#include <cstdint>

#include "ipvs_attributes.h"
#include "ipvs_columns.h"
#include "message.h"
#include "result.h"

namespace ravel::ipvs {

// What a command says of its service or destination.
enum class Extent : uint8_t { kIdentity, kFull };

// One command without attributes: a dump of all services, IPVS_CMD_GET_INFO, IPVS_CMD_ZERO of all.
void EncodeCommand(MessageWriter* writer, uint16_t family_id, uint8_t command, uint16_t flags);

void EncodeService(MessageWriter* writer, uint16_t family_id, uint8_t command, uint16_t flags,
                   const ServiceRecord& service, Extent extent);

// The operations of a block, each as the one message that carries it out.
class OperationEncoder {
 public:
  OperationEncoder(MessageWriter* writer, uint16_t family_id, const OperationBlock* block)
      : writer_(writer), family_id_(family_id), block_(block) {}
  void Encode(size_t row);

 private:
  void EncodeDestinationOperation(size_t row, uint8_t command, Extent extent);

  MessageWriter* writer_;
  uint16_t family_id_;
  const OperationBlock* block_;
  // The service of the last destination: plans list the destinations of one service one after another.
  bool have_service_ = false;
  uint32_t service_row_ = 0;
  ServiceRecord service_;
};

// IPVS_CMD_SET_CONFIG; a value of 0 leaves the kernel's as it is (ip_vs_set_timeout).
void EncodeTimeouts(MessageWriter* writer, uint16_t family_id, const TimeoutRecord& timeouts);

// IPVS_CMD_NEW_DAEMON with every value that is not 0; IPVS_CMD_DEL_DAEMON with the state alone.
void EncodeDaemon(MessageWriter* writer, uint16_t family_id, uint8_t command, const DaemonRecord& daemon);

// Replies. Attributes that a table does not have are skipped: newer kernels add some. A known
// attribute of the wrong length, a missing identity or a family that is neither AF_INET nor AF_INET6
// is a kProtocol failure that names the attribute. 32-bit statistics are used where the kernel sends
// no 64-bit ones (before 4.1).
Result<Done> DecodeService(const MessageView& message, ServiceRecord* service);
// `service_family`: of the destinations of kernels before 3.18, which do not say.
Result<Done> DecodeDestination(const MessageView& message, uint16_t service_family, DestinationRecord* destination);
Result<Done> DecodeInfo(const MessageView& message, InfoRecord* info);
Result<Done> DecodeTimeouts(const MessageView& message, TimeoutRecord* timeouts);
Result<Done> DecodeDaemon(const MessageView& message, DaemonRecord* daemon);

}  // namespace ravel::ipvs

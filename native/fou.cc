#include "fou.h"

#include <linux/fou.h>
#include <linux/genetlink.h>
#include <linux/netlink.h>
#include <sys/socket.h>

#include <string>
#include <utility>

namespace ravel::fou {

bool ReadPort(const MessageView& message, PortRecord* out) {
  genlmsghdr header;
  if (!message.Header(&header)) return false;
  AttributeReader reader(message.After<genlmsghdr>());
  AttributeView attribute;
  bool ok = true;
  uint8_t family = 0;
  while (reader.Next(&attribute)) {
    switch (attribute.type) {
      case FOU_ATTR_PORT:
        out->port = attribute.U16Be(&ok);
        break;
      case FOU_ATTR_AF:
        family = attribute.U8(&ok);
        break;
      case FOU_ATTR_IPPROTO:
        out->protocol = attribute.U8(&ok);
        break;
      case FOU_ATTR_TYPE:
        out->type = attribute.U8(&ok);
        break;
      default:
        break;
    }
  }
  out->family = family == AF_INET ? 4 : family == AF_INET6 ? 6 : 0;
  return ok && reader.ok() && out->family != 0 && out->port != 0;
}

void WritePort(MessageWriter& writer, uint16_t family_id, uint8_t command, const PortRecord& port) {
  writer.Begin(family_id, 0);
  writer.Header(genlmsghdr{.cmd = command, .version = FOU_GENL_VERSION, .reserved = 0});
  writer.U16Be(FOU_ATTR_PORT, port.port);
  writer.U8(FOU_ATTR_AF, port.family == 4 ? AF_INET : AF_INET6);
  if (command == FOU_CMD_ADD) {
    writer.U8(FOU_ATTR_TYPE, port.type);
    if (port.protocol != 0) writer.U8(FOU_ATTR_IPPROTO, port.protocol);
  }
  writer.End();
}

Result<std::unique_ptr<Client>> Client::Open(int timeout_ms, int receive_buffer) {
  auto socket = NetlinkSocket::Open(
      {.protocol = NETLINK_GENERIC, .timeout_ms = timeout_ms, .receive_buffer = receive_buffer}, "fou.open");
  if (!socket.ok()) return std::move(socket.failure());
  auto family_id = ResolveGenericFamily(*socket.value(), FOU_GENL_NAME, "modprobe fou");
  if (!family_id.ok()) return std::move(family_id.failure());
  return std::unique_ptr<Client>(new Client(std::move(socket.value()), family_id.value()));
}

Result<std::vector<PortRecord>> Client::List() {
  MessageWriter request;
  request.Begin(family_id_, 0);
  request.Header(genlmsghdr{.cmd = FOU_CMD_GET, .version = FOU_GENL_VERSION, .reserved = 0});
  request.End();
  std::vector<PortRecord> ports;
  const MessageHandler handler = [&](const MessageView& message) -> Result<Done> {
    PortRecord port;
    if (ReadPort(message, &port)) ports.push_back(port);
    return Done{};
  };
  Result<Done> dumped = socket_->Dump(request, "fou.list", "", handler, [&] { ports.clear(); });
  if (!dumped.ok()) return std::move(dumped.failure());
  return ports;
}

Result<Done> Client::Write(uint8_t command, const char* operation, const PortRecord& port) {
  MessageWriter request;
  WritePort(request, family_id_, command, port);
  const std::string subject = "UDP port " + std::to_string(port.port) + (port.family == 4 ? " (ipv4)" : " (ipv6)");
  return socket_->Request(request, operation, subject);
}

Result<Done> Client::Add(const PortRecord& port) { return Write(FOU_CMD_ADD, "fou.add", port); }
Result<Done> Client::Remove(const PortRecord& port) { return Write(FOU_CMD_DEL, "fou.delete", port); }

}  // namespace ravel::fou

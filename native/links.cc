#include "links.h"

#include <arpa/inet.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>

#include <algorithm>
#include <cerrno>
#include <map>

namespace ravel::links {
namespace {

bool NeedsIndex(const OperationRecord& operation) {
  switch (static_cast<OperationCode>(operation.code)) {
    case OperationCode::kAddAddress:
    case OperationCode::kDeleteAddress:
      return true;
    case OperationCode::kAddRoute:
    case OperationCode::kDeleteRoute:
      return operation.name != 0;  // a route may leave the interface to the kernel
    default:
      return false;
  }
}

bool ChangesLinks(const OperationRecord& operation) {
  const auto code = static_cast<OperationCode>(operation.code);
  return code == OperationCode::kAddDummy || code == OperationCode::kAddTunnel || code == OperationCode::kDeleteLink;
}

}  // namespace

Result<std::unique_ptr<Client>> Client::Open(int timeout_ms, int receive_buffer) {
  auto socket = NetlinkSocket::Open(
      {.protocol = NETLINK_ROUTE, .timeout_ms = timeout_ms, .receive_buffer = receive_buffer}, "links.open");
  if (!socket.ok()) return std::move(socket.failure());
  return std::unique_ptr<Client>(new Client(std::move(socket.value())));
}

template <typename Record, typename Header>
Result<std::vector<Record>> Client::List(uint16_t type, const std::string& operation,
                                         bool (*read)(const MessageView&, Record*)) {
  MessageWriter request;
  request.Begin(type, 0);
  request.Header(Header{});
  request.End();
  std::vector<Record> records;
  const MessageHandler handler = [&](const MessageView& message) -> Result<Done> {
    Record record;
    if (read(message, &record)) records.push_back(std::move(record));
    return Done{};
  };
  Result<Done> dumped = socket_->Dump(request, operation, "", handler, [&] { records.clear(); });
  if (!dumped.ok()) return std::move(dumped.failure());
  return records;
}

Result<std::vector<LinkRecord>> Client::Links() {
  return List<LinkRecord, ifinfomsg>(RTM_GETLINK, "links.links", ReadLink);
}
Result<std::vector<AddressRecord>> Client::Addresses() {
  return List<AddressRecord, ifaddrmsg>(RTM_GETADDR, "links.addresses", ReadAddress);
}
Result<std::vector<RouteRecord>> Client::Routes() {
  return List<RouteRecord, rtmsg>(RTM_GETROUTE, "links.routes", ReadRoute);
}
Result<std::vector<NeighbourRecord>> Client::Neighbours() {
  return List<NeighbourRecord, ndmsg>(RTM_GETNEIGH, "links.neighbours", ReadNeighbour);
}

Result<LinkRecord> Client::Find(const std::string& name) {
  MessageWriter request;
  request.Begin(RTM_GETLINK, 0);
  request.Header(ifinfomsg{});
  request.String(IFLA_IFNAME, name);
  request.End();
  LinkRecord found;
  const MessageHandler handler = [&](const MessageView& message) -> Result<Done> {
    static_cast<void>(ReadLink(message, &found));
    return Done{};
  };
  Result<Done> answered = socket_->Request(request, "links.find", name, handler);
  if (!answered.ok()) return std::move(answered.failure());
  if (found.index == 0) {
    return Failure{.kind = FailureKind::kProtocol,
                   .operation = "links.find",
                   .subject = name,
                   .message = "answer without an index"};
  }
  return found;
}

Result<uint32_t> Client::MtuOf(uint32_t index) {
  MessageWriter request;
  request.Begin(RTM_GETLINK, 0);
  ifinfomsg header{};
  header.ifi_index = static_cast<int>(index);
  request.Header(header);
  request.End();
  LinkRecord found;
  const MessageHandler handler = [&](const MessageView& message) -> Result<Done> {
    static_cast<void>(ReadLink(message, &found));
    return Done{};
  };
  Result<Done> answered = socket_->Request(request, "links.routeTo", "interface " + std::to_string(index), handler);
  if (!answered.ok()) return std::move(answered.failure());
  return found.mtu;
}

Result<RouteToRecord> Client::RouteTo(std::span<const uint8_t> address) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  inet_ntop(address.size() == 4 ? AF_INET : AF_INET6, address.data(), text.data(), text.size());
  MessageWriter request;
  WriteRouteTo(request, address);
  RouteToRecord found;
  const MessageHandler handler = [&](const MessageView& message) -> Result<Done> {
    RouteToRecord record;
    if (ReadRouteTo(message, &record)) found = record;
    return Done{};
  };
  Result<Done> answered = socket_->Request(request, "links.routeTo", text.data(), handler);
  if (!answered.ok()) return std::move(answered.failure());
  if (found.index == 0) {
    return Failure{.kind = FailureKind::kProtocol,
                   .operation = "links.routeTo",
                   .subject = text.data(),
                   .message = "answer without an interface"};
  }
  if (found.mtu == 0) {
    Result<uint32_t> mtu = MtuOf(found.index);
    if (!mtu.ok()) return std::move(mtu.failure());
    found.mtu = mtu.value();
  }
  return found;
}

Result<std::vector<MessageError>> Client::Apply(std::span<const OperationRecord> operations,
                                                const std::vector<std::string>& names) {
  std::vector<MessageError> refused;
  MessageWriter writer;
  std::vector<size_t> positions;         // operation of each message in `writer`
  std::map<uint32_t, uint32_t> indexes;  // name to interface index, as far as it is known to hold
  bool links_pending = false;            // `writer` holds something that makes or removes an interface

  const auto flush = [&]() -> Result<Done> {
    Result<std::vector<MessageError>> sent = socket_->Batch(writer, "links.apply");
    if (!sent.ok()) {
      // Operations before this one are answered for; of it and those after it nothing is known.
      const int64_t message = std::max<int64_t>(sent.failure().index, 0);
      sent.failure().index = positions.empty() ? -1 : static_cast<int64_t>(positions[static_cast<size_t>(message)]);
      return std::move(sent.failure());
    }
    for (MessageError& error : sent.value()) {
      error.index = positions[error.index];
      refused.push_back(std::move(error));
    }
    writer.Clear();
    positions.clear();
    links_pending = false;
    return Done{};
  };

  for (size_t i = 0; i < operations.size(); ++i) {
    const OperationRecord& operation = operations[i];
    uint32_t index = 0;
    if (NeedsIndex(operation)) {
      const auto known = indexes.find(operation.name);
      if (known != indexes.end()) {
        index = known->second;
      } else {
        if (links_pending) {
          Result<Done> flushed = flush();
          if (!flushed.ok()) return std::move(flushed.failure());
        }
        Result<LinkRecord> found = Find(names[operation.name]);
        if (found.ok()) {
          index = found.value().index;
          indexes[operation.name] = index;
        } else if (found.failure().kind == FailureKind::kKernel && found.failure().error == ENODEV) {
          refused.push_back({.index = i, .error = ENODEV, .message = "no such interface"});
          continue;
        } else {
          return std::move(found.failure());
        }
      }
    }
    if (ChangesLinks(operation)) {
      indexes.clear();
      links_pending = true;
    }
    WriteOperation(writer, operation, names[operation.name], index);
    positions.push_back(i);
  }
  Result<Done> flushed = flush();
  if (!flushed.ok()) return std::move(flushed.failure());
  std::sort(refused.begin(), refused.end(),
            [](const MessageError& a, const MessageError& b) { return a.index < b.index; });
  return refused;
}

}  // namespace ravel::links

#include "segment.h"

#include <linux/if_arp.h>
#include <linux/if_packet.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>

namespace ravel::packet {
namespace {

constexpr size_t kMostFrames = 1024;  // UIO_MAXIOV: sendmmsg() takes no more at once
constexpr size_t kLongestFrame = 512;

Failure SocketFailure(const char* operation, const std::string& interface, int error) {
  Failure failure = SystemFailure(operation, interface, error);
  if (error == EPERM) failure.message = "needs CAP_NET_RAW";
  return failure;
}

// Index and hardware address of an Ethernet device.
Result<links::LinkRecord> EthernetDevice(links::Client& links, const char* operation, const std::string& interface) {
  Result<links::LinkRecord> found = links.Find(interface);
  if (!found.ok()) {
    Failure failure = std::move(found.failure());
    failure.operation = operation;
    if (failure.error == ENODEV && failure.message.empty()) failure.message = "no such interface";
    return failure;
  }
  if (found.value().type != ARPHRD_ETHER || found.value().hardware.size() != Mac().size()) {
    Failure failure = SystemFailure(operation, interface, EAFNOSUPPORT);
    failure.message = "not an Ethernet device";
    return failure;
  }
  return found;
}

// Waits until the socket takes more; false when it does not before the deadline.
bool WaitForRoom(int fd, std::chrono::steady_clock::time_point deadline) {
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
  pollfd descriptor{fd, POLLOUT, 0};
  return left.count() > 0 && poll(&descriptor, 1, static_cast<int>(left.count())) != 0;
}

sockaddr_ll LinkAddress(const links::LinkRecord& device, uint16_t ether_type) {
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_protocol = __builtin_bswap16(ether_type);
  address.sll_ifindex = static_cast<int>(device.index);
  return address;
}

}  // namespace

uint16_t Get16(std::span<const uint8_t> frame, size_t at) {
  return static_cast<uint16_t>(frame[at] << 8 | frame[at + 1]);
}
void Put16(std::span<uint8_t> frame, size_t at, uint16_t value) {
  frame[at] = static_cast<uint8_t>(value >> 8);
  frame[at + 1] = static_cast<uint8_t>(value);
}

Result<std::unique_ptr<FrameSender>> FrameSender::Open(int timeout_ms, int receive_buffer) {
  auto links = links::Client::Open(timeout_ms, receive_buffer);
  if (!links.ok()) return std::move(links.failure());
  return std::unique_ptr<FrameSender>(new FrameSender(std::move(links.value()), timeout_ms));
}

FrameSender::~FrameSender() {
  if (fd_ >= 0) close(fd_);
}

Result<uint32_t> FrameSender::Send(const char* operation, const std::string& interface, uint16_t ether_type,
                                   const Mac& destination, size_t frame_size,
                                   const std::function<std::vector<uint8_t>(const Mac&)>& build) {
  // Protocol 0: this socket receives nothing.
  if (fd_ < 0) fd_ = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
  if (fd_ < 0) return SocketFailure(operation, interface, errno);
  Result<links::LinkRecord> device = EthernetDevice(*links_, operation, interface);
  if (!device.ok()) return std::move(device.failure());
  Mac own;
  std::copy_n(device.value().hardware.begin(), own.size(), own.begin());
  sockaddr_ll to = LinkAddress(device.value(), ether_type);
  to.sll_halen = destination.size();
  std::copy(destination.begin(), destination.end(), to.sll_addr);

  std::vector<uint8_t> frames = build(own);
  std::vector<iovec> slices(frames.size() / frame_size);
  std::vector<mmsghdr> messages(slices.size());
  for (size_t i = 0; i < slices.size(); ++i) {
    slices[i] = {frames.data() + i * frame_size, frame_size};
    messages[i].msg_hdr.msg_name = &to;
    messages[i].msg_hdr.msg_namelen = sizeof(to);
    messages[i].msg_hdr.msg_iov = &slices[i];
    messages[i].msg_hdr.msg_iovlen = 1;
  }
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(timeout_ms_);
  size_t sent = 0;
  while (sent < messages.size()) {
    const auto count = static_cast<unsigned int>(std::min(messages.size() - sent, kMostFrames));
    const int done = sendmmsg(fd_, messages.data() + sent, count, MSG_DONTWAIT);
    if (done < 0 && errno == EINTR) continue;
    const int error = done < 0 ? errno : 0;
    if (error == EAGAIN && WaitForRoom(fd_, deadline)) continue;
    if (done < 0) {
      Failure failure = SystemFailure(operation, interface, error);
      if (error == EAGAIN) failure.kind = FailureKind::kTimeout;
      failure.message = "after " + std::to_string(sent) + " of " + std::to_string(messages.size()) + " frames";
      return failure;
    }
    sent += static_cast<size_t>(done);
  }
  return static_cast<uint32_t>(sent);
}

Result<std::unique_ptr<FrameListener>> FrameListener::Open(links::Client& links, const char* operation,
                                                           const std::string& interface, uint16_t ether_type,
                                                           std::span<const sock_filter> filter, int receive_buffer) {
  // Protocol 0 until bind(): nothing may arrive before the filter is there.
  const int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
  if (fd < 0) return SocketFailure(operation, interface, errno);
  std::unique_ptr<FrameListener> self(new FrameListener(fd, operation, interface));
  Result<links::LinkRecord> device = EthernetDevice(links, operation, interface);
  if (!device.ok()) return std::move(device.failure());
  const sock_fprog program{static_cast<uint16_t>(filter.size()), const_cast<sock_filter*>(filter.data())};
  if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) != 0) {
    return SocketFailure(operation, interface, errno);
  }
  if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &receive_buffer, sizeof(receive_buffer)) != 0) {
    static_cast<void>(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof(receive_buffer)));
  }
  const sockaddr_ll at = LinkAddress(device.value(), ether_type);
  if (bind(fd, reinterpret_cast<const sockaddr*>(&at), sizeof(at)) != 0) {
    return SocketFailure(operation, interface, errno);
  }
  return self;
}

FrameListener::~FrameListener() { close(fd_); }

Result<bool> FrameListener::Receive(const std::function<void(std::span<const uint8_t>)>& handler) {
  constexpr int kMostPackets = 512;  // so that a storm cannot keep the thread from its queue
  std::array<uint8_t, kLongestFrame> buffer;
  for (int packet = 0; packet < kMostPackets; ++packet) {
    const ssize_t got = recv(fd_, buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) break;
    if (got < 0) return SystemFailure(operation_, interface_, errno);
    handler({buffer.data(), static_cast<size_t>(got)});
  }
  // Reading the counters also clears them.
  tpacket_stats statistics{};
  socklen_t size = sizeof(statistics);
  if (getsockopt(fd_, SOL_PACKET, PACKET_STATISTICS, &statistics, &size) != 0) return false;
  return statistics.tp_drops > 0;
}

}  // namespace ravel::packet

#include "packet.h"

#include <linux/filter.h>
#include <linux/if_arp.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>

namespace ravel::packet {
namespace {

// Offsets in an Ethernet frame that holds ARP (RFC 826).
constexpr size_t kDestination = 0;
constexpr size_t kSource = 6;
constexpr size_t kEtherType = 12;
constexpr size_t kHardwareType = 14;
constexpr size_t kProtocolType = 16;
constexpr size_t kLengths = 18;  // hardware, protocol
constexpr size_t kOperation = 20;
constexpr size_t kSenderMac = 22;
constexpr size_t kSenderAddress = 28;
constexpr size_t kTargetMac = 32;
constexpr size_t kTargetAddress = 38;

constexpr uint16_t kEthernetIpv4Lengths = 0x0604;
constexpr size_t kMostFrames = 1024;  // UIO_MAXIOV: sendmmsg() takes no more at once
constexpr Mac kBroadcast = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

uint16_t Get16(std::span<const uint8_t> frame, size_t at) {
  return static_cast<uint16_t>(frame[at] << 8 | frame[at + 1]);
}
void Put16(ArpFrame& frame, size_t at, uint16_t value) {
  frame[at] = static_cast<uint8_t>(value >> 8);
  frame[at + 1] = static_cast<uint8_t>(value);
}

// Classic BPF: ARP for Ethernet and IPv4, request or reply, long enough, and for this host. Frames of a
// VLAN that has no device here reach us without their tag, but as PACKET_OTHERHOST
// (__netif_receive_skb_core). A jump counts instructions to skip; the last one is "drop".
constexpr sock_filter kArpFilter[] = {
    {BPF_LD | BPF_W | BPF_LEN, 0, 0, 0},
    {BPF_JMP | BPF_JGE | BPF_K, 0, 14, kArpFrameSize},
    {BPF_LD | BPF_H | BPF_ABS, 0, 0, kEtherType},
    {BPF_JMP | BPF_JEQ | BPF_K, 0, 12, ETH_P_ARP},
    {BPF_LD | BPF_H | BPF_ABS, 0, 0, kHardwareType},
    {BPF_JMP | BPF_JEQ | BPF_K, 0, 10, ARPHRD_ETHER},
    {BPF_LD | BPF_H | BPF_ABS, 0, 0, kProtocolType},
    {BPF_JMP | BPF_JEQ | BPF_K, 0, 8, ETH_P_IP},
    {BPF_LD | BPF_H | BPF_ABS, 0, 0, kLengths},
    {BPF_JMP | BPF_JEQ | BPF_K, 0, 6, kEthernetIpv4Lengths},
    {BPF_LD | BPF_H | BPF_ABS, 0, 0, kOperation},
    {BPF_JMP | BPF_JEQ | BPF_K, 1, 0, static_cast<uint16_t>(ArpOperation::kRequest)},
    {BPF_JMP | BPF_JEQ | BPF_K, 0, 3, static_cast<uint16_t>(ArpOperation::kReply)},
    {BPF_LD | BPF_W | BPF_ABS, 0, 0, static_cast<uint32_t>(SKF_AD_OFF + SKF_AD_PKTTYPE)},
    {BPF_JMP | BPF_JGE | BPF_K, 1, 0, PACKET_OTHERHOST},
    {BPF_RET | BPF_K, 0, 0, 0xffff},
    {BPF_RET | BPF_K, 0, 0, 0},
};

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

sockaddr_ll LinkAddress(const links::LinkRecord& device) {
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_protocol = __builtin_bswap16(ETH_P_ARP);
  address.sll_ifindex = static_cast<int>(device.index);
  return address;
}

}  // namespace

ArpFrame WriteArp(const ArpRecord& packet, const Mac& destination) {
  ArpFrame frame{};
  const auto put = [&frame](size_t at, const auto& bytes) {
    std::copy(bytes.begin(), bytes.end(), frame.begin() + at);
  };
  put(kDestination, destination);
  put(kSource, packet.sender_mac);
  Put16(frame, kEtherType, ETH_P_ARP);
  Put16(frame, kHardwareType, ARPHRD_ETHER);
  Put16(frame, kProtocolType, ETH_P_IP);
  Put16(frame, kLengths, kEthernetIpv4Lengths);
  Put16(frame, kOperation, static_cast<uint16_t>(packet.operation));
  put(kSenderMac, packet.sender_mac);
  put(kSenderAddress, packet.sender);
  put(kTargetMac, packet.target_mac);
  put(kTargetAddress, packet.target);
  return frame;
}

std::optional<ArpRecord> ReadArp(std::span<const uint8_t> frame) {
  if (frame.size() < kArpFrameSize) return std::nullopt;
  if (Get16(frame, kEtherType) != ETH_P_ARP || Get16(frame, kHardwareType) != ARPHRD_ETHER) return std::nullopt;
  if (Get16(frame, kProtocolType) != ETH_P_IP || Get16(frame, kLengths) != kEthernetIpv4Lengths) return std::nullopt;
  ArpRecord packet;
  packet.operation = static_cast<ArpOperation>(Get16(frame, kOperation));
  if (packet.operation != ArpOperation::kRequest && packet.operation != ArpOperation::kReply) return std::nullopt;
  const auto get = [&frame](size_t at, auto& out) { std::copy_n(frame.begin() + at, out.size(), out.begin()); };
  get(kSenderMac, packet.sender_mac);
  get(kSenderAddress, packet.sender);
  get(kTargetMac, packet.target_mac);
  get(kTargetAddress, packet.target);
  return packet;
}

ArpRecord Gratuitous(ArpOperation operation, const Mac& mac, const Ipv4& address) {
  return {.operation = operation,
          .sender_mac = mac,
          .sender = address,
          .target_mac = operation == ArpOperation::kReply ? mac : Mac{},
          .target = address};
}

Result<std::unique_ptr<Announcer>> Announcer::Open(int timeout_ms, int receive_buffer) {
  auto links = links::Client::Open(timeout_ms, receive_buffer);
  if (!links.ok()) return std::move(links.failure());
  return std::unique_ptr<Announcer>(new Announcer(std::move(links.value()), timeout_ms));
}

Announcer::~Announcer() {
  if (fd_ >= 0) close(fd_);
}

Result<uint32_t> Announcer::Announce(const std::string& interface, std::span<const Ipv4> addresses, uint32_t forms) {
  constexpr const char* kOperationName = "arp.announce";
  // Protocol 0: this socket receives nothing.
  if (fd_ < 0) fd_ = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
  if (fd_ < 0) return SocketFailure(kOperationName, interface, errno);
  Result<links::LinkRecord> device = EthernetDevice(*links_, kOperationName, interface);
  if (!device.ok()) return std::move(device.failure());
  Mac mac;
  std::copy_n(device.value().hardware.begin(), mac.size(), mac.begin());
  sockaddr_ll to = LinkAddress(device.value());
  to.sll_halen = mac.size();
  std::copy(kBroadcast.begin(), kBroadcast.end(), to.sll_addr);

  std::vector<ArpFrame> frames;
  for (const Ipv4& address : addresses) {
    for (const auto& [bit, operation] :
         {std::pair{kRequestForm, ArpOperation::kRequest}, std::pair{kReplyForm, ArpOperation::kReply}}) {
      if ((forms & bit) != 0) frames.push_back(WriteArp(Gratuitous(operation, mac, address), kBroadcast));
    }
  }
  std::vector<iovec> slices(frames.size());
  std::vector<mmsghdr> messages(frames.size());
  for (size_t i = 0; i < frames.size(); ++i) {
    slices[i] = {frames[i].data(), frames[i].size()};
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
      Failure failure = SystemFailure(kOperationName, interface, error);
      if (error == EAGAIN) failure.kind = FailureKind::kTimeout;
      failure.message = "after " + std::to_string(sent) + " of " + std::to_string(messages.size()) + " frames";
      return failure;
    }
    sent += static_cast<size_t>(done);
  }
  return static_cast<uint32_t>(sent);
}

Result<std::unique_ptr<Listener>> Listener::Open(links::Client& links, const std::string& interface,
                                                 int receive_buffer) {
  constexpr const char* kOperationName = "arp.watch";
  // Protocol 0 until bind(): nothing may arrive before the filter is there.
  const int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
  if (fd < 0) return SocketFailure(kOperationName, interface, errno);
  std::unique_ptr<Listener> self(new Listener(fd, interface));
  Result<links::LinkRecord> device = EthernetDevice(links, kOperationName, interface);
  if (!device.ok()) return std::move(device.failure());
  const sock_fprog program{std::size(kArpFilter), const_cast<sock_filter*>(kArpFilter)};
  if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) != 0) {
    return SocketFailure(kOperationName, interface, errno);
  }
  if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &receive_buffer, sizeof(receive_buffer)) != 0) {
    static_cast<void>(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof(receive_buffer)));
  }
  const sockaddr_ll at = LinkAddress(device.value());
  if (bind(fd, reinterpret_cast<const sockaddr*>(&at), sizeof(at)) != 0) {
    return SocketFailure(kOperationName, interface, errno);
  }
  return self;
}

Listener::~Listener() { close(fd_); }

Result<bool> Listener::Receive(const std::function<void(const ArpRecord&)>& handler) {
  constexpr int kMostPackets = 512;  // so that a storm cannot keep the thread from its queue
  std::array<uint8_t, 128> buffer;   // an ARP frame has 42 bytes, 60 with padding
  for (int packet = 0; packet < kMostPackets; ++packet) {
    const ssize_t got = recv(fd_, buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) break;
    if (got < 0) return SystemFailure("arp.watch", interface_, errno);
    const std::optional<ArpRecord> read = ReadArp({buffer.data(), static_cast<size_t>(got)});
    if (read.has_value()) handler(*read);
  }
  // Reading the counters also clears them.
  tpacket_stats statistics{};
  socklen_t size = sizeof(statistics);
  if (getsockopt(fd_, SOL_PACKET, PACKET_STATISTICS, &statistics, &size) != 0) return false;
  return statistics.tp_drops > 0;
}

}  // namespace ravel::packet

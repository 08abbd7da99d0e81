#include "packet.h"

#include <linux/filter.h>
#include <linux/if_arp.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>

#include <algorithm>

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
constexpr Mac kBroadcast = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

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
  auto sender = FrameSender::Open(timeout_ms, receive_buffer);
  if (!sender.ok()) return std::move(sender.failure());
  return std::unique_ptr<Announcer>(new Announcer(std::move(sender.value())));
}

Result<uint32_t> Announcer::Announce(const std::string& interface, std::span<const Ipv4> addresses, uint32_t forms) {
  return sender_->Send("arp.announce", interface, ETH_P_ARP, kBroadcast, kArpFrameSize, [&](const Mac& mac) {
    std::vector<uint8_t> frames;
    frames.reserve(addresses.size() * 2 * kArpFrameSize);
    for (const Ipv4& address : addresses) {
      for (const auto& [bit, operation] :
           {std::pair{kRequestForm, ArpOperation::kRequest}, std::pair{kReplyForm, ArpOperation::kReply}}) {
        if ((forms & bit) == 0) continue;
        const ArpFrame frame = WriteArp(Gratuitous(operation, mac, address), kBroadcast);
        frames.insert(frames.end(), frame.begin(), frame.end());
      }
    }
    return frames;
  });
}

Result<std::unique_ptr<Listener>> Listener::Open(links::Client& links, const std::string& interface,
                                                 int receive_buffer) {
  auto frames = FrameListener::Open(links, "arp.watch", interface, ETH_P_ARP, kArpFilter, receive_buffer);
  if (!frames.ok()) return std::move(frames.failure());
  return std::unique_ptr<Listener>(new Listener(std::move(frames.value())));
}

Result<bool> Listener::Receive(const std::function<void(const ArpRecord&)>& handler) {
  return frames_->Receive([&handler](std::span<const uint8_t> frame) {
    const std::optional<ArpRecord> read = ReadArp(frame);
    if (read.has_value()) handler(*read);
  });
}

}  // namespace ravel::packet

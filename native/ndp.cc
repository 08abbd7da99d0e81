#include "ndp.h"

#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>

#include <algorithm>

namespace ravel::ndp {
namespace {

using packet::Get16;
using packet::Put16;

// Offsets in an Ethernet frame that holds IPv6 without extension headers and an ND message.
constexpr size_t kDestinationMac = 0;
constexpr size_t kSourceMac = 6;
constexpr size_t kEtherType = 12;
constexpr size_t kVersion = 14;
constexpr size_t kPayloadLength = 18;
constexpr size_t kNextHeader = 20;
constexpr size_t kHopLimit = 21;
constexpr size_t kSource = 22;
constexpr size_t kDestination = 38;
constexpr size_t kIcmp = 54;
constexpr size_t kType = 54;
constexpr size_t kCode = 55;
constexpr size_t kChecksum = 56;
constexpr size_t kFlags = 58;
constexpr size_t kTarget = 62;
constexpr size_t kOptions = 78;

constexpr size_t kLeastIcmp = kOptions - kIcmp;  // RFC 4861 section 7.1: 24 or more octets
constexpr uint8_t kIcmpv6 = 58;
constexpr uint8_t kHops = 255;  // nobody but a neighbour can send it
constexpr uint8_t kSourceLinkLayer = 1;
constexpr uint8_t kTargetLinkLayer = 2;
constexpr size_t kLinkLayerOption = 8;  // type, length, an Ethernet address (RFC 2464 section 6)

constexpr Mac kAllNodesMac = {0x33, 0x33, 0, 0, 0, 1};
constexpr Ipv6 kAllNodes = {0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
// ff02::1:ff00:0/104 (RFC 4291 section 2.7.1).
constexpr std::array<uint8_t, 13> kSolicitedNode = {0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff};

// Classic BPF: ICMPv6 right after the IPv6 header, from a neighbour, the two types, and for this host or a
// group (frames for others are PACKET_OTHERHOST). A jump counts instructions to skip; the last one is "drop".
constexpr sock_filter kNdpFilter[] = {
    {BPF_LD | BPF_W | BPF_LEN, 0, 0, 0},
    {BPF_JMP | BPF_JGE | BPF_K, 0, 10, kOptions},
    {BPF_LD | BPF_H | BPF_ABS, 0, 0, kEtherType},
    {BPF_JMP | BPF_JEQ | BPF_K, 0, 8, ETH_P_IPV6},
    {BPF_LD | BPF_H | BPF_ABS, 0, 0, kNextHeader},
    {BPF_JMP | BPF_JEQ | BPF_K, 0, 6, kIcmpv6 << 8 | kHops},
    {BPF_LD | BPF_H | BPF_ABS, 0, 0, kType},
    {BPF_JMP | BPF_JEQ | BPF_K, 1, 0, static_cast<uint32_t>(Kind::kSolicitation) << 8},
    {BPF_JMP | BPF_JEQ | BPF_K, 0, 3, static_cast<uint32_t>(Kind::kAdvertisement) << 8},
    {BPF_LD | BPF_W | BPF_ABS, 0, 0, static_cast<uint32_t>(SKF_AD_OFF + SKF_AD_PKTTYPE)},
    {BPF_JMP | BPF_JGE | BPF_K, 1, 0, PACKET_OTHERHOST},
    {BPF_RET | BPF_K, 0, 0, 0xffff},
    {BPF_RET | BPF_K, 0, 0, 0},
};

bool IsMulticast(std::span<const uint8_t> address) { return address[0] == 0xff; }

bool IsUnspecified(std::span<const uint8_t> address) {
  return std::all_of(address.begin(), address.end(), [](uint8_t byte) { return byte == 0; });
}

// Sum of 16-bit words; an odd last byte counts as the high one (RFC 1071).
uint32_t Sum(std::span<const uint8_t> bytes, uint32_t sum) {
  for (size_t at = 0; at + 1 < bytes.size(); at += 2) sum += Get16(bytes, at);
  if (bytes.size() % 2 == 1) sum += static_cast<uint32_t>(bytes.back()) << 8;
  return sum;
}

// Over the pseudo-header (RFC 8200 section 8.1) and the message; 0 when the checksum in it is right.
uint16_t Checksum(std::span<const uint8_t> frame, size_t length) {
  uint32_t sum = static_cast<uint32_t>(length) + kIcmpv6;
  sum = Sum(frame.subspan(kSource, 2 * Ipv6().size()), sum);
  sum = Sum(frame.subspan(kIcmp, length), sum);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(~sum);
}

// The link-layer address among the options. False when their lengths do not add up.
bool ReadOptions(std::span<const uint8_t> options, uint8_t wanted, std::optional<Mac>* out) {
  while (!options.empty()) {
    // In units of eight octets; zero is to be thrown away (RFC 4861 section 4.6).
    const size_t length = options.size() < 2 ? 0 : size_t{options[1]} * 8;
    if (length == 0 || length > options.size()) return false;
    if (options[0] == wanted) {
      if (length != kLinkLayerOption) return false;
      Mac mac;
      std::copy_n(options.begin() + 2, mac.size(), mac.begin());
      *out = mac;
    }
    options = options.subspan(length);
  }
  return true;
}

}  // namespace

AdvertisementFrame WriteAdvertisement(const Mac& mac, const Ipv6& address) {
  AdvertisementFrame frame{};
  const auto put = [&frame](size_t at, const auto& bytes) {
    std::copy(bytes.begin(), bytes.end(), frame.begin() + static_cast<std::ptrdiff_t>(at));
  };
  constexpr size_t kLength = kAdvertisementSize - kIcmp;
  put(kDestinationMac, kAllNodesMac);
  put(kSourceMac, mac);
  Put16(frame, kEtherType, ETH_P_IPV6);
  frame[kVersion] = 6 << 4;
  Put16(frame, kPayloadLength, kLength);
  frame[kNextHeader] = kIcmpv6;
  frame[kHopLimit] = kHops;
  put(kSource, address);
  put(kDestination, kAllNodes);
  frame[kType] = static_cast<uint8_t>(Kind::kAdvertisement);
  frame[kFlags] = kOverride;
  put(kTarget, address);
  frame[kOptions] = kTargetLinkLayer;
  frame[kOptions + 1] = kLinkLayerOption / 8;
  put(kOptions + 2, mac);
  Put16(frame, kChecksum, Checksum(frame, kLength));
  return frame;
}

std::optional<NdpRecord> ReadNdp(std::span<const uint8_t> frame) {
  if (frame.size() < kOptions || Get16(frame, kEtherType) != ETH_P_IPV6) return std::nullopt;
  if (frame[kVersion] >> 4 != 6 || frame[kNextHeader] != kIcmpv6 || frame[kHopLimit] != kHops) return std::nullopt;
  const size_t length = Get16(frame, kPayloadLength);
  // What follows the packet is padding of the frame.
  if (length < kLeastIcmp || length > frame.size() - kIcmp) return std::nullopt;
  NdpRecord record;
  record.kind = static_cast<Kind>(frame[kType]);
  const bool advertisement = record.kind == Kind::kAdvertisement;
  if (!advertisement && record.kind != Kind::kSolicitation) return std::nullopt;
  if (frame[kCode] != 0 || Checksum(frame, length) != 0) return std::nullopt;
  const auto get = [&frame](size_t at, auto& out) {
    std::copy_n(frame.begin() + static_cast<std::ptrdiff_t>(at), out.size(), out.begin());
  };
  Ipv6 destination;
  get(kSourceMac, record.sender_mac);
  get(kSource, record.sender);
  get(kDestination, destination);
  get(kTarget, record.target);
  if (IsMulticast(record.target) || IsMulticast(record.sender)) return std::nullopt;
  if (!ReadOptions(frame.subspan(kOptions, length - kLeastIcmp), advertisement ? kTargetLinkLayer : kSourceLinkLayer,
                   &record.link_layer)) {
    return std::nullopt;
  }
  if (advertisement) {
    record.flags = frame[kFlags];
    // What was asked for goes to the one who asked.
    if (IsMulticast(destination) && (record.flags & kSolicited) != 0) return std::nullopt;
  } else if (IsUnspecified(record.sender)) {
    // Duplicate address detection: asked of a group, by somebody who has no address yet.
    const bool group = std::equal(kSolicitedNode.begin(), kSolicitedNode.end(), destination.begin());
    if (!group || record.link_layer.has_value()) return std::nullopt;
  }
  return record;
}

Result<std::unique_ptr<Announcer>> Announcer::Open(int timeout_ms, int receive_buffer) {
  auto sender = packet::FrameSender::Open(timeout_ms, receive_buffer);
  if (!sender.ok()) return std::move(sender.failure());
  return std::unique_ptr<Announcer>(new Announcer(std::move(sender.value())));
}

Result<uint32_t> Announcer::Announce(const std::string& interface, std::span<const Ipv6> addresses) {
  return sender_->Send("ndp.announce", interface, ETH_P_IPV6, kAllNodesMac, kAdvertisementSize, [&](const Mac& mac) {
    std::vector<uint8_t> frames;
    frames.reserve(addresses.size() * kAdvertisementSize);
    for (const Ipv6& address : addresses) {
      const AdvertisementFrame frame = WriteAdvertisement(mac, address);
      frames.insert(frames.end(), frame.begin(), frame.end());
    }
    return frames;
  });
}

Result<std::unique_ptr<Listener>> Listener::Open(links::Client& links, const std::string& interface,
                                                 int receive_buffer) {
  auto frames = packet::FrameListener::Open(links, "ndp.watch", interface, ETH_P_IPV6, kNdpFilter, receive_buffer);
  if (!frames.ok()) return std::move(frames.failure());
  return std::unique_ptr<Listener>(new Listener(std::move(frames.value())));
}

Result<bool> Listener::Receive(const std::function<void(const NdpRecord&)>& handler) {
  return frames_->Receive([&handler](std::span<const uint8_t> frame) {
    const std::optional<NdpRecord> read = ReadNdp(frame);
    if (read.has_value()) handler(*read);
  });
}

}  // namespace ravel::ndp

// ARP over packet sockets (packet(7), RFC 826): gratuitous announcements, and what others say.
// Node-free; used on an executor's thread only.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "links.h"
#include "result.h"
#include "segment.h"

namespace ravel::packet {

using Ipv4 = std::array<uint8_t, 4>;

// ARPOP_REQUEST, ARPOP_REPLY (linux/if_arp.h).
enum class ArpOperation : uint16_t { kRequest = 1, kReply = 2 };

struct ArpRecord {
  ArpOperation operation = ArpOperation::kRequest;
  Mac sender_mac = {};
  Ipv4 sender = {};
  Mac target_mac = {};
  Ipv4 target = {};
};

// Ethernet header (14 bytes) and ARP for Ethernet and IPv4 (28).
constexpr size_t kArpFrameSize = 42;
using ArpFrame = std::array<uint8_t, kArpFrameSize>;

ArpFrame WriteArp(const ArpRecord& packet, const Mac& destination);
// Reads a whole Ethernet frame. Positions are fixed: the length fields of the packet must say 6 and
// 4, and are not used for anything else. Empty for all other frames.
std::optional<ArpRecord> ReadArp(std::span<const uint8_t> frame);

// An announcement of `address`: sender and target protocol address are both the announced one. The
// request form has no target hardware address, the reply form the sender's (RFC 5944 section 4.6).
ArpRecord Gratuitous(ArpOperation operation, const Mac& mac, const Ipv4& address);

// Forms of an announcement, as bits.
constexpr uint32_t kRequestForm = 1;
constexpr uint32_t kReplyForm = 2;

class Announcer {
 public:
  static Result<std::unique_ptr<Announcer>> Open(int timeout_ms, int receive_buffer);

  // Broadcasts the forms for each address with the interface's own hardware address. Returns the number
  // of frames sent; fails as FrameSender::Send() does.
  Result<uint32_t> Announce(const std::string& interface, std::span<const Ipv4> addresses, uint32_t forms);

 private:
  explicit Announcer(std::unique_ptr<FrameSender> sender) : sender_(std::move(sender)) {}
  std::unique_ptr<FrameSender> sender_;
};

// ARP received on one interface, filtered in the kernel.
class Listener {
 public:
  static Result<std::unique_ptr<Listener>> Open(links::Client& links, const std::string& interface, int receive_buffer);

  // As FrameListener::Receive().
  Result<bool> Receive(const std::function<void(const ArpRecord&)>& handler);
  [[nodiscard]] int fd() const { return frames_->fd(); }

 private:
  explicit Listener(std::unique_ptr<FrameListener> frames) : frames_(std::move(frames)) {}
  std::unique_ptr<FrameListener> frames_;
};

}  // namespace ravel::packet

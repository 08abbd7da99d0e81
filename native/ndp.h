// Neighbour discovery over packet sockets (RFC 4861): unsolicited advertisements, and what others say.
// Node-free; used on an executor's thread only.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "links.h"
#include "result.h"
#include "segment.h"

namespace ravel::ndp {

using packet::Mac;
using Ipv6 = std::array<uint8_t, 16>;

// ICMPv6 types (RFC 4861 sections 4.3 and 4.4).
enum class Kind : uint8_t { kSolicitation = 135, kAdvertisement = 136 };

// First byte of an advertisement's flags.
constexpr uint8_t kRouter = 0x80;
constexpr uint8_t kSolicited = 0x40;
constexpr uint8_t kOverride = 0x20;

struct NdpRecord {
  Kind kind = Kind::kAdvertisement;
  uint8_t flags = 0;  // of an advertisement
  Mac sender_mac = {};
  Ipv6 sender = {};
  Ipv6 target = {};
  // Target link-layer address of an advertisement, source link-layer address of a solicitation.
  std::optional<Mac> link_layer = {};
};

// Ethernet header (14 bytes), IPv6 (40), neighbour advertisement (24), one link-layer address (8).
constexpr size_t kAdvertisementSize = 86;
using AdvertisementFrame = std::array<uint8_t, kAdvertisementSize>;

// An unsolicited advertisement of `address` to all nodes (RFC 4861 section 7.2.6), override flag set.
AdvertisementFrame WriteAdvertisement(const Mac& mac, const Ipv6& address);
// Reads a whole Ethernet frame, as strictly as RFC 4861 sections 7.1.1 and 7.1.2 ask of a receiver. Empty
// for what they have it throw away, and for all other frames; packets with extension headers among them.
std::optional<NdpRecord> ReadNdp(std::span<const uint8_t> frame);

class Announcer {
 public:
  static Result<std::unique_ptr<Announcer>> Open(int timeout_ms, int receive_buffer);

  // An unsolicited advertisement per address with the interface's own hardware address. Returns the
  // number of frames sent; fails as FrameSender::Send() does.
  Result<uint32_t> Announce(const std::string& interface, std::span<const Ipv6> addresses);

 private:
  explicit Announcer(std::unique_ptr<packet::FrameSender> sender) : sender_(std::move(sender)) {}
  std::unique_ptr<packet::FrameSender> sender_;
};

// Advertisements and solicitations received on one interface, filtered in the kernel.
class Listener {
 public:
  static Result<std::unique_ptr<Listener>> Open(links::Client& links, const std::string& interface, int receive_buffer);

  // As FrameListener::Receive().
  Result<bool> Receive(const std::function<void(const NdpRecord&)>& handler);
  [[nodiscard]] int fd() const { return frames_->fd(); }

 private:
  explicit Listener(std::unique_ptr<packet::FrameListener> frames) : frames_(std::move(frames)) {}
  std::unique_ptr<packet::FrameListener> frames_;
};

}  // namespace ravel::ndp

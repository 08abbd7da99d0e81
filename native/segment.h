// Ethernet frames over packet sockets (packet(7)): what ARP and neighbour discovery have in common.
// Node-free; used on an executor's thread only.
#pragma once

#include <linux/filter.h>

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "links.h"
#include "result.h"

namespace ravel::packet {

using Mac = std::array<uint8_t, 6>;

// Numbers in network order, at a place that the caller has checked.
uint16_t Get16(std::span<const uint8_t> frame, size_t at);
void Put16(std::span<uint8_t> frame, size_t at, uint16_t value);

// Sends frames of one size out of an Ethernet device.
class FrameSender {
 public:
  static Result<std::unique_ptr<FrameSender>> Open(int timeout_ms, int receive_buffer);
  ~FrameSender();
  FrameSender(const FrameSender&) = delete;
  FrameSender& operator=(const FrameSender&) = delete;

  // `build` gives the frames, one behind the other, for the interface's own hardware address. 1,024 of
  // them (the kernel's UIO_MAXIOV) go in one system call. Returns the number sent; kTimeout when the
  // interface does not take them all in time, for a shaped or stuck one would hold the thread for ever.
  Result<uint32_t> Send(const char* operation, const std::string& interface, uint16_t ether_type,
                        const Mac& destination, size_t frame_size,
                        const std::function<std::vector<uint8_t>(const Mac&)>& build);

 private:
  FrameSender(std::unique_ptr<links::Client> links, int timeout_ms)
      : links_(std::move(links)), timeout_ms_(timeout_ms) {}
  std::unique_ptr<links::Client> links_;
  int timeout_ms_;
  int fd_ = -1;  // opened by the first call: the right to do so is not needed before
};

// Frames of one type that are received on one Ethernet device, filtered in the kernel.
class FrameListener {
 public:
  static Result<std::unique_ptr<FrameListener>> Open(links::Client& links, const char* operation,
                                                     const std::string& interface, uint16_t ether_type,
                                                     std::span<const sock_filter> filter, int receive_buffer);
  ~FrameListener();
  FrameListener(const FrameListener&) = delete;
  FrameListener& operator=(const FrameListener&) = delete;

  // Reads what is queued without blocking, each frame cut at 512 bytes; true when the kernel dropped
  // packets. A Failure ENETDOWN when the interface went down or away.
  Result<bool> Receive(const std::function<void(std::span<const uint8_t>)>& handler);
  [[nodiscard]] int fd() const { return fd_; }

 private:
  FrameListener(int fd, const char* operation, std::string interface)
      : fd_(fd), operation_(operation), interface_(std::move(interface)) {}
  int fd_;
  const char* operation_;
  std::string interface_;
};

}  // namespace ravel::packet

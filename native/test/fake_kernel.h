// The other end of a socketpair, answering as netlink would: queued answers, recorded requests.
#pragma once

#include <sys/socket.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "../netlink.h"

namespace ravel::test {

class FakeKernel {
 public:
  // Every NewDescriptor() is a fresh pair; answers go to the newest.
  FakeKernel() = default;
  FakeKernel(const FakeKernel&) = delete;
  FakeKernel& operator=(const FakeKernel&) = delete;
  ~FakeKernel() {
    for (const int fd : ends_) close(fd);
  }

  int NewDescriptor() {
    int pair[2] = {-1, -1};
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) return -1;
    const int room = 1 << 20;
    setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
    ends_.push_back(pair[0]);
    return pair[1];
  }

  std::unique_ptr<NetlinkSocket> Open(int timeout_ms = 2000) {
    return NetlinkSocket::FromDescriptorForTest(NewDescriptor(), timeout_ms, [this] { return NewDescriptor(); });
  }

  [[nodiscard]] size_t descriptors() const { return ends_.size(); }

  bool Raw(const std::vector<uint8_t>& datagram, size_t which = SIZE_MAX) {
    const int fd = which == SIZE_MAX ? ends_.back() : ends_[which];
    return send(fd, datagram.data(), datagram.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(datagram.size());
  }

  // One message; `body` after the header.
  static std::vector<uint8_t> Message(uint16_t type, uint16_t flags, uint32_t sequence,
                                      const std::vector<uint8_t>& body) {
    nlmsghdr header{static_cast<uint32_t>(sizeof(nlmsghdr) + body.size()), type, flags, sequence, 0};
    std::vector<uint8_t> bytes(sizeof(header));
    std::memcpy(bytes.data(), &header, sizeof(header));
    bytes.insert(bytes.end(), body.begin(), body.end());
    bytes.resize(NLMSG_ALIGN(bytes.size()));
    return bytes;
  }

  // NLMSG_ERROR as netlink_ack() writes it with NETLINK_CAP_ACK; text and offset make it extended.
  static std::vector<uint8_t> Ack(uint32_t sequence, int error, const std::string& text = {}, uint32_t offset = 0,
                                  size_t copied_request = 0) {
    nlmsgerr body{-error, {static_cast<uint32_t>(sizeof(nlmsghdr) + copied_request), 0, 0, sequence, 0}};
    std::vector<uint8_t> bytes(sizeof(body) + copied_request);
    std::memcpy(bytes.data(), &body, sizeof(body));
    uint16_t flags = copied_request == 0 ? NLM_F_CAPPED : 0;
    if (!text.empty()) {
      flags |= NLM_F_ACK_TLVS;
      MessageWriter writer;
      writer.Begin(0, 0);
      writer.String(NLMSGERR_ATTR_MSG, text);
      writer.U32(NLMSGERR_ATTR_OFFS, offset);
      bytes.insert(bytes.end(), writer.bytes().begin() + sizeof(nlmsghdr), writer.bytes().end());
    }
    return Message(NLMSG_ERROR, flags, sequence, bytes);
  }

  static std::vector<uint8_t> DumpEnd(uint32_t sequence, int error = 0, uint16_t flags = 0) {
    const int code = -error;
    std::vector<uint8_t> body(sizeof(code));
    std::memcpy(body.data(), &code, sizeof(code));
    return Message(NLMSG_DONE, NLM_F_MULTI | flags, sequence, body);
  }

  // The next request datagram; empty when there is none.
  std::vector<uint8_t> Taken(size_t which = 0) {
    std::vector<uint8_t> bytes(1 << 20);
    const ssize_t got = recv(ends_[which], bytes.data(), bytes.size(), MSG_DONTWAIT);
    bytes.resize(got > 0 ? static_cast<size_t>(got) : 0);
    return bytes;
  }

 private:
  std::vector<int> ends_;
};

// `count` messages of type 16 with one u32 each.
inline void Fill(MessageWriter& writer, int count) {
  for (int i = 0; i < count; ++i) {
    writer.Begin(NLMSG_MIN_TYPE, 0);
    writer.U32(1, static_cast<uint32_t>(i));
    writer.End();
  }
}

}  // namespace ravel::test

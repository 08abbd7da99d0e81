// The descriptor of a netlink socket: options, sending, receiving, and what breaks it.
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "netlink.h"

namespace ravel {
namespace {

// netlink_recvmsg() never builds a dump datagram above 32 KiB; answers to one request stay below
// 64 KiB (nla_len). The rest is room for families that ignore both.
constexpr size_t kReceiveBytes = 256 << 10;
// netlink_sendmsg() refuses a datagram above sk_sndbuf - 32.
constexpr size_t kSendOverhead = 32;

bool SetInt(int fd, int level, int name, int value) { return setsockopt(fd, level, name, &value, sizeof(value)) == 0; }

int GetInt(int fd, int level, int name) {
  int value = 0;
  socklen_t size = sizeof(value);
  return getsockopt(fd, level, name, &value, &size) == 0 ? value : 0;
}

}  // namespace

Result<std::unique_ptr<NetlinkSocket>> NetlinkSocket::Open(const NetlinkOptions& options,
                                                           const std::string& operation) {
  std::unique_ptr<NetlinkSocket> self(new NetlinkSocket(options));
  Result<Done> opened = self->OpenDescriptor(operation);
  if (!opened.ok()) return std::move(opened.failure());
  return self;
}

std::unique_ptr<NetlinkSocket> NetlinkSocket::FromDescriptorForTest(int fd, int timeout_ms,
                                                                    std::function<int()> reopen) {
  std::unique_ptr<NetlinkSocket> self(new NetlinkSocket({.timeout_ms = timeout_ms}));
  self->check_sender_ = false;
  self->reopen_for_test_ = [fd, again = std::move(reopen), opened = false]() mutable {
    if (std::exchange(opened, true)) return again ? again() : -1;
    return fd;
  };
  static_cast<void>(self->OpenDescriptor("test"));
  return self;
}

NetlinkSocket::~NetlinkSocket() { Shut(); }

void NetlinkSocket::Shut() {
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
}

Result<Done> NetlinkSocket::OpenDescriptor(const std::string& operation) {
  if (reopen_for_test_) {
    fd_ = reopen_for_test_();
    if (fd_ < 0)
      return Failure{.kind = FailureKind::kClosed, .operation = operation, .message = "the socket is closed"};
  } else {
    fd_ = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, options_.protocol);
    if (fd_ < 0) return SystemFailure(operation, "netlink socket", errno);
    sockaddr_nl address{};
    address.nl_family = AF_NETLINK;
    socklen_t size = sizeof(address);
    const char* step = nullptr;
    if (!SetInt(fd_, SOL_NETLINK, NETLINK_EXT_ACK, 1)) step = "NETLINK_EXT_ACK";
    if (step == nullptr && !SetInt(fd_, SOL_NETLINK, NETLINK_CAP_ACK, 1)) step = "NETLINK_CAP_ACK";
    if (step == nullptr && bind(fd_, reinterpret_cast<sockaddr*>(&address), size) != 0) step = "bind";
    if (step == nullptr && getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size) != 0) step = "getsockname";
    for (const uint32_t group : options_.groups) {
      if (step == nullptr && !SetInt(fd_, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, static_cast<int>(group))) {
        step = "NETLINK_ADD_MEMBERSHIP";
      }
    }
    if (step != nullptr) {
      Failure failure = SystemFailure(operation, step, errno);
      Shut();
      return failure;
    }
    port_ = address.nl_pid;
    // Linux 4.20; older kernels ignore unknown header fields instead of refusing them.
    static_cast<void>(SetInt(fd_, SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1));
    // The forced form needs CAP_NET_ADMIN in the initial user namespace.
    if (!SetInt(fd_, SOL_SOCKET, SO_RCVBUFFORCE, options_.receive_buffer)) {
      static_cast<void>(SetInt(fd_, SOL_SOCKET, SO_RCVBUF, options_.receive_buffer));
    }
  }
  const timeval timeout{options_.timeout_ms / 1000, options_.timeout_ms % 1000 * 1000L};
  static_cast<void>(setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)));
  static_cast<void>(setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)));
  send_limit_ = static_cast<size_t>(GetInt(fd_, SOL_SOCKET, SO_SNDBUF)) - kSendOverhead;
  receive_limit_ = static_cast<size_t>(GetInt(fd_, SOL_SOCKET, SO_RCVBUF));
  if (buffer_.empty()) buffer_.resize(kReceiveBytes);
  return Done{};
}

bool NetlinkSocket::RoomFor(size_t bytes) {
  if (bytes <= send_limit_) return true;
  const int wanted = static_cast<int>(bytes + kSendOverhead);  // the kernel doubles what it is given
  if (!SetInt(fd_, SOL_SOCKET, SO_SNDBUFFORCE, wanted)) static_cast<void>(SetInt(fd_, SOL_SOCKET, SO_SNDBUF, wanted));
  send_limit_ = static_cast<size_t>(GetInt(fd_, SOL_SOCKET, SO_SNDBUF)) - kSendOverhead;
  return bytes <= send_limit_;
}

Result<Done> NetlinkSocket::Send(const uint8_t* data, size_t size, const std::string& operation) {
  ssize_t sent = 0;
  do {
    sent = send(fd_, data, size, MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  if (sent == static_cast<ssize_t>(size)) return Done{};
  if (sent >= 0) return ProtocolFailure(operation, "the kernel took only part of the request");
  return SystemFailure(operation, "send", errno);
}

NetlinkSocket::ReadState NetlinkSocket::Read(bool block, size_t* size, int* error) {
  sockaddr_nl sender{};
  iovec slice{buffer_.data(), buffer_.size()};
  msghdr header{};
  header.msg_name = &sender;
  header.msg_namelen = sizeof(sender);
  header.msg_iov = &slice;
  header.msg_iovlen = 1;
  ssize_t got = 0;
  do {
    got = recvmsg(fd_, &header, block ? 0 : MSG_DONTWAIT);
  } while (got < 0 && errno == EINTR);
  if (got < 0) {
    *error = errno;
    if (errno == ENOBUFS) return ReadState::kOverrun;
    if (errno != EAGAIN) return ReadState::kError;
    return block ? ReadState::kSilence : ReadState::kEmpty;
  }
  if (check_sender_ && (header.msg_namelen != sizeof(sender) || sender.nl_pid != 0)) {
    ++dropped_;
    return ReadState::kForeign;
  }
  if ((header.msg_flags & MSG_TRUNC) != 0) return ReadState::kTruncated;
  if (got == 0 && !check_sender_) {  // the other end of a test's socketpair closed
    *error = ECONNRESET;
    return ReadState::kError;
  }
  *size = static_cast<size_t>(got);
  return ReadState::kData;
}

// The conversation cannot go on. A new socket takes over, so that answers which are still under way
// are never read as answers to the next request.
Failure NetlinkSocket::Broken(ReadState state, int error, const std::string& operation) {
  Failure failure = SystemFailure(operation, "receive", error);
  if (state == ReadState::kSilence) {
    failure.kind = FailureKind::kTimeout;
    failure.message = "no answer within " + std::to_string(options_.timeout_ms) + " ms; the socket was reopened";
  } else if (state == ReadState::kTruncated) {
    failure = ProtocolFailure(operation, "answer longer than " + std::to_string(kReceiveBytes) + " bytes was cut off");
  } else if (state == ReadState::kOverrun) {
    failure.error = ENOBUFS;
    failure.message = "the socket's receive buffer overflowed and answers were lost";
  }
  Shut();
  static_cast<void>(OpenDescriptor(operation));  // Prepare() tries again, and reports, when this fails
  return failure;
}

std::string ErrnoName(int error) {
  constexpr int kNotSupported = 524;  // ENOTSUPP, which the kernel leaks from some subsystems
  if (error == kNotSupported) return "ENOTSUPP";
  const char* name = strerrorname_np(error);
  return name != nullptr && error > 0 ? std::string(name) : "E" + std::to_string(error);
}

Failure SystemFailure(const std::string& operation, const std::string& subject, int error) {
  return {.kind = FailureKind::kKernel, .operation = operation, .subject = subject, .error = error};
}

Failure ProtocolFailure(const std::string& operation, const std::string& what) {
  return {.kind = FailureKind::kProtocol, .operation = operation, .message = what};
}

}  // namespace ravel

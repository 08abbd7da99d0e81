// One netlink socket and the transport rules common to every family: batches with a fence, dumps,
// extended acknowledgements, overrun. Node-free; used only on an executor's thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "message.h"
#include "result.h"

namespace ravel {

struct NetlinkOptions {
  int protocol = 0;  // NETLINK_GENERIC, NETLINK_NETFILTER, NETLINK_ROUTE
  int timeout_ms = 10000;
  int receive_buffer = 8 << 20;  // SO_RCVBUFFORCE, else SO_RCVBUF
  // Multicast groups to join (NETLINK_ADD_MEMBERSHIP); a socket that has any is for Receive() only.
  std::vector<uint32_t> groups = {};
};

// What the kernel said of one message of a batch.
struct MessageError {
  size_t index = 0;  // message, 0-based in the batch
  int error = 0;     // positive errno
  std::string message = {};
  uint32_t offset = 0;
};

using MessageHandler = std::function<Result<Done>(const MessageView&)>;

class NetlinkSocket {
 public:
  // Opens, sets NETLINK_EXT_ACK and NETLINK_CAP_ACK and NETLINK_GET_STRICT_CHK, binds. Fails when
  // the kernel refuses one of the first two; strict checking is left out where it is unknown.
  static Result<std::unique_ptr<NetlinkSocket>> Open(const NetlinkOptions& options, const std::string& operation);
  ~NetlinkSocket();
  NetlinkSocket(const NetlinkSocket&) = delete;
  NetlinkSocket& operator=(const NetlinkSocket&) = delete;

  // Sends the messages of `writer` in chunks of at most `chunk_bytes` cut at message borders, with
  // NLM_F_ACK on the last of each chunk, and reads until each fence is answered. Errors of single
  // messages are returned, in order; a Failure means that the transport broke. Messages after a
  // failing one still ran: a batch is ordered, not atomic.
  Result<std::vector<MessageError>> Batch(MessageWriter& writer, const std::string& operation,
                                          size_t chunk_bytes = 192 << 10);

  // Sends all messages in ONE system call (an nftables transaction is judged as a whole), raising
  // the send buffer when needed; `fence` is the message that gets NLM_F_ACK. Every error of every
  // sequence is collected, also after a fence that was acknowledged.
  Result<std::vector<MessageError>> Transaction(MessageWriter& writer, size_t fence, const std::string& operation);

  // Sends one NLM_F_DUMP request and hands over every message until NLMSG_DONE. Retries at most 3
  // times on NLM_F_DUMP_INTR or EINTR/EBUSY, calling `restart` before each new attempt so that the
  // handler can forget; then fails with kInterrupted. An errno in NLMSG_DONE is a failure.
  Result<Done> Dump(MessageWriter& request, const std::string& operation, const std::string& subject,
                    const MessageHandler& handler, const std::function<void()>& restart = {});

  // Sends one request with NLM_F_ACK; hands over replies until the acknowledgement.
  Result<Done> Request(MessageWriter& request, const std::string& operation, const std::string& subject,
                       const MessageHandler& handler = {});

  // Reads what is queued on a subscribed socket without blocking. True in the result when the
  // kernel dropped events (ENOBUFS): the caller must report an overrun and go on.
  Result<bool> Receive(const MessageHandler& handler);

  [[nodiscard]] int fd() const { return fd_; }
  [[nodiscard]] uint32_t port() const { return port_; }

  // Takes an already open descriptor in place of a netlink socket, for tests over a socketpair
  // (truncation, wrong sender, silence). The sender check is off for such a socket.
  // `reopen` gives the next descriptor after a timeout; without it the socket stays closed.
  static std::unique_ptr<NetlinkSocket> FromDescriptorForTest(int fd, int timeout_ms, std::function<int()> reopen = {});

  // Datagrams thrown away because they did not come from the kernel (port 0).
  [[nodiscard]] uint64_t dropped() const { return dropped_; }

 private:
  // One step of the receive loop; kSilence is a timeout, kEmpty nothing queued (non-blocking).
  enum class ReadState : uint8_t { kData, kForeign, kSilence, kEmpty, kOverrun, kTruncated, kError };
  struct Conversation;

  explicit NetlinkSocket(NetlinkOptions options) : options_(std::move(options)) {}
  Result<Done> OpenDescriptor(const std::string& operation);
  void Shut();
  Result<Done> Prepare(const MessageWriter& writer, const std::string& operation);
  bool RoomFor(size_t bytes);
  void Number(MessageWriter& writer);
  Result<Done> Send(const uint8_t* data, size_t size, const std::string& operation);
  ReadState Read(bool block, size_t* size, int* error);
  Result<Done> Await(Conversation& conversation, const std::string& operation);
  Result<bool> DumpOnce(MessageWriter& request, const std::string& operation, const std::string& subject,
                        const MessageHandler& handler);
  Failure Broken(ReadState state, int error, const std::string& operation);

  NetlinkOptions options_;
  int fd_ = -1;
  uint32_t port_ = 0;
  uint32_t sequence_ = 0;
  size_t send_limit_ = 0;     // largest datagram the send buffer takes
  size_t receive_limit_ = 0;  // bytes of socket memory for answers
  bool check_sender_ = true;
  uint64_t dropped_ = 0;
  std::function<int()> reopen_for_test_;
  std::vector<uint8_t> buffer_;
};

// Generic netlink: id of a family by name (CTRL_CMD_GETFAMILY), which also makes the kernel load
// its module. kUnsupported with `hint` when there is none.
Result<uint16_t> ResolveGenericFamily(NetlinkSocket& socket, const std::string& name, const std::string& hint);

// Errno name ("EEXIST"); "E<number>" for one without a name.
std::string ErrnoName(int error);

// kKernel, for an errno of a system call.
Failure SystemFailure(const std::string& operation, const std::string& subject, int error);

// kProtocol: `what` should not have come.
Failure ProtocolFailure(const std::string& operation, const std::string& what);

}  // namespace ravel

#include "netlink.h"

#include <linux/genetlink.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <limits>
#include <optional>

namespace ravel {
namespace {

using Clock = std::chrono::steady_clock;

// What one acknowledgement occupies in the receive queue (sk_buff plus a kmalloc-1k block when the
// kernel adds text), so that a chunk of nothing but errors cannot overflow the queue.
constexpr size_t kAnswerBytes = 1280;
constexpr int kDumpRetries = 3;

// Extended acknowledgement: attributes after the copied request, which NLM_F_CAPPED cuts to its header.
void ReadExtendedAck(std::span<const uint8_t> attributes, MessageError* out) {
  AttributeReader reader(attributes);
  AttributeView attribute;
  while (reader.Next(&attribute)) {
    if (attribute.type == NLMSGERR_ATTR_MSG) out->message = attribute.String();
    if (attribute.type == NLMSGERR_ATTR_OFFS) out->offset = attribute.U32();
  }
}

// The kernel sends negative errnos; a datagram may hold anything.
int PositiveErrno(int code) { return code == std::numeric_limits<int>::min() ? EPROTO : std::abs(code); }

// False when the payload is too short to hold struct nlmsgerr.
bool ReadError(const MessageView& message, MessageError* out) {
  nlmsgerr body;
  if (!message.Header(&body)) return false;
  out->error = PositiveErrno(body.error);
  if ((message.flags & NLM_F_ACK_TLVS) == 0) return true;
  size_t skip = sizeof(nlmsgerr);
  if ((message.flags & NLM_F_CAPPED) == 0) skip = sizeof(int) + NLMSG_ALIGN(size_t{body.msg.nlmsg_len});
  if (skip <= message.payload.size()) ReadExtendedAck(message.payload.subspan(skip), out);
  return true;
}

// NLMSG_DONE carries an int, 0 or a negative errno; an empty body is success (old families).
void ReadDone(const MessageView& message, MessageError* out) {
  int code = 0;
  if (!message.Header(&code)) return;
  out->error = code < 0 ? PositiveErrno(code) : 0;
  if ((message.flags & NLM_F_ACK_TLVS) != 0) ReadExtendedAck(message.payload.subspan(sizeof(code)), out);
}

Failure FailureOf(const MessageError& error, const std::string& operation, const std::string& subject) {
  Failure failure = SystemFailure(operation, subject, error.error);
  failure.message = error.message;
  failure.offset = error.offset;
  return failure;
}

}  // namespace

// What a request waits for, and what has come in so far.
struct NetlinkSocket::Conversation {
  uint32_t first = 0;  // sequence of the first message; the last is first + count - 1
  uint32_t count = 1;
  uint32_t fence = 0;        // index whose acknowledgement ends the conversation
  bool dump = false;         // ends with NLMSG_DONE
  bool transaction = false;  // an error of message 0 (the opening bracket) ends it too
  const MessageHandler* handler = nullptr;
  std::vector<MessageError>* errors = nullptr;
  size_t errors_base = 0;

  bool finished = false;
  bool interrupted = false;
  bool progress = false;
  std::optional<Failure> failure = {};  // of the handler; the rest is still read, so that nothing stays queued
  MessageError outcome = {};            // of the fence, or of the dump

  Result<Done> Take(const MessageView& message, const std::string& operation);
};

Result<Done> NetlinkSocket::Conversation::Take(const MessageView& message, const std::string& operation) {
  const uint32_t index = message.sequence - first;
  if (index >= count) return Done{};  // a late answer to an earlier conversation
  progress = true;
  if ((message.flags & NLM_F_DUMP_INTR) != 0) interrupted = true;
  if (message.type == NLMSG_NOOP) return Done{};
  if (message.type == NLMSG_ERROR) {
    MessageError error{.index = errors_base + index};
    if (!ReadError(message, &error)) return ProtocolFailure(operation, "acknowledgement shorter than struct nlmsgerr");
    if (error.error != 0 && errors != nullptr) errors->push_back(error);
    if (index == fence || (transaction && index == 0 && error.error != 0)) {
      finished = true;
      outcome = std::move(error);
    }
    return Done{};
  }
  if (message.type == NLMSG_DONE) {
    if (!dump) return Done{};
    finished = true;
    ReadDone(message, &outcome);
    return Done{};
  }
  if (message.type < NLMSG_MIN_TYPE || handler == nullptr || !*handler || failure.has_value()) return Done{};
  Result<Done> handled = (*handler)(message);
  if (!handled.ok()) failure = std::move(handled.failure());
  return Done{};
}

Result<Done> NetlinkSocket::Prepare(const MessageWriter& writer, const std::string& operation) {
  if (writer.overflowed()) {
    Failure failure = SystemFailure(operation, "request", EMSGSIZE);
    failure.message = "an attribute is longer than 65535 bytes";
    return failure;
  }
  return fd_ >= 0 ? Result<Done>(Done{}) : OpenDescriptor(operation);
}

// Consecutive sequence numbers: the answer's number less the first one is the message's index.
void NetlinkSocket::Number(MessageWriter& writer) {
  uint8_t* bytes = writer.bytes().data();
  for (const size_t start : writer.starts()) {
    nlmsghdr header;
    std::memcpy(&header, bytes + start, sizeof(header));
    header.nlmsg_flags |= NLM_F_REQUEST;
    header.nlmsg_seq = ++sequence_;
    std::memcpy(bytes + start, &header, sizeof(header));
  }
}

Result<Done> NetlinkSocket::Await(Conversation& conversation, const std::string& operation) {
  // SO_RCVTIMEO bounds silence; this bounds a stream of datagrams that do not concern us.
  std::optional<Clock::time_point> deadline;
  while (!conversation.finished) {
    size_t size = 0;
    int error = 0;
    conversation.progress = false;
    const ReadState state = Read(true, &size, &error);
    if (state == ReadState::kData) {
      MessageReader reader({buffer_.data(), size});
      MessageView message;
      while (reader.Next(&message)) {
        if (check_sender_ && message.port != port_) continue;
        Result<Done> taken = conversation.Take(message, operation);
        if (!taken.ok()) {
          Broken(state, 0, operation);
          return taken;
        }
      }
      if (!reader.ok()) {
        Broken(state, 0, operation);
        return ProtocolFailure(operation, "message length does not fit its datagram");
      }
    } else if (state != ReadState::kForeign) {
      return Broken(state, error, operation);
    }
    if (conversation.progress) {
      deadline.reset();
      continue;
    }
    const Clock::time_point now = Clock::now();
    if (!deadline.has_value()) deadline = now + std::chrono::milliseconds(options_.timeout_ms);
    if (now >= *deadline) return Broken(ReadState::kSilence, 0, operation);
  }
  return Done{};
}

Result<std::vector<MessageError>> NetlinkSocket::Batch(MessageWriter& writer, const std::string& operation,
                                                       size_t chunk_bytes) {
  Result<Done> ready = Prepare(writer, operation);
  if (!ready.ok()) return std::move(ready.failure());
  std::vector<MessageError> errors;
  const std::vector<size_t>& starts = writer.starts();
  const uint32_t base = sequence_ + 1;
  Number(writer);
  const size_t most_messages = std::max<size_t>(receive_limit_ / kAnswerBytes, 1);
  size_t from = 0;
  while (from < starts.size()) {
    const auto end_of = [&](size_t message) {
      return message + 1 < starts.size() ? starts[message + 1] : writer.size();
    };
    size_t to = from + 1;  // one message goes even when it alone is larger than a chunk
    const size_t limit = RoomFor(chunk_bytes) ? chunk_bytes : send_limit_;
    while (to < starts.size() && to - from < most_messages && end_of(to) - starts[from] <= limit) ++to;
    const size_t bytes = end_of(to - 1) - starts[from];
    static_cast<void>(RoomFor(bytes));  // send() reports EMSGSIZE when there is none
    writer.AddFlags(to - 1, NLM_F_ACK);
    Result<Done> sent = Send(writer.bytes().data() + starts[from], bytes, operation);
    if (!sent.ok()) {
      sent.failure().index = static_cast<int64_t>(from);
      return std::move(sent.failure());
    }
    Conversation conversation{.first = base + static_cast<uint32_t>(from),
                              .count = static_cast<uint32_t>(to - from),
                              .fence = static_cast<uint32_t>(to - from - 1),
                              .errors = &errors,
                              .errors_base = from};
    Result<Done> answered = Await(conversation, operation);
    if (!answered.ok()) {
      answered.failure().index = static_cast<int64_t>(from);
      return std::move(answered.failure());
    }
    from = to;
  }
  return errors;
}

Result<std::vector<MessageError>> NetlinkSocket::Transaction(MessageWriter& writer, size_t fence,
                                                             const std::string& operation) {
  Result<Done> ready = Prepare(writer, operation);
  if (!ready.ok()) return std::move(ready.failure());
  std::vector<MessageError> errors;
  if (writer.count() == 0) return errors;
  const uint32_t base = sequence_ + 1;
  Number(writer);
  writer.AddFlags(fence, NLM_F_ACK);
  if (!RoomFor(writer.size())) {
    Failure failure = SystemFailure(operation, std::to_string(writer.size()) + " bytes", EMSGSIZE);
    failure.message = "the transaction is larger than the send buffer; raise net.core.wmem_max or split it";
    return failure;
  }
  Result<Done> sent = Send(writer.bytes().data(), writer.size(), operation);
  if (!sent.ok()) return std::move(sent.failure());
  Conversation conversation{.first = base,
                            .count = static_cast<uint32_t>(writer.count()),
                            .fence = static_cast<uint32_t>(fence),
                            .transaction = true,
                            .errors = &errors};
  Result<Done> answered = Await(conversation, operation);
  if (!answered.ok()) return std::move(answered.failure());
  // nfnetlink_rcv_batch() has queued every answer before send() returned; take those after the fence too.
  for (;;) {
    size_t size = 0;
    int error = 0;
    const ReadState state = Read(false, &size, &error);
    if (state == ReadState::kEmpty) return errors;
    if (state == ReadState::kForeign) continue;
    if (state != ReadState::kData) return Broken(state, error, operation);
    MessageReader reader({buffer_.data(), size});
    MessageView message;
    while (reader.Next(&message)) {
      if (check_sender_ && message.port != port_) continue;
      Result<Done> taken = conversation.Take(message, operation);
      if (!taken.ok()) return std::move(taken.failure());
    }
    if (!reader.ok()) return ProtocolFailure(operation, "message length does not fit its datagram");
  }
}

// True when the table changed under the dump and it must be read again.
Result<bool> NetlinkSocket::DumpOnce(MessageWriter& request, const std::string& operation, const std::string& subject,
                                     const MessageHandler& handler) {
  Result<Done> ready = Prepare(request, operation);
  if (!ready.ok()) return std::move(ready.failure());
  const uint32_t base = sequence_ + 1;
  Number(request);
  request.AddFlags(0, NLM_F_DUMP);
  Result<Done> sent = Send(request.bytes().data(), request.size(), operation);
  if (!sent.ok()) return std::move(sent.failure());
  Conversation conversation{.first = base, .dump = true, .handler = &handler};
  Result<Done> answered = Await(conversation, operation);
  if (!answered.ok()) {
    if (answered.failure().error == ENOBUFS) return true;
    return std::move(answered.failure());
  }
  const int error = conversation.outcome.error;
  if (conversation.interrupted || error == EINTR || error == EBUSY) return true;
  if (error != 0) return FailureOf(conversation.outcome, operation, subject);
  if (conversation.failure.has_value()) return std::move(*conversation.failure);
  return false;
}

Result<Done> NetlinkSocket::Dump(MessageWriter& request, const std::string& operation, const std::string& subject,
                                 const MessageHandler& handler, const std::function<void()>& restart) {
  for (int attempt = 0; attempt <= kDumpRetries; ++attempt) {
    if (attempt > 0 && restart) restart();
    Result<bool> again = DumpOnce(request, operation, subject, handler);
    if (!again.ok()) return std::move(again.failure());
    if (!again.value()) return Done{};
  }
  return Failure{.kind = FailureKind::kInterrupted,
                 .operation = operation,
                 .subject = subject,
                 .error = EINTR,
                 .message = "the table changed during each of " + std::to_string(kDumpRetries + 1) + " reads"};
}

Result<Done> NetlinkSocket::Request(MessageWriter& request, const std::string& operation, const std::string& subject,
                                    const MessageHandler& handler) {
  Result<Done> ready = Prepare(request, operation);
  if (!ready.ok()) return ready;
  const uint32_t base = sequence_ + 1;
  Number(request);
  request.AddFlags(0, NLM_F_ACK);
  Result<Done> sent = Send(request.bytes().data(), request.size(), operation);
  if (!sent.ok()) return sent;
  Conversation conversation{.first = base, .handler = &handler};
  Result<Done> answered = Await(conversation, operation);
  if (!answered.ok()) return answered;
  if (conversation.outcome.error != 0) return FailureOf(conversation.outcome, operation, subject);
  if (conversation.failure.has_value()) return std::move(*conversation.failure);
  return Done{};
}

Result<bool> NetlinkSocket::Receive(const MessageHandler& handler) {
  // Bounded, so that a flood of events cannot keep the thread from its queue; poll() calls again.
  constexpr int kMostDatagrams = 512;
  bool overrun = false;
  for (int datagram = 0; datagram < kMostDatagrams; ++datagram) {
    size_t size = 0;
    int error = 0;
    const ReadState state = Read(false, &size, &error);
    if (state == ReadState::kEmpty) break;
    if (state == ReadState::kForeign) continue;
    if (state == ReadState::kOverrun) {
      overrun = true;
      continue;
    }
    if (state == ReadState::kTruncated) return ProtocolFailure("receive", "event longer than the buffer was cut off");
    if (state == ReadState::kError) return SystemFailure("receive", "event socket", error);
    MessageReader reader({buffer_.data(), size});
    MessageView message;
    while (reader.Next(&message)) {
      if (message.type == NLMSG_OVERRUN) overrun = true;
      if (message.type < NLMSG_MIN_TYPE) continue;
      Result<Done> handled = handler(message);
      if (!handled.ok()) return std::move(handled.failure());
    }
    if (!reader.ok()) return ProtocolFailure("receive", "message length does not fit its datagram");
  }
  return overrun;
}

Result<uint16_t> ResolveGenericFamily(NetlinkSocket& socket, const std::string& name, const std::string& hint) {
  MessageWriter request;
  request.Begin(GENL_ID_CTRL, 0);
  request.Header(genlmsghdr{.cmd = CTRL_CMD_GETFAMILY, .version = 1, .reserved = 0});
  request.String(CTRL_ATTR_FAMILY_NAME, name);
  request.End();
  uint16_t id = 0;
  const MessageHandler handler = [&](const MessageView& message) -> Result<Done> {
    AttributeReader reader(message.After<genlmsghdr>());
    AttributeView attribute;
    while (reader.Next(&attribute)) {
      if (attribute.type == CTRL_ATTR_FAMILY_ID) id = attribute.U16();
    }
    return Done{};
  };
  Result<Done> answered = socket.Request(request, "netlink.resolveFamily", name, handler);
  if (!answered.ok()) {
    if (answered.failure().error != ENOENT) return std::move(answered.failure());
    return Failure{.kind = FailureKind::kUnsupported,
                   .operation = "netlink.resolveFamily",
                   .subject = name,
                   .error = ENOENT,
                   .message = hint};
  }
  if (id == 0) return ProtocolFailure("netlink.resolveFamily", "answer without CTRL_ATTR_FAMILY_ID");
  return id;
}

}  // namespace ravel

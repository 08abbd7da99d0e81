#include "nftables.h"

#include <cerrno>

#include "nftables_elements.h"

namespace ravel::nft {
namespace {

constexpr int kListRetries = 3;

const char* FamilyName(uint8_t family) {
  switch (family) {
    case NFPROTO_IPV4:
      return "ip";
    case NFPROTO_IPV6:
      return "ip6";
    case NFPROTO_INET:
      return "inet";
    default:
      return nullptr;
  }
}

MessageWriter Get(uint8_t message, uint8_t family) {
  MessageWriter request;
  request.Begin(MessageType(message), NLM_F_REQUEST);
  request.Header(nfgenmsg{family, NFNETLINK_V0, 0});
  return request;
}

Failure Malformed(const char* operation, const std::string& subject) {
  return {.kind = FailureKind::kProtocol,
          .operation = operation,
          .subject = subject,
          .message = "malformed message from the kernel"};
}

// Without nfnetlink there is no such socket, without nf_tables nobody answers on it: nfnetlink_rcv_msg()
// says EINVAL and nfnetlink_rcv_batch() EOPNOTSUPP.
bool IsMissing(const Failure& failure) {
  return failure.kind == FailureKind::kKernel &&
         (failure.error == EPROTONOSUPPORT || failure.error == EINVAL || failure.error == EOPNOTSUPP);
}

Failure Missing(int error) {
  return {.kind = FailureKind::kUnsupported,
          .operation = "nftables.open",
          .subject = "nftables",
          .error = error,
          .message = "modprobe nf_tables"};
}

}  // namespace

std::string Describe(const Table& table) {
  const char* family = FamilyName(table.family);
  return "table " + (family == nullptr ? std::to_string(table.family) : std::string(family)) + " " + table.name;
}

Result<std::unique_ptr<Client>> Client::Open(int timeout_ms, int receive_buffer) {
  NetlinkOptions options;
  options.protocol = NETLINK_NETFILTER;
  options.timeout_ms = timeout_ms;
  options.receive_buffer = receive_buffer;
  auto socket = NetlinkSocket::Open(options, "nftables.open");
  if (!socket.ok()) {
    if (socket.failure().error == EPROTONOSUPPORT) return Missing(EPROTONOSUPPORT);
    return std::move(socket.failure());
  }
  return Over(std::move(socket.value()));
}

Result<std::unique_ptr<Client>> Client::Over(std::unique_ptr<NetlinkSocket> socket) {
  std::unique_ptr<Client> client(new Client(std::move(socket)));
  auto generation = client->Generation();
  if (generation.ok()) return client;
  if (IsMissing(generation.failure())) return Missing(generation.failure().error);
  generation.failure().operation = "nftables.open";
  return std::move(generation.failure());
}

Result<uint32_t> Client::Generation() {
  MessageWriter request = Get(NFT_MSG_GETGEN, AF_UNSPEC);
  request.End();
  std::optional<uint32_t> generation;
  auto done =
      socket_->Request(request, "nftables.generation", "ruleset", [&](const MessageView& message) -> Result<Done> {
        const auto event = ReadEvent(message);
        if (event) generation = event->generation;
        return Done{};
      });
  if (!done.ok()) return std::move(done.failure());
  if (!generation) return Malformed("nftables.generation", "ruleset");
  return *generation;
}

Result<std::vector<Table>> Client::Tables() {
  MessageWriter request = Get(NFT_MSG_GETTABLE, AF_UNSPEC);
  request.End();
  std::vector<Table> tables;
  auto done = socket_->Dump(
      request, "nftables.tables", "ruleset",
      [&](const MessageView& message) -> Result<Done> {
        auto table = ReadTable(message);
        if (!table) return Malformed("nftables.tables", "ruleset");
        if (FamilyName(table->family) != nullptr) tables.push_back(std::move(*table));
        return Done{};
      },
      [&] { tables.clear(); });
  if (!done.ok()) return std::move(done.failure());
  return tables;
}

Result<TableState> Client::List(const Table& table) {
  const std::string subject = Describe(table);
  for (int attempt = 0; attempt <= kListRetries; ++attempt) {
    const auto before = Generation();
    if (!before.ok()) return before.failure();
    auto state = ListOnce(table, subject);
    if (!state.ok()) return state;
    const auto after = Generation();
    if (!after.ok()) return after.failure();
    // Three dumps are one picture only when nothing was committed between them.
    if (before.value() == after.value()) return state;
  }
  return Failure{.kind = FailureKind::kInterrupted,
                 .operation = "nftables.list",
                 .subject = subject,
                 .error = EINTR,
                 .message = "the ruleset changed during every read"};
}

Result<TableState> Client::ListOnce(const Table& table, const std::string& subject) {
  const char* operation = "nftables.list";
  TableState state;
  // A dump of a missing table is empty, a request for it says ENOENT.
  MessageWriter get = Get(NFT_MSG_GETTABLE, table.family);
  get.String(NFTA_TABLE_NAME, table.name);
  get.End();
  auto done = socket_->Request(get, operation, subject, [&](const MessageView& reply) -> Result<Done> {
    const auto listed = ReadTable(reply);
    if (!listed) return Malformed(operation, subject);
    state.dormant = listed->dormant;
    return Done{};
  });

  // Older kernels ignore the filter in one dump or another, so the table is compared again.
  const auto dump = [&](uint8_t message, auto read, auto& out) {
    if (!done.ok()) return;
    MessageWriter request = Get(message, table.family);
    request.String(NFTA_TABLE_NAME, table.name);
    request.End();
    done = socket_->Dump(
        request, operation, subject,
        [&](const MessageView& reply) -> Result<Done> {
          nfgenmsg header{};
          if (!reply.Header(&header)) return Malformed(operation, subject);
          if (header.nfgen_family != table.family || TableOf(reply) != table.name) return Done{};
          auto object = read(reply);
          if (!object) return Malformed(operation, subject);
          out.push_back(std::move(*object));
          return Done{};
        },
        [&] { out.clear(); });
  };
  dump(NFT_MSG_GETCHAIN, ReadChain, state.chains);
  dump(NFT_MSG_GETRULE, ReadRule, state.rules);
  dump(NFT_MSG_GETSET, ReadSet, state.sets);
  if (!done.ok()) return std::move(done.failure());
  return state;
}

Result<ListedSet> Client::Set(const Table& table, const std::string& set, const std::string& subject) {
  MessageWriter request = Get(NFT_MSG_GETSET, table.family);
  request.String(NFTA_SET_TABLE, table.name);
  request.String(NFTA_SET_NAME, set);
  request.End();
  std::optional<ListedSet> listed;
  auto done = socket_->Request(request, "nftables.elements", subject, [&](const MessageView& message) -> Result<Done> {
    listed = ReadSet(message);
    return Done{};
  });
  if (!done.ok()) return std::move(done.failure());
  if (!listed) return Malformed("nftables.elements", subject);
  return std::move(*listed);
}

Result<ElementColumns> Client::Elements(const Table& table, const std::string& set) {
  const std::string subject = Describe(table) + " set " + set;
  auto listed = Set(table, set, subject);
  if (!listed.ok()) return std::move(listed.failure());
  ColumnBuilder builder(listed.value().key_length, listed.value().value_length,
                        listed.value().spec.value_kind == ValueKind::kVerdict);
  // A dump resumes by position, and a hash table that grows meanwhile (nft_rhash_walk) makes it repeat or skip
  // elements without a sign. Believed when two reads in a row count the same.
  constexpr int kReads = 6;
  std::optional<uint32_t> before;
  for (int read = 0; !before || *before != builder.columns().count; ++read) {
    if (read == kReads) {
      return Failure{.kind = FailureKind::kInterrupted,
                     .operation = "nftables.elements",
                     .subject = subject,
                     .message = "the set changed during each of " + std::to_string(kReads) + " reads"};
    }
    if (read > 0) before = builder.columns().count;
    builder.Clear();
    MessageWriter request = Get(NFT_MSG_GETSETELEM, table.family);
    request.String(NFTA_SET_ELEM_LIST_TABLE, table.name);
    request.String(NFTA_SET_ELEM_LIST_SET, set);
    request.End();
    auto done = socket_->Dump(
        request, "nftables.elements", subject,
        [&](const MessageView& message) -> Result<Done> {
          if (builder.Append(message.After<nfgenmsg>())) return Done{};
          return Malformed("nftables.elements", subject);
        },
        [&] { builder.Clear(); });
    if (!done.ok()) return std::move(done.failure());
  }
  return std::move(builder.columns());
}

Result<Outcome> Client::Commit(std::span<const uint8_t> program, std::optional<uint32_t> generation, bool apply) {
  const char* operation = apply ? "nftables.commit" : "nftables.check";
  auto batch = BuildBatch(program, generation, apply);
  if (!batch.ok()) return std::move(batch.failure());
  if (batch.value().operations == 0) {
    // Nothing to send, but a wrong generation is refused all the same.
    if (!generation) return Outcome{};
    const auto now = Generation();
    if (!now.ok()) return now.failure();
    if (now.value() == *generation) return Outcome{};
    Refusal refusal;
    refusal.error = ERESTART;
    return Outcome{refusal};
  }
  auto errors = socket_->Transaction(batch.value().writer, batch.value().fence, operation);
  if (!errors.ok()) return std::move(errors.failure());
  // The kernel acknowledges the good messages of a transaction that it refuses: only "no error on any
  // message" is success. The first error is the cause, later ones may follow from it.
  const MessageError* first = nullptr;
  for (const MessageError& error : errors.value()) {
    if (error.error != 0 && (first == nullptr || error.index < first->index)) first = &error;
  }
  if (first == nullptr) return Outcome{};
  return Outcome{Explain(batch.value(), *first)};
}

Result<std::unique_ptr<Monitor>> Monitor::Open(int receive_buffer) {
  NetlinkOptions options;
  options.protocol = NETLINK_NETFILTER;
  options.receive_buffer = receive_buffer;
  options.groups = {NFNLGRP_NFTABLES};
  auto socket = NetlinkSocket::Open(options, "nftables.watch");
  if (!socket.ok()) return std::move(socket.failure());
  return std::unique_ptr<Monitor>(new Monitor(std::move(socket.value())));
}

Result<bool> Monitor::Receive(const std::function<void(const Event&)>& handler) {
  // A transaction of a thousand elements is a thousand messages; its readers want to know that the table
  // changed.
  std::optional<Event> last;
  auto overrun = socket_->Receive([&](const MessageView& message) -> Result<Done> {
    auto event = ReadEvent(message);
    if (!event) return Done{};
    if (last && event->message == last->message && event->family == last->family && event->table == last->table &&
        event->port == last->port && !event->generation) {
      ++last->count;
      return Done{};
    }
    if (last) handler(*last);
    last = std::move(event);
    return Done{};
  });
  if (last) handler(*last);
  return overrun;
}

}  // namespace ravel::nft

#include "conntrack.h"

#include <cerrno>
#include <set>

namespace ravel::conntrack {
namespace {

// A dump by address costs the kernel a walk of its whole table, about a tenth of a dump that sends all of it
// (1,000,000 entries: 0.5 s and 5 s); more than a few walks may cost more than comparing here. IPv4 only: for
// IPv6 ctnetlink_filter_match_tuple() takes what ipv6_addr_cmp() returns the wrong way round and sends every
// entry but those asked for (seen on 6.18).
constexpr size_t kAddressDumps = 4;

Failure Missing(int error) {
  return {.kind = FailureKind::kUnsupported,
          .operation = "conntrack.open",
          .subject = "conntrack (ctnetlink)",
          .error = error,
          .message = "modprobe nf_conntrack_netlink"};
}

// The id is a hash already (nf_ct_get_id).
struct ById {
  size_t operator()(const EntryRecord* entry) const { return entry->id; }
};
struct SameFlow {
  bool operator()(const EntryRecord* a, const EntryRecord* b) const {
    return a->id == b->id && a->family == b->family && a->protocol == b->protocol && a->zone == b->zone &&
           a->zone_directions == b->zone_directions && a->original == b->original && a->reply == b->reply;
  }
};

// ctnetlink_dump_table() begins a bucket of its hash again when the entry it stopped at is gone: what it had
// sent of that bucket comes twice, without a sign.
void DropRepeated(std::vector<EntryRecord>* entries) {
  std::unordered_set<const EntryRecord*, ById, SameFlow> known(entries->size());
  size_t kept = 0;
  for (size_t i = 0; i < entries->size(); ++i) {
    if (kept != i) (*entries)[kept] = (*entries)[i];
    if (known.insert(&(*entries)[kept]).second) ++kept;
  }
  entries->resize(kept);
}

}  // namespace

DestinationSet::DestinationSet(std::span<const DestinationRecord> destinations)
    : set_(destinations.begin(), destinations.end()) {}

size_t DestinationSet::Hash::operator()(const DestinationRecord& destination) const {
  uint64_t high = 0;
  uint64_t low = 0;
  std::memcpy(&high, destination.address.data(), sizeof(high));
  std::memcpy(&low, destination.address.data() + sizeof(high), sizeof(low));
  // Fibonacci hashing (2^64 / golden ratio); nobody but our own configuration chooses the addresses.
  uint64_t hash = (high ^ (low * 0x9e3779b97f4a7c15ULL) ^ destination.port) * 0x9e3779b97f4a7c15ULL;
  hash ^= hash >> 32;
  return hash;
}

bool DestinationSet::Contains(const EntryRecord& entry) const {
  DestinationRecord key{.address = entry.original.destination, .port = 0, .family = entry.family};
  if (set_.contains(key)) return true;
  key.port = entry.original.destination_port;
  return key.port != 0 && set_.contains(key);
}

std::vector<DumpRequest> RequestsFor(const Filter& filter) {
  std::vector<DumpRequest> requests;
  for (const uint8_t family : {uint8_t{4}, uint8_t{6}}) {
    if (filter.family != 0 && filter.family != family) continue;
    const DumpRequest request{.family = family, .protocol = filter.protocol};
    if (!filter.destinations.has_value()) {
      requests.push_back(request);
      continue;
    }
    std::set<AddressBytes> addresses;
    for (const DestinationRecord& destination : *filter.destinations) {
      if (destination.family == family) addresses.insert(destination.address);
    }
    if (addresses.empty()) continue;
    if (family == 6 || addresses.size() > kAddressDumps) {
      requests.push_back(request);
      continue;
    }
    for (const AddressBytes& address : addresses) {
      requests.push_back({.family = family, .protocol = filter.protocol, .address = address});
    }
  }
  return requests;
}

Result<std::unique_ptr<Client>> Client::Open(int timeout_ms, int receive_buffer) {
  auto socket = NetlinkSocket::Open(
      {.protocol = NETLINK_NETFILTER, .timeout_ms = timeout_ms, .receive_buffer = receive_buffer}, "conntrack.open");
  if (!socket.ok()) {
    if (socket.failure().error == EPROTONOSUPPORT) return Missing(EPROTONOSUPPORT);
    return std::move(socket.failure());
  }
  return Over(std::move(socket.value()));
}

// Asks for the usage: nfnetlink_rcv_msg() answers EINVAL for a subsystem that is not there and could not be
// loaded, EPERM without CAP_NET_ADMIN (nfnetlink_rcv).
Result<std::unique_ptr<Client>> Client::Over(std::unique_ptr<NetlinkSocket> socket) {
  std::unique_ptr<Client> client(new Client(std::move(socket)));
  auto usage = client->Usage();
  if (usage.ok()) return client;
  Failure& failure = usage.failure();
  if (failure.kind == FailureKind::kKernel && (failure.error == EINVAL || failure.error == EOPNOTSUPP)) {
    return Missing(failure.error);
  }
  failure.operation = "conntrack.open";
  return std::move(failure);
}

Result<conntrack::Usage> Client::Usage() {
  MessageWriter request;
  EncodeUsage(&request);
  conntrack::Usage usage;
  const auto handler = [&](const MessageView& message) { return DecodeUsage(message, &usage); };
  auto done = socket_->Request(request, "conntrack.usage", "table", handler);
  if (!done.ok()) return std::move(done.failure());
  return usage;
}

// The kernel never says that the table changed under a dump (ctnetlink_dump_table does not know
// nl_dump_check_consistent); the core would read again if it did. Entries made meanwhile may be missing, and a
// resized table (nf_conntrack_hash_resize) may hide others: a later reading finds them.
Result<std::vector<EntryRecord>> Client::Entries(const Filter& filter) {
  std::vector<EntryRecord> entries;
  std::optional<DestinationSet> destinations;
  if (filter.destinations.has_value()) destinations.emplace(*filter.destinations);
  for (const DumpRequest& request : RequestsFor(filter)) {
    MessageWriter writer;
    EncodeDump(&writer, request);
    const size_t from = entries.size();
    const auto handler = [&](const MessageView& message) -> Result<Done> {
      EntryRecord entry;
      Result<bool> decoded = DecodeEntry(message, &entry);
      if (!decoded.ok()) return std::move(decoded.failure());
      // The kernel's own filter only spares work: what counts is decided here.
      if (!decoded.value() || entry.family != request.family) return Done{};
      if (filter.protocol != 0 && entry.protocol != filter.protocol) return Done{};
      if (destinations.has_value() && !destinations->Contains(entry)) return Done{};
      if (request.address.has_value() && entry.original.destination != *request.address) return Done{};
      entries.push_back(entry);
      return Done{};
    };
    auto done = socket_->Dump(writer, "conntrack.entries", "table", handler, [&] { entries.resize(from); });
    if (!done.ok()) return std::move(done.failure());
  }
  DropRepeated(&entries);
  return entries;
}

Result<Removal> Client::Remove(std::span<const EntryRecord> entries) {
  Removal removal;
  if (entries.empty()) return removal;
  MessageWriter writer;
  for (const EntryRecord& entry : entries) EncodeDelete(&writer, entry);
  auto sent = socket_->Batch(writer, "conntrack.remove");
  if (!sent.ok()) {
    sent.failure().subject = std::to_string(entries.size()) + " entries";
    return std::move(sent.failure());
  }
  for (MessageError& error : sent.value()) {
    if (error.error == ENOENT) {
      removal.gone.push_back(static_cast<uint32_t>(error.index));
    } else {
      removal.refused.push_back(std::move(error));
    }
  }
  return removal;
}

}  // namespace ravel::conntrack

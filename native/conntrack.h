// The connection tracking table over ctnetlink: read, filtered by original destination, and deleted from, entry
// by entry. One socket, used on an executor's thread only. Node-free.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <unordered_set>
#include <vector>

#include "conntrack_attributes.h"
#include "netlink.h"

namespace ravel::conntrack {

// One destination as TypeScript packs it.
struct DestinationRecord {
  AddressBytes address{};
  uint16_t port = 0;   // 0: every port
  uint8_t family = 0;  // 4 or 6
  uint8_t reserved = 0;

  bool operator==(const DestinationRecord&) const = default;
};
static_assert(sizeof(DestinationRecord) == 20);

// Which entries are asked for. Protocols without ports (ICMP, GRE) are never among them.
struct Filter {
  uint8_t family = 0;    // 4, 6; 0: both
  uint8_t protocol = 0;  // IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP; 0: all three
  // Original destinations; nothing here is every destination, an empty list is none.
  std::optional<std::vector<DestinationRecord>> destinations = std::nullopt;
};

// Looks up destinations; the price of one entry does not grow with their number.
class DestinationSet {
 public:
  explicit DestinationSet(std::span<const DestinationRecord> destinations);
  [[nodiscard]] bool Contains(const EntryRecord& entry) const;

 private:
  struct Hash {
    size_t operator()(const DestinationRecord& destination) const;
  };
  std::unordered_set<DestinationRecord, Hash> set_;
};

// One request to dump: what the kernel itself can leave out.
struct DumpRequest {
  uint8_t family = 0;
  uint8_t protocol = 0;                      // 0: all
  std::optional<AddressBytes> address = {};  // original destination, IPv4 only
};

// The dumps that together give what the filter asks for, none twice.
std::vector<DumpRequest> RequestsFor(const Filter& filter);

// TCP, UDP, SCTP.
bool HasPorts(uint8_t protocol);

void EncodeDump(MessageWriter* writer, const DumpRequest& request);
// True when *entry was filled in, false for an entry without ports or of another family; kProtocol when
// the message is damaged or lacks a part that names the entry.
Result<bool> DecodeEntry(const MessageView& message, EntryRecord* entry);
// Always with a tuple: without one the kernel would delete every entry (ctnetlink_flush_conntrack).
void EncodeDelete(MessageWriter* writer, const EntryRecord& entry);

// Entries and the most there may be (net.netfilter.nf_conntrack_max).
struct Usage {
  uint32_t entries = 0;
  uint32_t limit = 0;
};
void EncodeUsage(MessageWriter* writer);
Result<Done> DecodeUsage(const MessageView& message, Usage* usage);

// What came of a batch of deletions; indexes are positions in it.
struct Removal {
  std::vector<uint32_t> gone;  // were not there any more, or another entry was in their place
  std::vector<MessageError> refused;
};

class Client {
 public:
  // kUnsupported when the kernel has no ctnetlink, and could not load it.
  static Result<std::unique_ptr<Client>> Open(int timeout_ms, int receive_buffer);
  // The same over a socket that is open already.
  static Result<std::unique_ptr<Client>> Over(std::unique_ptr<NetlinkSocket> socket);

  Result<conntrack::Usage> Usage();
  Result<std::vector<EntryRecord>> Entries(const Filter& filter);
  Result<Removal> Remove(std::span<const EntryRecord> entries);

 private:
  explicit Client(std::unique_ptr<NetlinkSocket> socket) : socket_(std::move(socket)) {}

  std::unique_ptr<NetlinkSocket> socket_;
};

}  // namespace ravel::conntrack

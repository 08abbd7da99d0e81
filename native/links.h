// Links, addresses, routes and neighbours over rtnetlink: one socket, used on an executor's thread
// only. Node-free. Records are plain bytes that src/native/links-records.ts reads field by field.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "netlink.h"

namespace ravel::links {

using AddressBytes = std::array<uint8_t, 16>;  // network order; IPv4 fills the first four

struct LinkRecord {
  uint32_t index = 0;
  uint32_t flags = 0;  // IFF_*
  uint32_t mtu = 0;
  uint16_t type = 0;  // ARPHRD_*
  std::string name = {};
  std::string kind = {};               // IFLA_INFO_KIND; empty for physical devices
  std::vector<uint8_t> hardware = {};  // IFLA_ADDRESS
};

struct AddressRecord {
  uint32_t index = 0;
  uint8_t family = 0;  // 4 or 6
  uint8_t prefix = 0;
  uint8_t scope = 0;     // RT_SCOPE_*
  uint8_t protocol = 0;  // IFA_PROTO
  AddressBytes address = {};
  uint32_t flags = 0;      // IFA_F_*
  uint32_t valid = 0;      // seconds
  uint32_t preferred = 0;  // seconds
};
static_assert(sizeof(AddressRecord) == 36);

struct RouteRecord {
  uint8_t family = 0;
  uint8_t prefix = 0;
  uint8_t protocol = 0;
  uint8_t type = 0;
  uint8_t scope = 0;
  uint8_t gateway_family = 0;  // 0: no gateway
  uint16_t reserved = 0;
  uint32_t index = 0;  // 0: none (multipath, blackhole)
  uint32_t table = 0;
  uint32_t metric = 0;
  AddressBytes destination = {};
  AddressBytes gateway = {};
};
static_assert(sizeof(RouteRecord) == 52);

struct NeighbourRecord {
  uint32_t index = 0;
  uint8_t family = 0;
  uint8_t hardware_size = 0;
  uint16_t state = 0;  // NUD_*
  AddressBytes address = {};
  std::array<uint8_t, 32> hardware = {};  // MAX_ADDR_LEN
};
static_assert(sizeof(NeighbourRecord) == 56);

enum class OperationCode : uint8_t {
  kAddDummy = 1,
  kDeleteLink,
  kSetLink,
  kAddAddress,
  kDeleteAddress,
  kAddRoute,
  kDeleteRoute,
  kAddTunnel,
};
constexpr uint8_t kLastOperationCode = 8;

// IFLA_INFO_KIND of a tunnel; numbers of src/native/links-records.ts.
enum class TunnelKindCode : uint8_t { kNone = 0, kIpip, kIp6Tnl, kGre, kIp6Gre };
constexpr uint8_t kLastTunnelKind = 4;

// One operation as TypeScript packs it; `name` points into the names that come with it.
struct OperationRecord {
  uint8_t code = 0;
  uint8_t family = 0;
  uint8_t prefix = 0;
  uint8_t protocol = 0;
  uint32_t name = 0;        // index of the interface's name; 0 is ""
  uint32_t flags = 0;       // IFF_* or IFA_F_* to set
  uint32_t flags_mask = 0;  // IFF_* that `flags` speaks of
  uint32_t mtu = 0;         // 0: leave
  uint32_t valid = 0;       // 0: for ever
  uint32_t preferred = 0;   // 0: as valid, unless `never_preferred`
  uint32_t table = 0;
  uint32_t metric = 0;
  uint8_t gateway_family = 0;   // 0: no gateway
  uint8_t tunnel = 0;           // TunnelKindCode
  uint8_t never_preferred = 0;  // valid, but no source for anything
  uint8_t reserved = 0;
  AddressBytes address = {};
  AddressBytes gateway = {};
};
static_assert(sizeof(OperationRecord) == 72);

// Where a packet to one address would go.
struct RouteToRecord {
  uint32_t index = 0;
  uint32_t mtu = 0;            // RTAX_MTU, else the device's
  uint8_t gateway_family = 0;  // 0: no gateway
  uint8_t source_family = 0;   // 0: none named
  uint16_t reserved = 0;
  AddressBytes gateway = {};
  AddressBytes source = {};
};
static_assert(sizeof(RouteToRecord) == 44);

// Each false or empty when the message is not of that kind or its lengths do not add up.
bool ReadLink(const MessageView& message, LinkRecord* out);
bool ReadAddress(const MessageView& message, AddressRecord* out);
bool ReadRoute(const MessageView& message, RouteRecord* out);
bool ReadNeighbour(const MessageView& message, NeighbourRecord* out);
// An answer to RTM_GETROUTE with an address; `mtu` stays 0 where the route names none.
bool ReadRouteTo(const MessageView& message, RouteToRecord* out);
// Asks for the way to an address of 4 or 16 bytes.
void WriteRouteTo(MessageWriter& writer, std::span<const uint8_t> address);

struct Event {
  bool deleted = false;
  std::variant<LinkRecord, AddressRecord, RouteRecord, NeighbourRecord> object;
};
// Empty for messages that are none of our business (bridge ports, multicast routes).
std::optional<Event> ReadEvent(const MessageView& message);

// Appends the message of one operation on the interface with that index (0 where it needs none).
void WriteOperation(MessageWriter& writer, const OperationRecord& operation, const std::string& name, uint32_t index);

class Client {
 public:
  static Result<std::unique_ptr<Client>> Open(int timeout_ms, int receive_buffer);

  Result<std::vector<LinkRecord>> Links();
  Result<std::vector<AddressRecord>> Addresses();
  Result<std::vector<RouteRecord>> Routes();
  Result<std::vector<NeighbourRecord>> Neighbours();
  // The kernel's choice for an address of 4 or 16 bytes; ENETUNREACH and the like where there is none.
  Result<RouteToRecord> RouteTo(std::span<const uint8_t> address);
  // By name; ENODEV when there is none.
  Result<LinkRecord> Find(const std::string& name);

  // Carries out the operations in order, not atomically. Refused ones are returned with their
  // position. An interface is looked up when first needed, after the operations before it have run.
  Result<std::vector<MessageError>> Apply(std::span<const OperationRecord> operations,
                                          const std::vector<std::string>& names);

 private:
  Result<uint32_t> MtuOf(uint32_t index);
  explicit Client(std::unique_ptr<NetlinkSocket> socket) : socket_(std::move(socket)) {}
  template <typename Record, typename Header>
  Result<std::vector<Record>> List(uint16_t type, const std::string& operation,
                                   bool (*read)(const MessageView&, Record*));

  std::unique_ptr<NetlinkSocket> socket_;
};

}  // namespace ravel::links

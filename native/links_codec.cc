// rtnetlink messages to records and operations to messages (linux/rtnetlink.h, if_link.h, if_addr.h).
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>

#include <algorithm>

#include "links.h"

namespace ravel::links {
namespace {

constexpr uint32_t kForever = 0xffffffff;  // INFINITY_LIFE_TIME

uint8_t FamilyNumber(uint8_t family) { return family == AF_INET ? 4 : family == AF_INET6 ? 6 : 0; }
uint8_t KernelFamily(uint8_t number) { return number == 4 ? AF_INET : AF_INET6; }
size_t AddressSize(uint8_t number) { return number == 4 ? 4 : 16; }

// False unless the attribute has exactly the length of an address of the family.
bool ReadAddressBytes(const AttributeView& attribute, uint8_t family, AddressBytes* out) {
  if (attribute.data.size() != AddressSize(family)) return false;
  std::copy(attribute.data.begin(), attribute.data.end(), out->begin());
  return true;
}

// struct rtvia: a family, then the address. The family's number; 0 when it is neither or the length is wrong.
uint8_t ReadVia(const AttributeView& attribute, AddressBytes* out) {
  uint16_t family = 0;
  if (attribute.data.size() < sizeof(family)) return 0;
  std::memcpy(&family, attribute.data.data(), sizeof(family));
  const uint8_t number = FamilyNumber(static_cast<uint8_t>(family));
  const AttributeView rest{attribute.type, attribute.data.subspan(sizeof(family))};
  return number != 0 && ReadAddressBytes(rest, number, out) ? number : 0;
}

void WriteAddress(MessageWriter& writer, uint16_t type, const AddressBytes& address, uint8_t family) {
  writer.Attribute(type, address.data(), AddressSize(family));
}

// RTA_GATEWAY, which is of the route's own family, or RTA_VIA, which names its family.
template <typename Record>
void ReadGateway(const AttributeView& attribute, uint8_t family, Record* out) {
  if (attribute.type == RTA_VIA) {
    out->gateway_family = ReadVia(attribute, &out->gateway);
  } else if (ReadAddressBytes(attribute, family, &out->gateway)) {
    out->gateway_family = family;
  }
}

// The whole walk: `each` gets every attribute. False when a length lies.
template <typename Each>
bool ForEach(std::span<const uint8_t> attributes, const Each& each) {
  AttributeReader reader(attributes);
  AttributeView attribute;
  while (reader.Next(&attribute)) each(attribute);
  return reader.ok();
}

// Those after the header T.
template <typename T, typename Each>
bool ForAttributes(const MessageView& message, const Each& each) {
  return ForEach(message.After<T>(), each);
}

// Up to the name; what the device is to become may follow.
void BeginLink(MessageWriter& writer, uint16_t flags, const OperationRecord& operation, const std::string& name) {
  writer.Begin(RTM_NEWLINK, flags);
  ifinfomsg header{};
  header.ifi_flags = operation.flags;
  header.ifi_change = operation.flags_mask;
  writer.Header(header);
  writer.String(IFLA_IFNAME, name);
}

void WriteKind(MessageWriter& writer, const char* kind) {
  const size_t info = writer.BeginNest(IFLA_LINKINFO);
  writer.String(IFLA_INFO_KIND, kind);
  static_cast<void>(writer.EndNest(info));
}

void WriteAddDummy(MessageWriter& writer, const OperationRecord& operation, const std::string& name) {
  // rtnl_configure_link() applies flags in the same call, so the device is never seen without IFF_NOARP.
  BeginLink(writer, NLM_F_CREATE | NLM_F_EXCL, operation, name);
  if (operation.mtu != 0) writer.U32(IFLA_MTU, operation.mtu);
  WriteKind(writer, "dummy");
  writer.End();
}

const char* KindName(uint8_t tunnel) {
  switch (static_cast<TunnelKindCode>(tunnel)) {
    case TunnelKindCode::kIpip:
      return "ipip";
    case TunnelKindCode::kIp6Tnl:
      return "ip6tnl";
    case TunnelKindCode::kGre:
      return "gre";
    case TunnelKindCode::kIp6Gre:
      return "ip6gre";
    case TunnelKindCode::kNone:
      break;
  }
  return "";  // no kind has that name: the kernel refuses
}

// Without addresses: it takes what anybody sends to this machine.
void WriteAddTunnel(MessageWriter& writer, const OperationRecord& operation, const std::string& name) {
  BeginLink(writer, NLM_F_CREATE | NLM_F_EXCL, operation, name);
  WriteKind(writer, KindName(operation.tunnel));
  writer.End();
}

void WriteSetLink(MessageWriter& writer, const OperationRecord& operation, const std::string& name) {
  BeginLink(writer, 0, operation, name);
  if (operation.mtu != 0) writer.U32(IFLA_MTU, operation.mtu);
  writer.End();
}

void WriteAddressOperation(MessageWriter& writer, const OperationRecord& operation, uint32_t index) {
  const bool add = static_cast<OperationCode>(operation.code) == OperationCode::kAddAddress;
  writer.Begin(add ? RTM_NEWADDR : RTM_DELADDR, add ? NLM_F_CREATE | NLM_F_EXCL : 0);
  // IPv6 computes its scope; IPv4 takes ours, and iproute2 gives 127/8 the scope of the host.
  const bool loopback = operation.family == 4 && operation.address[0] == 127;
  const uint8_t scope = loopback ? RT_SCOPE_HOST : RT_SCOPE_UNIVERSE;
  writer.Header(ifaddrmsg{KernelFamily(operation.family), operation.prefix, 0, scope, index});
  WriteAddress(writer, IFA_LOCAL, operation.address, operation.family);
  // Equal to IFA_LOCAL: not point-to-point. inet_rtm_deladdr() compares the prefix only when it is there.
  WriteAddress(writer, IFA_ADDRESS, operation.address, operation.family);
  if (add) {
    if (operation.flags != 0) writer.U32(IFA_FLAGS, operation.flags);
    if (operation.protocol != 0) writer.U8(IFA_PROTO, operation.protocol);
    if (operation.valid != 0 || operation.preferred != 0 || operation.never_preferred != 0) {
      ifa_cacheinfo life{};
      life.ifa_valid = operation.valid != 0 ? operation.valid : kForever;
      life.ifa_prefered = operation.never_preferred != 0 ? 0
                          : operation.preferred != 0     ? operation.preferred
                                                         : life.ifa_valid;
      writer.Attribute(IFA_CACHEINFO, &life, sizeof(life));
    }
  }
  writer.End();
}

void WriteRouteOperation(MessageWriter& writer, const OperationRecord& operation, uint32_t index) {
  const bool add = static_cast<OperationCode>(operation.code) == OperationCode::kAddRoute;
  writer.Begin(add ? RTM_NEWROUTE : RTM_DELROUTE, add ? NLM_F_CREATE | NLM_F_EXCL : 0);
  rtmsg header{};
  header.rtm_family = KernelFamily(operation.family);
  header.rtm_dst_len = operation.prefix;
  header.rtm_protocol = operation.protocol;
  const bool direct = operation.gateway_family == 0 && operation.family == 4;
  header.rtm_scope = !add ? RT_SCOPE_NOWHERE : direct ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
  header.rtm_type = add ? RTN_UNICAST : RTN_UNSPEC;
  // Above 255 only RTA_TABLE can say it.
  header.rtm_table = static_cast<uint8_t>(operation.table <= 255 ? operation.table : uint32_t{RT_TABLE_UNSPEC});
  writer.Header(header);
  if (operation.prefix > 0) WriteAddress(writer, RTA_DST, operation.address, operation.family);
  if (operation.gateway_family == operation.family) {
    WriteAddress(writer, RTA_GATEWAY, operation.gateway, operation.gateway_family);
  } else if (operation.gateway_family != 0) {
    std::vector<uint8_t> via(sizeof(uint16_t));  // struct rtvia: family, then the address
    const uint16_t family = KernelFamily(operation.gateway_family);
    std::memcpy(via.data(), &family, sizeof(family));
    via.insert(via.end(), operation.gateway.begin(),
               operation.gateway.begin() + static_cast<std::ptrdiff_t>(AddressSize(operation.gateway_family)));
    writer.Bytes(RTA_VIA, via);
  }
  if (index != 0) writer.U32(RTA_OIF, index);
  if (operation.metric != 0) writer.U32(RTA_PRIORITY, operation.metric);
  if (operation.table > 255) writer.U32(RTA_TABLE, operation.table);
  writer.End();
}

}  // namespace

bool ReadLink(const MessageView& message, LinkRecord* out) {
  ifinfomsg header;
  // AF_BRIDGE messages speak of a port, not of the device.
  if (!message.Header(&header) || header.ifi_family != AF_UNSPEC) return false;
  out->index = static_cast<uint32_t>(header.ifi_index);
  out->flags = header.ifi_flags;
  out->type = header.ifi_type;
  return ForAttributes<ifinfomsg>(message, [&](const AttributeView& attribute) {
    switch (attribute.type) {
      case IFLA_IFNAME:
        out->name = attribute.String();
        break;
      case IFLA_MTU:
        out->mtu = attribute.U32();
        break;
      case IFLA_ADDRESS:
        out->hardware.assign(attribute.data.begin(), attribute.data.end());
        break;
      case IFLA_LINKINFO:
        static_cast<void>(ForEach(attribute.data, [out](const AttributeView& info) {
          if (info.type == IFLA_INFO_KIND) out->kind = info.String();
        }));
        break;
      default:
        break;
    }
  });
}

bool ReadAddress(const MessageView& message, AddressRecord* out) {
  ifaddrmsg header;
  if (!message.Header(&header) || FamilyNumber(header.ifa_family) == 0) return false;
  out->family = FamilyNumber(header.ifa_family);
  out->index = header.ifa_index;
  out->prefix = header.ifa_prefixlen;
  out->scope = header.ifa_scope;
  out->flags = header.ifa_flags;
  out->valid = kForever;
  out->preferred = kForever;
  bool found = false;
  AddressBytes peer{};
  bool local = false;
  const bool whole = ForAttributes<ifaddrmsg>(message, [&](const AttributeView& attribute) {
    switch (attribute.type) {
      case IFA_LOCAL:
        local = ReadAddressBytes(attribute, out->family, &out->address);
        found = found || local;
        break;
      case IFA_ADDRESS:
        found = ReadAddressBytes(attribute, out->family, &peer) || found;
        break;
      case IFA_FLAGS:
        out->flags = attribute.U32();
        break;
      case IFA_PROTO:
        out->protocol = attribute.U8();
        break;
      case IFA_CACHEINFO: {
        ifa_cacheinfo life;
        if (attribute.data.size() < sizeof(life)) break;
        std::memcpy(&life, attribute.data.data(), sizeof(life));
        out->valid = life.ifa_valid;
        out->preferred = life.ifa_prefered;
        break;
      }
      default:
        break;
    }
  });
  // On a point-to-point link IFA_ADDRESS is the peer and IFA_LOCAL ours; IPv6 sends IFA_ADDRESS alone.
  if (!local) out->address = peer;
  return whole && found;
}

bool ReadRoute(const MessageView& message, RouteRecord* out) {
  rtmsg header;
  if (!message.Header(&header) || FamilyNumber(header.rtm_family) == 0) return false;
  if ((header.rtm_flags & RTM_F_CLONED) != 0) return false;  // a cached next hop, not a route
  out->family = FamilyNumber(header.rtm_family);
  out->prefix = header.rtm_dst_len;
  out->protocol = header.rtm_protocol;
  out->type = header.rtm_type;
  out->scope = header.rtm_scope;
  out->table = header.rtm_table;
  return ForAttributes<rtmsg>(message, [&](const AttributeView& attribute) {
    switch (attribute.type) {
      case RTA_DST:
        static_cast<void>(ReadAddressBytes(attribute, out->family, &out->destination));
        break;
      case RTA_GATEWAY:
      case RTA_VIA:
        ReadGateway(attribute, out->family, out);
        break;
      case RTA_OIF:
        out->index = attribute.U32();
        break;
      case RTA_TABLE:
        out->table = attribute.U32();
        break;
      case RTA_PRIORITY:
        out->metric = attribute.U32();
        break;
      default:
        break;
    }
  });
}

bool ReadRouteTo(const MessageView& message, RouteToRecord* out) {
  rtmsg header;
  if (message.type != RTM_NEWROUTE || !message.Header(&header) || FamilyNumber(header.rtm_family) == 0) return false;
  const uint8_t family = FamilyNumber(header.rtm_family);
  return ForAttributes<rtmsg>(message, [&](const AttributeView& attribute) {
    switch (attribute.type) {
      case RTA_OIF:
        out->index = attribute.U32();
        break;
      case RTA_GATEWAY:
      case RTA_VIA:
        ReadGateway(attribute, family, out);
        break;
      case RTA_PREFSRC:
        if (ReadAddressBytes(attribute, family, &out->source)) out->source_family = family;
        break;
      case RTA_METRICS:
        static_cast<void>(ForEach(attribute.data, [out](const AttributeView& metric) {
          if (metric.type == RTAX_MTU) out->mtu = metric.U32();
        }));
        break;
      default:
        break;
    }
  });
}

void WriteRouteTo(MessageWriter& writer, std::span<const uint8_t> address) {
  writer.Begin(RTM_GETROUTE, 0);
  rtmsg header{};
  header.rtm_family = address.size() == 4 ? AF_INET : AF_INET6;
  header.rtm_dst_len = static_cast<uint8_t>(address.size() * 8);
  writer.Header(header);
  writer.Bytes(RTA_DST, address);
  writer.End();
}

bool ReadNeighbour(const MessageView& message, NeighbourRecord* out) {
  ndmsg header;
  if (!message.Header(&header) || FamilyNumber(header.ndm_family) == 0) return false;
  out->family = FamilyNumber(header.ndm_family);
  out->index = static_cast<uint32_t>(header.ndm_ifindex);
  out->state = header.ndm_state;
  bool found = false;
  const bool whole = ForAttributes<ndmsg>(message, [&](const AttributeView& attribute) {
    if (attribute.type == NDA_DST) found = ReadAddressBytes(attribute, out->family, &out->address);
    if (attribute.type == NDA_LLADDR && attribute.data.size() <= out->hardware.size()) {
      std::copy(attribute.data.begin(), attribute.data.end(), out->hardware.begin());
      out->hardware_size = static_cast<uint8_t>(attribute.data.size());
    }
  });
  return whole && found;
}

std::optional<Event> ReadEvent(const MessageView& message) {
  switch (message.type) {
    case RTM_NEWLINK:
    case RTM_DELLINK: {
      LinkRecord link;
      if (!ReadLink(message, &link)) return std::nullopt;
      return Event{message.type == RTM_DELLINK, std::move(link)};
    }
    case RTM_NEWADDR:
    case RTM_DELADDR: {
      AddressRecord address;
      if (!ReadAddress(message, &address)) return std::nullopt;
      return Event{message.type == RTM_DELADDR, address};
    }
    case RTM_NEWROUTE:
    case RTM_DELROUTE: {
      RouteRecord route;
      if (!ReadRoute(message, &route)) return std::nullopt;
      return Event{message.type == RTM_DELROUTE, route};
    }
    case RTM_NEWNEIGH:
    case RTM_DELNEIGH: {
      NeighbourRecord neighbour;
      if (!ReadNeighbour(message, &neighbour)) return std::nullopt;
      return Event{message.type == RTM_DELNEIGH, neighbour};
    }
    default:
      return std::nullopt;
  }
}

void WriteOperation(MessageWriter& writer, const OperationRecord& operation, const std::string& name, uint32_t index) {
  switch (static_cast<OperationCode>(operation.code)) {
    case OperationCode::kAddDummy:
      return WriteAddDummy(writer, operation, name);
    case OperationCode::kAddTunnel:
      return WriteAddTunnel(writer, operation, name);
    case OperationCode::kDeleteLink:
      writer.Begin(RTM_DELLINK, 0);
      writer.Header(ifinfomsg{});
      writer.String(IFLA_IFNAME, name);
      return writer.End();
    case OperationCode::kSetLink:
      return WriteSetLink(writer, operation, name);
    case OperationCode::kAddAddress:
    case OperationCode::kDeleteAddress:
      return WriteAddressOperation(writer, operation, index);
    case OperationCode::kAddRoute:
    case OperationCode::kDeleteRoute:
      return WriteRouteOperation(writer, operation, index);
  }
}

}  // namespace ravel::links

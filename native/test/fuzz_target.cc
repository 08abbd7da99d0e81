#include "fuzz_target.h"

#include <linux/genetlink.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/rtnetlink.h>

#include "../conntrack.h"
#include "../fou.h"
#include "../links.h"
#include "../message.h"
#include "../ndp.h"
#include "../packet.h"

namespace ravel::test {
namespace {

constexpr int kDepth = 5;

size_t WalkAttributes(std::span<const uint8_t> data, int depth) {
  AttributeReader reader(data);
  AttributeView attribute;
  size_t count = 0;
  while (reader.Next(&attribute)) {
    bool ok = true;
    count += 1 + (attribute.U8(&ok) & 1U) + (attribute.U16Be(&ok) & 1U) + (attribute.U32Be(&ok) & 1U) +
             (attribute.U64Be(&ok) & 1U) + attribute.String().size();
    if (depth > 0) count += WalkAttributes(attribute.data, depth - 1);
  }
  return count;
}

}  // namespace

size_t WalkDatagram(std::span<const uint8_t> data) {
  MessageReader reader(data);
  MessageView message;
  size_t count = (packet::ReadArp(data).has_value() ? 1 : 0) + (ndp::ReadNdp(data).has_value() ? 1 : 0);
  while (reader.Next(&message)) {
    nlmsgerr error;
    ifinfomsg link;
    count += message.Header(&error) ? 1 : 0;
    count += message.Header(&link) ? 1 : 0;
    count += WalkAttributes(message.payload, kDepth);
    MessageView as = message;
    // Every kind of event from the same bytes: the type is only a number in the header.
    for (as.type = RTM_NEWLINK; as.type <= RTM_GETNEIGH; ++as.type) count += links::ReadEvent(as).has_value() ? 1 : 0;
    links::RouteToRecord way;
    as.type = RTM_NEWROUTE;
    count += links::ReadRouteTo(as, &way) ? 1 : 0;
    fou::PortRecord port;
    count += fou::ReadPort(as, &port) ? 1 : 0;
    conntrack::EntryRecord entry;
    as.type = NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_NEW;
    count += conntrack::DecodeEntry(as, &entry).ok() ? 1 : 0;
    count += WalkAttributes(message.After<genlmsghdr>(), kDepth);
    count += WalkAttributes(message.After<ifinfomsg>(), kDepth);
  }
  return count;
}

}  // namespace ravel::test

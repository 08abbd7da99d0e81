#include "nftables_key_parts.h"

#include <linux/netfilter/nf_conntrack_tuple_common.h>

namespace ravel::nft {

Expression LoadPart(const KeyPart& part, uint32_t destination) {
  const PartRow& row = Row(part.kind);
  Expression e;
  e.destination = destination;
  switch (row.load) {
    case Load::kNetwork:
    case Load::kTransport:
      e.kind = ExpressionKind::kPayload;
      e.base = row.load == Load::kNetwork ? NFT_PAYLOAD_NETWORK_HEADER : NFT_PAYLOAD_TRANSPORT_HEADER;
      e.offset = row.position;
      e.length = row.length;
      break;
    case Load::kMeta:
      e.kind = ExpressionKind::kMeta;
      e.key = row.position;
      break;
    case Load::kCt:
      e.kind = ExpressionKind::kCt;
      e.key = row.position;
      e.directed = true;
      e.direction = IP_CT_DIR_ORIGINAL;
      break;
    case Load::kNumgen:
      e.kind = ExpressionKind::kNumgen;
      e.modulus = part.modulus;
      break;
  }
  return e;
}

Expression LoadTcpFlags() {
  Expression e;
  e.kind = ExpressionKind::kPayload;
  e.destination = kFirst;
  e.base = NFT_PAYLOAD_TRANSPORT_HEADER;
  e.offset = 13;
  e.length = 1;
  return e;
}

Expression WriteMaxSegment() {
  Expression e;
  e.kind = ExpressionKind::kTcpOptionSet;
  e.source = kFirst;
  e.key = 2;  // TCPOPT_MSS: kind, length, then the size
  e.offset = 2;
  e.length = 2;
  return e;
}

}  // namespace ravel::nft

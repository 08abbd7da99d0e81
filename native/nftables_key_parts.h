// How the parts of a key are loaded into registers: shared by both directions of nftables_statements.h.
#pragma once

#include <cstdint>

#include "nftables_expressions.h"
#include "nftables_types.h"

namespace ravel::nft {

inline constexpr uint32_t kFirst = Register(0);
inline constexpr uint32_t kRegisterWords = 16;  // NFT_REG32_COUNT

enum class Load : uint8_t { kNetwork, kTransport, kMeta, kCt, kNumgen };

// How a part of a key is loaded. `position` is the byte offset in the header, or the meta or ct key.
struct PartRow {
  uint32_t position;
  uint32_t length;
  Load load;
  uint8_t family;  // the layer-3 protocol it needs, NFPROTO_UNSPEC for any
};

// In the order of KeyPartKind.
inline constexpr PartRow kParts[] = {
    {12, 4, Load::kNetwork, NFPROTO_IPV4},               // struct iphdr saddr
    {16, 4, Load::kNetwork, NFPROTO_IPV4},               // struct iphdr daddr
    {8, 16, Load::kNetwork, NFPROTO_IPV6},               // struct ipv6hdr saddr
    {24, 16, Load::kNetwork, NFPROTO_IPV6},              // struct ipv6hdr daddr
    {NFT_META_L4PROTO, 1, Load::kMeta, NFPROTO_UNSPEC},  //
    {0, 2, Load::kTransport, NFPROTO_UNSPEC},            // source port of tcp, udp, sctp
    {2, 2, Load::kTransport, NFPROTO_UNSPEC},            // destination port
    {NFT_CT_DST_IP, 4, Load::kCt, NFPROTO_UNSPEC},       // nft asks for no protocol match before it
    {NFT_CT_DST_IP6, 16, Load::kCt, NFPROTO_UNSPEC},     //
    {NFT_CT_PROTO_DST, 2, Load::kCt, NFPROTO_UNSPEC},    // to nft it has a type under a known protocol only
    {0, 4, Load::kNumgen, NFPROTO_UNSPEC},               //
};

inline const PartRow& Row(KeyPartKind kind) { return kParts[static_cast<size_t>(kind)]; }

// The expression that loads `part` into register `destination`.
Expression LoadPart(const KeyPart& part, uint32_t destination);

inline constexpr uint8_t kTcpSynFlag = 0x02;
// Loads byte 13 of the TCP header (RFC 9293): the flags.
Expression LoadTcpFlags();
// Writes the first register into the option "maximum segment size", where the packet has it.
Expression WriteMaxSegment();

}  // namespace ravel::nft

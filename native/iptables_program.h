// The bytes in which rules travel between src/native/iptables-program.ts and the addon. Node-free.
//
// Integers are little-endian, a string is u16 length and bytes, an address 4 or 16 bytes by family:
//   program   string prefix, u32 n, n jumps, u32 n, n chains
//   jump      string from, string to
//   chain     string name, u32 n, n rules
//   rule      u16 fields (RuleField), then what is there, in the order of RuleField:
//             source, destination   address, u8 length, u8 inverted
//             protocol u8, port u16, comment string, probability u32, mark u32 value u32 mask, opening nothing
//             then u8 target: jump string, set mark u32 value u32 mask, DNAT address u16 port, masquerade
// A listing:
//   listing   u8 present, u32 n, n of (string from, listed rule), u32 n, n of (string name, u32 n, n listed rules)
//   listed    u64 packets, u64 bytes, u8 known, then a rule or string text
#pragma once

#include <span>
#include <vector>

#include "iptables_types.h"
#include "result.h"

namespace ravel::ipt {

enum class RuleField : uint8_t { kSource, kDestination, kProtocol, kPort, kComment, kProbability, kMark, kOpening };

// kProtocol when the bytes are not a program, or hold what no entry can: a name or a comment that is too long.
Result<Program> ReadProgram(std::span<const uint8_t> bytes, Family family);

std::vector<uint8_t> WriteListing(const Listing& listing, Family family);

}  // namespace ravel::ipt

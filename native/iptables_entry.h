// Rules as the entries that the kernel keeps: struct ipt_entry and ip6t_entry (linux/netfilter_ipv4/ip_tables.h,
// linux/netfilter_ipv6/ip6_tables.h) with their matches and target. Node-free, and free of libiptc.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "iptables_types.h"

namespace ravel::ipt {

// An extension of the kernel that the vocabulary needs, in the revision that iptables itself writes: an entry
// with another revision works, but `iptables-save` prints it in words that `iptables-restore` refuses.
struct Extension {
  const char* name;    // as in the entry
  const char* module;  // what brings it
  uint8_t revision;
  bool target;
};
std::span<const Extension> Extensions();

// The entry's bytes. A jump carries the name of its chain where the kernel wants an offset: libiptc puts that in.
std::vector<uint8_t> EncodeEntry(const Rule& rule, Family family);

// The rule, or nothing when the entry says anything that the vocabulary cannot. `target` is the name of the chain,
// the target or the verdict as libiptc resolves it.
std::optional<Rule> DecodeEntry(std::span<const uint8_t> entry, std::string_view target, Family family);

// The entry goes on in the chain `target`, by jump or goto.
bool EntersChain(std::span<const uint8_t> entry, std::string_view target, Family family);

// What the entry is about, for people: "-s 10.0.0.0/8 -p 6 -m multiport -j LOG". Not a command.
std::string DescribeEntry(std::span<const uint8_t> entry, std::string_view target, Family family);

}  // namespace ravel::ipt

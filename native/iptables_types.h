// The rules of the iptables backend as plain values. Node-free, and free of libiptc.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace ravel::ipt {

enum class Family : uint8_t { kIpv4 = 2, kIpv6 = 10 };  // NFPROTO_IPV4, NFPROTO_IPV6

constexpr size_t AddressSize(Family family) { return family == Family::kIpv4 ? 4 : 16; }

// Network order; IPv4 takes the first four bytes, the others are zero.
using Address = std::array<uint8_t, 16>;

// What -s and -d match. Bits past `length` are zero.
struct Prefix {
  Address address{};
  uint8_t length = 0;
  bool inverted = false;
  bool operator==(const Prefix&) const = default;
};

// mark & mask == value as a match; mark = (mark & ~mask) ^ value as a target.
struct Mark {
  uint32_t value = 0;
  uint32_t mask = 0;
  bool operator==(const Mark&) const = default;
};

enum class TargetKind : uint8_t { kJump, kSetMark, kDnat, kMasquerade };

struct Rule {
  std::optional<Prefix> source;
  std::optional<Prefix> destination;
  uint8_t protocol = 0;  // IPPROTO_*; 0: any
  std::optional<uint16_t> port;
  bool opening = false;      // of TCP, with a port: SYN without FIN, RST and ACK (--syn)
  std::string comment;       // empty: none
  uint32_t probability = 0;  // of 0x80000000, as xt_statistic counts; 0: no such match
  std::optional<Mark> mark;
  TargetKind target = TargetKind::kJump;
  std::string chain;  // kJump
  Mark set{};         // kSetMark
  Address to{};       // kDnat
  uint16_t to_port = 0;
  bool operator==(const Rule&) const = default;
};

struct Chain {
  std::string name;
  std::vector<Rule> rules;
};

// An unconditional rule in a chain that is not ours.
struct Jump {
  std::string from;
  std::string to;
};

// Everything that is ours: what is not in here goes.
struct Program {
  std::string prefix;
  std::vector<Jump> jumps;
  std::vector<Chain> chains;

  // Exactly the prefix, or the prefix and a hyphen: RAVELIN is somebody else's.
  [[nodiscard]] bool Owns(std::string_view name) const;
};

struct ListedRule {
  std::optional<Rule> rule;  // nothing: outside the vocabulary, and `foreign` describes it
  std::string foreign;
  uint64_t packets = 0;
  uint64_t bytes = 0;
};

struct ListedChain {
  std::string name;
  std::vector<ListedRule> rules;
};

// A rule in a chain that is not ours whose target is one that is.
struct ListedJump {
  std::string from;
  ListedRule rule;
};

struct Listing {
  bool present = false;  // whether the namespace has the table at all
  std::vector<ListedJump> jumps;
  std::vector<ListedChain> chains;
};

struct Outcome {
  uint32_t attempts = 0;  // reads of the table
  uint32_t lock_wait_ms = 0;
  bool changed = false;
  uint32_t added = 0;  // chains
  uint32_t rewritten = 0;
  uint32_t removed = 0;
  uint32_t jumps = 0;  // added or removed
};

}  // namespace ravel::ipt

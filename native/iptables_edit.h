// Which rules of a chain stay where they are. Node-free, and free of libiptc.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "iptables_types.h"

namespace ravel::ipt {

// For each rule that is there, its place among the wanted ones, or nothing when it has to go: as many as possible
// stay, in the order in which they are, so that they keep their counters. What is wanted and has no such place is new.
std::vector<std::optional<size_t>> KeptRules(const std::vector<ListedRule>& observed, const std::vector<Rule>& wanted);

// The chain is as wanted.
bool SameRules(const std::vector<ListedRule>& observed, const std::vector<Rule>& wanted);

}  // namespace ravel::ipt

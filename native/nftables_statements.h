// Statements to expressions and back, in nft's own register layout. Node-free.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "nftables_expressions.h"
#include "nftables_types.h"
#include "result.h"

namespace ravel::nft {

// Expressions of a rule in a table of `family` (NFPROTO_*). Nothing when a statement cannot be written
// there: an IPv6 field in an `ip` table, a key longer than the 64 bytes of registers.
std::optional<std::vector<Expression>> Compile(uint8_t family, const std::vector<Statement>& statements);

// The statements that compile to exactly these expressions; nothing when there are none.
std::optional<std::vector<Statement>> Decompile(uint8_t family, const std::vector<Expression>& expressions);

}  // namespace ravel::nft

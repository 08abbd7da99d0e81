// NFTA_*_USERDATA: opaque to the kernel, read by nft. Type-length-value records with one byte each for
// type and length (libnftnl's udata.h). Node-free.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "nftables_types.h"

namespace ravel::nft {

// Longest comment, so that `nft` shows it and its listing can be loaded again.
inline constexpr size_t kMaxComment = 127;

// NFTNL_UDATA_RULE_COMMENT and NFTNL_UDATA_SET_ELEM_COMMENT are both record 0: text with its NUL.
std::vector<uint8_t> CommentUserdata(std::string_view comment);
// The comment in a rule's or an element's userdata; nothing when there is none or it is malformed.
std::optional<std::string_view> CommentOf(std::span<const uint8_t> userdata);

// What nft writes for a set: byte orders and, where a type has no name that nft would parse (slot), the
// `typeof` expressions it prints instead.
std::vector<uint8_t> SetUserdata(const SetSpec& set);

}  // namespace ravel::nft

// What the kernel says of its nftables objects, message by message. Node-free; every reader gives nothing
// for a malformed message.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "message.h"
#include "nftables_types.h"

namespace ravel::nft {

std::optional<Table> ReadTable(const MessageView& message);
std::optional<Chain> ReadChain(const MessageView& message);
std::optional<Rule> ReadRule(const MessageView& message);
std::optional<ListedSet> ReadSet(const MessageView& message);

// The table a NFT_MSG_NEWCHAIN, NEWRULE, NEWSET, NEWSETELEM, ... is about: attribute 1 of all of them.
std::string_view TableOf(const MessageView& message);

// One notification (NFNLGRP_NFTABLES).
struct Event {
  uint8_t message = 0;  // NFT_MSG_*
  uint8_t family = 0;
  std::string table;                   // empty for NFT_MSG_NEWGEN
  uint32_t port = 0;                   // netlink port of the socket that caused it
  std::optional<uint32_t> generation;  // NFTA_GEN_ID
  std::optional<uint32_t> process;     // NFTA_GEN_PROC_PID
  uint32_t count = 1;                  // equal messages in a row
};

std::optional<Event> ReadEvent(const MessageView& message);

// "newsetelem" for NFT_MSG_NEWSETELEM.
std::string MessageName(uint8_t message);

}  // namespace ravel::nft

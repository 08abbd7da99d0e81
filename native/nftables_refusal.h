// Which operation, element or module an error of the kernel is about. Node-free.
#pragma once

#include <cstdint>
#include <string>

#include "netlink.h"
#include "nftables_program.h"

namespace ravel::nft {

// What the kernel refused, in terms of the program.
struct Refusal {
  int64_t operation = -1;  // -1: the transaction as a whole
  int64_t element = -1;    // within the operation's elements, when the kernel said which
  int error = 0;           // positive errno
  std::string message;
  uint32_t offset = 0;
  // ENOENT of something that a module registers: its name, else empty.
  std::string feature;
  std::string module;
};

Refusal Explain(const Batch& batch, const MessageError& error);

}  // namespace ravel::nft

// The nat table of legacy iptables in one network namespace, through libiptc. Node-free; used only on an
// executor's thread of its own: waiting for the lock must hold up nobody's netlink.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "iptables_types.h"
#include "result.h"

namespace ravel::ipt {

class Client {
 public:
  // Fails where the kernel lacks legacy tables or an extension, and where the lock file cannot be opened.
  static Result<std::unique_ptr<Client>> Open(Family family, std::string lock_file);

  // What is ours: the chains of the prefix and the jumps to them. Without the lock: the kernel hands the table out
  // whole. A table that is not there stays so.
  Result<Listing> List(const std::string& prefix);

  // Makes what is ours what the program says, under the lock, from reading the table to the kernel's answer. Writes
  // nothing when that is so already. Reads again when the table has changed between the two (EAGAIN).
  Result<Outcome> Commit(const Program& program, int lock_timeout_ms, const std::atomic<bool>& cancelled);

  [[nodiscard]] Family family() const { return family_; }

 private:
  Client(Family family, std::string lock_file) : family_(family), lock_file_(std::move(lock_file)) {}

  Family family_;
  std::string lock_file_;
};

}  // namespace ravel::ipt

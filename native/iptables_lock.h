// The lock that every program which changes legacy tables takes (iptables 1.4.20 and later): flock on one file.
// libiptc does not take it. Node-free.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "result.h"

namespace ravel::ipt {

class XtablesLock {
 public:
  // Opens or creates `path` and waits for the lock at most `timeout_ms`, or until `cancelled`. kTimeout names the
  // holder; kClosed when cancelled; kKernel when the file cannot be opened. It is released with the object, and by
  // the kernel when the process ends.
  static Result<std::unique_ptr<XtablesLock>> Acquire(const std::string& path, int timeout_ms,
                                                      const std::atomic<bool>& cancelled);
  // That the file can be opened, without waiting for it.
  static Result<Done> Check(const std::string& path);
  ~XtablesLock();
  XtablesLock(const XtablesLock&) = delete;
  XtablesLock& operator=(const XtablesLock&) = delete;

  [[nodiscard]] uint32_t waited_ms() const { return waited_ms_; }

 private:
  explicit XtablesLock(int fd) : fd_(fd) {}
  int fd_;
  uint32_t waited_ms_ = 0;
};

}  // namespace ravel::ipt

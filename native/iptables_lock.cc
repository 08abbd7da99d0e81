#include "iptables_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cinttypes>
#include <cstdio>
#include <fstream>
#include <thread>

#include "netlink.h"

namespace ravel::ipt {
namespace {

using Clock = std::chrono::steady_clock;

// The holders of the lock let go for less than a millisecond where several wait: who looks less often never gets it.
constexpr auto kEager = std::chrono::microseconds(200);
constexpr auto kPatient = std::chrono::milliseconds(1);
constexpr auto kEagerFor = std::chrono::milliseconds(200);

Result<int> OpenLock(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CREAT | O_CLOEXEC, 0600);
  if (fd >= 0) return fd;
  Failure failure = SystemFailure("iptables.lock", path, errno);
  if (failure.error == EISDIR) failure.message = "is a directory; a hostPath mount needs type FileOrCreate";
  if (failure.error == EACCES) failure.message = "only root may open it";
  return failure;
}

// "iptables-legacy (pid 4711)"; empty when /proc does not say, as for a holder in another pid namespace.
std::string HolderOf(int fd) {
  struct stat status {};
  if (fstat(fd, &status) != 0) return {};
  std::ifstream locks("/proc/locks");
  std::string line;
  while (std::getline(locks, line)) {
    unsigned int major = 0;
    unsigned int minor = 0;
    uint64_t inode = 0;
    int pid = 0;
    // "7: FLOCK  ADVISORY  WRITE 4711 00:1a:1234 0 EOF"; who waits has "->" after the number.
    // NOLINTNEXTLINE(cert-err34-c): the kernel wrote the numbers
    const int fields = sscanf(line.c_str(), "%*u: FLOCK %*s %*s %d %x:%x:%" SCNu64, &pid, &major, &minor, &inode);
    if (fields != 4 || pid <= 0 || inode != status.st_ino || makedev(major, minor) != status.st_dev) continue;
    std::ifstream name("/proc/" + std::to_string(pid) + "/comm");
    std::string command;
    if (!std::getline(name, command)) command = "a process";
    return command + " (pid " + std::to_string(pid) + ")";
  }
  return {};
}

}  // namespace

Result<Done> XtablesLock::Check(const std::string& path) {
  const auto fd = OpenLock(path);
  if (!fd.ok()) return fd.failure();
  close(fd.value());
  return Done{};
}

Result<std::unique_ptr<XtablesLock>> XtablesLock::Acquire(const std::string& path, int timeout_ms,
                                                          const std::atomic<bool>& cancelled) {
  const auto fd = OpenLock(path);
  if (!fd.ok()) return fd.failure();
  std::unique_ptr<XtablesLock> lock(new XtablesLock(fd.value()));
  const auto began = Clock::now();
  while (flock(fd.value(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EINTR) continue;
    if (errno != EWOULDBLOCK) return SystemFailure("iptables.lock", path, errno);
    const auto waited = Clock::now() - began;
    if (cancelled) return Failure{.kind = FailureKind::kClosed, .operation = "iptables.lock", .message = "closed"};
    if (waited >= std::chrono::milliseconds(timeout_ms)) {
      const std::string holder = HolderOf(fd.value());
      return Failure{.kind = FailureKind::kTimeout,
                     .operation = "iptables.lock",
                     .subject = path,
                     .message = "held by " + (holder.empty() ? "another process" : holder) + " for more than " +
                                std::to_string(timeout_ms) + " ms"};
    }
    std::this_thread::sleep_for(waited < kEagerFor ? Clock::duration(kEager) : Clock::duration(kPatient));
  }
  lock->waited_ms_ =
      static_cast<uint32_t>(std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - began).count());
  return lock;
}

XtablesLock::~XtablesLock() { close(fd_); }

}  // namespace ravel::ipt

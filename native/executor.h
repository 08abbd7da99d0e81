// One thread per network namespace. Jobs run first in, first out, so a dump never interleaves with
// a write; between jobs the thread polls the descriptors that were given to it. Node-free.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "result.h"

namespace ravel {

class Executor {
 public:
  // `netns_fd` < 0: the namespace of the process. Otherwise the thread enters it once (setns,
  // CLONE_NEWNET) before the first job and never leaves; the descriptor is not kept.
  static Result<std::shared_ptr<Executor>> Create(int netns_fd);
  // The thread calls unshare(CLONE_NEWNET), brings `lo` up and stays: a namespace that lives as
  // long as something refers to it.
  static Result<std::shared_ptr<Executor>> CreateNamespace();
  ~Executor();
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  // False after Stop(): the job will never run.
  bool Submit(std::function<void()> job);
  // Calls `ready` on the thread whenever `fd` is readable. Must be called on the thread (inside a job).
  void Watch(int fd, std::function<void()> ready);
  void Unwatch(int fd);
  // Refuses new jobs, finishes the running one, drops the queued ones (their destructors run) and
  // joins. Idempotent; not from the thread itself.
  void Stop();
  // Refuses new jobs, drops the queued ones, and runs `last` after the running job, on the thread.
  // For a caller that must not block: Stop() after `last` returns at once. False after Stop().
  bool Finish(std::function<void()> last);
  // Descriptor of the thread's namespace (/proc/thread-self/ns/net), valid until Stop().
  [[nodiscard]] int namespace_fd() const;

 private:
  Executor();
  struct State;
  static Result<std::shared_ptr<Executor>> Start(std::function<Result<Done>()> enter);
  std::shared_ptr<State> state_;  // shared with the thread, which may outlive an Executor destroyed on it
};

}  // namespace ravel

#include "executor.h"

#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <deque>
#include <future>
#include <map>
#include <mutex>
#include <vector>

#include "netlink.h"

namespace ravel {
namespace {

// A new namespace has `lo` down, and with it down the kernel refuses local destinations.
Result<Done> BringLoopbackUp() {
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return SystemFailure("netns.create", "lo", errno);
  ifreq request{};
  std::memcpy(request.ifr_name, "lo", sizeof("lo"));
  request.ifr_flags = IFF_UP;
  const int error = ioctl(fd, SIOCSIFFLAGS, &request) == 0 ? 0 : errno;
  close(fd);
  return error == 0 ? Result<Done>(Done{}) : SystemFailure("netns.create", "lo", error);
}

Failure EnterFailure(const char* operation, const char* call, int error) {
  Failure failure = SystemFailure(operation, call, error);
  if (error == EPERM) failure.message = "needs CAP_SYS_ADMIN";
  return failure;
}

void* RunBody(void* raw) {
  const std::unique_ptr<std::function<void()>> body(static_cast<std::function<void()>*>(raw));
  (*body)();
  return nullptr;
}

}  // namespace

struct Executor::State {
  std::mutex mutex;
  std::deque<std::function<void()>> jobs;
  bool refusing = false;  // no job is taken any more
  bool stopping = false;  // the thread ends after the running job
  pthread_t thread{};
  bool started = false;  // the thread is neither joined nor detached
  int wake_fd = -1;
  int namespace_fd = -1;
  std::map<int, std::shared_ptr<std::function<void()>>> watched;  // only the thread touches it

  ~State() {
    if (wake_fd >= 0) close(wake_fd);
    if (namespace_fd >= 0) close(namespace_fd);
  }

  void Wake() const {
    const uint64_t one = 1;
    // Fails only when the counter is full, and then the thread is about to wake anyway.
    static_cast<void>(!write(wake_fd, &one, sizeof(one)));
  }

  void Run();
  bool RunJobs();
  void PollOnce();
};

// False when the thread must end.
bool Executor::State::RunJobs() {
  for (;;) {
    std::function<void()> job;
    {
      const std::lock_guard lock(mutex);
      if (stopping) return false;
      if (jobs.empty()) return true;
      job = std::move(jobs.front());
      jobs.pop_front();
    }
    job();
  }
}

void Executor::State::PollOnce() {
  std::vector<pollfd> descriptors{{wake_fd, POLLIN, 0}};
  for (const auto& [fd, ready] : watched) descriptors.push_back({fd, POLLIN, 0});
  while (poll(descriptors.data(), descriptors.size(), -1) < 0 && errno == EINTR) {
  }
  if (descriptors[0].revents != 0) {
    uint64_t count = 0;
    static_cast<void>(!read(wake_fd, &count, sizeof(count)));
  }
  for (size_t i = 1; i < descriptors.size(); ++i) {
    if (descriptors[i].revents == 0) continue;
    const auto found = watched.find(descriptors[i].fd);
    if (found == watched.end()) continue;  // an earlier callback took it off
    // A copy: the callback may unwatch itself.
    const std::shared_ptr<std::function<void()>> ready = found->second;
    (*ready)();
    // A closed descriptor would make poll() return at once for ever.
    if ((descriptors[i].revents & POLLNVAL) != 0) watched.erase(descriptors[i].fd);
  }
}

void Executor::State::Run() {
  while (RunJobs()) PollOnce();
  watched.clear();
}

Executor::Executor() : state_(std::make_shared<State>()) {}

Result<std::shared_ptr<Executor>> Executor::Start(std::function<Result<Done>()> enter) {
  std::shared_ptr<Executor> self(new Executor());
  std::shared_ptr<State> state = self->state_;
  state->wake_fd = eventfd(0, EFD_CLOEXEC);
  if (state->wake_fd < 0) return SystemFailure("netns.open", "eventfd", errno);
  std::promise<Result<Done>> entered;
  // Signals belong to the main thread: Node's handlers must not run here.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  auto body = std::make_unique<std::function<void()>>([state, &entered, enter = std::move(enter)]() {
    Result<Done> result = enter();
    if (result.ok()) {
      // /proc/self would name the main thread's namespace.
      state->namespace_fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
      if (state->namespace_fd < 0) result = SystemFailure("netns.open", "/proc/thread-self/ns/net", errno);
    }
    const bool ok = result.ok();
    entered.set_value(std::move(result));
    if (ok) state->Run();
  });
  // std::thread would end the process where there is no room for another thread.
  const int error = pthread_create(&state->thread, nullptr, RunBody, body.get());
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (error != 0) {
    Failure failure = SystemFailure("netns.open", "thread", error);
    failure.message = "cannot start a thread";
    return failure;
  }
  static_cast<void>(body.release());  // the thread's own now
  state->started = true;
  Result<Done> result = entered.get_future().get();
  if (!result.ok()) return std::move(result.failure());
  return self;
}

Result<std::shared_ptr<Executor>> Executor::Create(int netns_fd) {
  return Start([netns_fd]() -> Result<Done> {
    if (netns_fd >= 0 && setns(netns_fd, CLONE_NEWNET) != 0) return EnterFailure("netns.open", "setns", errno);
    return Done{};
  });
}

Result<std::shared_ptr<Executor>> Executor::CreateNamespace() {
  return Start([]() -> Result<Done> {
    if (unshare(CLONE_NEWNET) != 0) return EnterFailure("netns.create", "unshare", errno);
    return BringLoopbackUp();
  });
}

Executor::~Executor() { Stop(); }

bool Executor::Submit(std::function<void()> job) {
  {
    const std::lock_guard lock(state_->mutex);
    if (state_->refusing) return false;
    state_->jobs.push_back(std::move(job));
  }
  state_->Wake();
  return true;
}

bool Executor::Finish(std::function<void()> last) {
  std::deque<std::function<void()>> dropped;  // destroyed outside the lock
  {
    const std::lock_guard lock(state_->mutex);
    if (state_->refusing) return false;
    state_->refusing = true;
    dropped.swap(state_->jobs);
    state_->jobs.push_back(std::move(last));
  }
  state_->Wake();
  return true;
}

void Executor::Stop() {
  std::deque<std::function<void()>> dropped;
  {
    const std::lock_guard lock(state_->mutex);
    state_->refusing = true;
    state_->stopping = true;
    dropped.swap(state_->jobs);
  }
  dropped.clear();  // before the join: whoever waits for a dropped job need not wait for the running one
  if (!std::exchange(state_->started, false)) return;
  state_->Wake();
  if (pthread_equal(state_->thread, pthread_self()) != 0) {
    pthread_detach(state_->thread);  // the last owner let go inside a job; the thread's copy of the state ends with it
  } else {
    pthread_join(state_->thread, nullptr);
  }
}

void Executor::Watch(int fd, std::function<void()> ready) {
  state_->watched[fd] = std::make_shared<std::function<void()>>(std::move(ready));
}

void Executor::Unwatch(int fd) { state_->watched.erase(fd); }

int Executor::namespace_fd() const { return state_->namespace_fd; }

}  // namespace ravel

#include "../executor.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <future>
#include <thread>
#include <vector>

#include "check.h"

namespace ravel {
namespace {

std::shared_ptr<Executor> Make() {
  auto created = Executor::Create(-1);
  return created.ok() ? created.value() : nullptr;
}

// Runs `body` on the thread and waits.
void Do(Executor& executor, const std::function<void()>& body) {
  std::promise<void> done;
  if (executor.Submit([&] {
        body();
        done.set_value();
      })) {
    done.get_future().wait();
  }
}

ino_t NamespaceOf(int fd) {
  struct stat status {};
  return fstat(fd, &status) == 0 ? status.st_ino : 0;
}

TEST(jobs_run_in_order_on_one_thread) {
  const auto executor = Make();
  REQUIRE(executor != nullptr);
  std::vector<int> order;
  std::thread::id first;
  for (int i = 0; i < 1000; ++i) {
    executor->Submit([&order, &first, i] {
      if (i == 0) first = std::this_thread::get_id();
      if (std::this_thread::get_id() == first) order.push_back(i);
    });
  }
  Do(*executor, [] {});
  REQUIRE(order.size() == 1000);
  for (int i = 0; i < 1000; ++i) CHECK(order[static_cast<size_t>(i)] == i);
}

TEST(stop_finishes_the_running_job_and_drops_the_queued) {
  const auto executor = Make();
  REQUIRE(executor != nullptr);
  std::promise<void> running;
  std::promise<void> go_on;
  bool finished = false;
  bool ran = false;
  auto token = std::make_shared<int>(1);
  executor->Submit([&] {
    running.set_value();
    go_on.get_future().wait();
    finished = true;
  });
  executor->Submit([&ran, token] { ran = true; });
  running.get_future().wait();
  std::thread stopper([&] { executor->Stop(); });
  while (token.use_count() > 1) std::this_thread::yield();  // the queued job is destroyed while the first still runs
  go_on.set_value();
  stopper.join();
  CHECK(finished);
  CHECK(!ran);
  CHECK(!executor->Submit([] {}));
  executor->Stop();
}

TEST(finish_drops_the_queue_and_runs_one_last_job) {
  const auto executor = Make();
  REQUIRE(executor != nullptr);
  std::promise<void> hold;
  std::promise<void> last;
  bool ran = false;
  executor->Submit([&] { hold.get_future().wait(); });
  executor->Submit([&] { ran = true; });
  CHECK(executor->Finish([&] { last.set_value(); }));
  CHECK(!executor->Submit([] {}));
  CHECK(!executor->Finish([] {}));
  hold.set_value();
  last.get_future().wait();
  CHECK(!ran);
}

TEST(watched_descriptors_are_served_between_jobs) {
  const auto executor = Make();
  REQUIRE(executor != nullptr);
  int ends[2];
  REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
  std::promise<char> got;
  Do(*executor, [&] {
    executor->Watch(ends[0], [&] {
      char byte = 0;
      if (read(ends[0], &byte, 1) == 1) got.set_value(byte);
      executor->Unwatch(ends[0]);  // from inside its own callback
    });
  });
  CHECK(write(ends[1], "x", 1) == 1);
  CHECK(got.get_future().get() == 'x');
  close(ends[1]);  // unwatched: the hang-up wakes nobody
  Do(*executor, [] {});
  executor->Stop();
  close(ends[0]);
}

TEST(an_executor_may_be_destroyed_inside_its_own_job) {
  auto executor = Make();
  REQUIRE(executor != nullptr);
  std::promise<void> released;
  auto* raw = executor.get();
  std::promise<void> handed_over;
  auto waiting = handed_over.get_future().share();
  auto mine = std::make_shared<std::shared_ptr<Executor>>();
  raw->Submit([mine, waiting, &released] {
    waiting.wait();
    mine->reset();  // the last owner
    released.set_value();
  });
  *mine = std::move(executor);
  handed_over.set_value();
  released.get_future().wait();
  CHECK(*mine == nullptr);
}

TEST(a_descriptor_that_is_no_namespace_is_refused) {
  const int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
  const auto created = Executor::Create(fd);
  close(fd);
  CHECK(!created.ok());
  const auto closed = Executor::Create(9999);
  REQUIRE(!closed.ok());
  CHECK(closed.failure().error == EBADF || closed.failure().error == EPERM);
}

TEST(a_created_namespace_is_another_one_and_can_be_entered) {
  auto created = Executor::CreateNamespace();
  if (!created.ok() && created.failure().error == EPERM) {
    test::Skip("unshare(CLONE_NEWNET) needs CAP_SYS_ADMIN");
    return;
  }
  REQUIRE(created.ok());
  const auto current = Make();
  const ino_t inside = NamespaceOf(created.value()->namespace_fd());
  CHECK(inside != 0 && inside != NamespaceOf(current->namespace_fd()));
  auto entered = Executor::Create(created.value()->namespace_fd());
  REQUIRE(entered.ok());
  CHECK(NamespaceOf(entered.value()->namespace_fd()) == inside);
}

TEST(a_thread_that_cannot_be_started_is_a_failure) {
  pthread_attr_t before;
  REQUIRE(pthread_getattr_default_np(&before) == 0);
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  // More stack than there are addresses.
  REQUIRE(pthread_attr_setstacksize(&attributes, size_t{1} << 47) == 0);
  REQUIRE(pthread_setattr_default_np(&attributes) == 0);
  auto executor = Executor::Create(-1);
  CHECK(pthread_setattr_default_np(&before) == 0);
  pthread_attr_destroy(&attributes);
  pthread_attr_destroy(&before);
  REQUIRE(!executor.ok());
  CHECK(executor.failure().error == EAGAIN);
  CHECK(Executor::Create(-1).ok());
}

}  // namespace
}  // namespace ravel

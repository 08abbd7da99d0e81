// Kernel events to a JavaScript callback: what watch() of every interface has in common.
#include "binding.h"

namespace ravel {
namespace {

// Lives in the executor's table of watched descriptors. Its end without a request from JavaScript
// means that the namespace was closed; before it was established, that nobody is listening yet.
struct Guard {
  explicit Guard(std::shared_ptr<EventStream> the_stream) : stream(std::move(the_stream)) {}
  Guard(const Guard&) = delete;
  Guard& operator=(const Guard&) = delete;
  ~Guard() {
    if (established) {
      stream->PostLast([](Napi::Env env) { return env.Null(); });
    } else {
      stream->Close();
    }
  }
  std::shared_ptr<EventStream> stream;
  bool established = false;
};

void Serve(Executor* executor, const Watched& watched, EventStream& stream) {
  Result<bool> read = watched.read();
  if (read.ok()) {
    if (read.value()) stream.PostOverrun();
    return;
  }
  stream.PostLast([failure = std::move(read.failure())](Napi::Env env) { return MakeError(env, failure); });
  executor->Unwatch(watched.fd);
}

}  // namespace

Napi::Value Subscribe(Napi::Env env, const std::shared_ptr<Executor>& executor, Napi::Function callback,
                      std::function<Result<Watched>(const std::shared_ptr<EventStream>&)> open) {
  const std::shared_ptr<EventStream> stream = EventStream::Create(env, callback);
  auto guard = std::make_shared<Guard>(stream);
  // A watch that failed has closed its descriptor, whose number may belong to another watch by now.
  const std::weak_ptr<Guard> watched_still = guard;
  // The thread runs this only while the executor lives, so a plain pointer is enough.
  Executor* thread = executor.get();
  std::function<Result<int>()> work = [guard = std::move(guard), open = std::move(open), thread]() -> Result<int> {
    Result<Watched> opened = open(guard->stream);
    if (!opened.ok()) return std::move(opened.failure());
    guard->established = true;
    const int fd = opened.value().fd;
    thread->Watch(fd,
                  [thread, guard, watched = std::move(opened.value())]() { Serve(thread, watched, *guard->stream); });
    return fd;
  };
  return RunAsync<int>(
      env, executor, std::move(work), [stream, executor, watched_still](Napi::Env convert_env, int& fd) -> Napi::Value {
        const auto end = [stream, executor, watched_still, fd, ended = false](const Napi::CallbackInfo&) mutable {
          if (std::exchange(ended, true)) return;
          stream->Close();
          Executor* raw = executor.get();
          executor->Submit([raw, watched_still, fd]() {
            if (!watched_still.expired()) raw->Unwatch(fd);
          });
        };
        return Napi::Function::New(convert_env, end, "unsubscribe");
      });
}

}  // namespace ravel

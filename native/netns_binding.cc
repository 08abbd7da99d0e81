// Network namespaces for JavaScript: class NetnsHandle and the functions that make one.
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "binding.h"
#include "netlink.h"

namespace ravel {
namespace {

// Random, fixed: tells our handles from other wrapped objects (napi_type_tag_object).
constexpr napi_type_tag kNetnsTag{0x5e1f3c7a9b2d4e60, 0x8c0a6d1e7f3b5924};

// What the constructor takes over. JavaScript cannot make one, so `new` from there is refused.
struct NetnsInit {
  std::shared_ptr<Executor> executor;
  bool owned;  // false for the namespace of the process, whose thread other handles share
};

Result<std::shared_ptr<Executor>> OpenPath(const std::string& path, const std::string& operation) {
  // Without O_NONBLOCK a FIFO would hold the thread until somebody writes to it.
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return SystemFailure(operation, path, errno);
  Result<std::shared_ptr<Executor>> executor = Executor::Create(fd);
  close(fd);
  if (executor.ok()) return executor;
  Failure failure = std::move(executor.failure());
  failure.operation = operation;
  failure.subject = path;
  if (failure.error == EINVAL) failure.message = "not a network namespace";
  return failure;
}

}  // namespace

class NetnsHandle : public Napi::ObjectWrap<NetnsHandle> {
 public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(env, "NetnsHandle",
                       {InstanceMethod("close", &NetnsHandle::Close), InstanceMethod("fd", &NetnsHandle::Fd)});
  }

  static Napi::Value New(Napi::Env env, std::shared_ptr<Executor> executor, bool owned) {
    if (owned) RegisterExecutor(env, executor);
    NetnsInit init{std::move(executor), owned};
    next_init = &init;
    const Napi::Object handle = DataOf(env)->netns_constructor.New({});
    next_init = nullptr;
    return handle;
  }

  explicit NetnsHandle(const Napi::CallbackInfo& info) : ObjectWrap(info) {
    if (next_init == nullptr) {
      Napi::TypeError::New(info.Env(), "NetnsHandle is not constructible; use Netns").ThrowAsJavaScriptException();
      return;
    }
    executor_ = std::move(next_init->executor);
    owned_ = next_init->owned;
    next_init = nullptr;
    info.This().As<Napi::Object>().TypeTag(&kNetnsTag);
  }

  [[nodiscard]] const std::shared_ptr<Executor>& executor() const { return executor_; }

 private:
  // Handed over within one call of the constructor, so per thread is enough.
  static thread_local NetnsInit* next_init;

  Napi::Value Fd(const Napi::CallbackInfo& info) {
    if (!executor_) {
      ThrowClosed(info.Env(), "netns.fd");
      return info.Env().Undefined();
    }
    return Napi::Number::New(info.Env(), executor_->namespace_fd());
  }

  // Waits for the running job, drops the queued ones.
  Napi::Value Close(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    const Napi::Promise::Deferred deferred = Napi::Promise::Deferred::New(env);
    const std::shared_ptr<Executor> executor = std::exchange(executor_, nullptr);
    if (!executor || !owned_) {
      deferred.Resolve(env.Undefined());
      return deferred.Promise();
    }
    const std::shared_ptr<Channel>& channel = DataOf(env)->channel;
    channel->Ref(env);
    auto call = std::make_shared<PendingCall<Done>>(std::make_shared<Settlement<Done>>(
        Settlement<Done>{deferred,
                         [executor](Napi::Env convert_env, Done&) -> Napi::Value {
                           executor->Stop();  // its last job has run, so this does not wait
                           return convert_env.Undefined();
                         },
                         channel, executor}));
    executor->Finish([call = std::move(call)]() { call->Complete(Done{}); });
    return deferred.Promise();
  }

  std::shared_ptr<Executor> executor_;
  bool owned_ = false;
};

thread_local NetnsInit* NetnsHandle::next_init = nullptr;

namespace {

std::shared_ptr<Executor> ProcessExecutor(Napi::Env env) {
  std::shared_ptr<Executor>& executor = DataOf(env)->process_executor;
  if (!executor) {
    Result<std::shared_ptr<Executor>> created = Executor::Create(-1);
    if (!created.ok()) {
      ThrowFailure(env, created.failure());
      return nullptr;
    }
    executor = std::move(created.value());
    RegisterExecutor(env, executor);
  }
  return executor;
}

// Starting a thread and entering a namespace takes milliseconds, so it runs off the event loop.
Napi::Value OpenAsync(Napi::Env env, std::function<Result<std::shared_ptr<Executor>>()> open) {
  const std::shared_ptr<Executor> executor = ProcessExecutor(env);
  if (!executor) return env.Undefined();
  return RunAsync<std::shared_ptr<Executor>>(
      env, executor, std::move(open), [](Napi::Env convert_env, std::shared_ptr<Executor>& opened) -> Napi::Value {
        return NetnsHandle::New(convert_env, opened, true);
      });
}

Napi::Value Current(const Napi::CallbackInfo& info) {
  std::shared_ptr<Executor> executor = ProcessExecutor(info.Env());
  return executor ? NetnsHandle::New(info.Env(), std::move(executor), false) : info.Env().Undefined();
}

Napi::Value CreateNamespace(const Napi::CallbackInfo& info) {
  return OpenAsync(info.Env(), [] { return Executor::CreateNamespace(); });
}

Napi::Value FromPath(const Napi::CallbackInfo& info) {
  if (info.Length() < 1 || !info[0].IsString()) {
    Napi::TypeError::New(info.Env(), "path: expected a string").ThrowAsJavaScriptException();
    return info.Env().Undefined();
  }
  return OpenAsync(info.Env(),
                   [path = info[0].As<Napi::String>().Utf8Value()] { return OpenPath(path, "netns.fromPath"); });
}

Napi::Value FromPid(const Napi::CallbackInfo& info) {
  const double pid = info.Length() > 0 && info[0].IsNumber() ? info[0].As<Napi::Number>().DoubleValue() : 0;
  if (!(pid >= 1 && pid <= INT32_MAX) || pid != static_cast<int32_t>(pid)) {
    Napi::TypeError::New(info.Env(), "pid: expected a positive integer").ThrowAsJavaScriptException();
    return info.Env().Undefined();
  }
  return OpenAsync(info.Env(), [path = "/proc/" + std::to_string(static_cast<int32_t>(pid)) + "/ns/net"] {
    return OpenPath(path, "netns.fromPid");
  });
}

}  // namespace

std::shared_ptr<Executor> ExecutorOf(Napi::Env env, const Napi::Value& value) {
  if (!value.IsObject() || !value.As<Napi::Object>().CheckTypeTag(&kNetnsTag)) {
    Napi::TypeError::New(env, "netns: expected a network namespace handle").ThrowAsJavaScriptException();
    return nullptr;
  }
  const NetnsHandle* handle = NetnsHandle::Unwrap(value.As<Napi::Object>());
  if (handle == nullptr) return nullptr;
  if (!handle->executor()) ThrowClosed(env, "netns");
  return handle->executor();
}

void InitNetns(Napi::Env env, Napi::Object exports) {
  DataOf(env)->netns_constructor = Napi::Persistent(NetnsHandle::Define(env));
  exports.Set("netnsCurrent", Napi::Function::New(env, Current, "netnsCurrent"));
  exports.Set("netnsCreate", Napi::Function::New(env, CreateNamespace, "netnsCreate"));
  exports.Set("netnsFromPath", Napi::Function::New(env, FromPath, "netnsFromPath"));
  exports.Set("netnsFromPid", Napi::Function::New(env, FromPid, "netnsFromPid"));
}

}  // namespace ravel

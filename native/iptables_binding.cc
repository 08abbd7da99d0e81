// The second addon, iptables.node, which alone links libiptc. It shares the code of the first one (binding, executor)
// and none of its state: namespaces come in as descriptors, and its threads are its own, so that a lock which
// somebody else holds stops no netlink. src/native/iptables.ts checks arguments and encodes programs.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <future>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "binding.h"
#include "iptables.h"
#include "iptables_program.h"
#include "netlink.h"

namespace ravel {
namespace {

// Shared with the calls in flight; `client` is used on the executor's thread only.
struct Session {
  std::shared_ptr<Executor> executor;  // null once closed
  bool own_thread = false;             // nobody else works on it: it ends with the session
  std::unique_ptr<ipt::Client> client;
  std::atomic<bool> closed = false;  // also ends a wait for the lock
};

// One per JavaScript environment.
struct Environment {
  AddonData* data = nullptr;
  std::shared_ptr<Executor> executor;  // where namespaces are opened, and the handle of the process's own works
  std::vector<std::weak_ptr<Session>> sessions;
};

void ThrowType(Napi::Env env, const char* message) { Napi::TypeError::New(env, message).ThrowAsJavaScriptException(); }

// A descriptor of our own for a namespace: JavaScript may close its handle meanwhile.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 0)) {}
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  [[nodiscard]] int get() const { return fd_; }

 private:
  int fd_;
};

// Entering a namespace takes CAP_SYS_ADMIN, which who is there already need not have.
bool IsOwnNamespace(int fd) {
  struct stat theirs {};
  struct stat ours {};
  return fd < 0 || (fstat(fd, &theirs) == 0 && stat("/proc/thread-self/ns/net", &ours) == 0 &&
                    theirs.st_ino == ours.st_ino && theirs.st_dev == ours.st_dev);
}

Napi::Value ListingValue(Napi::Env env, std::vector<uint8_t>& bytes) {
  Napi::ArrayBuffer buffer = Napi::ArrayBuffer::New(env, bytes.size());
  if (buffer.IsEmpty()) return env.Undefined();
  if (!bytes.empty()) std::memcpy(buffer.Data(), bytes.data(), bytes.size());
  return buffer;
}

Napi::Value OutcomeValue(Napi::Env env, ipt::Outcome& outcome) {
  Napi::Object value = Napi::Object::New(env);
  value.Set("changed", outcome.changed);
  value.Set("attempts", outcome.attempts);
  value.Set("lockWaitMs", outcome.lock_wait_ms);
  value.Set("added", outcome.added);
  value.Set("rewritten", outcome.rewritten);
  value.Set("removed", outcome.removed);
  value.Set("jumps", outcome.jumps);
  return value;
}

// (prefix: string) => Promise<ArrayBuffer>
Napi::Value List(const Napi::CallbackInfo& info, const std::shared_ptr<Session>& session) {
  const Napi::Env env = info.Env();
  if (info.Length() < 1 || !info[0].IsString()) {
    ThrowType(env, "expected (prefix: string)");
    return env.Undefined();
  }
  if (session->closed) {
    ThrowClosed(env, "iptables.list");
    return env.Undefined();
  }
  return RunAsync<std::vector<uint8_t>>(
      env, session->executor,
      [session, prefix = info[0].As<Napi::String>().Utf8Value()]() -> Result<std::vector<uint8_t>> {
        const auto listing = session->client->List(prefix);
        if (!listing.ok()) return listing.failure();
        return ipt::WriteListing(listing.value(), session->client->family());
      },
      ListingValue);
}

// (program: Uint8Array, lockTimeoutMs: number) => Promise<outcome>
Napi::Value Commit(const Napi::CallbackInfo& info, const std::shared_ptr<Session>& session) {
  const Napi::Env env = info.Env();
  if (info.Length() < 2 || !info[0].IsTypedArray() || !info[1].IsNumber() ||
      info[0].As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array) {
    ThrowType(env, "expected (program: Uint8Array, lockTimeoutMs: number)");
    return env.Undefined();
  }
  if (session->closed) {
    ThrowClosed(env, "iptables.commit");
    return env.Undefined();
  }
  // A copy: JavaScript may reuse the buffer at once.
  const auto bytes = info[0].As<Napi::Uint8Array>();
  std::vector<uint8_t> program(bytes.Data(), bytes.Data() + bytes.ByteLength());
  return RunAsync<ipt::Outcome>(
      env, session->executor,
      [session, program = std::move(program),
       timeout_ms = info[1].As<Napi::Number>().Int32Value()]() -> Result<ipt::Outcome> {
        const auto read = ipt::ReadProgram(program, session->client->family());
        if (!read.ok()) return read.failure();
        return session->client->Commit(read.value(), timeout_ms, session->closed);
      },
      OutcomeValue);
}

// After the calls that were made before it; one that waits for the lock gives up. Ends the thread.
Napi::Value Close(const Napi::CallbackInfo& info, const std::shared_ptr<Session>& session) {
  const Napi::Env env = info.Env();
  if (session->closed.exchange(true)) {
    const auto deferred = Napi::Promise::Deferred::New(env);
    deferred.Resolve(env.Undefined());
    return deferred.Promise();
  }
  return RunAsync<Done>(
      env, session->executor, []() -> Result<Done> { return Done{}; },
      [session](Napi::Env convert_env, Done& /*done*/) -> Napi::Value {
        if (session->own_thread) session->executor->Stop();  // its last job has run, so this does not wait
        session->executor.reset();
        return convert_env.Undefined();
      });
}

Napi::Value HandleOf(Napi::Env env, const std::shared_ptr<Session>& session) {
  Napi::Object handle = Napi::Object::New(env);
  const auto method = [&](const char* name,
                          Napi::Value (*call)(const Napi::CallbackInfo&, const std::shared_ptr<Session>&)) {
    handle.Set(name, Napi::Function::New(
                         env, [session, call](const Napi::CallbackInfo& info) { return call(info, session); }, name));
  };
  method("list", List);
  method("commit", Commit);
  method("close", Close);
  return handle;
}

Result<std::shared_ptr<Session>> OpenSession(const std::shared_ptr<Executor>& executor, ipt::Family family,
                                             const std::string& lock_file) {
  auto client = ipt::Client::Open(family, lock_file);
  if (!client.ok()) return std::move(client.failure());
  auto session = std::make_shared<Session>();
  session->executor = executor;
  session->client = std::move(client.value());
  return session;
}

// Opens on the namespace's own thread, which this call starts.
Result<std::shared_ptr<Session>> OpenIn(int fd, ipt::Family family, const std::string& lock_file) {
  auto executor = Executor::Create(fd);
  if (!executor.ok()) return std::move(executor.failure());
  std::promise<Result<std::shared_ptr<Session>>> opened;
  executor.value()->Submit([&] { opened.set_value(OpenSession(executor.value(), family, lock_file)); });
  auto session = opened.get_future().get();
  if (session.ok()) session.value()->own_thread = true;
  return session;
}

// (netnsFd: number, family: number, lockFile: string) => Promise<handle>; netnsFd -1: the process's own namespace.
Napi::Value Open(const Napi::CallbackInfo& info, const std::shared_ptr<Environment>& environment) {
  const Napi::Env env = info.Env();
  if (info.Length() < 3 || !info[0].IsNumber() || !info[1].IsNumber() || !info[2].IsString()) {
    ThrowType(env, "expected (netnsFd: number, family: number, lockFile: string)");
    return env.Undefined();
  }
  const int fd = info[0].As<Napi::Number>().Int32Value();
  const bool own = IsOwnNamespace(fd);
  const auto descriptor = std::make_shared<Descriptor>(own ? -1 : fd);
  const auto family = info[1].As<Napi::Number>().Int32Value() == 4 ? ipt::Family::kIpv4 : ipt::Family::kIpv6;
  if (!environment->executor) {
    auto created = Executor::Create(-1);
    if (!created.ok()) {
      ThrowFailure(env, created.failure());
      return env.Undefined();
    }
    environment->executor = std::move(created.value());
    RegisterExecutor(env, environment->executor);
  }
  return RunAsync<std::shared_ptr<Session>>(
      env, environment->executor,
      [own, descriptor, family, lock_file = info[2].As<Napi::String>().Utf8Value(),
       weak = std::weak_ptr(environment->executor)] {
        return own ? OpenSession(weak.lock(), family, lock_file) : OpenIn(descriptor->get(), family, lock_file);
      },
      [environment](Napi::Env convert_env, std::shared_ptr<Session>& session) -> Napi::Value {
        if (session->own_thread) RegisterExecutor(convert_env, session->executor);
        std::erase_if(environment->sessions, [](const std::weak_ptr<Session>& weak) { return weak.expired(); });
        environment->sessions.push_back(session);
        return HandleOf(convert_env, session);
      });
}

// As in addon.cc: joins every thread, after which nobody posts and the channel can close.
void EndEnvironment(void* raw) {
  const auto* environment = static_cast<std::shared_ptr<Environment>*>(raw);
  for (const std::weak_ptr<Session>& weak : (*environment)->sessions) {
    if (const auto session = weak.lock()) session->closed = true;
  }
  for (const std::weak_ptr<Executor>& weak : (*environment)->data->executors) {
    if (const auto executor = weak.lock()) executor->Stop();
  }
  (*environment)->data->channel->Close();
  delete environment;
}

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  auto* data = new AddonData();
  env.SetInstanceData(data);
  data->channel = Channel::Create(env);
  if (!data->channel) return exports;
  auto environment = std::make_shared<Environment>();
  environment->data = data;
  napi_add_env_cleanup_hook(env, EndEnvironment, new std::shared_ptr<Environment>(environment));
  exports.Set("setErrorFactory", Napi::Function::New(
                                     env,
                                     [](const Napi::CallbackInfo& info) {
                                       if (info.Length() < 1 || !info[0].IsFunction()) {
                                         ThrowType(info.Env(), "factory: expected a function");
                                         return;
                                       }
                                       DataOf(info.Env())->make_error = Napi::Persistent(info[0].As<Napi::Function>());
                                     },
                                     "setErrorFactory"));
  exports.Set(
      "iptablesOpen",
      Napi::Function::New(
          env, [environment](const Napi::CallbackInfo& info) { return Open(info, environment); }, "iptablesOpen"));
  return exports;
}

}  // namespace
}  // namespace ravel

static Napi::Object InitAll(Napi::Env env, Napi::Object exports) { return ravel::Init(env, exports); }

NODE_API_MODULE(iptables, InitAll)

// What every binding file shares: promises over an executor, failures as the classes of
// src/native/errors.ts, event streams, type-tagged handles. The only header that includes napi.h.
//
// The pattern of a binding file (links_binding.cc is the model):
//
//   struct Session { std::unique_ptr<NetlinkSocket> socket; };       // used on the executor only
//   links_open(netns, options): Promise<handle>
//     executor = ExecutorOf(env, info[0]);  if (!executor) return env.Undefined();   // JS error pending
//     RunAsync<std::shared_ptr<Session>>(env, executor, [] { open the socket; }, wrap it in a class)
//   handle.method(...): Promise<...>
//     read every argument into plain C++ values first (JS thread), then
//     RunAsync<T>(env, executor_, [session, arguments] { protocol code; }, [](env, T&) { JS value; })
//   handle.close(): drop the session ON the executor (RunAsync that resets it), so that a running
//     job never loses its socket; later methods throw ClosedError.
//
// Rules: `work` never touches Napi; `convert` runs on the JavaScript thread only, and is destroyed there.
// Worker.terminate() may come at any instruction: from then on every X::New() may give an empty value,
// and a method that looks inside one (ArrayBuffer::Data()) aborts the process. Ask IsEmpty() first.
// Methods, never accessors: only methods have the engine check the class of `this`.
#pragma once

#include <napi.h>

#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "executor.h"
#include "result.h"

namespace ravel {

// A namespace handle as JavaScript holds it (netns_binding.cc). All sockets of one handle share its
// executor. Copy the shared_ptr into what outlives a call.
class NetnsHandle;

// Closures from any thread to the JavaScript thread of one environment, in order. One per
// environment, older than every executor: it is closed last, when no thread is left to post.
class Channel {
 public:
  using Closure = std::function<void(Napi::Env)>;
  static std::shared_ptr<Channel> Create(Napi::Env env);
  // Any thread. After Close() the closure is destroyed at once.
  void Post(Closure closure);
  // JavaScript thread: while the count is above zero the process stays alive.
  void Ref(Napi::Env env);
  void Unref(Napi::Env env);
  void Close();

 private:
  Channel() = default;
  void Drain(Napi::Env env);

  std::mutex mutex_;
  std::deque<Closure> queue_;
  napi_threadsafe_function function_ = nullptr;
  size_t references_ = 0;
  bool scheduled_ = false;
  bool closed_ = false;
};

// Everything the binding needs per environment (worker threads have one each).
struct AddonData {
  std::shared_ptr<Channel> channel;
  Napi::FunctionReference netns_constructor;
  // (fields) => Error, set once by src/native/addon.ts: builds the right class of errors.ts from
  // { kind, op, subject, errno, code, message, offset, index }.
  Napi::FunctionReference make_error;
  // Constructors of the handle classes of single bindings, filled in by their Init functions.
  Napi::FunctionReference ipvs_constructor;
  Napi::FunctionReference nftables_constructor;
  Napi::FunctionReference links_constructor;
  Napi::FunctionReference packet_constructor;
  Napi::FunctionReference ndp_constructor;
  Napi::FunctionReference fou_constructor;
  Napi::FunctionReference conntrack_constructor;
  // The namespace of the process: one thread for all handles of Netns.current().
  std::shared_ptr<Executor> process_executor;
  // Stopped and joined when the environment ends.
  std::vector<std::weak_ptr<Executor>> executors;
};

AddonData* DataOf(Napi::Env env);

// Has the executor stopped when the environment ends.
void RegisterExecutor(Napi::Env env, const std::shared_ptr<Executor>& executor);

// The failure as an instance of its class. `operation` index and offset are left out when absent.
Napi::Value MakeError(Napi::Env env, const Failure& failure);
// MakeError(), thrown: the caller returns at once.
void ThrowFailure(Napi::Env env, const Failure& failure);
inline void ThrowClosed(Napi::Env env, const std::string& operation) {
  ThrowFailure(env, {.kind = FailureKind::kClosed, .operation = operation, .message = "the handle is closed"});
}

// Executor behind a NetnsHandle argument; throws a JS TypeError and returns null when `value` is
// not one (type tag checked), a ClosedError when it is closed.
std::shared_ptr<Executor> ExecutorOf(Napi::Env env, const Napi::Value& value);

// Runs `work` on the executor and settles the returned promise on the JavaScript thread:
// `convert` builds the value; a Failure rejects. Never calls into JavaScript from the executor.
// When the executor is stopped the promise rejects with ClosedError.
template <typename T>
Napi::Promise RunAsync(Napi::Env env, const std::shared_ptr<Executor>& executor, std::function<Result<T>()> work,
                       std::function<Napi::Value(Napi::Env, T&)> convert);

// A stream from the executor's thread to one JavaScript callback: Post() from any thread, bounded:
// past `limit` queued values it drops, and delivers one { type: 'overrun' } after those queued.
// Values are built on the JavaScript thread by the given builder. Keeps the process alive until
// closed.
class EventStream {
 public:
  static std::shared_ptr<EventStream> Create(Napi::Env env, Napi::Function callback, size_t limit = 4096);
  virtual ~EventStream() = default;
  // False when it was dropped because of the limit.
  virtual bool Post(std::function<Napi::Value(Napi::Env)> build) = 0;
  // Delivers { type: 'overrun' } after what is queued: the kernel lost events.
  virtual void PostOverrun() = 0;
  // The last word, of an end or a failure: never dropped, and after it nothing is taken any more.
  virtual void PostLast(std::function<Napi::Value(Napi::Env)> build) = 0;
  // No more calls after this; idempotent.
  virtual void Close() = 0;
};

// A descriptor to poll and what to do when it is readable: events go to the stream, true says that
// some were lost. `read` owns the socket; it is destroyed on the executor's thread.
struct Watched {
  int fd = -1;
  std::function<Result<bool>()> read;
};

// Opens a subscription on the executor. The promise resolves, once events are being collected, to a
// function that ends it. The callback gets values of `open`'s making and { type: 'overrun' }; last of
// all an Error, or null when the namespace was closed.
Napi::Value Subscribe(Napi::Env env, const std::shared_ptr<Executor>& executor, Napi::Function callback,
                      std::function<Result<Watched>(const std::shared_ptr<EventStream>&)> open);

// Registration, called by addon.cc for each interface.
void InitNetns(Napi::Env env, Napi::Object exports);
void InitIpvs(Napi::Env env, Napi::Object exports);
void InitNftables(Napi::Env env, Napi::Object exports);
void InitLinks(Napi::Env env, Napi::Object exports);
void InitPacket(Napi::Env env, Napi::Object exports);
void InitNdp(Napi::Env env, Napi::Object exports);
void InitFou(Napi::Env env, Napi::Object exports);
void InitConntrack(Napi::Env env, Napi::Object exports);

}  // namespace ravel

#include "binding_inl.h"

// What every handle of one kernel interface has in common: opened on a namespace's thread, its client
// used and dropped there only, closed once, never made by `new` in JavaScript.
//
//   struct Session { std::unique_ptr<Client> client; static Result<std::shared_ptr<Session>> Open(int timeout_ms,
//                    int receive_buffer); };
//   class LinksHandle : public SessionHandle<LinksHandle, Session> {
//     static constexpr const char* kHowToGet = "LinksHandle is not constructible; use Links.open()";
//     static constexpr napi_type_tag kTag{...};
//     static constexpr auto kConstructor = &AddonData::links_constructor;
//   };
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "binding.h"

namespace ravel {

inline void ThrowType(Napi::Env env, const std::string& message) {
  Napi::TypeError::New(env, message).ThrowAsJavaScriptException();
}

inline Napi::Value UndefinedValue(Napi::Env env, Done& /*done*/) { return env.Undefined(); }

template <typename Derived, typename SessionType>
class SessionHandle : public Napi::ObjectWrap<Derived> {
 public:
  using Client = typename decltype(SessionType::client)::element_type;

  explicit SessionHandle(const Napi::CallbackInfo& info) : Napi::ObjectWrap<Derived>(info) {
    if (next == nullptr) {
      ThrowType(info.Env(), Derived::kHowToGet);
      return;
    }
    executor_ = std::move(next->first);
    session_ = std::move(next->second);
    next = nullptr;
    info.This().template As<Napi::Object>().TypeTag(&Derived::kTag);
  }

  // A handle that was never closed leaves its socket to the executor's thread: closing one may wait for
  // an RCU grace period.
  ~SessionHandle() override {
    if (session_) executor_->Submit([session = std::move(session_)] { session->client.reset(); });
  }

  // (netns, timeoutMs, receiveBufferBytes) => Promise<handle>
  static Napi::Value Open(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    if (info.Length() < 3 || !info[1].IsNumber() || !info[2].IsNumber()) {
      ThrowType(env, "expected (netns, timeoutMs: number, receiveBufferBytes: number)");
      return env.Undefined();
    }
    const auto executor = ExecutorOf(env, info[0]);
    if (!executor) return env.Undefined();
    const int timeout_ms = info[1].As<Napi::Number>().Int32Value();
    const int receive_buffer = info[2].As<Napi::Number>().Int32Value();
    return RunAsync<std::shared_ptr<SessionType>>(
        env, executor, [timeout_ms, receive_buffer] { return SessionType::Open(timeout_ms, receive_buffer); },
        [executor](Napi::Env convert_env, std::shared_ptr<SessionType>& session) -> Napi::Value {
          Initial initial{executor, session};
          next = &initial;
          const Napi::Object handle = (DataOf(convert_env)->*Derived::kConstructor).New({});
          next = nullptr;
          return handle;
        });
  }

  // After the calls that were made before it. Resolves at once when there is nothing to close.
  Napi::Value Close(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    if (!session_) {
      const auto deferred = Napi::Promise::Deferred::New(env);
      deferred.Resolve(env.Undefined());
      return deferred.Promise();
    }
    return RunAsync<Done>(
        env, executor_,
        [session = std::exchange(session_, nullptr)]() -> Result<Done> {
          session->client.reset();
          return Done{};
        },
        UndefinedValue);
  }

 protected:
  // The session, or null with a ClosedError pending when the handle was closed.
  const std::shared_ptr<SessionType>& Require(Napi::Env env, const char* operation) const {
    if (!session_) ThrowClosed(env, operation);
    return session_;
  }

  // `work` with the client, on the executor.
  template <typename T>
  Napi::Value Run(const Napi::CallbackInfo& info, const char* operation, std::function<Result<T>(Client&)> work,
                  std::function<Napi::Value(Napi::Env, T&)> convert) {
    const Napi::Env env = info.Env();
    if (env.IsExceptionPending() || !Require(env, operation)) return env.Undefined();
    return RunAsync<T>(
        env, executor_, [session = session_, work = std::move(work)]() -> Result<T> { return work(*session->client); },
        std::move(convert));
  }

  const std::shared_ptr<Executor>& executor() const { return executor_; }
  // Null once closed: ask Require() first.
  const std::shared_ptr<SessionType>& session() const { return session_; }

 private:
  using Initial = std::pair<std::shared_ptr<Executor>, std::shared_ptr<SessionType>>;
  // What the constructor, which JavaScript's engine calls, is to take over.
  static inline thread_local Initial* next = nullptr;

  std::shared_ptr<Executor> executor_;
  std::shared_ptr<SessionType> session_;
};

// Opens a client whose Open() takes the same two numbers, into a session that holds nothing else.
template <typename SessionType, typename ClientType>
Result<std::shared_ptr<SessionType>> SessionOf(Result<std::unique_ptr<ClientType>> client) {
  if (!client.ok()) return std::move(client.failure());
  auto session = std::make_shared<SessionType>();
  session->client = std::move(client.value());
  return session;
}

// A session whose watches have sockets of their own, opened with the numbers that the handle was.
template <typename ClientType>
struct WatchingSession {
  std::unique_ptr<ClientType> client;
  int timeout_ms = 0;
  int receive_buffer = 0;

  static Result<std::shared_ptr<WatchingSession>> Open(int timeout_ms, int receive_buffer) {
    auto session = SessionOf<WatchingSession>(ClientType::Open(timeout_ms, receive_buffer));
    if (!session.ok()) return session;
    session.value()->timeout_ms = timeout_ms;
    session.value()->receive_buffer = receive_buffer;
    return session;
  }
};

template <typename Handle>
void DefineHandle(Napi::Env env, Napi::Object exports, const char* open) {
  DataOf(env)->*Handle::kConstructor = Napi::Persistent(Handle::Define(env));
  exports.Set(open, Napi::Function::New(env, Handle::Open, open));
}

}  // namespace ravel

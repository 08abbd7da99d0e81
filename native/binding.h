// What every binding file shares: promises over an executor, failures as the classes of
// src/native/errors.ts, type-tagged handles. The only header that includes napi.h.
#pragma once

#include <napi.h>

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "executor.h"
#include "result.h"

namespace ravel {

// A namespace handle as JavaScript holds it: class NetnsHandle (netns_binding.cc). All sockets of
// one handle share its executor. Copy the shared_ptr into what outlives a call.
class NetnsHandle;

// Everything the binding needs per environment (worker threads have one each).
struct AddonData {
  Napi::FunctionReference netns_constructor;
  // (fields) => Error, set once by src/native/addon.ts: builds the right class of errors.ts from
  // { kind, op, subject, errno, code, message, offset, index }.
  Napi::FunctionReference make_error;
};

Napi::Value MakeError(Napi::Env env, const Failure& failure);

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
// past `limit` queued values it drops and delivers one `overflow` value instead. Values are built
// on the JavaScript thread by the given builder.
class EventStream {
 public:
  static std::shared_ptr<EventStream> Create(Napi::Env env, Napi::Function callback, size_t limit = 4096);
  virtual ~EventStream() = default;
  // False when it was dropped because of the limit.
  virtual bool Post(std::function<Napi::Value(Napi::Env)> build) = 0;
  // No more calls after this; idempotent.
  virtual void Close() = 0;
};

// Registration, called by addon.cc for each interface.
void InitNetns(Napi::Env env, Napi::Object exports);
void InitIpvs(Napi::Env env, Napi::Object exports);
void InitNftables(Napi::Env env, Napi::Object exports);
void InitLinks(Napi::Env env, Napi::Object exports);
void InitPacket(Napi::Env env, Napi::Object exports);

}  // namespace ravel

#include "binding_inl.h"

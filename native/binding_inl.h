// RunAsync(), which is a template. Included by binding.h only.
#pragma once

#include <optional>

namespace ravel {

// The JavaScript half of one call. It moves to the channel with the result, so that its Napi
// members are destroyed on the JavaScript thread whatever happens.
template <typename T>
struct Settlement {
  Napi::Promise::Deferred deferred;
  std::function<Napi::Value(Napi::Env, T&)> convert;
  std::shared_ptr<Channel> channel;
  std::shared_ptr<Executor> executor;  // alive until the call is settled
};

// The executor's half: settles with ClosedError when it is destroyed without having run.
template <typename T>
class PendingCall {
 public:
  explicit PendingCall(std::shared_ptr<Settlement<T>> settlement) : settlement_(std::move(settlement)) {}
  PendingCall(const PendingCall&) = delete;
  PendingCall& operator=(const PendingCall&) = delete;
  ~PendingCall() {
    if (!settlement_) return;
    Complete(Failure{.kind = FailureKind::kClosed, .message = "the namespace was closed before the call ran"});
  }

  void Complete(Result<T> result) {
    std::shared_ptr<Channel> channel = settlement_->channel;
    auto shared = std::make_shared<Result<T>>(std::move(result));
    channel->Post([settlement = std::move(settlement_), shared = std::move(shared)](Napi::Env env) {
      settlement->channel->Unref(env);
      if (!shared->ok()) {
        settlement->deferred.Reject(MakeError(env, shared->failure()));
        return;
      }
      const Napi::Value value = settlement->convert(env, shared->value());
      if (env.IsExceptionPending()) {
        settlement->deferred.Reject(env.GetAndClearPendingException().Value());
      } else {
        settlement->deferred.Resolve(value);
      }
    });
  }

 private:
  std::shared_ptr<Settlement<T>> settlement_;
};

template <typename T>
Napi::Promise RunAsync(Napi::Env env, const std::shared_ptr<Executor>& executor, std::function<Result<T>()> work,
                       std::function<Napi::Value(Napi::Env, T&)> convert) {
  const std::shared_ptr<Channel>& channel = DataOf(env)->channel;
  const Napi::Promise::Deferred deferred = Napi::Promise::Deferred::New(env);
  channel->Ref(env);
  auto call = std::make_shared<PendingCall<T>>(
      std::make_shared<Settlement<T>>(Settlement<T>{deferred, std::move(convert), channel, executor}));
  executor->Submit([call = std::move(call), work = std::move(work)]() { call->Complete(work()); });
  return deferred.Promise();
}

}  // namespace ravel

#include "binding.h"

#include "netlink.h"

namespace ravel {
namespace {

const char* KindName(FailureKind kind) {
  switch (kind) {
    case FailureKind::kKernel:
      return "kernel";
    case FailureKind::kUnsupported:
      return "unsupported";
    case FailureKind::kTimeout:
      return "timeout";
    case FailureKind::kClosed:
      return "closed";
    case FailureKind::kProtocol:
      return "protocol";
    case FailureKind::kInterrupted:
      return "interrupted";
  }
  return "protocol";
}

// An exception that nobody can catch, as Node reports it: 'uncaughtException'.
void ReportException(Napi::Env env) {
  if (!env.IsExceptionPending()) return;
  static_cast<void>(napi_fatal_exception(env, env.GetAndClearPendingException().Value()));
}

Napi::Value Overrun(Napi::Env env) {
  Napi::Object event = Napi::Object::New(env);
  event.Set("type", "overrun");
  return event;
}

class CallbackStream final : public EventStream, public std::enable_shared_from_this<CallbackStream> {
 public:
  CallbackStream(std::shared_ptr<Channel> channel, Napi::Function callback, size_t limit)
      : channel_(std::move(channel)),
        callback_(std::make_shared<Napi::FunctionReference>(Napi::Persistent(callback))),
        limit_(limit) {}
  ~CallbackStream() override { CallbackStream::Close(); }

  bool Post(std::function<Napi::Value(Napi::Env)> build) override {
    const std::lock_guard lock(mutex_);
    if (closed_ || last_) return false;
    const bool room = queue_.size() < limit_;
    if (room) {
      queue_.push_back(std::move(build));
    } else {
      overrun_ = true;
    }
    Schedule();
    return room;
  }

  void PostOverrun() override {
    const std::lock_guard lock(mutex_);
    if (closed_ || last_) return;
    overrun_ = true;
    Schedule();
  }

  void PostLast(std::function<Napi::Value(Napi::Env)> build) override {
    const std::lock_guard lock(mutex_);
    if (closed_ || std::exchange(last_, true)) return;
    if (std::exchange(overrun_, false)) queue_.emplace_back(Overrun);
    queue_.push_back(std::move(build));
    Schedule();
  }

  void Close() override {
    const std::lock_guard lock(mutex_);
    if (closed_) return;
    closed_ = true;
    queue_.clear();
    // The reference may only be dropped on the JavaScript thread.
    channel_->Post([callback = std::move(callback_), channel = channel_](Napi::Env env) {
      callback->Reset();
      channel->Unref(env);
    });
  }

 private:
  void Schedule() {
    if (std::exchange(scheduled_, true)) return;
    channel_->Post([self = shared_from_this()](Napi::Env env) { self->Deliver(env); });
  }

  void Deliver(Napi::Env env) {
    std::deque<std::function<Napi::Value(Napi::Env)>> queue;
    {
      const std::lock_guard lock(mutex_);
      scheduled_ = false;
      queue.swap(queue_);
      if (std::exchange(overrun_, false)) queue.emplace_back(Overrun);
    }
    for (const auto& build : queue) {
      const Napi::HandleScope scope(env);
      std::shared_ptr<Napi::FunctionReference> callback;
      {
        const std::lock_guard lock(mutex_);
        callback = callback_;  // null when the callback itself closed the stream
      }
      if (!callback) return;
      const Napi::Value value = build(env);
      if (!env.IsExceptionPending()) static_cast<void>(callback->Call({value}));
      ReportException(env);
    }
  }

  std::mutex mutex_;
  std::shared_ptr<Channel> channel_;
  std::shared_ptr<Napi::FunctionReference> callback_;
  std::deque<std::function<Napi::Value(Napi::Env)>> queue_;
  const size_t limit_;
  bool scheduled_ = false;
  bool overrun_ = false;
  bool last_ = false;  // PostLast() was called
  bool closed_ = false;
};

}  // namespace

AddonData* DataOf(Napi::Env env) { return env.GetInstanceData<AddonData>(); }

std::shared_ptr<Channel> Channel::Create(Napi::Env env) {
  std::shared_ptr<Channel> self(new Channel());
  auto* context = new std::shared_ptr<Channel>(self);
  const auto finalize = [](napi_env, void*, void* hint) { delete static_cast<std::shared_ptr<Channel>*>(hint); };
  const auto call = [](napi_env call_env, napi_value, void* raw, void*) {
    // Null while the environment is torn down: nothing may be called any more.
    if (call_env != nullptr) (*static_cast<std::shared_ptr<Channel>*>(raw))->Drain(Napi::Env(call_env));
  };
  const Napi::String name = Napi::String::New(env, "ravel");
  const napi_status status = napi_create_threadsafe_function(env, nullptr, nullptr, name, 0, 1, nullptr, finalize,
                                                             context, call, &self->function_);
  if (status != napi_ok) {
    delete context;
    Napi::Error::New(env, "cannot create the addon's channel").ThrowAsJavaScriptException();
    return nullptr;
  }
  napi_unref_threadsafe_function(env, self->function_);
  return self;
}

void Channel::Post(Closure closure) {
  const std::lock_guard lock(mutex_);
  if (closed_) return;
  queue_.push_back(std::move(closure));
  // One wake-up for everything that queues up until the JavaScript thread comes round.
  if (std::exchange(scheduled_, true)) return;
  napi_call_threadsafe_function(function_, nullptr, napi_tsfn_nonblocking);
}

void Channel::Drain(Napi::Env env) {
  std::deque<Closure> queue;
  {
    const std::lock_guard lock(mutex_);
    scheduled_ = false;
    queue.swap(queue_);
  }
  for (const Closure& closure : queue) {
    const Napi::HandleScope scope(env);
    closure(env);
    ReportException(env);
  }
}

void Channel::Ref(Napi::Env env) {
  if (references_++ == 0) napi_ref_threadsafe_function(env, function_);
}

void Channel::Unref(Napi::Env env) {
  if (--references_ == 0) napi_unref_threadsafe_function(env, function_);
}

void Channel::Close() {
  std::deque<Closure> dropped;
  const std::lock_guard lock(mutex_);
  closed_ = true;
  dropped.swap(queue_);
}

void RegisterExecutor(Napi::Env env, const std::shared_ptr<Executor>& executor) {
  std::vector<std::weak_ptr<Executor>>& all = DataOf(env)->executors;
  std::erase_if(all, [](const std::weak_ptr<Executor>& weak) { return weak.expired(); });
  all.push_back(executor);
}

Napi::Value MakeError(Napi::Env env, const Failure& failure) {
  Napi::Object fields = Napi::Object::New(env);
  fields.Set("kind", KindName(failure.kind));
  fields.Set("op", failure.operation);
  fields.Set("subject", failure.subject);
  fields.Set("errno", failure.error);
  fields.Set("code", failure.error == 0 ? std::string() : ErrnoName(failure.error));
  if (!failure.message.empty()) fields.Set("message", failure.message);
  if (failure.offset != 0) fields.Set("offset", failure.offset);
  if (failure.index >= 0) fields.Set("index", static_cast<double>(failure.index));
  const Napi::FunctionReference& make = DataOf(env)->make_error;
  if (make.IsEmpty()) {
    return Napi::Error::New(env, failure.operation + " " + failure.subject + ": " + failure.message).Value();
  }
  const Napi::Value error = make.Call({fields});
  return env.IsExceptionPending() ? env.GetAndClearPendingException().Value() : error;
}

void ThrowFailure(Napi::Env env, const Failure& failure) {
  static_cast<void>(napi_throw(env, MakeError(env, failure)));
}

std::shared_ptr<EventStream> EventStream::Create(Napi::Env env, Napi::Function callback, size_t limit) {
  const std::shared_ptr<Channel>& channel = DataOf(env)->channel;
  channel->Ref(env);
  return std::make_shared<CallbackStream>(channel, callback, limit);
}

}  // namespace ravel

// Module entry: per-environment data, its orderly end, and the interfaces.
#include "binding.h"

namespace ravel {
namespace {

Napi::Value SetErrorFactory(const Napi::CallbackInfo& info) {
  if (info.Length() < 1 || !info[0].IsFunction()) {
    Napi::TypeError::New(info.Env(), "factory: expected a function").ThrowAsJavaScriptException();
    return info.Env().Undefined();
  }
  DataOf(info.Env())->make_error = Napi::Persistent(info[0].As<Napi::Function>());
  return info.Env().Undefined();
}

// Joins every thread first: after that nobody posts, and the channel can close. Node destroys the
// thread-safe function behind the channel after this hook, because that was registered earlier.
void EndEnvironment(void* raw) {
  auto* data = static_cast<AddonData*>(raw);
  for (const std::weak_ptr<Executor>& weak : data->executors) {
    if (const std::shared_ptr<Executor> executor = weak.lock()) executor->Stop();
  }
  data->channel->Close();
}

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  auto* data = new AddonData();
  env.SetInstanceData(data);
  data->channel = Channel::Create(env);
  if (!data->channel) return exports;
  napi_add_env_cleanup_hook(env, EndEnvironment, data);
  exports.Set("setErrorFactory", Napi::Function::New(env, SetErrorFactory, "setErrorFactory"));
  InitNetns(env, exports);
  InitIpvs(env, exports);
  InitNftables(env, exports);
  InitLinks(env, exports);
  InitPacket(env, exports);
  InitNdp(env, exports);
  InitFou(env, exports);
  InitConntrack(env, exports);
  return exports;
}

}  // namespace
}  // namespace ravel

static Napi::Object InitAll(Napi::Env env, Napi::Object exports) { return ravel::Init(env, exports); }

NODE_API_MODULE(ravel, InitAll)

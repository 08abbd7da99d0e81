// Foo-over-UDP ports for JavaScript: fouOpen() and the handle it resolves to. src/native/fou.ts checks arguments.
#include <utility>
#include <vector>

#include "fou.h"
#include "session_binding.h"

namespace ravel {
namespace {

using fou::Client;
using fou::PortRecord;

// The client is made, used and dropped on the executor's thread only.
struct Session {
  std::unique_ptr<Client> client;

  static Result<std::shared_ptr<Session>> Open(int timeout_ms, int receive_buffer) {
    return SessionOf<Session>(Client::Open(timeout_ms, receive_buffer));
  }
};

// [{ port, family, type, protocol }]
Napi::Value PortsValue(Napi::Env env, std::vector<PortRecord>& ports) {
  Napi::Array array = Napi::Array::New(env, ports.size());
  for (uint32_t i = 0; i < ports.size(); ++i) {
    Napi::Object value = Napi::Object::New(env);
    value.Set("port", ports[i].port);
    value.Set("family", ports[i].family);
    value.Set("type", ports[i].type);
    value.Set("protocol", ports[i].protocol);
    array.Set(i, value);
  }
  return array;
}

class FouHandle : public SessionHandle<FouHandle, Session> {
 public:
  static constexpr const char* kHowToGet = "FouHandle is not constructible; use Fou.open()";
  static constexpr napi_type_tag kTag{0x2ad86b13f4970ce5, 0xb70f1e5c92a4d386};
  static constexpr auto kConstructor = &AddonData::fou_constructor;

  using SessionHandle::SessionHandle;

  static Napi::Function Define(Napi::Env env) {
    return DefineClass(env, "FouHandle",
                       {InstanceMethod("list", &FouHandle::List), InstanceMethod("add", &FouHandle::Add),
                        InstanceMethod("remove", &FouHandle::Remove), InstanceMethod("close", &FouHandle::Close)});
  }

 private:
  Napi::Value List(const Napi::CallbackInfo& info) {
    return Run<std::vector<PortRecord>>(
        info, "fou.list", [](Client& client) { return client.List(); }, PortsValue);
  }

  // The first `count` arguments as numbers; false with an exception pending.
  static bool Numbers(const Napi::CallbackInfo& info, size_t count, const char* expected) {
    bool right = info.Length() >= count;
    for (size_t i = 0; right && i < count; ++i) right = info[i].IsNumber();
    if (!right) ThrowType(info.Env(), expected);
    return right;
  }

  // (port, family: 4 | 6, type, protocol) => Promise<void>
  Napi::Value Add(const Napi::CallbackInfo& info) {
    if (!Numbers(info, 4, "expected (port, family, type, protocol)")) return info.Env().Undefined();
    const PortRecord port{.port = static_cast<uint16_t>(info[0].As<Napi::Number>().Uint32Value()),
                          .family = static_cast<uint8_t>(info[1].As<Napi::Number>().Uint32Value()),
                          .type = static_cast<uint8_t>(info[2].As<Napi::Number>().Uint32Value()),
                          .protocol = static_cast<uint8_t>(info[3].As<Napi::Number>().Uint32Value())};
    return Run<Done>(
        info, "fou.add", [port](Client& client) { return client.Add(port); }, UndefinedValue);
  }

  // (port, family: 4 | 6) => Promise<void>
  Napi::Value Remove(const Napi::CallbackInfo& info) {
    if (!Numbers(info, 2, "expected (port, family)")) return info.Env().Undefined();
    const PortRecord port{.port = static_cast<uint16_t>(info[0].As<Napi::Number>().Uint32Value()),
                          .family = static_cast<uint8_t>(info[1].As<Napi::Number>().Uint32Value())};
    return Run<Done>(
        info, "fou.delete", [port](Client& client) { return client.Remove(port); }, UndefinedValue);
  }
};

}  // namespace

void InitFou(Napi::Env env, Napi::Object exports) { DefineHandle<FouHandle>(env, exports, "fouOpen"); }

}  // namespace ravel

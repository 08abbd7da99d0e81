// ctnetlink for JavaScript: conntrackOpen() and the handle it resolves to. src/native/conntrack.ts checks the
// arguments; what is checked here again is what would otherwise corrupt memory.
#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "conntrack.h"
#include "conntrack_columns.h"
#include "session_binding.h"

namespace ravel {
namespace {

using conntrack::Client;

// The client is made, used and dropped on the executor's thread only.
struct Session {
  std::unique_ptr<Client> client;

  static Result<std::shared_ptr<Session>> Open(int timeout_ms, int receive_buffer) {
    return SessionOf<Session>(Client::Open(timeout_ms, receive_buffer));
  }
};

// Hands the bytes to JavaScript without a copy; with one where the engine forbids foreign memory.
Napi::Value BytesValue(Napi::Env env, std::vector<uint8_t>& bytes) {
  if (bytes.empty()) return Napi::ArrayBuffer::New(env, 0);  // foreign memory at no address is a detached buffer
  auto* owned = new std::vector<uint8_t>(std::move(bytes));
  napi_value value = nullptr;
  const napi_status status = napi_create_external_arraybuffer(
      env, owned->data(), owned->size(),
      [](node_api_basic_env, void*, void* hint) { delete static_cast<std::vector<uint8_t>*>(hint); }, owned, &value);
  if (status == napi_ok) return {env, value};
  Napi::ArrayBuffer copy = Napi::ArrayBuffer::New(env, owned->size());
  if (!copy.IsEmpty()) std::copy(owned->begin(), owned->end(), static_cast<uint8_t*>(copy.Data()));
  delete owned;
  return copy;
}

// { gone: Uint32Array of positions, refused: [{ index, errno, code, message?, offset? }] }
Napi::Value RemovalValue(Napi::Env env, conntrack::Removal& removal) {
  Napi::Uint32Array gone = Napi::Uint32Array::New(env, removal.gone.size());
  if (gone.IsEmpty()) return env.Undefined();  // the worker is being terminated
  std::copy(removal.gone.begin(), removal.gone.end(), gone.Data());
  Napi::Array refused = Napi::Array::New(env, removal.refused.size());
  for (uint32_t i = 0; i < removal.refused.size(); ++i) {
    const MessageError& error = removal.refused[i];
    Napi::Object value = Napi::Object::New(env);
    value.Set("index", static_cast<double>(error.index));
    value.Set("errno", error.error);
    value.Set("code", ErrnoName(error.error));
    if (!error.message.empty()) value.Set("message", error.message);
    if (error.offset != 0) value.Set("offset", error.offset);
    refused.Set(i, value);
  }
  Napi::Object object = Napi::Object::New(env);
  object.Set("gone", gone);
  object.Set("refused", refused);
  return object;
}

Napi::Value UsageValue(Napi::Env env, conntrack::Usage& usage) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("entries", usage.entries);
  object.Set("limit", usage.limit);
  return object;
}

class ConntrackHandle : public SessionHandle<ConntrackHandle, Session> {
 public:
  static constexpr const char* kHowToGet = "ConntrackHandle is not constructible; use Conntrack.open()";
  static constexpr napi_type_tag kTag{0x5be2a7190c6d4f83, 0xe1974c30bd52a86f};
  static constexpr auto kConstructor = &AddonData::conntrack_constructor;

  using SessionHandle::SessionHandle;

  static Napi::Function Define(Napi::Env env) {
    return DefineClass(env, "ConntrackHandle",
                       {
                           InstanceMethod("usage", &ConntrackHandle::Usage),
                           InstanceMethod("entries", &ConntrackHandle::Entries),
                           InstanceMethod("remove", &ConntrackHandle::Remove),
                           InstanceMethod("close", &ConntrackHandle::Close),
                       });
  }

 private:
  Napi::Value Usage(const Napi::CallbackInfo& info) {
    return Run<conntrack::Usage>(
        info, "conntrack.usage", [](Client& client) { return client.Usage(); }, UsageValue);
  }

  // (family, protocol, destinations: ArrayBuffer of DestinationRecord or undefined) => Promise<ArrayBuffer>
  Napi::Value Entries(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    const bool all = info.Length() > 2 && info[2].IsUndefined();
    if (info.Length() < 3 || !info[0].IsNumber() || !info[1].IsNumber() || !(all || info[2].IsArrayBuffer())) {
      ThrowType(env, "expected (family: number, protocol: number, destinations: ArrayBuffer | undefined)");
      return env.Undefined();
    }
    conntrack::Filter filter{.family = static_cast<uint8_t>(info[0].As<Napi::Number>().Uint32Value()),
                             .protocol = static_cast<uint8_t>(info[1].As<Napi::Number>().Uint32Value())};
    if (!all) {
      auto bytes = info[2].As<Napi::ArrayBuffer>();
      if (bytes.ByteLength() % sizeof(conntrack::DestinationRecord) != 0) {
        ThrowType(env, "destinations: not a whole number of records");
        return env.Undefined();
      }
      filter.destinations.emplace(bytes.ByteLength() / sizeof(conntrack::DestinationRecord));
      if (bytes.ByteLength() > 0) std::memcpy(filter.destinations->data(), bytes.Data(), bytes.ByteLength());
    }
    return Run<std::vector<uint8_t>>(
        info, "conntrack.entries",
        [filter = std::move(filter)](Client& client) -> Result<std::vector<uint8_t>> {
          auto entries = client.Entries(filter);
          if (!entries.ok()) return std::move(entries.failure());
          return conntrack::ColumnsOf(entries.value());
        },
        BytesValue);
  }

  // (columns: ArrayBuffer, count, rows: Uint32Array) => Promise<{ gone, refused }>
  Napi::Value Remove(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    const bool rows_ok = info.Length() > 2 && info[2].IsTypedArray() &&
                         info[2].As<Napi::TypedArray>().TypedArrayType() == napi_uint32_array;
    if (!rows_ok || !info[0].IsArrayBuffer() || !info[1].IsNumber()) {
      ThrowType(env, "expected (columns: ArrayBuffer, count: number, rows: Uint32Array)");
      return env.Undefined();
    }
    if (!Require(env, "conntrack.remove")) return env.Undefined();
    auto columns = info[0].As<Napi::ArrayBuffer>();
    const auto rows = info[2].As<Napi::Uint32Array>();
    // Copied here: JavaScript may change both while the executor works.
    auto entries = conntrack::EntriesAt({static_cast<const uint8_t*>(columns.Data()), columns.ByteLength()},
                                        info[1].As<Napi::Number>().Uint32Value(), {rows.Data(), rows.ElementLength()});
    if (!entries.ok()) {
      ThrowFailure(env, entries.failure());
      return env.Undefined();
    }
    return Run<conntrack::Removal>(
        info, "conntrack.remove",
        [entries = std::move(entries.value())](Client& client) { return client.Remove(entries); }, RemovalValue);
  }
};

}  // namespace

void InitConntrack(Napi::Env env, Napi::Object exports) {
  DefineHandle<ConntrackHandle>(env, exports, "conntrackOpen");
}

}  // namespace ravel

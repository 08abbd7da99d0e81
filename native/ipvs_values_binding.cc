#include "ipvs_values_binding.h"

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <string>
#include <utility>
#include <vector>

#include "session_binding.h"

namespace ravel::ipvs {
namespace {

std::string TextOf(const std::array<char, kNameSize>& name) { return {name.data(), strnlen(name.data(), name.size())}; }

// Hands the bytes to JavaScript without a copy; with one where the engine forbids foreign memory.
Napi::Value BufferOf(Napi::Env env, std::vector<uint8_t> bytes) {
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

}  // namespace

uint32_t NumberAt(const Napi::Object& object, const char* name) {
  const Napi::Value value = object.Get(name);
  return value.IsNumber() ? value.As<Napi::Number>().Uint32Value() : 0;
}

std::optional<OperationBlock> BlockOf(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (info.Length() < 3 || !info[0].IsArrayBuffer() || !info[1].IsNumber() || !info[2].IsArray()) {
    ThrowType(env, "expected (bytes: ArrayBuffer, count: number, names: string[])");
    return std::nullopt;
  }
  std::vector<std::string> names;
  const auto array = info[2].As<Napi::Array>();
  for (uint32_t i = 0; i < array.Length(); i++) {
    const Napi::Value name = array.Get(i);
    if (!name.IsString()) {
      if (!env.IsExceptionPending()) ThrowType(env, "names: expected strings");
      return std::nullopt;
    }
    names.push_back(name.As<Napi::String>().Utf8Value());
  }
  auto bytes = info[0].As<Napi::ArrayBuffer>();
  auto block = OperationBlock::Create({static_cast<const uint8_t*>(bytes.Data()), bytes.ByteLength()},
                                      info[1].As<Napi::Number>().Uint32Value(), std::move(names));
  if (!block.ok()) {
    ThrowFailure(env, block.failure());
    return std::nullopt;
  }
  return std::move(block.value());
}

std::optional<ServiceRecord> ServiceOf(const Napi::CallbackInfo& info) {
  const auto block = BlockOf(info);
  if (!block.has_value()) return std::nullopt;
  if (block->count() != 1) {
    ThrowType(info.Env(), "expected one row");
    return std::nullopt;
  }
  return block->service(0);
}

Napi::Value SnapshotValue(Napi::Env env, SnapshotBlock& block) {
  Napi::Object object = Napi::Object::New(env);
  Napi::Array names = Napi::Array::New(env, block.names.size());
  for (size_t i = 0; i < block.names.size(); i++) names.Set(static_cast<uint32_t>(i), block.names[i]);
  object.Set("names", names);
  object.Set("services", static_cast<double>(block.service_count));
  object.Set("destinations", static_cast<double>(block.destination_count));
  object.Set("bytes", BufferOf(env, std::move(block.bytes)));
  return object;
}

Napi::Value ErrorsValue(Napi::Env env, std::vector<MessageError>& errors) {
  constexpr size_t kNumbers = 5;
  std::vector<std::string> texts{""};
  const auto index_of = [&](const std::string& text) {
    const auto found = std::find(texts.begin(), texts.end(), text);
    if (found != texts.end()) return static_cast<double>(found - texts.begin());
    texts.push_back(text);
    return static_cast<double>(texts.size() - 1);
  };
  Napi::Float64Array numbers = Napi::Float64Array::New(env, errors.size() * kNumbers);
  if (numbers.IsEmpty()) return env.Undefined();  // the worker is being terminated
  double* row = numbers.Data();
  for (const MessageError& error : errors) {
    row[0] = static_cast<double>(error.index);
    row[1] = error.error;
    row[2] = error.offset;
    row[3] = index_of(ErrnoName(error.error));
    row[4] = index_of(error.message);
    row += kNumbers;
  }
  Napi::Array array = Napi::Array::New(env, texts.size());
  for (size_t i = 0; i < texts.size(); i++) array.Set(static_cast<uint32_t>(i), texts[i]);
  Napi::Object object = Napi::Object::New(env);
  object.Set("numbers", numbers);
  object.Set("texts", array);
  return object;
}

Napi::Value InfoValue(Napi::Env env, InfoRecord& info) {
  const auto part = [&](int shift) { return std::to_string((info.version >> shift) & 0xff); };  // NVERSION()
  Napi::Object object = Napi::Object::New(env);
  object.Set("version", part(16) + "." + part(8) + "." + part(0));
  object.Set("connectionTableSize", info.table_size);
  return object;
}

Napi::Value TimeoutsValue(Napi::Env env, TimeoutRecord& timeouts) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("tcp", timeouts.tcp);
  object.Set("tcpFin", timeouts.tcp_fin);
  object.Set("udp", timeouts.udp);
  return object;
}

Napi::Value DaemonsValue(Napi::Env env, std::vector<DaemonRecord>& daemons) {
  Napi::Array array = Napi::Array::New(env, daemons.size());
  for (size_t i = 0; i < daemons.size(); i++) {
    const DaemonRecord& daemon = daemons[i];
    Napi::Object object = Napi::Object::New(env);
    object.Set("role", daemon.state == IP_VS_STATE_MASTER ? "master" : "backup");
    object.Set("interface", TextOf(daemon.device));
    object.Set("syncId", daemon.sync_id);
    if (daemon.max_length != 0) object.Set("maxLength", static_cast<uint32_t>(daemon.max_length));
    std::array<char, INET6_ADDRSTRLEN> text{};
    if (daemon.group != std::array<uint8_t, 4>{}) {
      object.Set("group", inet_ntop(AF_INET, daemon.group.data(), text.data(), text.size()));
    } else if (daemon.group6 != std::array<uint8_t, 16>{}) {
      object.Set("group", inet_ntop(AF_INET6, daemon.group6.data(), text.data(), text.size()));
    }
    if (daemon.port != 0) object.Set("port", static_cast<uint32_t>(daemon.port));
    if (daemon.ttl != 0) object.Set("ttl", static_cast<uint32_t>(daemon.ttl));
    array.Set(static_cast<uint32_t>(i), object);
  }
  return array;
}

bool DaemonOf(const Napi::CallbackInfo& info, DaemonRecord* daemon) {
  if (info.Length() < 1 || !info[0].IsObject()) {
    ThrowType(info.Env(), "daemon: expected an object");
    return false;
  }
  const auto object = info[0].As<Napi::Object>();
  daemon->state = NumberAt(object, "state");
  daemon->sync_id = NumberAt(object, "syncId");
  daemon->max_length = static_cast<uint16_t>(NumberAt(object, "maxLength"));
  daemon->port = static_cast<uint16_t>(NumberAt(object, "port"));
  daemon->ttl = static_cast<uint8_t>(NumberAt(object, "ttl"));
  const Napi::Value device = object.Get("interface");
  if (device.IsString()) {
    const std::string text = device.As<Napi::String>().Utf8Value();
    std::copy_n(text.begin(), std::min(text.size(), kNameSize - 1), daemon->device.begin());
  }
  const Napi::Value group = object.Get("group");
  if (group.IsTypedArray() && group.As<Napi::TypedArray>().TypedArrayType() == napi_uint8_array) {
    const auto bytes = group.As<Napi::Uint8Array>();
    if (bytes.ByteLength() == 4) std::copy_n(bytes.Data(), 4, daemon->group.begin());
    if (bytes.ByteLength() == 16) std::copy_n(bytes.Data(), 16, daemon->group6.begin());
  }
  return !info.Env().IsExceptionPending();
}

}  // namespace ravel::ipvs

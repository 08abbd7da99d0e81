// IPVS for JavaScript: ipvsOpen() and the handle it resolves to. src/native/ipvs.ts checks arguments
// and makes the columns; what is checked here again is what would otherwise corrupt memory.
#include <arpa/inet.h>

#include <algorithm>
#include <iterator>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "binding.h"
#include "ipvs.h"

namespace ravel {
namespace {

using ipvs::Client;

// A new destination of an IPv4 service.
constexpr size_t kTypicalMessage = 140;

constexpr napi_type_tag kIpvsTag{0x1d7b0c52f38e4a96, 0xb4c1e69a70d25f83};

// Memory of messages that were sent, for those to come. A batch of 10,000 operations takes 1.4 MB;
// giving that back to the system and faulting it in again costs more than filling it.
class WriterPool {
 public:
  std::shared_ptr<MessageWriter> Take() {
    auto writer = std::make_shared<MessageWriter>();
    const std::lock_guard lock(mutex_);
    if (!buffers_.empty()) {
      writer->bytes() = std::move(buffers_.back());
      buffers_.pop_back();
    }
    return writer;
  }
  void Give(MessageWriter& writer) {
    std::vector<uint8_t> buffer = std::move(writer.bytes());
    buffer.clear();
    const std::lock_guard lock(mutex_);
    if (buffers_.size() < kBuffers && buffer.capacity() <= kLargest) buffers_.push_back(std::move(buffer));
  }

 private:
  static constexpr size_t kBuffers = 8;
  static constexpr size_t kLargest = 256 << 10;
  std::mutex mutex_;
  std::vector<std::vector<uint8_t>> buffers_;
};

// One for the process: environments come and go. Never destroyed, because threads may outlast main().
WriterPool& Writers() {
  static auto* const pool = new WriterPool();
  return *pool;
}

// What a handle has on the executor's thread, where alone it is touched (but for the family's id).
struct Session {
  std::unique_ptr<Client> client;
  uint16_t family_id = 0;
  // Of the operations staged since the last apply().
  std::vector<MessageError> errors;
  std::optional<Failure> failure;

  // After a broken transport nothing more of the same batch is sent.
  void Send(MessageWriter& operations, size_t first) {
    if (failure.has_value()) return;
    SendAll(operations, first);
    Writers().Give(operations);
  }

  void SendAll(MessageWriter& operations, size_t first) {
    auto refused = client->Apply(operations, first);
    if (!refused.ok()) {
      failure = std::move(refused.failure());
    } else {
      errors.insert(errors.end(), std::make_move_iterator(refused.value().begin()),
                    std::make_move_iterator(refused.value().end()));
    }
  }

  Result<std::vector<MessageError>> Outcome() {
    auto all = std::exchange(errors, {});
    if (!failure.has_value()) return all;
    Failure broken = std::move(*failure);
    failure.reset();
    return broken;
  }
};

struct IpvsInit {
  std::shared_ptr<Executor> executor;
  std::shared_ptr<Session> session;
};

Napi::Value Undefined(Napi::Env env, Done& /*done*/) { return env.Undefined(); }

void ThrowType(Napi::Env env, const std::string& message) {
  Napi::TypeError::New(env, message).ThrowAsJavaScriptException();
}

std::string TextOf(const std::array<char, ipvs::kNameSize>& name) {
  return {name.data(), strnlen(name.data(), name.size())};
}

uint32_t NumberAt(const Napi::Object& object, const char* name) {
  const Napi::Value value = object.Get(name);
  return value.IsNumber() ? value.As<Napi::Number>().Uint32Value() : 0;
}

// A block of operations from arguments (bytes: ArrayBuffer, count: number, names: string[]): a view of
// the buffer, so not for longer than the call. Nothing, with a JavaScript exception pending, when the
// arguments are not that.
std::optional<ipvs::OperationBlock> BlockOf(const Napi::CallbackInfo& info) {
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
  auto block = ipvs::OperationBlock::Create({static_cast<const uint8_t*>(bytes.Data()), bytes.ByteLength()},
                                            info[1].As<Napi::Number>().Uint32Value(), std::move(names));
  if (!block.ok()) {
    ThrowFailure(env, block.failure());
    return std::nullopt;
  }
  return std::move(block.value());
}

// The one service that row 0 of a block names; nothing, with an exception pending, when it is not one row.
std::optional<ipvs::ServiceRecord> ServiceOf(const Napi::CallbackInfo& info) {
  const auto block = BlockOf(info);
  if (!block.has_value()) return std::nullopt;
  if (block->count() != 1) {
    ThrowType(info.Env(), "expected one row");
    return std::nullopt;
  }
  return block->service(0);
}

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

Napi::Value SnapshotValue(Napi::Env env, ipvs::SnapshotBlock& block) {
  Napi::Object object = Napi::Object::New(env);
  Napi::Array names = Napi::Array::New(env, block.names.size());
  for (size_t i = 0; i < block.names.size(); i++) names.Set(static_cast<uint32_t>(i), block.names[i]);
  object.Set("names", names);
  object.Set("services", static_cast<double>(block.service_count));
  object.Set("destinations", static_cast<double>(block.destination_count));
  object.Set("bytes", BufferOf(env, std::move(block.bytes)));
  return object;
}

// Refused operations as rows of five numbers (index, errno, offset, code text, kernel text), texts apart:
// when all of a large batch are refused, objects would hold the event loop.
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

Napi::Value InfoValue(Napi::Env env, ipvs::InfoRecord& info) {
  const auto part = [&](int shift) { return std::to_string((info.version >> shift) & 0xff); };  // NVERSION()
  Napi::Object object = Napi::Object::New(env);
  object.Set("version", part(16) + "." + part(8) + "." + part(0));
  object.Set("connectionTableSize", info.table_size);
  return object;
}

Napi::Value TimeoutsValue(Napi::Env env, ipvs::TimeoutRecord& timeouts) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("tcp", timeouts.tcp);
  object.Set("tcpFin", timeouts.tcp_fin);
  object.Set("udp", timeouts.udp);
  return object;
}

Napi::Value DaemonsValue(Napi::Env env, std::vector<ipvs::DaemonRecord>& daemons) {
  Napi::Array array = Napi::Array::New(env, daemons.size());
  for (size_t i = 0; i < daemons.size(); i++) {
    const ipvs::DaemonRecord& daemon = daemons[i];
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

// A daemon from an object of plain fields; ipvs.ts has checked their ranges.
bool DaemonOf(const Napi::CallbackInfo& info, ipvs::DaemonRecord* daemon) {
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
    std::copy_n(text.begin(), std::min(text.size(), ipvs::kNameSize - 1), daemon->device.begin());
  }
  const Napi::Value group = object.Get("group");
  if (group.IsTypedArray() && group.As<Napi::TypedArray>().TypedArrayType() == napi_uint8_array) {
    const auto bytes = group.As<Napi::Uint8Array>();
    if (bytes.ByteLength() == 4) std::copy_n(bytes.Data(), 4, daemon->group.begin());
    if (bytes.ByteLength() == 16) std::copy_n(bytes.Data(), 16, daemon->group6.begin());
  }
  return !info.Env().IsExceptionPending();
}

class IpvsHandle : public Napi::ObjectWrap<IpvsHandle> {
 public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(env, "IpvsHandle",
                       {
                           InstanceMethod("info", &IpvsHandle::Info),
                           InstanceMethod("timeouts", &IpvsHandle::Timeouts),
                           InstanceMethod("setTimeouts", &IpvsHandle::SetTimeouts),
                           InstanceMethod("stage", &IpvsHandle::Stage),
                           InstanceMethod("apply", &IpvsHandle::Apply),
                           InstanceMethod("snapshot", &IpvsHandle::Snapshot),
                           InstanceMethod("destinations", &IpvsHandle::Destinations),
                           InstanceMethod("zero", &IpvsHandle::Zero),
                           InstanceMethod("daemons", &IpvsHandle::Daemons),
                           InstanceMethod("startDaemon", &IpvsHandle::StartDaemon),
                           InstanceMethod("stopDaemon", &IpvsHandle::StopDaemon),
                           InstanceMethod("close", &IpvsHandle::Close),
                       });
  }

  static Napi::Value New(Napi::Env env, IpvsInit init) {
    next_init = &init;
    const Napi::Object handle = DataOf(env)->ipvs_constructor.New({});
    next_init = nullptr;
    return handle;
  }

  explicit IpvsHandle(const Napi::CallbackInfo& info) : ObjectWrap(info) {
    if (next_init == nullptr) {
      ThrowType(info.Env(), "IpvsHandle is not constructible; use Ipvs.open()");
      return;
    }
    init_ = std::move(*next_init);
    next_init = nullptr;
    info.This().As<Napi::Object>().TypeTag(&kIpvsTag);
  }

  // A handle that was never closed leaves its socket to the executor's thread.
  ~IpvsHandle() override {
    if (init_.session) init_.executor->Submit([session = std::move(init_.session)] { session->client.reset(); });
  }

 private:
  static thread_local IpvsInit* next_init;

  // `work` with the client, on the executor; ClosedError when the handle was closed.
  template <typename T>
  Napi::Value Run(const Napi::CallbackInfo& info, const char* operation, std::function<Result<T>(Client&)> work,
                  std::function<Napi::Value(Napi::Env, T&)> convert) {
    const Napi::Env env = info.Env();
    if (env.IsExceptionPending()) return env.Undefined();
    if (!init_.session) {
      ThrowClosed(env, operation);
      return env.Undefined();
    }
    return RunAsync<T>(
        env, init_.executor,
        [session = init_.session, work = std::move(work)]() -> Result<T> { return work(*session->client); },
        std::move(convert));
  }

  Napi::Value Info(const Napi::CallbackInfo& info) {
    return Run<ipvs::InfoRecord>(
        info, "ipvs.info", [](Client& client) { return client.Info(); }, InfoValue);
  }

  Napi::Value Timeouts(const Napi::CallbackInfo& info) {
    return Run<ipvs::TimeoutRecord>(
        info, "ipvs.timeouts", [](Client& client) { return client.Timeouts(); }, TimeoutsValue);
  }

  Napi::Value SetTimeouts(const Napi::CallbackInfo& info) {
    ipvs::TimeoutRecord timeouts;
    if (info.Length() > 0 && info[0].IsObject()) {
      const auto object = info[0].As<Napi::Object>();
      timeouts = {NumberAt(object, "tcp"), NumberAt(object, "tcpFin"), NumberAt(object, "udp")};
    }
    return Run<Done>(
        info, "ipvs.setTimeouts", [timeouts](Client& client) { return client.SetTimeouts(timeouts); }, Undefined);
  }

  // Encodes on the JavaScript thread (50 ns an operation), straight from JavaScript's memory, so that
  // the executor has nothing to do but send. Null with an exception pending.
  std::shared_ptr<MessageWriter> Encode(const Napi::CallbackInfo& info, const char* operation) {
    if (!init_.session) {
      ThrowClosed(info.Env(), operation);
      return nullptr;
    }
    const auto block = BlockOf(info);
    if (!block.has_value()) return nullptr;
    auto writer = Writers().Take();
    writer->bytes().reserve(block->count() * kTypicalMessage);
    ipvs::OperationEncoder encoder(writer.get(), init_.session->family_id, &*block);
    for (size_t row = 0; row < block->count(); row++) encoder.Encode(row);
    return writer;
  }

  // `first`: the place of the block's first operation in its batch.
  static size_t FirstOf(const Napi::CallbackInfo& info) {
    return info.Length() > 3 && info[3].IsNumber() ? info[3].As<Napi::Number>().Uint32Value() : 0;
  }

  // (bytes, count, names, first): sent in its turn; what comes of it is in the answer of the next
  // apply(). No answer of its own: each would wake the event loop and take the thread from the kernel.
  Napi::Value Stage(const Napi::CallbackInfo& info) {
    const auto writer = Encode(info, "ipvs.apply");
    if (writer) {
      init_.executor->Submit(
          [session = init_.session, writer, first = FirstOf(info)] { session->Send(*writer, first); });
    }
    return info.Env().Undefined();
  }

  // (bytes, count, names, first): the last block of a batch; answers for all that were staged before it.
  Napi::Value Apply(const Napi::CallbackInfo& info) {
    const auto writer = Encode(info, "ipvs.apply");
    if (!writer) return info.Env().Undefined();
    return RunAsync<std::vector<MessageError>>(
        info.Env(), init_.executor,
        [session = init_.session, writer, first = FirstOf(info)]() -> Result<std::vector<MessageError>> {
          session->Send(*writer, first);
          return session->Outcome();
        },
        ErrorsValue);
  }

  static Result<ipvs::SnapshotBlock> Columns(Result<ipvs::Table> table) {
    if (!table.ok()) return std::move(table.failure());
    return ipvs::SnapshotBlock::From(table.value());
  }

  Napi::Value Snapshot(const Napi::CallbackInfo& info) {
    return Run<ipvs::SnapshotBlock>(
        info, "ipvs.snapshot", [](Client& client) { return Columns(client.Snapshot()); }, SnapshotValue);
  }

  Napi::Value Destinations(const Napi::CallbackInfo& info) {
    const auto service = ServiceOf(info);
    return Run<ipvs::SnapshotBlock>(
        info, "ipvs.destinations", [service](Client& client) { return Columns(client.Destinations(*service)); },
        SnapshotValue);
  }

  // Without arguments: everything.
  Napi::Value Zero(const Napi::CallbackInfo& info) {
    std::optional<ipvs::ServiceRecord> service;
    if (info.Length() > 0) service = ServiceOf(info);
    return Run<Done>(
        info, "ipvs.zero", [service](Client& client) { return client.Zero(service); }, Undefined);
  }

  Napi::Value Daemons(const Napi::CallbackInfo& info) {
    return Run<std::vector<ipvs::DaemonRecord>>(
        info, "ipvs.syncDaemons", [](Client& client) { return client.Daemons(); }, DaemonsValue);
  }

  Napi::Value StartDaemon(const Napi::CallbackInfo& info) {
    ipvs::DaemonRecord daemon;
    if (!DaemonOf(info, &daemon)) return info.Env().Undefined();
    return Run<Done>(
        info, "ipvs.startSyncDaemon", [daemon](Client& client) { return client.StartDaemon(daemon); }, Undefined);
  }

  Napi::Value StopDaemon(const Napi::CallbackInfo& info) {
    ipvs::DaemonRecord daemon;
    if (!DaemonOf(info, &daemon)) return info.Env().Undefined();
    return Run<Done>(
        info, "ipvs.stopSyncDaemon", [daemon](Client& client) { return client.StopDaemon(daemon); }, Undefined);
  }

  // After the calls that were made before it. Resolves at once when there is nothing to close.
  Napi::Value Close(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    if (!init_.session) {
      const auto deferred = Napi::Promise::Deferred::New(env);
      deferred.Resolve(env.Undefined());
      return deferred.Promise();
    }
    return RunAsync<Done>(
        env, init_.executor,
        [session = std::exchange(init_.session, nullptr)]() -> Result<Done> {
          session->client.reset();
          return Done{};
        },
        Undefined);
  }

  IpvsInit init_;
};

thread_local IpvsInit* IpvsHandle::next_init = nullptr;

// (netns, timeoutMs, receiveBufferBytes) => Promise<IpvsHandle>
Napi::Value Open(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (info.Length() < 3 || !info[1].IsNumber() || !info[2].IsNumber()) {
    ThrowType(env, "expected (netns, timeoutMs, receiveBufferBytes)");
    return env.Undefined();
  }
  const auto executor = ExecutorOf(env, info[0]);
  if (!executor) return env.Undefined();
  const int timeout_ms = info[1].As<Napi::Number>().Int32Value();
  const int receive_buffer = info[2].As<Napi::Number>().Int32Value();
  return RunAsync<std::shared_ptr<Session>>(
      env, executor,
      [timeout_ms, receive_buffer]() -> Result<std::shared_ptr<Session>> {
        auto client = Client::Open(timeout_ms, receive_buffer);
        if (!client.ok()) return std::move(client.failure());
        auto session = std::make_shared<Session>();
        session->client = std::move(client.value());
        session->family_id = session->client->family_id();
        return session;
      },
      [executor](Napi::Env convert_env, std::shared_ptr<Session>& session) -> Napi::Value {
        return IpvsHandle::New(convert_env, {executor, session});
      });
}

}  // namespace

void InitIpvs(Napi::Env env, Napi::Object exports) {
  DataOf(env)->ipvs_constructor = Napi::Persistent(IpvsHandle::Define(env));
  exports.Set("ipvsOpen", Napi::Function::New(env, Open, "ipvsOpen"));
}

}  // namespace ravel

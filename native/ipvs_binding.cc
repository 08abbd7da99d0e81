// IPVS for JavaScript: ipvsOpen() and the handle it resolves to. src/native/ipvs.ts checks arguments
// and makes the columns; what is checked here again is what would otherwise corrupt memory.
#include <iterator>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ipvs.h"
#include "ipvs_values_binding.h"
#include "session_binding.h"

namespace ravel {
namespace {

using ipvs::Client;

// A new destination of an IPv4 service.
constexpr size_t kTypicalMessage = 140;

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

  static Result<std::shared_ptr<Session>> Open(int timeout_ms, int receive_buffer) {
    auto session = SessionOf<Session>(Client::Open(timeout_ms, receive_buffer));
    if (session.ok()) session.value()->family_id = session.value()->client->family_id();
    return session;
  }

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

class IpvsHandle : public SessionHandle<IpvsHandle, Session> {
 public:
  static constexpr const char* kHowToGet = "IpvsHandle is not constructible; use Ipvs.open()";
  static constexpr napi_type_tag kTag{0x1d7b0c52f38e4a96, 0xb4c1e69a70d25f83};
  static constexpr auto kConstructor = &AddonData::ipvs_constructor;

  using SessionHandle::SessionHandle;

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

 private:
  Napi::Value Info(const Napi::CallbackInfo& info) {
    return Run<ipvs::InfoRecord>(
        info, "ipvs.info", [](Client& client) { return client.Info(); }, ipvs::InfoValue);
  }

  Napi::Value Timeouts(const Napi::CallbackInfo& info) {
    return Run<ipvs::TimeoutRecord>(
        info, "ipvs.timeouts", [](Client& client) { return client.Timeouts(); }, ipvs::TimeoutsValue);
  }

  Napi::Value SetTimeouts(const Napi::CallbackInfo& info) {
    ipvs::TimeoutRecord timeouts;
    if (info.Length() > 0 && info[0].IsObject()) {
      const auto object = info[0].As<Napi::Object>();
      timeouts = {ipvs::NumberAt(object, "tcp"), ipvs::NumberAt(object, "tcpFin"), ipvs::NumberAt(object, "udp")};
    }
    return Run<Done>(
        info, "ipvs.setTimeouts", [timeouts](Client& client) { return client.SetTimeouts(timeouts); }, UndefinedValue);
  }

  // Encodes on the JavaScript thread (50 ns an operation), straight from JavaScript's memory, so that
  // the executor has nothing to do but send. Null with an exception pending.
  std::shared_ptr<MessageWriter> Encode(const Napi::CallbackInfo& info) {
    const auto& session = Require(info.Env(), "ipvs.apply");
    if (!session) return nullptr;
    const auto block = ipvs::BlockOf(info);
    if (!block.has_value()) return nullptr;
    auto writer = Writers().Take();
    writer->bytes().reserve(block->count() * kTypicalMessage);
    ipvs::OperationEncoder encoder(writer.get(), session->family_id, &*block);
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
    const auto writer = Encode(info);
    if (writer) {
      executor()->Submit([session = session(), writer, first = FirstOf(info)] { session->Send(*writer, first); });
    }
    return info.Env().Undefined();
  }

  // (bytes, count, names, first): the last block of a batch; answers for all that were staged before it.
  Napi::Value Apply(const Napi::CallbackInfo& info) {
    const auto writer = Encode(info);
    if (!writer) return info.Env().Undefined();
    return RunAsync<std::vector<MessageError>>(
        info.Env(), executor(),
        [session = session(), writer, first = FirstOf(info)]() -> Result<std::vector<MessageError>> {
          session->Send(*writer, first);
          return session->Outcome();
        },
        ipvs::ErrorsValue);
  }

  static Result<ipvs::SnapshotBlock> Columns(Result<ipvs::Table> table) {
    if (!table.ok()) return std::move(table.failure());
    return ipvs::SnapshotBlock::From(table.value());
  }

  Napi::Value Snapshot(const Napi::CallbackInfo& info) {
    return Run<ipvs::SnapshotBlock>(
        info, "ipvs.snapshot", [](Client& client) { return Columns(client.Snapshot()); }, ipvs::SnapshotValue);
  }

  Napi::Value Destinations(const Napi::CallbackInfo& info) {
    const auto service = ipvs::ServiceOf(info);
    return Run<ipvs::SnapshotBlock>(
        info, "ipvs.destinations", [service](Client& client) { return Columns(client.Destinations(*service)); },
        ipvs::SnapshotValue);
  }

  // Without arguments: everything.
  Napi::Value Zero(const Napi::CallbackInfo& info) {
    std::optional<ipvs::ServiceRecord> service;
    if (info.Length() > 0) service = ipvs::ServiceOf(info);
    return Run<Done>(
        info, "ipvs.zero", [service](Client& client) { return client.Zero(service); }, UndefinedValue);
  }

  Napi::Value Daemons(const Napi::CallbackInfo& info) {
    return Run<std::vector<ipvs::DaemonRecord>>(
        info, "ipvs.syncDaemons", [](Client& client) { return client.Daemons(); }, ipvs::DaemonsValue);
  }

  Napi::Value StartDaemon(const Napi::CallbackInfo& info) {
    ipvs::DaemonRecord daemon;
    if (!ipvs::DaemonOf(info, &daemon)) return info.Env().Undefined();
    return Run<Done>(
        info, "ipvs.startSyncDaemon", [daemon](Client& client) { return client.StartDaemon(daemon); }, UndefinedValue);
  }

  Napi::Value StopDaemon(const Napi::CallbackInfo& info) {
    ipvs::DaemonRecord daemon;
    if (!ipvs::DaemonOf(info, &daemon)) return info.Env().Undefined();
    return Run<Done>(
        info, "ipvs.stopSyncDaemon", [daemon](Client& client) { return client.StopDaemon(daemon); }, UndefinedValue);
  }
};

}  // namespace

void InitIpvs(Napi::Env env, Napi::Object exports) { DefineHandle<IpvsHandle>(env, exports, "ipvsOpen"); }

}  // namespace ravel

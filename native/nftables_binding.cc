// nftables for JavaScript: nftablesOpen() and the handle it resolves to. src/native/nftables.ts checks
// arguments and encodes programs; what is checked here again is what would otherwise corrupt memory.
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "nftables.h"
#include "nftables_values_binding.h"
#include "session_binding.h"

namespace ravel {
namespace {

using nft::Client;
using nft::Monitor;

// The client is made, used and dropped on the executor's thread only.
struct Session {
  std::unique_ptr<Client> client;

  static Result<std::shared_ptr<Session>> Open(int timeout_ms, int receive_buffer) {
    return SessionOf<Session>(Client::Open(timeout_ms, receive_buffer));
  }
};

// A subscription; lives in the executor's list of watched descriptors.
struct Watch {
  std::unique_ptr<Monitor> monitor;
  std::shared_ptr<EventStream> stream;
  std::shared_ptr<Session> session;

  Watch() = default;
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;
  // Without a stop() before it the namespace was closed: the reader must learn that nothing more comes.
  ~Watch() {
    if (!stream) return;
    stream->PostLast([](Napi::Env env) -> Napi::Value {
      Napi::Object event = Napi::Object::New(env);
      event.Set("type", "closed");
      return event;
    });
  }

  void Read() const {
    const uint32_t own_port = session->client ? session->client->port() : 0;
    auto overrun = monitor->Receive([&](const nft::Event& event) {
      stream->Post([event, own = event.port == own_port && own_port != 0](Napi::Env env) {
        return nft::EventValue(env, event, own);
      });
    });
    // Whatever a socket cannot deliver is lost to the reader, which must read the tables again.
    if (!overrun.ok() || overrun.value()) stream->PostOverrun();
  }
};

// (family: number, table: string) at the front of the arguments.
bool TableOf(const Napi::CallbackInfo& info, nft::Table* table) {
  if (info.Length() < 2 || !info[0].IsNumber() || !info[1].IsString()) {
    ThrowType(info.Env(), "expected (family: number, table: string)");
    return false;
  }
  table->family = static_cast<uint8_t>(info[0].As<Napi::Number>().Uint32Value());
  table->name = info[1].As<Napi::String>().Utf8Value();
  return true;
}

class NftablesHandle : public SessionHandle<NftablesHandle, Session> {
 public:
  static constexpr const char* kHowToGet = "NftablesHandle is not constructible; use Nftables.open()";
  static constexpr napi_type_tag kTag{0x7c3e91d4a05f4b28, 0x9d62b8f1074e3ac5};
  static constexpr auto kConstructor = &AddonData::nftables_constructor;

  using SessionHandle::SessionHandle;

  static Napi::Function Define(Napi::Env env) {
    return DefineClass(env, "NftablesHandle",
                       {
                           InstanceMethod("generation", &NftablesHandle::Generation),
                           InstanceMethod("tables", &NftablesHandle::Tables),
                           InstanceMethod("list", &NftablesHandle::List),
                           InstanceMethod("elements", &NftablesHandle::Elements),
                           InstanceMethod("commit", &NftablesHandle::Commit),
                           InstanceMethod("watch", &NftablesHandle::WatchTables),
                           InstanceMethod("close", &NftablesHandle::Close),
                       });
  }

 private:
  Napi::Value Generation(const Napi::CallbackInfo& info) {
    return Run<uint32_t>(
        info, "nftables.generation", [](Client& client) { return client.Generation(); },
        [](Napi::Env env, uint32_t& generation) -> Napi::Value { return Napi::Number::New(env, generation); });
  }

  Napi::Value Tables(const Napi::CallbackInfo& info) {
    return Run<std::vector<nft::Table>>(
        info, "nftables.tables", [](Client& client) { return client.Tables(); }, nft::TablesValue);
  }

  // (family, table)
  Napi::Value List(const Napi::CallbackInfo& info) {
    nft::Table table;
    if (!TableOf(info, &table)) return info.Env().Undefined();
    return Run<nft::TableState>(
        info, "nftables.list", [table](Client& client) { return client.List(table); }, nft::TableStateValue);
  }

  // (family, table, set)
  Napi::Value Elements(const Napi::CallbackInfo& info) {
    nft::Table table;
    if (!TableOf(info, &table)) return info.Env().Undefined();
    if (info.Length() < 3 || !info[2].IsString()) {
      ThrowType(info.Env(), "set: expected a string");
      return info.Env().Undefined();
    }
    return Run<nft::ElementColumns>(
        info, "nftables.elements",
        [table, set = info[2].As<Napi::String>().Utf8Value()](Client& client) { return client.Elements(table, set); },
        nft::ColumnsValue);
  }

  // (program: Uint8Array, generation: number | undefined, apply: boolean)
  Napi::Value Commit(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    const bool is_bytes = info.Length() >= 3 && info[0].IsTypedArray() &&
                          info[0].As<Napi::TypedArray>().TypedArrayType() == napi_uint8_array;
    if (!is_bytes || (!info[1].IsNumber() && !info[1].IsUndefined()) || !info[2].IsBoolean()) {
      ThrowType(env, "expected (program: Uint8Array, generation: number | undefined, apply: boolean)");
      return env.Undefined();
    }
    // A copy: JavaScript may reuse the buffer at once.
    const auto bytes = info[0].As<Napi::Uint8Array>();
    std::vector<uint8_t> program(bytes.Data(), bytes.Data() + bytes.ByteLength());
    std::optional<uint32_t> generation;
    if (info[1].IsNumber()) generation = info[1].As<Napi::Number>().Uint32Value();
    const bool apply = info[2].As<Napi::Boolean>().Value();
    return Run<nft::Outcome>(
        info, apply ? "nftables.commit" : "nftables.check",
        [program = std::move(program), generation, apply](Client& client) {
          return client.Commit(program, generation, apply);
        },
        nft::OutcomeValue);
  }

  // (callback: (event) => void, receiveBufferBytes: number) => Promise<() => void>
  Napi::Value WatchTables(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    if (info.Length() < 2 || !info[0].IsFunction() || !info[1].IsNumber()) {
      ThrowType(env, "expected (callback: function, receiveBufferBytes: number)");
      return env.Undefined();
    }
    const auto& session = Require(env, "nftables.watch");
    if (!session) return env.Undefined();
    const int receive_buffer = info[1].As<Napi::Number>().Int32Value();
    auto stream = EventStream::Create(env, info[0].As<Napi::Function>());
    auto executor = this->executor();
    return RunAsync<int>(
        env, executor,
        // The executor must not own itself through its list of descriptors, hence the plain pointer.
        [stream, session, receive_buffer, thread = executor.get()]() -> Result<int> {
          auto monitor = Monitor::Open(receive_buffer);
          if (!monitor.ok()) {
            stream->Close();
            return std::move(monitor.failure());
          }
          auto watch = std::make_shared<Watch>();
          watch->monitor = std::move(monitor.value());
          watch->stream = stream;
          watch->session = session;
          const int fd = watch->monitor->fd();
          thread->Watch(fd, [watch] { watch->Read(); });
          return fd;
        },
        [stream, executor](Napi::Env convert_env, int& fd) -> Napi::Value {
          // Once only: the number of the descriptor may be in use again after it.
          auto stopped = std::make_shared<bool>(false);
          return Napi::Function::New(convert_env, [stream, executor, fd, stopped](const Napi::CallbackInfo&) {
            if (std::exchange(*stopped, true)) return;
            stream->Close();
            executor->Submit([thread = executor.get(), fd] { thread->Unwatch(fd); });
          });
        });
  }
};

}  // namespace

void InitNftables(Napi::Env env, Napi::Object exports) { DefineHandle<NftablesHandle>(env, exports, "nftablesOpen"); }

}  // namespace ravel

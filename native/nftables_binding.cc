// nftables for JavaScript: nftablesOpen() and the handle it resolves to. src/native/nftables.ts checks
// arguments and encodes programs; what is checked here again is what would otherwise corrupt memory.
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "binding.h"
#include "nftables.h"
#include "nftables_values_binding.h"

namespace ravel {
namespace {

using nft::Client;
using nft::Monitor;

constexpr napi_type_tag kNftablesTag{0x7c3e91d4a05f4b28, 0x9d62b8f1074e3ac5};

// The client is made, used and dropped on the executor's thread only.
struct Session {
  std::unique_ptr<Client> client;
};

struct NftablesInit {
  std::shared_ptr<Executor> executor;
  std::shared_ptr<Session> session;
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

void ThrowType(Napi::Env env, const std::string& message) {
  Napi::TypeError::New(env, message).ThrowAsJavaScriptException();
}

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

class NftablesHandle : public Napi::ObjectWrap<NftablesHandle> {
 public:
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

  static Napi::Value New(Napi::Env env, NftablesInit init) {
    next_init = &init;
    const Napi::Object handle = DataOf(env)->nftables_constructor.New({});
    next_init = nullptr;
    return handle;
  }

  explicit NftablesHandle(const Napi::CallbackInfo& info) : ObjectWrap(info) {
    if (next_init == nullptr) {
      ThrowType(info.Env(), "NftablesHandle is not constructible; use Nftables.open()");
      return;
    }
    init_ = std::move(*next_init);
    next_init = nullptr;
    info.This().As<Napi::Object>().TypeTag(&kNftablesTag);
  }

  // A handle that was never closed leaves its socket to the executor's thread: closing an nfnetlink
  // socket waits for an RCU grace period.
  ~NftablesHandle() override {
    if (init_.session) init_.executor->Submit([session = std::move(init_.session)] { session->client.reset(); });
  }

 private:
  static thread_local NftablesInit* next_init;

  // `work` with the client, on the executor; ClosedError when the handle was closed.
  template <typename T>
  Napi::Value Run(const Napi::CallbackInfo& info, const char* operation, std::function<Result<T>(Client&)> work,
                  std::function<Napi::Value(Napi::Env, T&)> convert) {
    const Napi::Env env = info.Env();
    if (!init_.session) {
      ThrowClosed(env, operation);
      return env.Undefined();
    }
    return RunAsync<T>(
        env, init_.executor,
        [session = init_.session, work = std::move(work)]() -> Result<T> { return work(*session->client); },
        std::move(convert));
  }

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
    if (!init_.session) {
      ThrowClosed(env, "nftables.watch");
      return env.Undefined();
    }
    const int receive_buffer = info[1].As<Napi::Number>().Int32Value();
    auto stream = EventStream::Create(env, info[0].As<Napi::Function>());
    auto executor = init_.executor;
    return RunAsync<int>(
        env, executor,
        // The executor must not own itself through its list of descriptors, hence the plain pointer.
        [stream, session = init_.session, receive_buffer, thread = executor.get()]() -> Result<int> {
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
        [](Napi::Env convert_env, Done&) { return convert_env.Undefined(); });
  }

  NftablesInit init_;
};

thread_local NftablesInit* NftablesHandle::next_init = nullptr;

// (netns, timeoutMs, receiveBufferBytes) => Promise<NftablesHandle>
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
        return session;
      },
      [executor](Napi::Env convert_env, std::shared_ptr<Session>& session) -> Napi::Value {
        return NftablesHandle::New(convert_env, {executor, session});
      });
}

}  // namespace

void InitNftables(Napi::Env env, Napi::Object exports) {
  DataOf(env)->nftables_constructor = Napi::Persistent(NftablesHandle::Define(env));
  exports.Set("nftablesOpen", Napi::Function::New(env, Open, "nftablesOpen"));
}

}  // namespace ravel

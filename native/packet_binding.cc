// ARP for JavaScript: arpOpen() and the handle it resolves to. src/native/arp.ts checks arguments.
#include <string>
#include <utility>
#include <vector>

#include "binding.h"
#include "packet.h"

namespace ravel {
namespace {

using packet::Announcer;
using packet::ArpRecord;
using packet::Listener;

constexpr napi_type_tag kArpTag{0x3f0a96c1d85e472b, 0xa1d7605c94be3f82};

// The announcer is made, used and dropped on the executor's thread only.
struct Session {
  std::unique_ptr<Announcer> announcer;
  int timeout_ms;
  int receive_buffer;
};

struct ArpInit {
  std::shared_ptr<Executor> executor;
  std::shared_ptr<Session> session;
};

// Operation (2 bytes, network order), sender MAC and address, target MAC and address: 22 bytes.
Napi::Value PacketValue(Napi::Env env, const ArpRecord& record) {
  std::vector<uint8_t> bytes{0, static_cast<uint8_t>(record.operation)};
  bytes.insert(bytes.end(), record.sender_mac.begin(), record.sender_mac.end());
  bytes.insert(bytes.end(), record.sender.begin(), record.sender.end());
  bytes.insert(bytes.end(), record.target_mac.begin(), record.target_mac.end());
  bytes.insert(bytes.end(), record.target.begin(), record.target.end());
  return Napi::Buffer<uint8_t>::Copy(env, bytes.data(), bytes.size());
}

class ArpHandle : public Napi::ObjectWrap<ArpHandle> {
 public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(env, "ArpHandle",
                       {InstanceMethod("announce", &ArpHandle::Announce), InstanceMethod("watch", &ArpHandle::Watch),
                        InstanceMethod("close", &ArpHandle::Close)});
  }

  explicit ArpHandle(const Napi::CallbackInfo& info) : ObjectWrap(info) {
    if (next_init == nullptr) {
      Napi::TypeError::New(info.Env(), "ArpHandle is not constructible; use Arp.open()").ThrowAsJavaScriptException();
      return;
    }
    init_ = *next_init;
    info.This().As<Napi::Object>().TypeTag(&kArpTag);
  }

  static Napi::Value New(Napi::Env env, ArpInit init) {
    next_init = &init;
    const Napi::Object handle = DataOf(env)->packet_constructor.New({});
    next_init = nullptr;
    return handle;
  }

 private:
  static thread_local ArpInit* next_init;

  // (interface, addresses: Uint8Array of 4 bytes each, forms: bits) => Promise<frames sent>
  Napi::Value Announce(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    if (info.Length() < 3 || !info[0].IsString() || !info[1].IsTypedArray() || !info[2].IsNumber() ||
        info[1].As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array ||
        info[1].As<Napi::TypedArray>().ByteLength() % sizeof(packet::Ipv4) != 0) {
      Napi::TypeError::New(env, "expected (interface: string, addresses: Uint8Array, forms: number)")
          .ThrowAsJavaScriptException();
      return env.Undefined();
    }
    if (!init_.session) {
      ThrowClosed(env, "arp.announce");
      return env.Undefined();
    }
    const auto bytes = info[1].As<Napi::Uint8Array>();
    std::vector<packet::Ipv4> addresses(bytes.ByteLength() / sizeof(packet::Ipv4));
    if (!addresses.empty()) std::memcpy(addresses.data(), bytes.Data(), bytes.ByteLength());
    return RunAsync<uint32_t>(
        env, init_.executor,
        [session = init_.session, interface = info[0].As<Napi::String>().Utf8Value(), addresses = std::move(addresses),
         forms = info[2].As<Napi::Number>().Uint32Value()]() -> Result<uint32_t> {
          return session->announcer->Announce(interface, addresses, forms);
        },
        [](Napi::Env convert_env, uint32_t& sent) -> Napi::Value { return Napi::Number::New(convert_env, sent); });
  }

  // (interface, callback) => Promise of a function that ends it.
  Napi::Value Watch(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    if (info.Length() < 2 || !info[0].IsString() || !info[1].IsFunction()) {
      Napi::TypeError::New(env, "expected (interface: string, callback: function)").ThrowAsJavaScriptException();
      return env.Undefined();
    }
    if (!init_.session) {
      ThrowClosed(env, "arp.watch");
      return env.Undefined();
    }
    return Subscribe(env, init_.executor, info[1].As<Napi::Function>(),
                     [timeout_ms = init_.session->timeout_ms, receive_buffer = init_.session->receive_buffer,
                      interface = info[0].As<Napi::String>().Utf8Value()](
                         const std::shared_ptr<EventStream>& stream) -> Result<Watched> {
                       auto links = links::Client::Open(timeout_ms, receive_buffer);
                       if (!links.ok()) return std::move(links.failure());
                       auto opened = Listener::Open(*links.value(), interface, receive_buffer);
                       if (!opened.ok()) return std::move(opened.failure());
                       const std::shared_ptr<Listener> listener = std::move(opened.value());
                       const auto handler = [raw = stream.get()](const ArpRecord& record) {
                         raw->Post([record](Napi::Env value_env) { return PacketValue(value_env, record); });
                       };
                       return Watched{listener->fd(), [listener, handler]() { return listener->Receive(handler); }};
                     });
  }

  Napi::Value Close(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    if (!init_.session) {
      const Napi::Promise::Deferred closed = Napi::Promise::Deferred::New(env);
      closed.Resolve(env.Undefined());
      return closed.Promise();
    }
    return RunAsync<Done>(
        env, init_.executor,
        [session = std::exchange(init_.session, nullptr)]() -> Result<Done> {
          session->announcer.reset();
          return Done{};
        },
        [](Napi::Env convert_env, Done&) -> Napi::Value { return convert_env.Undefined(); });
  }

  ArpInit init_;
};

thread_local ArpInit* ArpHandle::next_init = nullptr;

// (netns handle, timeout in ms, receive buffer in bytes) => Promise<ArpHandle>
Napi::Value Open(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (info.Length() < 3 || !info[1].IsNumber() || !info[2].IsNumber()) {
    Napi::TypeError::New(env, "expected (netns, timeoutMs: number, receiveBufferBytes: number)")
        .ThrowAsJavaScriptException();
    return env.Undefined();
  }
  const std::shared_ptr<Executor> executor = ExecutorOf(env, info[0]);
  if (!executor) return env.Undefined();
  const int timeout_ms = info[1].As<Napi::Number>().Int32Value();
  const int receive_buffer = info[2].As<Napi::Number>().Int32Value();
  return RunAsync<std::shared_ptr<Session>>(
      env, executor,
      [timeout_ms, receive_buffer]() -> Result<std::shared_ptr<Session>> {
        auto announcer = Announcer::Open(timeout_ms, receive_buffer);
        if (!announcer.ok()) return std::move(announcer.failure());
        return std::make_shared<Session>(Session{std::move(announcer.value()), timeout_ms, receive_buffer});
      },
      [executor](Napi::Env convert_env, std::shared_ptr<Session>& session) -> Napi::Value {
        return ArpHandle::New(convert_env, {executor, std::move(session)});
      });
}

}  // namespace

void InitPacket(Napi::Env env, Napi::Object exports) {
  DataOf(env)->packet_constructor = Napi::Persistent(ArpHandle::Define(env));
  exports.Set("arpOpen", Napi::Function::New(env, Open, "arpOpen"));
}

}  // namespace ravel

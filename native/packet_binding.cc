// ARP for JavaScript: arpOpen() and the handle it resolves to. src/native/arp.ts checks arguments.
#include <string>
#include <utility>
#include <vector>

#include "packet.h"
#include "session_binding.h"

namespace ravel {
namespace {

using packet::Announcer;
using packet::ArpRecord;
using packet::Listener;

// The announcer is made, used and dropped on the executor's thread only.
struct Session {
  std::unique_ptr<Announcer> client;
  int timeout_ms = 0;
  int receive_buffer = 0;

  static Result<std::shared_ptr<Session>> Open(int timeout_ms, int receive_buffer) {
    auto session = SessionOf<Session>(Announcer::Open(timeout_ms, receive_buffer));
    if (!session.ok()) return session;
    session.value()->timeout_ms = timeout_ms;
    session.value()->receive_buffer = receive_buffer;
    return session;
  }
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

class ArpHandle : public SessionHandle<ArpHandle, Session> {
 public:
  static constexpr const char* kHowToGet = "ArpHandle is not constructible; use Arp.open()";
  static constexpr napi_type_tag kTag{0x3f0a96c1d85e472b, 0xa1d7605c94be3f82};
  static constexpr auto kConstructor = &AddonData::packet_constructor;

  using SessionHandle::SessionHandle;

  static Napi::Function Define(Napi::Env env) {
    return DefineClass(env, "ArpHandle",
                       {InstanceMethod("announce", &ArpHandle::Announce), InstanceMethod("watch", &ArpHandle::Watch),
                        InstanceMethod("close", &ArpHandle::Close)});
  }

 private:
  // (interface, addresses: Uint8Array of 4 bytes each, forms: bits) => Promise<frames sent>
  Napi::Value Announce(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    if (info.Length() < 3 || !info[0].IsString() || !info[1].IsTypedArray() || !info[2].IsNumber() ||
        info[1].As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array ||
        info[1].As<Napi::TypedArray>().ByteLength() % sizeof(packet::Ipv4) != 0) {
      ThrowType(env, "expected (interface: string, addresses: Uint8Array, forms: number)");
      return env.Undefined();
    }
    const auto bytes = info[1].As<Napi::Uint8Array>();
    std::vector<packet::Ipv4> addresses(bytes.ByteLength() / sizeof(packet::Ipv4));
    if (!addresses.empty()) std::memcpy(addresses.data(), bytes.Data(), bytes.ByteLength());
    return Run<uint32_t>(
        info, "arp.announce",
        [interface = info[0].As<Napi::String>().Utf8Value(), addresses = std::move(addresses),
         forms = info[2].As<Napi::Number>().Uint32Value()](Announcer& announcer) {
          return announcer.Announce(interface, addresses, forms);
        },
        [](Napi::Env convert_env, uint32_t& sent) -> Napi::Value { return Napi::Number::New(convert_env, sent); });
  }

  // (interface, callback) => Promise of a function that ends it.
  Napi::Value Watch(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    if (info.Length() < 2 || !info[0].IsString() || !info[1].IsFunction()) {
      ThrowType(env, "expected (interface: string, callback: function)");
      return env.Undefined();
    }
    const auto& session = Require(env, "arp.watch");
    if (!session) return env.Undefined();
    return Subscribe(env, executor(), info[1].As<Napi::Function>(),
                     [timeout_ms = session->timeout_ms, receive_buffer = session->receive_buffer,
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
};

}  // namespace

void InitPacket(Napi::Env env, Napi::Object exports) { DefineHandle<ArpHandle>(env, exports, "arpOpen"); }

}  // namespace ravel

// Neighbour discovery for JavaScript: ndpOpen() and the handle it resolves to. src/native/ndp.ts checks arguments.
#include <string>
#include <utility>
#include <vector>

#include "ndp.h"
#include "session_binding.h"

namespace ravel {
namespace {

using ndp::Announcer;
using ndp::Listener;
using ndp::NdpRecord;

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

// 1 for an advertisement and 0 for a solicitation, flags, 1 with a link-layer address, sender MAC and
// address, target address, link-layer address: 47 bytes.
Napi::Value PacketValue(Napi::Env env, const NdpRecord& record) {
  const bool advertisement = record.kind == ndp::Kind::kAdvertisement;
  std::vector<uint8_t> bytes{static_cast<uint8_t>(advertisement ? 1 : 0), record.flags,
                             static_cast<uint8_t>(record.link_layer.has_value() ? 1 : 0)};
  const auto append = [&bytes](const auto& part) { bytes.insert(bytes.end(), part.begin(), part.end()); };
  append(record.sender_mac);
  append(record.sender);
  append(record.target);
  append(record.link_layer.value_or(packet::Mac{}));
  return Napi::Buffer<uint8_t>::Copy(env, bytes.data(), bytes.size());
}

class NdpHandle : public SessionHandle<NdpHandle, Session> {
 public:
  static constexpr const char* kHowToGet = "NdpHandle is not constructible; use Ndp.open()";
  static constexpr napi_type_tag kTag{0x8e5d20b7714c6a9f, 0x46b3f9e80d1572ca};
  static constexpr auto kConstructor = &AddonData::ndp_constructor;

  using SessionHandle::SessionHandle;

  static Napi::Function Define(Napi::Env env) {
    return DefineClass(env, "NdpHandle",
                       {InstanceMethod("announce", &NdpHandle::Announce), InstanceMethod("watch", &NdpHandle::Watch),
                        InstanceMethod("close", &NdpHandle::Close)});
  }

 private:
  // (interface, addresses: Uint8Array of 16 bytes each) => Promise<frames sent>
  Napi::Value Announce(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    if (info.Length() < 2 || !info[0].IsString() || !info[1].IsTypedArray() ||
        info[1].As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array ||
        info[1].As<Napi::TypedArray>().ByteLength() % sizeof(ndp::Ipv6) != 0) {
      ThrowType(env, "expected (interface: string, addresses: Uint8Array)");
      return env.Undefined();
    }
    const auto bytes = info[1].As<Napi::Uint8Array>();
    std::vector<ndp::Ipv6> addresses(bytes.ByteLength() / sizeof(ndp::Ipv6));
    if (!addresses.empty()) std::memcpy(addresses.data(), bytes.Data(), bytes.ByteLength());
    return Run<uint32_t>(
        info, "ndp.announce",
        [interface = info[0].As<Napi::String>().Utf8Value(), addresses = std::move(addresses)](Announcer& announcer) {
          return announcer.Announce(interface, addresses);
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
    const auto& session = Require(env, "ndp.watch");
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
                       const auto handler = [raw = stream.get()](const NdpRecord& record) {
                         raw->Post([record](Napi::Env value_env) { return PacketValue(value_env, record); });
                       };
                       return Watched{listener->fd(), [listener, handler]() { return listener->Receive(handler); }};
                     });
  }
};

}  // namespace

void InitNdp(Napi::Env env, Napi::Object exports) { DefineHandle<NdpHandle>(env, exports, "ndpOpen"); }

}  // namespace ravel

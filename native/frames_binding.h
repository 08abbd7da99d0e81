// What the handles over Ethernet frames (ARP, neighbour discovery) have in common: an announcer that sends, and
// listeners, each with a socket of its own.
//
//   struct Protocol {
//     using Announcer, Listener, Record, Address;  // of packet.h or ndp.h
//     static constexpr const char* kAnnounce = "arp.announce";
//     static constexpr const char* kWatch = "arp.watch";
//     static Napi::Value PacketValue(Napi::Env env, const Record& record);
//   };
//   class ArpHandle : public FramesHandle<ArpHandle, Protocol> { as for SessionHandle };
#pragma once

#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "links.h"
#include "session_binding.h"

namespace ravel {

template <typename Derived, typename Protocol>
class FramesHandle : public SessionHandle<Derived, WatchingSession<typename Protocol::Announcer>> {
 public:
  using Session = WatchingSession<typename Protocol::Announcer>;
  using SessionHandle<Derived, Session>::SessionHandle;

 protected:
  using Address = typename Protocol::Address;

  // A Uint8Array of whole addresses; nothing for any other value.
  static std::optional<std::vector<Address>> AddressesOf(const Napi::Value& value) {
    if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array) return std::nullopt;
    const auto bytes = value.As<Napi::Uint8Array>();
    if (bytes.ByteLength() % sizeof(Address) != 0) return std::nullopt;
    std::vector<Address> addresses(bytes.ByteLength() / sizeof(Address));
    if (!addresses.empty()) std::memcpy(addresses.data(), bytes.Data(), bytes.ByteLength());
    return addresses;
  }

  // Promise<frames sent>; `more` is what Announce() takes behind the addresses.
  template <typename... More>
  Napi::Value Send(const Napi::CallbackInfo& info, std::string interface, std::vector<Address> addresses,
                   More... more) {
    return this->template Run<uint32_t>(
        info, Protocol::kAnnounce,
        [interface = std::move(interface), addresses = std::move(addresses), more...](
            typename Protocol::Announcer& announcer) { return announcer.Announce(interface, addresses, more...); },
        [](Napi::Env convert_env, uint32_t& sent) -> Napi::Value { return Napi::Number::New(convert_env, sent); });
  }

  // (interface, callback) => Promise of a function that ends it.
  Napi::Value Watch(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    if (info.Length() < 2 || !info[0].IsString() || !info[1].IsFunction()) {
      ThrowType(env, "expected (interface: string, callback: function)");
      return env.Undefined();
    }
    const auto& session = this->Require(env, Protocol::kWatch);
    if (!session) return env.Undefined();
    return Subscribe(env, this->executor(), info[1].As<Napi::Function>(),
                     [timeout_ms = session->timeout_ms, receive_buffer = session->receive_buffer,
                      interface = info[0].As<Napi::String>().Utf8Value()](
                         const std::shared_ptr<EventStream>& stream) -> Result<Watched> {
                       auto links = links::Client::Open(timeout_ms, receive_buffer);
                       if (!links.ok()) return std::move(links.failure());
                       auto opened = Protocol::Listener::Open(*links.value(), interface, receive_buffer);
                       if (!opened.ok()) return std::move(opened.failure());
                       const std::shared_ptr<typename Protocol::Listener> listener = std::move(opened.value());
                       const auto handler = [raw = stream.get()](const typename Protocol::Record& record) {
                         raw->Post([record](Napi::Env value_env) { return Protocol::PacketValue(value_env, record); });
                       };
                       return Watched{listener->fd(), [listener, handler]() { return listener->Receive(handler); }};
                     });
  }
};

}  // namespace ravel

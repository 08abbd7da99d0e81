// ARP for JavaScript: arpOpen() and the handle it resolves to. src/native/arp.ts checks arguments.
#include <utility>
#include <vector>

#include "frames_binding.h"
#include "packet.h"

namespace ravel {
namespace {

struct Protocol {
  using Announcer = packet::Announcer;
  using Listener = packet::Listener;
  using Record = packet::ArpRecord;
  using Address = packet::Ipv4;
  static constexpr const char* kAnnounce = "arp.announce";
  static constexpr const char* kWatch = "arp.watch";

  // Operation (2 bytes, network order), sender MAC and address, target MAC and address: 22 bytes.
  static Napi::Value PacketValue(Napi::Env env, const Record& record) {
    std::vector<uint8_t> bytes{0, static_cast<uint8_t>(record.operation)};
    const auto append = [&bytes](const auto& part) { bytes.insert(bytes.end(), part.begin(), part.end()); };
    append(record.sender_mac);
    append(record.sender);
    append(record.target_mac);
    append(record.target);
    return Napi::Buffer<uint8_t>::Copy(env, bytes.data(), bytes.size());
  }
};

class ArpHandle : public FramesHandle<ArpHandle, Protocol> {
 public:
  static constexpr const char* kHowToGet = "ArpHandle is not constructible; use Arp.open()";
  static constexpr napi_type_tag kTag{0x3f0a96c1d85e472b, 0xa1d7605c94be3f82};
  static constexpr auto kConstructor = &AddonData::packet_constructor;

  using FramesHandle::FramesHandle;

  static Napi::Function Define(Napi::Env env) {
    return DefineClass(env, "ArpHandle",
                       {InstanceMethod("announce", &ArpHandle::Announce), InstanceMethod("watch", &ArpHandle::Watch),
                        InstanceMethod("close", &ArpHandle::Close)});
  }

 private:
  // (interface, addresses: Uint8Array of 4 bytes each, forms: bits) => Promise<frames sent>
  Napi::Value Announce(const Napi::CallbackInfo& info) {
    auto addresses = info.Length() < 3 ? std::nullopt : AddressesOf(info[1]);
    if (!addresses || !info[0].IsString() || !info[2].IsNumber()) {
      ThrowType(info.Env(), "expected (interface: string, addresses: Uint8Array, forms: number)");
      return info.Env().Undefined();
    }
    return Send(info, info[0].As<Napi::String>().Utf8Value(), std::move(*addresses),
                info[2].As<Napi::Number>().Uint32Value());
  }
};

}  // namespace

void InitPacket(Napi::Env env, Napi::Object exports) { DefineHandle<ArpHandle>(env, exports, "arpOpen"); }

}  // namespace ravel

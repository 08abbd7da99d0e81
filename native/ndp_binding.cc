// Neighbour discovery for JavaScript: ndpOpen() and the handle it resolves to. src/native/ndp.ts checks arguments.
#include <utility>
#include <vector>

#include "frames_binding.h"
#include "ndp.h"

namespace ravel {
namespace {

struct Protocol {
  using Announcer = ndp::Announcer;
  using Listener = ndp::Listener;
  using Record = ndp::NdpRecord;
  using Address = ndp::Ipv6;
  static constexpr const char* kAnnounce = "ndp.announce";
  static constexpr const char* kWatch = "ndp.watch";

  // 1 for an advertisement and 0 for a solicitation, flags, 1 with a link-layer address, sender MAC and
  // address, target address, link-layer address: 47 bytes.
  static Napi::Value PacketValue(Napi::Env env, const Record& record) {
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
};

class NdpHandle : public FramesHandle<NdpHandle, Protocol> {
 public:
  static constexpr const char* kHowToGet = "NdpHandle is not constructible; use Ndp.open()";
  static constexpr napi_type_tag kTag{0x8e5d20b7714c6a9f, 0x46b3f9e80d1572ca};
  static constexpr auto kConstructor = &AddonData::ndp_constructor;

  using FramesHandle::FramesHandle;

  static Napi::Function Define(Napi::Env env) {
    return DefineClass(env, "NdpHandle",
                       {InstanceMethod("announce", &NdpHandle::Announce), InstanceMethod("watch", &NdpHandle::Watch),
                        InstanceMethod("close", &NdpHandle::Close)});
  }

 private:
  // (interface, addresses: Uint8Array of 16 bytes each) => Promise<frames sent>
  Napi::Value Announce(const Napi::CallbackInfo& info) {
    auto addresses = info.Length() < 2 ? std::nullopt : AddressesOf(info[1]);
    if (!addresses || !info[0].IsString()) {
      ThrowType(info.Env(), "expected (interface: string, addresses: Uint8Array)");
      return info.Env().Undefined();
    }
    return Send(info, info[0].As<Napi::String>().Utf8Value(), std::move(*addresses));
  }
};

}  // namespace

void InitNdp(Napi::Env env, Napi::Object exports) { DefineHandle<NdpHandle>(env, exports, "ndpOpen"); }

}  // namespace ravel

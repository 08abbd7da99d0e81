// rtnetlink for JavaScript: linksOpen() and the handle it resolves to. src/native/links.ts checks the
// arguments and packs operations; what is checked here again is what would otherwise corrupt memory.
#include <linux/rtnetlink.h>

#include <string>
#include <utility>
#include <vector>

#include "links.h"
#include "session_binding.h"

namespace ravel {
namespace {

using links::Client;

// Multicast groups by the position of their kind in the mask of watch(): link, address, route, neighbour.
const std::vector<std::vector<uint32_t>> kGroups = {{RTNLGRP_LINK},
                                                    {RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR},
                                                    {RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE},
                                                    {RTNLGRP_NEIGH}};

// The client is made, used and dropped on the executor's thread only.
using Session = WatchingSession<Client>;

Napi::Value LinkValue(Napi::Env env, const links::LinkRecord& link) {
  Napi::Object value = Napi::Object::New(env);
  value.Set("index", link.index);
  value.Set("flags", link.flags);
  value.Set("mtu", link.mtu);
  value.Set("name", link.name);
  value.Set("kind", link.kind);
  value.Set("hardware", Napi::Buffer<uint8_t>::Copy(env, link.hardware.data(), link.hardware.size()));
  return value;
}

template <typename Record>
Napi::Value BytesValue(Napi::Env env, const Record* records, size_t count) {
  static_assert(std::is_trivially_copyable_v<Record>);
  Napi::ArrayBuffer buffer = Napi::ArrayBuffer::New(env, count * sizeof(Record));
  // Empty when the worker is being terminated: then no call into the engine succeeds.
  if (count > 0 && !buffer.IsEmpty()) std::memcpy(buffer.Data(), records, count * sizeof(Record));
  return buffer;
}

Napi::Value LinkArray(Napi::Env env, std::vector<links::LinkRecord>& records) {
  Napi::Array array = Napi::Array::New(env, records.size());
  for (uint32_t i = 0; i < records.size(); ++i) array.Set(i, LinkValue(env, records[i]));
  return array;
}

template <typename Record>
Napi::Value RecordBytes(Napi::Env env, std::vector<Record>& records) {
  return BytesValue(env, records.data(), records.size());
}

// { kind, deleted, value }: kind is the position of the alternative, as in kGroups.
Napi::Value EventValue(Napi::Env env, const links::Event& event) {
  Napi::Object value = Napi::Object::New(env);
  value.Set("kind", static_cast<uint32_t>(event.object.index()));
  value.Set("deleted", event.deleted);
  if (const auto* link = std::get_if<links::LinkRecord>(&event.object)) value.Set("value", LinkValue(env, *link));
  if (const auto* address = std::get_if<links::AddressRecord>(&event.object))
    value.Set("value", BytesValue(env, address, 1));
  if (const auto* route = std::get_if<links::RouteRecord>(&event.object)) value.Set("value", BytesValue(env, route, 1));
  if (const auto* neighbour = std::get_if<links::NeighbourRecord>(&event.object))
    value.Set("value", BytesValue(env, neighbour, 1));
  return value;
}

Napi::Value ErrorList(Napi::Env env, std::vector<MessageError>& errors) {
  Napi::Array array = Napi::Array::New(env, errors.size());
  for (uint32_t i = 0; i < errors.size(); ++i) {
    Napi::Object value = Napi::Object::New(env);
    value.Set("index", static_cast<double>(errors[i].index));
    value.Set("errno", errors[i].error);
    value.Set("code", ErrnoName(errors[i].error));
    if (!errors[i].message.empty()) value.Set("message", errors[i].message);
    if (errors[i].offset != 0) value.Set("offset", errors[i].offset);
    array.Set(i, value);
  }
  return array;
}

struct Block {
  std::vector<links::OperationRecord> operations;
  std::vector<std::string> names;
};

// (bytes: ArrayBuffer of OperationRecord, names: string[]); null with an exception pending.
std::shared_ptr<Block> BlockOf(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto refuse = [&](const char* message) {
    if (!env.IsExceptionPending()) Napi::TypeError::New(env, message).ThrowAsJavaScriptException();
    return nullptr;
  };
  if (info.Length() < 2 || !info[0].IsArrayBuffer() || !info[1].IsArray()) {
    return refuse("expected (bytes: ArrayBuffer, names: string[])");
  }
  auto block = std::make_shared<Block>();
  const auto array = info[1].As<Napi::Array>();
  for (uint32_t i = 0; i < array.Length(); ++i) {
    const Napi::Value name = array.Get(i);
    if (!name.IsString()) return refuse("names: expected strings");
    block->names.push_back(name.As<Napi::String>().Utf8Value());
  }
  auto bytes = info[0].As<Napi::ArrayBuffer>();
  if (bytes.ByteLength() % sizeof(links::OperationRecord) != 0)
    return refuse("bytes: not a whole number of operations");
  block->operations.resize(bytes.ByteLength() / sizeof(links::OperationRecord));
  if (!block->operations.empty()) std::memcpy(block->operations.data(), bytes.Data(), bytes.ByteLength());
  for (const links::OperationRecord& operation : block->operations) {
    if (operation.code < 1 || operation.code > links::kLastOperationCode) return refuse("operation: unknown code");
    if (operation.tunnel > links::kLastTunnelKind) return refuse("operation: unknown tunnel");
    if (operation.name >= block->names.size()) return refuse("operation: name out of range");
  }
  return block;
}

class LinksHandle : public SessionHandle<LinksHandle, Session> {
 public:
  static constexpr const char* kHowToGet = "LinksHandle is not constructible; use Links.open()";
  static constexpr napi_type_tag kTag{0x7c41d90e3b6a5f28, 0x92f8e1b40d7c3a65};
  static constexpr auto kConstructor = &AddonData::links_constructor;

  using SessionHandle::SessionHandle;

  static Napi::Function Define(Napi::Env env) {
    return DefineClass(
        env, "LinksHandle",
        {InstanceMethod("links", &LinksHandle::Links), InstanceMethod("addresses", &LinksHandle::Addresses),
         InstanceMethod("routes", &LinksHandle::Routes), InstanceMethod("neighbours", &LinksHandle::Neighbours),
         InstanceMethod("routeTo", &LinksHandle::RouteTo), InstanceMethod("apply", &LinksHandle::Apply),
         InstanceMethod("watch", &LinksHandle::Watch), InstanceMethod("close", &LinksHandle::Close)});
  }

 private:
  Napi::Value Links(const Napi::CallbackInfo& info) {
    return Run<std::vector<links::LinkRecord>>(
        info, "links.links", [](Client& c) { return c.Links(); }, LinkArray);
  }
  Napi::Value Addresses(const Napi::CallbackInfo& info) {
    return Run<std::vector<links::AddressRecord>>(
        info, "links.addresses", [](Client& c) { return c.Addresses(); }, RecordBytes<links::AddressRecord>);
  }
  Napi::Value Routes(const Napi::CallbackInfo& info) {
    return Run<std::vector<links::RouteRecord>>(
        info, "links.routes", [](Client& c) { return c.Routes(); }, RecordBytes<links::RouteRecord>);
  }
  Napi::Value Neighbours(const Napi::CallbackInfo& info) {
    return Run<std::vector<links::NeighbourRecord>>(
        info, "links.neighbours", [](Client& c) { return c.Neighbours(); }, RecordBytes<links::NeighbourRecord>);
  }

  // (address: Uint8Array of 4 or 16 bytes) => Promise<ArrayBuffer of one RouteToRecord>
  Napi::Value RouteTo(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    if (info.Length() < 1 || !info[0].IsTypedArray() ||
        info[0].As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array ||
        (info[0].As<Napi::TypedArray>().ByteLength() != 4 && info[0].As<Napi::TypedArray>().ByteLength() != 16)) {
      ThrowType(env, "expected (address: Uint8Array of 4 or 16 bytes)");
      return env.Undefined();
    }
    const auto bytes = info[0].As<Napi::Uint8Array>();
    return Run<links::RouteToRecord>(
        info, "links.routeTo",
        [address = std::vector<uint8_t>(bytes.Data(), bytes.Data() + bytes.ByteLength())](Client& c) {
          return c.RouteTo(address);
        },
        [](Napi::Env convert_env, links::RouteToRecord& route) { return BytesValue(convert_env, &route, 1); });
  }

  Napi::Value Apply(const Napi::CallbackInfo& info) {
    const std::shared_ptr<Block> block = BlockOf(info);
    if (!block) return info.Env().Undefined();
    return Run<std::vector<MessageError>>(
        info, "links.apply", [block](Client& c) { return c.Apply(block->operations, block->names); }, ErrorList);
  }

  // (mask of kinds, callback) => Promise of a function that ends it.
  Napi::Value Watch(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    if (info.Length() < 2 || !info[0].IsNumber() || !info[1].IsFunction()) {
      ThrowType(env, "expected (kinds: number, callback: function)");
      return env.Undefined();
    }
    const auto& session = Require(env, "links.watch");
    if (!session) return env.Undefined();
    NetlinkOptions options{
        .protocol = NETLINK_ROUTE, .timeout_ms = session->timeout_ms, .receive_buffer = session->receive_buffer};
    const uint32_t kinds = info[0].As<Napi::Number>().Uint32Value();
    for (size_t kind = 0; kind < kGroups.size(); ++kind) {
      if ((kinds >> kind & 1U) == 0) continue;
      options.groups.insert(options.groups.end(), kGroups[kind].begin(), kGroups[kind].end());
    }
    return Subscribe(
        env, executor(), info[1].As<Napi::Function>(),
        [options](const std::shared_ptr<EventStream>& stream) -> Result<Watched> {
          auto opened = NetlinkSocket::Open(options, "links.watch");
          if (!opened.ok()) return std::move(opened.failure());
          const std::shared_ptr<NetlinkSocket> socket = std::move(opened.value());
          const MessageHandler handler = [raw = stream.get()](const MessageView& message) -> Result<Done> {
            std::optional<links::Event> event = links::ReadEvent(message);
            if (!event.has_value()) return Done{};
            raw->Post([event = std::move(*event)](Napi::Env value_env) { return EventValue(value_env, event); });
            return Done{};
          };
          return Watched{socket->fd(), [socket, handler]() { return socket->Receive(handler); }};
        });
  }
};

}  // namespace

void InitLinks(Napi::Env env, Napi::Object exports) { DefineHandle<LinksHandle>(env, exports, "linksOpen"); }

}  // namespace ravel

// rtnetlink for JavaScript: linksOpen() and the handle it resolves to. src/native/links.ts checks the
// arguments and packs operations; what is checked here again is what would otherwise corrupt memory.
#include <linux/rtnetlink.h>

#include <string>
#include <utility>
#include <vector>

#include "binding.h"
#include "links.h"

namespace ravel {
namespace {

using links::Client;

constexpr napi_type_tag kLinksTag{0x7c41d90e3b6a5f28, 0x92f8e1b40d7c3a65};

// Multicast groups by the position of their kind in the mask of watch(): link, address, route, neighbour.
const std::vector<std::vector<uint32_t>> kGroups = {{RTNLGRP_LINK},
                                                    {RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR},
                                                    {RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE},
                                                    {RTNLGRP_NEIGH}};

// The client is made, used and dropped on the executor's thread only.
struct Session {
  std::unique_ptr<Client> client;
  int timeout_ms;
  int receive_buffer;
};

struct LinksInit {
  std::shared_ptr<Executor> executor;
  std::shared_ptr<Session> session;
};

Failure Closed(const char* operation) {
  return {.kind = FailureKind::kClosed, .operation = operation, .message = "the handle is closed"};
}

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
    if (operation.name >= block->names.size()) return refuse("operation: name out of range");
  }
  return block;
}

class LinksHandle : public Napi::ObjectWrap<LinksHandle> {
 public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(
        env, "LinksHandle",
        {InstanceMethod("links", &LinksHandle::Links), InstanceMethod("addresses", &LinksHandle::Addresses),
         InstanceMethod("routes", &LinksHandle::Routes), InstanceMethod("neighbours", &LinksHandle::Neighbours),
         InstanceMethod("apply", &LinksHandle::Apply), InstanceMethod("watch", &LinksHandle::Watch),
         InstanceMethod("close", &LinksHandle::Close)});
  }

  explicit LinksHandle(const Napi::CallbackInfo& info) : ObjectWrap(info) {
    if (next_init == nullptr) {
      Napi::TypeError::New(info.Env(), "LinksHandle is not constructible; use Links.open()")
          .ThrowAsJavaScriptException();
      return;
    }
    executor_ = next_init->executor;
    session_ = next_init->session;
    info.This().As<Napi::Object>().TypeTag(&kLinksTag);
  }

  static Napi::Value New(Napi::Env env, LinksInit init) {
    next_init = &init;
    const Napi::Object handle = DataOf(env)->links_constructor.New({});
    next_init = nullptr;
    return handle;
  }

 private:
  static thread_local LinksInit* next_init;

  // One call on the client; ClosedError when the handle is closed by then.
  template <typename T>
  Napi::Value Run(Napi::Env env, const char* operation, std::function<Result<T>(Client&)> work,
                  std::function<Napi::Value(Napi::Env, T&)> convert) {
    if (!session_) {
      ThrowClosed(env, operation);
      return env.Undefined();
    }
    return RunAsync<T>(
        env, executor_,
        [session = session_, work = std::move(work), operation]() -> Result<T> {
          if (!session->client) return Closed(operation);
          return work(*session->client);
        },
        std::move(convert));
  }

  Napi::Value Links(const Napi::CallbackInfo& info) {
    return Run<std::vector<links::LinkRecord>>(
        info.Env(), "links.links", [](Client& c) { return c.Links(); }, LinkArray);
  }
  Napi::Value Addresses(const Napi::CallbackInfo& info) {
    return Run<std::vector<links::AddressRecord>>(
        info.Env(), "links.addresses", [](Client& c) { return c.Addresses(); }, RecordBytes<links::AddressRecord>);
  }
  Napi::Value Routes(const Napi::CallbackInfo& info) {
    return Run<std::vector<links::RouteRecord>>(
        info.Env(), "links.routes", [](Client& c) { return c.Routes(); }, RecordBytes<links::RouteRecord>);
  }
  Napi::Value Neighbours(const Napi::CallbackInfo& info) {
    return Run<std::vector<links::NeighbourRecord>>(
        info.Env(), "links.neighbours", [](Client& c) { return c.Neighbours(); }, RecordBytes<links::NeighbourRecord>);
  }

  Napi::Value Apply(const Napi::CallbackInfo& info) {
    const std::shared_ptr<Block> block = BlockOf(info);
    if (!block) return info.Env().Undefined();
    return Run<std::vector<MessageError>>(
        info.Env(), "links.apply", [block](Client& c) { return c.Apply(block->operations, block->names); }, ErrorList);
  }

  // (mask of kinds, callback) => Promise of a function that ends it.
  Napi::Value Watch(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    if (info.Length() < 2 || !info[0].IsNumber() || !info[1].IsFunction()) {
      Napi::TypeError::New(env, "expected (kinds: number, callback: function)").ThrowAsJavaScriptException();
      return env.Undefined();
    }
    if (!session_) {
      ThrowClosed(env, "links.watch");
      return env.Undefined();
    }
    NetlinkOptions options{
        .protocol = NETLINK_ROUTE, .timeout_ms = session_->timeout_ms, .receive_buffer = session_->receive_buffer};
    const uint32_t kinds = info[0].As<Napi::Number>().Uint32Value();
    for (size_t kind = 0; kind < kGroups.size(); ++kind) {
      if ((kinds >> kind & 1U) == 0) continue;
      options.groups.insert(options.groups.end(), kGroups[kind].begin(), kGroups[kind].end());
    }
    return Subscribe(
        env, executor_, info[1].As<Napi::Function>(),
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

  // Drops the client on its own thread, after the calls that are queued before this one.
  Napi::Value Close(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    if (!session_) {
      const Napi::Promise::Deferred closed = Napi::Promise::Deferred::New(env);
      closed.Resolve(env.Undefined());
      return closed.Promise();
    }
    return RunAsync<Done>(
        env, executor_,
        [session = std::exchange(session_, nullptr)]() -> Result<Done> {
          session->client.reset();
          return Done{};
        },
        [](Napi::Env convert_env, Done&) -> Napi::Value { return convert_env.Undefined(); });
  }

  std::shared_ptr<Executor> executor_;
  std::shared_ptr<Session> session_;
};

thread_local LinksInit* LinksHandle::next_init = nullptr;

// (netns handle, timeout in ms, receive buffer in bytes) => Promise<LinksHandle>
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
        auto client = Client::Open(timeout_ms, receive_buffer);
        if (!client.ok()) return std::move(client.failure());
        return std::make_shared<Session>(Session{std::move(client.value()), timeout_ms, receive_buffer});
      },
      [executor](Napi::Env convert_env, std::shared_ptr<Session>& session) -> Napi::Value {
        return LinksHandle::New(convert_env, {executor, std::move(session)});
      });
}

}  // namespace

void InitLinks(Napi::Env env, Napi::Object exports) {
  DataOf(env)->links_constructor = Napi::Persistent(LinksHandle::Define(env));
  exports.Set("linksOpen", Napi::Function::New(env, Open, "linksOpen"));
}

}  // namespace ravel

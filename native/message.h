// Netlink framing: building and walking messages and attributes (linux/netlink.h). Node-free,
// allocation only for the growing buffer, every read bounds-checked with a sticky error.
#pragma once

#include <linux/netlink.h>

#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <type_traits>
#include <vector>

namespace ravel {

// Appends netlink messages to one buffer. Lengths of messages and nests are filled in when they
// close. Numbers are host order unless the method says Be.
class MessageWriter {
 public:
  // Starts a message; sequence and port are filled in by NetlinkSocket.
  void Begin(uint16_t type, uint16_t flags);
  // Appends a fixed family header (genlmsghdr, nfgenmsg, ifaddrmsg, ...), padded to 4 bytes.
  template <typename T>
  void Header(const T& value) {
    static_assert(std::is_trivially_copyable_v<T>);
    Raw(&value, sizeof(value));
  }
  void End();
  // Appends one whole message that was put together elsewhere, its header with the length included.
  void Whole(std::span<const uint8_t> message);

  void U8(uint16_t type, uint8_t value) { Attribute(type, &value, sizeof(value)); }
  void U16(uint16_t type, uint16_t value) { Attribute(type, &value, sizeof(value)); }
  void U32(uint16_t type, uint32_t value) { Attribute(type, &value, sizeof(value)); }
  void U64(uint16_t type, uint64_t value) { Attribute(type, &value, sizeof(value)); }
  void U16Be(uint16_t type, uint16_t value);
  void U32Be(uint16_t type, uint32_t value);
  void U64Be(uint16_t type, uint64_t value);
  void Flag(uint16_t type) { Attribute(type, nullptr, 0); }
  // With the terminating NUL, as nla_put_string does.
  void String(uint16_t type, std::string_view value);
  void Bytes(uint16_t type, std::span<const uint8_t> value) { Attribute(type, value.data(), value.size()); }
  void Attribute(uint16_t type, const void* data, size_t size);

  // Opens a nest (NLA_F_NESTED set); returns the token EndNest needs.
  size_t BeginNest(uint16_t type);
  // False when the nest grew past 65535 bytes, the limit of nla_len; the caller must split.
  bool EndNest(size_t token);

  // Number of messages so far, and where each begins.
  [[nodiscard]] size_t count() const { return starts_.size(); }
  [[nodiscard]] const std::vector<size_t>& starts() const { return starts_; }
  [[nodiscard]] size_t size() const { return bytes_.size(); }
  [[nodiscard]] std::vector<uint8_t>& bytes() { return bytes_; }
  [[nodiscard]] const std::vector<uint8_t>& bytes() const { return bytes_; }
  // Sets flags on message `index` (NLM_F_ACK on the fence).
  void AddFlags(size_t index, uint16_t flags);
  // Sticky: an attribute or nest did not fit the 16 bits of nla_len. NetlinkSocket refuses to send.
  [[nodiscard]] bool overflowed() const { return overflowed_; }
  void Clear();

 private:
  void Raw(const void* data, size_t size);

  std::vector<uint8_t> bytes_;
  std::vector<size_t> starts_;
  bool overflowed_ = false;
};

// One attribute inside a received message.
struct AttributeView {
  uint16_t type = 0;  // NLA_TYPE_MASK applied
  std::span<const uint8_t> data;

  // Exact-length reads; the wrong length yields 0 and marks `*ok` false when given.
  [[nodiscard]] uint8_t U8(bool* ok = nullptr) const { return Read<uint8_t>(ok); }
  [[nodiscard]] uint16_t U16(bool* ok = nullptr) const { return Read<uint16_t>(ok); }
  [[nodiscard]] uint32_t U32(bool* ok = nullptr) const { return Read<uint32_t>(ok); }
  [[nodiscard]] uint64_t U64(bool* ok = nullptr) const { return Read<uint64_t>(ok); }
  [[nodiscard]] uint16_t U16Be(bool* ok = nullptr) const { return __builtin_bswap16(Read<uint16_t>(ok)); }
  [[nodiscard]] uint32_t U32Be(bool* ok = nullptr) const { return __builtin_bswap32(Read<uint32_t>(ok)); }
  [[nodiscard]] uint64_t U64Be(bool* ok = nullptr) const { return __builtin_bswap64(Read<uint64_t>(ok)); }
  // Up to the first NUL.
  [[nodiscard]] std::string_view String() const;

 private:
  template <typename T>
  T Read(bool* ok) const {
    T value = 0;
    if (data.size() != sizeof(T)) {
      if (ok != nullptr) *ok = false;
      return value;
    }
    std::memcpy(&value, data.data(), sizeof(T));
    return value;
  }
};

// Walks the attributes of a span: `while (reader.Next(&attribute)) ...; if (!reader.ok()) ...`.
// A length that runs past the span ends the walk with ok() false.
class AttributeReader {
 public:
  explicit AttributeReader(std::span<const uint8_t> data) : rest_(data) {}
  bool Next(AttributeView* attribute);
  [[nodiscard]] bool ok() const { return ok_; }

 private:
  std::span<const uint8_t> rest_;
  bool ok_ = true;
};

// A received message: type and flags of its header, payload after it.
struct MessageView {
  uint16_t type = 0;
  uint16_t flags = 0;
  uint32_t sequence = 0;
  uint32_t port = 0;  // nlmsg_pid
  std::span<const uint8_t> payload;

  // Payload after a fixed family header of T; empty when shorter.
  template <typename T>
  [[nodiscard]] std::span<const uint8_t> After() const {
    constexpr size_t kAligned = NLMSG_ALIGN(sizeof(T));
    return payload.size() < kAligned ? std::span<const uint8_t>() : payload.subspan(kAligned);
  }
  // Copies the fixed header; false when the payload is too short.
  template <typename T>
  [[nodiscard]] bool Header(T* out) const {
    if (payload.size() < sizeof(T)) return false;
    std::memcpy(out, payload.data(), sizeof(T));
    return true;
  }
};

// Walks the messages of one datagram: `while (reader.Next(&message)) ...; if (!reader.ok()) ...`.
// A length below the header's or past the end stops the walk with ok() false.
class MessageReader {
 public:
  explicit MessageReader(std::span<const uint8_t> data) : rest_(data) {}
  bool Next(MessageView* message);
  [[nodiscard]] bool ok() const { return ok_; }

 private:
  std::span<const uint8_t> rest_;
  bool ok_ = true;
};

}  // namespace ravel

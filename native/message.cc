#include "message.h"

#include <endian.h>

#include <algorithm>
#include <limits>

namespace ravel {
namespace {

constexpr size_t kMaxAttribute = std::numeric_limits<uint16_t>::max();  // nla_len is a __u16

}  // namespace

void MessageWriter::Raw(const void* data, size_t size) {
  const size_t at = bytes_.size();
  // NLMSG_ALIGN and NLA_ALIGN are both 4; resize() makes the padding zero, so no stale memory is sent.
  bytes_.resize(at + NLMSG_ALIGN(size));
  if (size > 0) std::memcpy(bytes_.data() + at, data, size);
}

void MessageWriter::Begin(uint16_t type, uint16_t flags) {
  starts_.push_back(bytes_.size());
  nlmsghdr header{};
  header.nlmsg_type = type;
  header.nlmsg_flags = flags;
  Raw(&header, sizeof(header));
}

void MessageWriter::End() {
  const auto length = static_cast<uint32_t>(bytes_.size() - starts_.back());
  std::memcpy(bytes_.data() + starts_.back() + offsetof(nlmsghdr, nlmsg_len), &length, sizeof(length));
}

void MessageWriter::Whole(std::span<const uint8_t> message) {
  starts_.push_back(bytes_.size());
  Raw(message.data(), message.size());
}

void MessageWriter::U16Be(uint16_t type, uint16_t value) { U16(type, htobe16(value)); }
void MessageWriter::U32Be(uint16_t type, uint32_t value) { U32(type, htobe32(value)); }
void MessageWriter::U64Be(uint16_t type, uint64_t value) { U64(type, htobe64(value)); }

void MessageWriter::String(uint16_t type, std::string_view value) {
  const size_t length = NLA_HDRLEN + value.size() + 1;
  if (length > kMaxAttribute) {
    overflowed_ = true;
    return;
  }
  const nlattr header{static_cast<uint16_t>(length), type};
  const size_t at = bytes_.size();
  bytes_.resize(at + NLA_ALIGN(length));
  std::memcpy(bytes_.data() + at, &header, sizeof(header));
  if (!value.empty()) std::memcpy(bytes_.data() + at + NLA_HDRLEN, value.data(), value.size());
}

void MessageWriter::Attribute(uint16_t type, const void* data, size_t size) {
  if (size > kMaxAttribute - NLA_HDRLEN) {
    overflowed_ = true;
    return;
  }
  const nlattr header{static_cast<uint16_t>(NLA_HDRLEN + size), type};
  const size_t at = bytes_.size();
  bytes_.resize(at + NLA_HDRLEN + NLA_ALIGN(size));
  std::memcpy(bytes_.data() + at, &header, sizeof(header));
  if (size > 0) std::memcpy(bytes_.data() + at + NLA_HDRLEN, data, size);
}

size_t MessageWriter::BeginNest(uint16_t type) {
  const size_t token = bytes_.size();
  const nlattr header{NLA_HDRLEN, static_cast<uint16_t>(type | NLA_F_NESTED)};
  Raw(&header, sizeof(header));
  return token;
}

bool MessageWriter::EndNest(size_t token) {
  const size_t length = bytes_.size() - token;
  if (length > kMaxAttribute) {
    overflowed_ = true;
    return false;
  }
  const auto value = static_cast<uint16_t>(length);
  std::memcpy(bytes_.data() + token + offsetof(nlattr, nla_len), &value, sizeof(value));
  return true;
}

void MessageWriter::AddFlags(size_t index, uint16_t flags) {
  uint8_t* at = bytes_.data() + starts_[index] + offsetof(nlmsghdr, nlmsg_flags);
  uint16_t value = 0;
  std::memcpy(&value, at, sizeof(value));
  value |= flags;
  std::memcpy(at, &value, sizeof(value));
}

void MessageWriter::Clear() {
  bytes_.clear();
  starts_.clear();
  overflowed_ = false;
}

std::string_view AttributeView::String() const {
  const auto end = std::find(data.begin(), data.end(), uint8_t{0});
  return {reinterpret_cast<const char*>(data.data()), static_cast<size_t>(end - data.begin())};
}

bool AttributeReader::Next(AttributeView* attribute) {
  // Fewer bytes than a header is padding, as nla_ok() treats it.
  if (!ok_ || rest_.size() < NLA_HDRLEN) return false;
  nlattr header;
  std::memcpy(&header, rest_.data(), sizeof(header));
  if (header.nla_len < NLA_HDRLEN || header.nla_len > rest_.size()) {
    ok_ = false;
    return false;
  }
  attribute->type = header.nla_type & NLA_TYPE_MASK;
  attribute->data = rest_.subspan(NLA_HDRLEN, header.nla_len - NLA_HDRLEN);
  rest_ = rest_.subspan(std::min<size_t>(NLA_ALIGN(header.nla_len), rest_.size()));
  return true;
}

bool MessageReader::Next(MessageView* message) {
  if (!ok_ || rest_.empty()) return false;
  nlmsghdr header{};
  if (rest_.size() >= sizeof(header)) std::memcpy(&header, rest_.data(), sizeof(header));
  if (header.nlmsg_len < sizeof(header) || header.nlmsg_len > rest_.size()) {
    ok_ = false;
    return false;
  }
  message->type = header.nlmsg_type;
  message->flags = header.nlmsg_flags;
  message->sequence = header.nlmsg_seq;
  message->port = header.nlmsg_pid;
  message->payload = rest_.subspan(NLMSG_HDRLEN, header.nlmsg_len - NLMSG_HDRLEN);
  rest_ = rest_.subspan(std::min<size_t>(NLMSG_ALIGN(size_t{header.nlmsg_len}), rest_.size()));
  return true;
}

}  // namespace ravel

#include "nftables_userdata.h"

#include <algorithm>
#include <cstring>

namespace ravel::nft {
namespace {

// enum nftnl_udata_set_types (libnftnl/udata.h).
enum : uint8_t {
  kKeyByteOrder = 0,
  kDataByteOrder = 1,
  kKeyTypeof = 3,
  kDataTypeof = 4,
  kDataInterval = 6,
};
// enum nftnl_udata_set_typeof_types.
enum : uint8_t { kTypeofExpression = 0, kTypeofData = 1 };
// nft's enum expr_types, as far as a typeof can name them here.
enum : uint32_t {
  kVerdictExpression = 1,
  kPayloadExpression = 7,
  kMetaExpression = 9,
  kConcatExpression = 13,
  kNumgenExpression = 23
};
// nft's enum proto_desc_id and the fields of its header templates.
enum : uint32_t { kTransportHeader = 11, kIpHeader = 12, kIp6Header = 13 };
enum : uint32_t {
  kIpProtocol = 9,
  kIpDestination = 12,
  kIp6NextHeader = 6,
  kIp6Destination = 9,
  kTransportDestination = 2
};
// The modulus is part of the expression, not of the type: any value prints a type of the same length.
constexpr uint32_t kTypeofModulus = 2;

using Bytes = std::vector<uint8_t>;

void Put(Bytes& out, uint8_t type, std::span<const uint8_t> value) {
  out.push_back(type);
  out.push_back(static_cast<uint8_t>(value.size()));
  out.insert(out.end(), value.begin(), value.end());
}

// Numbers are host order (nftnl_udata_put_u32).
void PutU32(Bytes& out, uint8_t type, uint32_t value) {
  uint8_t bytes[sizeof(value)];
  std::memcpy(bytes, &value, sizeof(value));
  Put(out, type, bytes);
}

Bytes Typeof(uint32_t expression, const Bytes& data) {
  Bytes out;
  PutU32(out, kTypeofExpression, expression);
  Put(out, kTypeofData, data);
  return out;
}

Bytes PayloadTypeof(uint32_t header, uint32_t field) {
  Bytes data;
  PutU32(data, 0, header);  // PAYLOAD_EXPR_DESC
  PutU32(data, 1, field);   // PAYLOAD_EXPR_TYPE
  return Typeof(kPayloadExpression, data);
}

Bytes FieldTypeof(DataType type, bool ipv6) {
  Bytes data;
  switch (type) {
    case DataType::kIpv4Address:
      return PayloadTypeof(kIpHeader, kIpDestination);
    case DataType::kIpv6Address:
      return PayloadTypeof(kIp6Header, kIp6Destination);
    case DataType::kInetProtocol:
      return ipv6 ? PayloadTypeof(kIp6Header, kIp6NextHeader) : PayloadTypeof(kIpHeader, kIpProtocol);
    case DataType::kInetService:
      // Of no protocol: nft refuses to load `tcp dport` of a map that a rule for UDP reads.
      return PayloadTypeof(kTransportHeader, kTransportDestination);
    case DataType::kMark:
      PutU32(data, 0, NFT_META_MARK);
      return Typeof(kMetaExpression, data);
    case DataType::kSlot:
      break;
  }
  PutU32(data, 0, NFT_NG_RANDOM);
  PutU32(data, 1, kTypeofModulus);
  PutU32(data, 2, 0);  // offset
  return Typeof(kNumgenExpression, data);
}

Bytes TypesTypeof(const std::vector<DataType>& types) {
  const bool ipv6 = std::ranges::find(types, DataType::kIpv6Address) != types.end();
  if (types.size() == 1) return FieldTypeof(types.front(), ipv6);
  Bytes data;
  for (size_t i = 0; i < types.size(); ++i) Put(data, static_cast<uint8_t>(i), FieldTypeof(types[i], ipv6));
  return Typeof(kConcatExpression, data);
}

ByteOrder OrderOf(const std::vector<DataType>& types) {
  return types.size() == 1 ? Row(types.front()).byte_order : ByteOrder::kNone;
}

// What nft writes for a concatenation that was declared with `type` rather than `typeof`.
Bytes NamedConcat() { return Typeof(kConcatExpression, {}); }

}  // namespace

Bytes CommentUserdata(std::string_view comment) {
  Bytes text(comment.begin(), comment.end());
  text.push_back(0);
  Bytes out;
  Put(out, 0, text);
  return out;
}

std::optional<std::string_view> CommentOf(std::span<const uint8_t> userdata) {
  while (userdata.size() >= 2) {
    const uint8_t type = userdata[0];
    const size_t length = userdata[1];
    if (userdata.size() < 2 + length) return std::nullopt;
    if (type == 0) {
      const auto* text = reinterpret_cast<const char*>(userdata.data() + 2);
      return std::string_view(text, strnlen(text, length));
    }
    userdata = userdata.subspan(2 + length);
  }
  return std::nullopt;
}

Bytes SetUserdata(const SetSpec& set) {
  const auto has_slot = [](const std::vector<DataType>& types) {
    return std::ranges::find(types, DataType::kSlot) != types.end();
  };
  const bool map = set.value_kind != ValueKind::kNone;
  const bool by_expression = has_slot(set.key) || has_slot(set.value);
  Bytes out;
  PutU32(out, kKeyByteOrder, static_cast<uint32_t>(OrderOf(set.key)));
  if (map) {
    const bool data = set.value_kind == ValueKind::kData;
    PutU32(out, kDataByteOrder, static_cast<uint32_t>(data ? OrderOf(set.value) : ByteOrder::kNone));
  }
  if (by_expression) {
    Put(out, kKeyTypeof, TypesTypeof(set.key));
    if (map) {
      Put(out, kDataTypeof,
          set.value_kind == ValueKind::kData ? TypesTypeof(set.value) : Typeof(kVerdictExpression, {}));
    }
  } else {
    if (set.key.size() > 1) Put(out, kKeyTypeof, NamedConcat());
    if (set.value.size() > 1) Put(out, kDataTypeof, NamedConcat());
  }
  if (map) PutU32(out, kDataInterval, 0);
  return out;
}

}  // namespace ravel::nft

// The reading half of nftables_expressions.h.

#include <string_view>

#include "nftables_expressions.h"

namespace ravel::nft {
namespace {

constexpr uint32_t kNatFlags = NF_NAT_RANGE_MAP_IPS | NF_NAT_RANGE_PROTO_SPECIFIED;

// Attributes that carry the value; every other attribute this header knows changes the meaning, so it
// ends the reading; numbers beyond the header's are ignored, as everywhere.
class FieldReader {
 public:
  explicit FieldReader(std::span<const uint8_t> data) : reader_(data) {}

  template <typename Handler>
  bool Each(uint16_t maximum, Handler handler) {
    AttributeView attribute;
    while (reader_.Next(&attribute)) {
      if (attribute.type > maximum) continue;
      if (!handler(attribute)) return false;
    }
    return reader_.ok() && lengths_ok_;
  }
  uint32_t U32(const AttributeView& attribute) { return attribute.U32Be(&lengths_ok_); }
  uint8_t U8(const AttributeView& attribute) { return attribute.U8(&lengths_ok_); }

 private:
  AttributeReader reader_;
  bool lengths_ok_ = true;
};

bool ReadBytes(const AttributeView& attribute, std::vector<uint8_t>* out) {
  const auto value = ReadValue(attribute.data);
  if (!value) return false;
  out->assign(value->begin(), value->end());
  return true;
}

bool ReadPayload(std::span<const uint8_t> data, Expression* e) {
  FieldReader fields(data);
  return fields.Each(NFTA_PAYLOAD_MAX, [&](const AttributeView& a) {
    if (a.type == NFTA_PAYLOAD_DREG)
      e->destination = fields.U32(a);
    else if (a.type == NFTA_PAYLOAD_BASE)
      e->base = fields.U32(a);
    else if (a.type == NFTA_PAYLOAD_OFFSET)
      e->offset = fields.U32(a);
    else if (a.type == NFTA_PAYLOAD_LEN)
      e->length = fields.U32(a);
    else
      return false;  // NFTA_PAYLOAD_SREG: writes the packet
    return true;
  });
}

bool ReadMeta(std::span<const uint8_t> data, Expression* e) {
  FieldReader fields(data);
  return fields.Each(NFTA_META_MAX, [&](const AttributeView& a) {
    if (a.type == NFTA_META_KEY)
      e->key = fields.U32(a);
    else if (a.type == NFTA_META_DREG)
      e->destination = fields.U32(a);
    else if (a.type == NFTA_META_SREG) {
      e->source = fields.U32(a);
      e->kind = ExpressionKind::kMetaSet;
    } else
      return false;
    return true;
  });
}

bool ReadCt(std::span<const uint8_t> data, Expression* e) {
  FieldReader fields(data);
  return fields.Each(NFTA_CT_MAX, [&](const AttributeView& a) {
    if (a.type == NFTA_CT_KEY)
      e->key = fields.U32(a);
    else if (a.type == NFTA_CT_DREG)
      e->destination = fields.U32(a);
    else if (a.type == NFTA_CT_DIRECTION) {
      e->direction = fields.U8(a);
      e->directed = true;
    } else
      return false;  // NFTA_CT_SREG: writes the connection
    return true;
  });
}

bool ReadNumgen(std::span<const uint8_t> data, Expression* e) {
  FieldReader fields(data);
  return fields.Each(NFTA_NG_MAX, [&](const AttributeView& a) {
    if (a.type == NFTA_NG_DREG)
      e->destination = fields.U32(a);
    else if (a.type == NFTA_NG_MODULUS)
      e->modulus = fields.U32(a);
    else if (a.type == NFTA_NG_TYPE)
      return fields.U32(a) == NFT_NG_RANDOM;
    else if (a.type == NFTA_NG_OFFSET)
      return fields.U32(a) == 0;
    else
      return false;
    return true;
  });
}

bool ReadLookup(std::span<const uint8_t> data, Expression* e) {
  FieldReader fields(data);
  return fields.Each(NFTA_LOOKUP_MAX, [&](const AttributeView& a) {
    if (a.type == NFTA_LOOKUP_SREG)
      e->source = fields.U32(a);
    else if (a.type == NFTA_LOOKUP_SET)
      e->set = a.String();
    else if (a.type == NFTA_LOOKUP_FLAGS) {
      const uint32_t flags = fields.U32(a);
      e->inverted = flags == NFT_LOOKUP_F_INV;
      return flags == 0 || flags == NFT_LOOKUP_F_INV;
    } else if (a.type == NFTA_LOOKUP_DREG) {
      e->destination = fields.U32(a);
      e->has_destination = true;
    } else
      return a.type == NFTA_LOOKUP_SET_ID;  // meaningful within one batch only
    return true;
  });
}

bool ReadCompare(std::span<const uint8_t> data, Expression* e) {
  FieldReader fields(data);
  return fields.Each(NFTA_CMP_MAX, [&](const AttributeView& a) {
    if (a.type == NFTA_CMP_SREG)
      e->source = fields.U32(a);
    else if (a.type == NFTA_CMP_OP)
      e->operation = fields.U32(a);
    else if (a.type == NFTA_CMP_DATA)
      return ReadBytes(a, &e->data);
    else
      return false;
    return true;
  });
}

bool ReadBitwise(std::span<const uint8_t> data, Expression* e) {
  FieldReader fields(data);
  return fields.Each(NFTA_BITWISE_MAX, [&](const AttributeView& a) {
    if (a.type == NFTA_BITWISE_SREG)
      e->source = fields.U32(a);
    else if (a.type == NFTA_BITWISE_DREG)
      e->destination = fields.U32(a);
    else if (a.type == NFTA_BITWISE_LEN)
      e->length = fields.U32(a);
    else if (a.type == NFTA_BITWISE_MASK)
      return ReadBytes(a, &e->data);
    else if (a.type == NFTA_BITWISE_XOR)
      return ReadBytes(a, &e->exclusive_or);
    else if (a.type == NFTA_BITWISE_OP)
      return fields.U32(a) == NFT_BITWISE_BOOL;
    else
      return false;  // shifts
    return true;
  });
}

bool ReadNat(std::span<const uint8_t> data, Expression* e) {
  FieldReader fields(data);
  uint32_t last_address = 0;
  uint32_t last_port = 0;
  const bool read = fields.Each(NFTA_NAT_MAX, [&](const AttributeView& a) {
    if (a.type == NFTA_NAT_FAMILY)
      e->family = fields.U32(a);
    else if (a.type == NFTA_NAT_REG_ADDR_MIN)
      e->address = fields.U32(a);
    else if (a.type == NFTA_NAT_REG_ADDR_MAX)
      last_address = fields.U32(a);
    else if (a.type == NFTA_NAT_REG_PROTO_MIN)
      e->port = fields.U32(a);
    else if (a.type == NFTA_NAT_REG_PROTO_MAX)
      last_port = fields.U32(a);
    else if (a.type == NFTA_NAT_TYPE)
      return fields.U32(a) == NFT_NAT_DNAT;
    else if (a.type == NFTA_NAT_FLAGS)
      return (fields.U32(a) & ~kNatFlags) == 0;
    else
      return false;
    return true;
  });
  // The kernel always dumps the upper ends; ours are single addresses and ports.
  return read && (last_address == 0 || last_address == e->address) && (last_port == 0 || last_port == e->port);
}

bool ReadImmediate(std::span<const uint8_t> data, Expression* e) {
  FieldReader fields(data);
  return fields.Each(NFTA_IMMEDIATE_MAX, [&](const AttributeView& a) {
    if (a.type == NFTA_IMMEDIATE_DREG) {
      e->destination = fields.U32(a);
      return true;
    }
    if (a.type != NFTA_IMMEDIATE_DATA) return false;
    auto verdict = ReadVerdict(a.data);
    if (!verdict) return ReadBytes(a, &e->data);
    e->verdict = std::move(*verdict);
    return true;
  });
}

bool ReadTcpOptionSet(std::span<const uint8_t> data, Expression* e) {
  FieldReader fields(data);
  bool tcp = false;
  const bool read = fields.Each(NFTA_EXTHDR_MAX, [&](const AttributeView& a) {
    if (a.type == NFTA_EXTHDR_SREG)
      e->source = fields.U32(a);
    else if (a.type == NFTA_EXTHDR_TYPE)
      e->key = fields.U8(a);
    else if (a.type == NFTA_EXTHDR_OFFSET)
      e->offset = fields.U32(a);
    else if (a.type == NFTA_EXTHDR_LEN)
      e->length = fields.U32(a);
    else if (a.type == NFTA_EXTHDR_FLAGS)
      return fields.U32(a) == 0;
    else if (a.type == NFTA_EXTHDR_OP)
      tcp = fields.U32(a) == NFT_EXTHDR_OP_TCPOPT;
    else
      return false;  // NFTA_EXTHDR_DREG: reads the option
    return true;
  });
  return read && tcp;
}

// Masquerade with flags or ports carries attributes; ours carries none.
bool ReadMasquerade(std::span<const uint8_t> data) {
  FieldReader fields(data);
  return fields.Each(NFTA_MASQ_MAX, [](const AttributeView&) { return false; });
}

bool ReadData(std::span<const uint8_t> data, Expression* e) {
  switch (e->kind) {
    case ExpressionKind::kPayload:
      return ReadPayload(data, e);
    case ExpressionKind::kMeta:
    case ExpressionKind::kMetaSet:
      return ReadMeta(data, e);
    case ExpressionKind::kCt:
      return ReadCt(data, e);
    case ExpressionKind::kNumgen:
      return ReadNumgen(data, e);
    case ExpressionKind::kLookup:
      return ReadLookup(data, e);
    case ExpressionKind::kCompare:
      return ReadCompare(data, e);
    case ExpressionKind::kBitwise:
      return ReadBitwise(data, e);
    case ExpressionKind::kNat:
      return ReadNat(data, e);
    case ExpressionKind::kMasquerade:
      return ReadMasquerade(data);
    case ExpressionKind::kCounter:
      return true;  // packets and bytes are state, not meaning
    case ExpressionKind::kImmediate:
      return ReadImmediate(data, e);
    case ExpressionKind::kTcpOptionSet:
      return ReadTcpOptionSet(data, e);
  }
  return false;
}

std::optional<Expression> ReadExpression(std::span<const uint8_t> element) {
  AttributeReader reader(element);
  AttributeView attribute;
  std::string_view name;
  std::span<const uint8_t> data;
  while (reader.Next(&attribute)) {
    if (attribute.type == NFTA_EXPR_NAME) name = attribute.String();
    if (attribute.type == NFTA_EXPR_DATA) data = attribute.data;
  }
  if (!reader.ok()) return std::nullopt;
  const auto kind = ExpressionKindOf(name);
  if (!kind) return std::nullopt;
  Expression expression;
  expression.kind = *kind;
  if (!ReadData(data, &expression)) return std::nullopt;
  return expression;
}

}  // namespace

std::optional<std::vector<Expression>> ReadExpressions(std::span<const uint8_t> list) {
  AttributeReader reader(list);
  AttributeView attribute;
  std::vector<Expression> expressions;
  while (reader.Next(&attribute)) {
    if (attribute.type != NFTA_LIST_ELEM) continue;
    auto expression = ReadExpression(attribute.data);
    if (!expression) return std::nullopt;
    expressions.push_back(std::move(*expression));
  }
  if (!reader.ok()) return std::nullopt;
  return expressions;
}

}  // namespace ravel::nft

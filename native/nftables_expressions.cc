#include "nftables_expressions.h"

#include <linux/netfilter/nf_conntrack_tuple_common.h>
#include <linux/netfilter/nf_nat.h>

#include <string_view>

namespace ravel::nft {
namespace {

struct NameRow {
  ExpressionKind kind;
  const char* name;
  const char* module;  // nullptr: always in nf_tables.ko
};

constexpr NameRow kNames[] = {
    {ExpressionKind::kPayload, "payload", nullptr},    {ExpressionKind::kMeta, "meta", nullptr},
    {ExpressionKind::kMetaSet, "meta", nullptr},       {ExpressionKind::kCt, "ct", "nft_ct"},
    {ExpressionKind::kNumgen, "numgen", "nft_numgen"}, {ExpressionKind::kLookup, "lookup", nullptr},
    {ExpressionKind::kCompare, "cmp", nullptr},        {ExpressionKind::kBitwise, "bitwise", nullptr},
    {ExpressionKind::kNat, "nat", "nft_nat"},          {ExpressionKind::kMasquerade, "masq", "nft_masq"},
    {ExpressionKind::kCounter, "counter", nullptr},    {ExpressionKind::kImmediate, "immediate", nullptr},
};

constexpr uint32_t kNatFlags = NF_NAT_RANGE_MAP_IPS | NF_NAT_RANGE_PROTO_SPECIFIED;

void WriteValue(MessageWriter& writer, uint16_t attribute, const std::vector<uint8_t>& value) {
  const size_t nest = writer.BeginNest(attribute);
  writer.Bytes(NFTA_DATA_VALUE, value);
  writer.EndNest(nest);
}

// Attributes in nft's own order, so that a trace of both reads the same.
void WriteData(MessageWriter& writer, const Expression& e) {
  switch (e.kind) {
    case ExpressionKind::kPayload:
      writer.U32Be(NFTA_PAYLOAD_DREG, e.destination);
      writer.U32Be(NFTA_PAYLOAD_BASE, e.base);
      writer.U32Be(NFTA_PAYLOAD_OFFSET, e.offset);
      writer.U32Be(NFTA_PAYLOAD_LEN, e.length);
      return;
    case ExpressionKind::kMeta:
      writer.U32Be(NFTA_META_KEY, e.key);
      writer.U32Be(NFTA_META_DREG, e.destination);
      return;
    case ExpressionKind::kMetaSet:
      writer.U32Be(NFTA_META_KEY, e.key);
      writer.U32Be(NFTA_META_SREG, e.source);
      return;
    case ExpressionKind::kCt:
      writer.U32Be(NFTA_CT_KEY, e.key);
      writer.U32Be(NFTA_CT_DREG, e.destination);
      writer.U8(NFTA_CT_DIRECTION, e.direction);
      return;
    case ExpressionKind::kNumgen:
      writer.U32Be(NFTA_NG_DREG, e.destination);
      writer.U32Be(NFTA_NG_MODULUS, e.modulus);
      writer.U32Be(NFTA_NG_TYPE, NFT_NG_RANDOM);
      writer.U32Be(NFTA_NG_OFFSET, 0);
      return;
    case ExpressionKind::kLookup:
      writer.U32Be(NFTA_LOOKUP_SREG, e.source);
      if (e.has_destination) writer.U32Be(NFTA_LOOKUP_DREG, e.destination);
      writer.String(NFTA_LOOKUP_SET, e.set);
      if (e.inverted) writer.U32Be(NFTA_LOOKUP_FLAGS, NFT_LOOKUP_F_INV);
      return;
    case ExpressionKind::kCompare:
      writer.U32Be(NFTA_CMP_SREG, e.source);
      writer.U32Be(NFTA_CMP_OP, e.operation);
      WriteValue(writer, NFTA_CMP_DATA, e.data);
      return;
    case ExpressionKind::kBitwise:
      writer.U32Be(NFTA_BITWISE_SREG, e.source);
      writer.U32Be(NFTA_BITWISE_DREG, e.destination);
      writer.U32Be(NFTA_BITWISE_OP, NFT_BITWISE_BOOL);
      writer.U32Be(NFTA_BITWISE_LEN, e.length);
      WriteValue(writer, NFTA_BITWISE_MASK, e.data);
      WriteValue(writer, NFTA_BITWISE_XOR, e.exclusive_or);
      return;
    case ExpressionKind::kNat:
      writer.U32Be(NFTA_NAT_TYPE, NFT_NAT_DNAT);
      writer.U32Be(NFTA_NAT_FAMILY, e.family);
      writer.U32Be(NFTA_NAT_REG_ADDR_MIN, e.address);
      writer.U32Be(NFTA_NAT_REG_PROTO_MIN, e.port);
      return;
    case ExpressionKind::kMasquerade:
    case ExpressionKind::kCounter:
      return;
    case ExpressionKind::kImmediate: {
      writer.U32Be(NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
      const size_t nest = writer.BeginNest(NFTA_IMMEDIATE_DATA);
      WriteVerdict(writer, e.verdict);
      writer.EndNest(nest);
      return;
    }
  }
}

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
  bool direction = false;
  const bool read = fields.Each(NFTA_CT_MAX, [&](const AttributeView& a) {
    if (a.type == NFTA_CT_KEY)
      e->key = fields.U32(a);
    else if (a.type == NFTA_CT_DREG)
      e->destination = fields.U32(a);
    else if (a.type == NFTA_CT_DIRECTION) {
      e->direction = fields.U8(a);
      direction = true;
    } else
      return false;  // NFTA_CT_SREG: writes the connection
    return true;
  });
  return read && direction;
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
    if (a.type == NFTA_IMMEDIATE_DREG) return fields.U32(a) == NFT_REG_VERDICT;
    if (a.type != NFTA_IMMEDIATE_DATA) return false;
    auto verdict = ReadVerdict(a.data);
    if (!verdict) return false;
    e->verdict = std::move(*verdict);
    return true;
  });
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
  for (const NameRow& row : kNames) {
    if (name != row.name) continue;
    Expression expression;
    expression.kind = row.kind;
    if (!ReadData(data, &expression)) return std::nullopt;
    return expression;
  }
  return std::nullopt;
}

}  // namespace

const char* ExpressionName(ExpressionKind kind) { return kNames[static_cast<size_t>(kind)].name; }

const char* ExpressionModule(std::string_view name) {
  for (const NameRow& row : kNames) {
    if (name == row.name) return row.module;
  }
  return nullptr;
}

void WriteVerdict(MessageWriter& writer, const Verdict& verdict) {
  const size_t nest = writer.BeginNest(NFTA_DATA_VERDICT);
  writer.U32Be(NFTA_VERDICT_CODE, static_cast<uint32_t>(verdict.code));
  if (!verdict.chain.empty()) writer.String(NFTA_VERDICT_CHAIN, verdict.chain);
  writer.EndNest(nest);
}

std::optional<Verdict> ReadVerdict(std::span<const uint8_t> data) {
  AttributeReader reader(data);
  AttributeView attribute;
  while (reader.Next(&attribute)) {
    if (attribute.type != NFTA_DATA_VERDICT) continue;
    AttributeReader inner(attribute.data);
    AttributeView field;
    Verdict verdict;
    bool has_code = false;
    bool ok = true;
    while (inner.Next(&field)) {
      if (field.type == NFTA_VERDICT_CODE) {
        verdict.code = static_cast<int32_t>(field.U32Be(&ok));
        has_code = true;
      }
      if (field.type == NFTA_VERDICT_CHAIN) verdict.chain = field.String();
    }
    if (!inner.ok() || !ok || !has_code) return std::nullopt;
    return verdict;
  }
  return std::nullopt;
}

std::optional<std::span<const uint8_t>> ReadValue(std::span<const uint8_t> data) {
  AttributeReader reader(data);
  AttributeView attribute;
  while (reader.Next(&attribute)) {
    if (attribute.type == NFTA_DATA_VALUE) return attribute.data;
  }
  return std::nullopt;
}

void WriteExpression(MessageWriter& writer, const Expression& expression) {
  const size_t element = writer.BeginNest(NFTA_LIST_ELEM);
  writer.String(NFTA_EXPR_NAME, ExpressionName(expression.kind));
  const size_t data = writer.BeginNest(NFTA_EXPR_DATA);
  WriteData(writer, expression);
  writer.EndNest(data);
  writer.EndNest(element);
}

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

#include "nftables_expressions.h"

#include <string_view>

namespace ravel::nft {
namespace {

struct NameRow {
  ExpressionKind kind;
  const char* name;
  const char* module;  // nullptr: always in nf_tables.ko
};

constexpr NameRow kNames[] = {
    {ExpressionKind::kPayload, "payload", nullptr},     {ExpressionKind::kMeta, "meta", nullptr},
    {ExpressionKind::kMetaSet, "meta", nullptr},        {ExpressionKind::kCt, "ct", "nft_ct"},
    {ExpressionKind::kNumgen, "numgen", "nft_numgen"},  {ExpressionKind::kLookup, "lookup", nullptr},
    {ExpressionKind::kCompare, "cmp", nullptr},         {ExpressionKind::kBitwise, "bitwise", nullptr},
    {ExpressionKind::kNat, "nat", "nft_nat"},           {ExpressionKind::kMasquerade, "masq", "nft_masq"},
    {ExpressionKind::kCounter, "counter", nullptr},     {ExpressionKind::kImmediate, "immediate", nullptr},
    {ExpressionKind::kTcpOptionSet, "exthdr", nullptr},
};

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
      if (e.directed) writer.U8(NFTA_CT_DIRECTION, e.direction);
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
    case ExpressionKind::kTcpOptionSet:
      writer.U32Be(NFTA_EXTHDR_SREG, e.source);
      writer.U8(NFTA_EXTHDR_TYPE, static_cast<uint8_t>(e.key));
      writer.U32Be(NFTA_EXTHDR_OFFSET, e.offset);
      writer.U32Be(NFTA_EXTHDR_LEN, e.length);
      writer.U32Be(NFTA_EXTHDR_OP, NFT_EXTHDR_OP_TCPOPT);
      return;
    case ExpressionKind::kImmediate: {
      writer.U32Be(NFTA_IMMEDIATE_DREG, e.destination);
      if (e.destination != NFT_REG_VERDICT) return WriteValue(writer, NFTA_IMMEDIATE_DATA, e.data);
      const size_t nest = writer.BeginNest(NFTA_IMMEDIATE_DATA);
      WriteVerdict(writer, e.verdict);
      writer.EndNest(nest);
      return;
    }
  }
}

}  // namespace

std::optional<ExpressionKind> ExpressionKindOf(std::string_view name) {
  for (const NameRow& row : kNames) {
    if (name == row.name) return row.kind;
  }
  return std::nullopt;
}

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

}  // namespace ravel::nft

#include "nftables_refusal.h"

#include <cerrno>
#include <cstring>
#include <span>
#include <utility>

#include "nftables_expressions.h"

namespace ravel::nft {
namespace {

// The list element under `list` that covers `offset`, counted from `base`: its rank and its attributes.
std::optional<std::pair<int64_t, std::span<const uint8_t>>> ElementAt(std::span<const uint8_t> list,
                                                                      const uint8_t* base, uint32_t offset) {
  AttributeReader reader(list);
  AttributeView element;
  for (int64_t rank = 0; reader.Next(&element); ++rank) {
    const auto begin = static_cast<size_t>(element.data.data() - base) - NLA_HDRLEN;
    if (offset >= begin && offset < begin + NLA_HDRLEN + element.data.size()) return std::pair(rank, element.data);
  }
  return std::nullopt;
}

// ENOENT at an expression that a module registers means that the module is missing.
void ExplainExpression(std::span<const uint8_t> expression, Refusal* refusal) {
  AttributeReader reader(expression);
  AttributeView attribute;
  while (reader.Next(&attribute)) {
    if (attribute.type != NFTA_EXPR_NAME) continue;
    const char* module = ExpressionModule(attribute.String());
    if (module == nullptr) return;
    refusal->feature = "nftables expression " + std::string(attribute.String());
    refusal->module = module;
  }
}

}  // namespace

Refusal Explain(const Batch& batch, const MessageError& error) {
  Refusal refusal;
  refusal.error = error.error;
  refusal.message = error.message;
  refusal.offset = error.offset;
  if (error.index >= batch.origins.size()) return refusal;
  const Origin& origin = batch.origins[error.index];
  refusal.operation = origin.operation;
  if (origin.operation < 0 || error.offset == 0) return refusal;

  const uint8_t* base = batch.writer.bytes().data() + batch.writer.starts()[error.index];
  nlmsghdr header;
  std::memcpy(&header, base, sizeof(header));
  const auto message = std::span(base, header.nlmsg_len).subspan(NLMSG_HDRLEN + NLMSG_ALIGN(sizeof(nfgenmsg)));
  AttributeReader reader(message);
  AttributeView attribute;
  while (reader.Next(&attribute)) {
    if (origin.element >= 0 && attribute.type == NFTA_SET_ELEM_LIST_ELEMENTS) {
      const auto element = ElementAt(attribute.data, base, error.offset);
      if (element) refusal.element = origin.element + element->first;
    }
    if (error.error != ENOENT) continue;
    if (header.nlmsg_type == MessageType(NFT_MSG_NEWRULE) && attribute.type == NFTA_RULE_EXPRESSIONS) {
      const auto element = ElementAt(attribute.data, base, error.offset);
      if (element) ExplainExpression(element->second, &refusal);
    }
    const auto begin = static_cast<size_t>(attribute.data.data() - base) - NLA_HDRLEN;
    if (header.nlmsg_type == MessageType(NFT_MSG_NEWCHAIN) && attribute.type == NFTA_CHAIN_TYPE &&
        begin == error.offset) {
      refusal.feature = "nftables chain type " + std::string(attribute.String());
      refusal.module = "nft_chain_nat";
    }
  }
  return refusal;
}

}  // namespace ravel::nft

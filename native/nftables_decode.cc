#include "nftables_decode.h"

#include "nftables_expressions.h"
#include "nftables_statements.h"
#include "nftables_userdata.h"

namespace ravel::nft {
namespace {

// Calls `field` for each attribute after the nfgenmsg; false when the walk ended badly.
template <typename Field>
bool EachAttribute(const MessageView& message, Field field) {
  nfgenmsg header;
  if (!message.Header(&header)) return false;
  AttributeReader reader(message.After<nfgenmsg>());
  AttributeView attribute;
  while (reader.Next(&attribute)) field(attribute);
  return reader.ok();
}

uint8_t FamilyOf(const MessageView& message) {
  nfgenmsg header{};
  static_cast<void>(message.Header(&header));
  return header.nfgen_family;
}

// The fields of a (concatenated) type id; nothing when one is not in kDataTypes.
std::optional<std::vector<DataType>> TypesOf(uint32_t id) {
  std::vector<DataType> types;
  for (int shift = 24; shift >= 0; shift -= 6) {
    const uint32_t field = id >> shift & 0x3f;
    if (field == 0 && types.empty()) continue;
    size_t index = 0;
    while (index < std::size(kDataTypes) && kDataTypes[index].id != field) ++index;
    if (index == std::size(kDataTypes)) return std::nullopt;
    types.push_back(static_cast<DataType>(index));
  }
  return types.empty() || id >> 30 != 0 ? std::nullopt : std::optional(types);
}

bool IsCounter(std::span<const uint8_t> expression) {
  AttributeReader reader(expression);
  AttributeView attribute;
  while (reader.Next(&attribute)) {
    if (attribute.type == NFTA_EXPR_NAME && attribute.String() == "counter") return true;
  }
  return false;
}

bool ReadHook(std::span<const uint8_t> data, Chain* chain) {
  AttributeReader reader(data);
  AttributeView a;
  bool ok = true;
  while (reader.Next(&a)) {
    if (a.type == NFTA_HOOK_HOOKNUM) chain->hook = a.U32Be(&ok);
    if (a.type == NFTA_HOOK_PRIORITY) chain->priority = static_cast<int32_t>(a.U32Be(&ok));
  }
  chain->base = true;
  return reader.ok() && ok;
}

}  // namespace

std::optional<Table> ReadTable(const MessageView& message) {
  Table table;
  table.family = FamilyOf(message);
  bool ok = true;
  const bool read = EachAttribute(message, [&](const AttributeView& a) {
    if (a.type == NFTA_TABLE_NAME) table.name = a.String();
    if (a.type == NFTA_TABLE_FLAGS) table.dormant = (a.U32Be(&ok) & NFT_TABLE_F_DORMANT) != 0;
  });
  return read && ok && !table.name.empty() ? std::optional(table) : std::nullopt;
}

std::optional<Chain> ReadChain(const MessageView& message) {
  Chain chain;
  bool ok = true;
  const bool read = EachAttribute(message, [&](const AttributeView& a) {
    if (a.type == NFTA_CHAIN_NAME) chain.name = a.String();
    if (a.type == NFTA_CHAIN_HANDLE) chain.handle = a.U64Be(&ok);
    if (a.type == NFTA_CHAIN_TYPE) chain.type = a.String();
    if (a.type == NFTA_CHAIN_HOOK) ok = ReadHook(a.data, &chain) && ok;
    if (a.type == NFTA_CHAIN_POLICY) chain.drops = a.U32Be(&ok) == NF_DROP;
  });
  return read && ok && !chain.name.empty() ? std::optional(chain) : std::nullopt;
}

std::optional<Rule> ReadRule(const MessageView& message) {
  Rule rule;
  bool ok = true;
  std::span<const uint8_t> expressions;
  const bool read = EachAttribute(message, [&](const AttributeView& a) {
    if (a.type == NFTA_RULE_CHAIN) rule.chain = a.String();
    if (a.type == NFTA_RULE_HANDLE) rule.handle = a.U64Be(&ok);
    if (a.type == NFTA_RULE_USERDATA) rule.comment = CommentOf(a.data);
    if (a.type == NFTA_RULE_EXPRESSIONS) expressions = a.data;
  });
  if (!read || !ok) return std::nullopt;
  const auto list = ReadExpressions(expressions);
  if (list) rule.statements = Decompile(FamilyOf(message), *list);
  return rule;
}

std::optional<ListedSet> ReadSet(const MessageView& message) {
  ListedSet set;
  uint32_t flags = 0;
  uint32_t key_type = 0;
  uint32_t data_type = 0;
  bool ok = true;
  bool plain = true;  // nothing that our SetSpec cannot say
  const bool read = EachAttribute(message, [&](const AttributeView& a) {
    if (a.type == NFTA_SET_NAME) set.spec.name = a.String();
    if (a.type == NFTA_SET_HANDLE) set.handle = a.U64Be(&ok);
    if (a.type == NFTA_SET_FLAGS) flags = a.U32Be(&ok);
    if (a.type == NFTA_SET_KEY_TYPE) key_type = a.U32Be(&ok);
    if (a.type == NFTA_SET_KEY_LEN) set.key_length = a.U32Be(&ok);
    if (a.type == NFTA_SET_DATA_TYPE) data_type = a.U32Be(&ok);
    if (a.type == NFTA_SET_DATA_LEN) set.value_length = a.U32Be(&ok);
    if (a.type == NFTA_SET_TIMEOUT || a.type == NFTA_SET_OBJ_TYPE) plain = false;
    if (a.type == NFTA_SET_EXPR) set.spec.counter = IsCounter(a.data);
    if ((a.type == NFTA_SET_EXPR && !set.spec.counter) || a.type == NFTA_SET_EXPRESSIONS) plain = false;
  });
  if (!read || !ok || set.spec.name.empty()) return std::nullopt;
  const bool map = (flags & NFT_SET_MAP) != 0;
  const bool verdicts = map && data_type == kVerdictDataType;
  set.spec.value_kind = verdicts ? ValueKind::kVerdict : (map ? ValueKind::kData : ValueKind::kNone);
  // The kernel keeps a verdict in a structure of its own; its length is not one of a value.
  if (set.spec.value_kind != ValueKind::kData) set.value_length = 0;
  const auto key = TypesOf(key_type);
  const auto value = set.spec.value_kind == ValueKind::kData ? TypesOf(data_type)
                                                             : std::optional<std::vector<DataType>>(std::in_place);
  set.known = plain && (flags & ~uint32_t{NFT_SET_MAP}) == 0 && key && value && WireLength(*key) == set.key_length &&
              (value->empty() || WireLength(*value) == set.value_length);
  if (set.known) {
    set.spec.key = *key;
    set.spec.value = *value;
  }
  return set;
}

std::string_view TableOf(const MessageView& message) {
  std::string_view table;
  static_cast<void>(EachAttribute(message, [&](const AttributeView& a) {
    if (a.type == NFTA_TABLE_NAME) table = a.String();
  }));
  return table;
}

std::optional<Event> ReadEvent(const MessageView& message) {
  if (message.type >> 8 != NFNL_SUBSYS_NFTABLES) return std::nullopt;
  Event event;
  event.message = static_cast<uint8_t>(message.type);
  event.family = FamilyOf(message);
  event.port = message.port;
  if (event.message != NFT_MSG_NEWGEN) {
    event.table = TableOf(message);
    return event;
  }
  bool ok = true;
  const bool read = EachAttribute(message, [&](const AttributeView& a) {
    if (a.type == NFTA_GEN_ID) event.generation = a.U32Be(&ok);
    if (a.type == NFTA_GEN_PROC_PID) event.process = a.U32Be(&ok);
  });
  return read && ok ? std::optional(event) : std::nullopt;
}

std::string MessageName(uint8_t message) {
  // enum nf_tables_msg_types, in its order.
  static constexpr const char* kNames[] = {
      "newtable",     "gettable",     "deltable",     "newchain",     "getchain", "delchain",   "newrule",
      "getrule",      "delrule",      "newset",       "getset",       "delset",   "newsetelem", "getsetelem",
      "delsetelem",   "newgen",       "getgen",       "trace",        "newobj",   "getobj",     "delobj",
      "getobj_reset", "newflowtable", "getflowtable", "delflowtable",
  };
  return message < std::size(kNames) ? kNames[message] : "message" + std::to_string(message);
}

}  // namespace ravel::nft

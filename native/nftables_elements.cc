#include "nftables_elements.h"

#include <cstring>

#include "nftables_expressions.h"
#include "nftables_userdata.h"

namespace ravel::nft {
namespace {

// nla_len is 16 bits. A new message begins past this many bytes of elements; the largest element (64 bytes
// of key, 64 of value or a chain name of 255, 256 of userdata, headers) stays below what is left.
constexpr size_t kListLimit = 64000;
// Index of "no chain" in the columns.
constexpr uint16_t kNoChain = 0xffff;

template <typename T>
T At(std::span<const uint8_t> column, size_t row) {
  T value;
  std::memcpy(&value, column.data() + row * sizeof(T), sizeof(T));
  return value;
}

class ElementWriter {
 public:
  ElementWriter(MessageWriter& writer, const SetSpec& set, const ElementRows& rows)
      : writer_(writer),
        set_(set),
        rows_(rows),
        key_stride_(ColumnLength(set.key)),
        key_length_(WireLength(set.key)),
        value_stride_(ColumnLength(set.value)),
        value_length_(set.value.empty() ? 0 : WireLength(set.value)) {}

  bool Write(uint32_t row, bool key_only) {
    const size_t element = writer_.BeginNest(NFTA_LIST_ELEM);
    Value(NFTA_SET_ELEM_KEY, rows_.keys.subspan(size_t{row} * key_stride_, key_length_));
    if (!key_only && !Data(row)) return false;
    writer_.EndNest(element);
    return true;
  }

 private:
  void Value(uint16_t attribute, std::span<const uint8_t> bytes) {
    const size_t nest = writer_.BeginNest(attribute);
    writer_.Bytes(NFTA_DATA_VALUE, bytes);
    writer_.EndNest(nest);
  }

  bool Data(uint32_t row) {
    if (set_.value_kind == ValueKind::kData) {
      Value(NFTA_SET_ELEM_DATA, rows_.values.subspan(size_t{row} * value_stride_, value_length_));
    }
    if (set_.value_kind == ValueKind::kVerdict) {
      Verdict verdict;
      verdict.code = At<int32_t>(rows_.verdicts, row);
      const auto chain = At<uint16_t>(rows_.chain, row);
      if (chain != kNoChain) {
        if (chain >= rows_.chains.size()) return false;
        verdict.chain = rows_.chains[chain];
      }
      const size_t nest = writer_.BeginNest(NFTA_SET_ELEM_DATA);
      WriteVerdict(writer_, verdict);
      writer_.EndNest(nest);
    }
    if (rows_.comment.empty()) return true;
    const auto comment = At<uint32_t>(rows_.comment, row);
    if (comment > rows_.comments.size()) return false;
    if (comment > 0) writer_.Bytes(NFTA_SET_ELEM_USERDATA, CommentUserdata(rows_.comments[comment - 1]));
    return true;
  }

  MessageWriter& writer_;
  const SetSpec& set_;
  const ElementRows& rows_;
  uint32_t key_stride_;
  uint32_t key_length_;
  uint32_t value_stride_;
  uint32_t value_length_;
};

void AppendPadded(std::vector<uint8_t>& column, std::span<const uint8_t> bytes, uint32_t length) {
  column.insert(column.end(), bytes.begin(), bytes.end());
  column.resize(column.size() + Padded(length) - bytes.size());
}

}  // namespace

bool WriteElements(MessageWriter& writer, uint8_t message, uint16_t flags, const Table& table, const SetSpec& set,
                   const ElementRows& rows, std::vector<uint32_t>* begun) {
  ElementWriter elements(writer, set, rows);
  const bool key_only = message == NFT_MSG_DELSETELEM;
  for (uint32_t row = 0; row < rows.count;) {
    begun->push_back(row);
    writer.Begin(MessageType(message), static_cast<uint16_t>(NLM_F_REQUEST | flags));
    writer.Header(nfgenmsg{table.family, NFNETLINK_V0, 0});
    writer.String(NFTA_SET_ELEM_LIST_TABLE, table.name);
    writer.String(NFTA_SET_ELEM_LIST_SET, set.name);
    const size_t list = writer.BeginNest(NFTA_SET_ELEM_LIST_ELEMENTS);
    for (const size_t start = writer.size(); row < rows.count && writer.size() - start < kListLimit; ++row) {
      if (!elements.Write(row, key_only)) return false;
    }
    if (!writer.EndNest(list)) return false;
    writer.End();
  }
  return true;
}

ColumnBuilder::ColumnBuilder(uint32_t key_length, uint32_t value_length, bool verdicts)
    : key_length_(key_length), value_length_(value_length), verdicts_(verdicts) {
  Clear();
}

void ColumnBuilder::Clear() {
  columns_ = {};
  chain_index_.clear();
  seen_.clear();
  columns_.key_length = Padded(key_length_);
  columns_.value_length = Padded(value_length_);
}

bool ColumnBuilder::Append(std::span<const uint8_t> attributes) {
  AttributeReader reader(attributes);
  AttributeView attribute;
  while (reader.Next(&attribute)) {
    if (attribute.type != NFTA_SET_ELEM_LIST_ELEMENTS) continue;
    AttributeReader elements(attribute.data);
    AttributeView element;
    while (elements.Next(&element)) {
      if (element.type == NFTA_LIST_ELEM && !AppendElement(element.data)) return false;
    }
    if (!elements.ok()) return false;
  }
  return reader.ok();
}

// Every column grows by exactly one row, whatever the element holds.
bool ColumnBuilder::AppendElement(std::span<const uint8_t> element) {
  std::span<const uint8_t> key;
  std::span<const uint8_t> value;
  std::span<const uint8_t> verdict;
  std::span<const uint8_t> counter;
  std::string_view comment;
  uint32_t flags = 0;
  bool ok = true;
  AttributeReader reader(element);
  AttributeView a;
  while (reader.Next(&a)) {
    if (a.type == NFTA_SET_ELEM_KEY) key = ReadValue(a.data).value_or(key);
    if (a.type == NFTA_SET_ELEM_DATA && verdicts_) verdict = a.data;
    if (a.type == NFTA_SET_ELEM_DATA && !verdicts_) value = ReadValue(a.data).value_or(value);
    if (a.type == NFTA_SET_ELEM_FLAGS) flags = a.U32Be(&ok);
    if (a.type == NFTA_SET_ELEM_USERDATA) comment = CommentOf(a.data).value_or(comment);
    if (a.type == NFTA_SET_ELEM_EXPR) counter = a.data;
  }
  if (!reader.ok() || !ok) return false;
  // A catch-all element has no key, the end of an interval no value.
  if (key.size() > Padded(key_length_) || value.size() > Padded(value_length_)) return false;
  std::string identity(key.begin(), key.end());
  identity.push_back(static_cast<char>(flags & 0xff));
  if (!seen_.insert(std::move(identity)).second) return true;
  AppendPadded(columns_.keys, key, key_length_);
  AppendPadded(columns_.values, value, value_length_);
  if (!AppendVerdict(verdict) || !AppendCounter(counter)) return false;
  columns_.flags.push_back(flags);
  // Split at NUL the string gives the list; what stands before the first NUL is index 0, "none".
  columns_.comment.push_back(0);
  if (!comment.empty()) {
    columns_.comments.append(1, '\0').append(comment);
    columns_.comment.back() = ++columns_.comment_count;
  }
  ++columns_.count;
  return true;
}

bool ColumnBuilder::AppendVerdict(std::span<const uint8_t> data) {
  columns_.verdict.push_back(0);
  columns_.chain.push_back(kNoChain);
  if (data.empty()) return true;
  auto verdict = ReadVerdict(data);
  if (!verdict) return false;
  columns_.verdict.back() = verdict->code;
  if (verdict->chain.empty()) return true;
  const auto [entry, added] = chain_index_.try_emplace(verdict->chain, static_cast<uint16_t>(columns_.chains.size()));
  if (added) {
    if (columns_.chains.size() >= kNoChain) return false;
    columns_.chains.push_back(verdict->chain);
  }
  columns_.chain.back() = entry->second;
  return true;
}

bool ColumnBuilder::AppendCounter(std::span<const uint8_t> expression) {
  columns_.packets.push_back(0);
  columns_.bytes.push_back(0);
  AttributeReader reader(expression);
  AttributeView a;
  std::string_view name;
  std::span<const uint8_t> data;
  while (reader.Next(&a)) {
    if (a.type == NFTA_EXPR_NAME) name = a.String();
    if (a.type == NFTA_EXPR_DATA) data = a.data;
  }
  if (!reader.ok()) return false;
  if (name != "counter") return true;
  bool ok = true;
  AttributeReader fields(data);
  while (fields.Next(&a)) {
    // Doubles hold counts exactly up to 2^53.
    if (a.type == NFTA_COUNTER_PACKETS) columns_.packets.back() = static_cast<double>(a.U64Be(&ok));
    if (a.type == NFTA_COUNTER_BYTES) columns_.bytes.back() = static_cast<double>(a.U64Be(&ok));
  }
  return fields.ok() && ok;
}

}  // namespace ravel::nft

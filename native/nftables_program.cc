#include "nftables_program.h"

#include <arpa/inet.h>

#include <bit>
#include <cstring>

#include "nftables_elements.h"
#include "nftables_expressions.h"
#include "nftables_statements.h"
#include "nftables_userdata.h"

namespace ravel::nft {
namespace {

static_assert(std::endian::native == std::endian::little,
              "programs are little-endian columns that are copied as they are");

// Cursor over a program with a sticky error: after it everything reads as zero or empty.
class ProgramReader {
 public:
  explicit ProgramReader(std::span<const uint8_t> bytes) : bytes_(bytes), rest_(bytes) {}

  template <typename T>
  T Number() {
    T value = 0;
    const auto bytes = Bytes(sizeof(T));
    if (ok_) std::memcpy(&value, bytes.data(), sizeof(T));
    return value;
  }
  uint8_t U8() { return Number<uint8_t>(); }
  // An enum of at most `last` + 1 values.
  template <typename T>
  T Enum(T last) {
    const uint8_t value = U8();
    if (value > static_cast<uint8_t>(last)) Fail();
    return ok_ ? static_cast<T>(value) : T{};
  }
  std::string_view String() {
    const auto bytes = Bytes(Number<uint16_t>());
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  // `size` is 64 bits so that the product of two 32-bit numbers cannot wrap.
  std::span<const uint8_t> Bytes(uint64_t size) {
    if (size > rest_.size()) Fail();
    if (!ok_) return {};
    const auto bytes = rest_.first(size);
    rest_ = rest_.subspan(size);
    return bytes;
  }
  void Fail() { ok_ = false; }
  [[nodiscard]] bool ok() const { return ok_; }
  [[nodiscard]] bool done() const { return rest_.empty(); }
  [[nodiscard]] size_t position() const { return bytes_.size() - rest_.size(); }

 private:
  std::span<const uint8_t> bytes_;
  std::span<const uint8_t> rest_;
  bool ok_ = true;
};

std::vector<DataType> ReadTypes(ProgramReader& in) {
  std::vector<DataType> types(in.U8());
  for (DataType& type : types) type = in.Enum(DataType::kSlot);
  return types;
}

SetSpec ReadSet(ProgramReader& in) {
  SetSpec set;
  set.name = in.String();
  set.key = ReadTypes(in);
  set.value_kind = in.Enum(ValueKind::kVerdict);
  set.value = ReadTypes(in);
  set.counter = in.U8() != 0;
  // NFT_DATA_VALUE_MAXLEN bounds both.
  if (set.key.empty() || ColumnLength(set.key) > NFT_DATA_VALUE_MAXLEN ||
      ColumnLength(set.value) > NFT_DATA_VALUE_MAXLEN || (set.value_kind == ValueKind::kData) == set.value.empty()) {
    in.Fail();
  }
  return set;
}

Verdict ReadVerdictField(ProgramReader& in) {
  Verdict verdict;
  verdict.code = in.Number<int32_t>();
  verdict.chain = in.String();
  return verdict;
}

std::vector<KeyPart> ReadKey(ProgramReader& in) {
  std::vector<KeyPart> key(in.U8());
  for (KeyPart& part : key) {
    part.kind = in.Enum(KeyPartKind::kNumgenRandom);
    part.modulus = in.Number<uint32_t>();
  }
  return key;
}

Statement ReadStatement(ProgramReader& in) {
  Statement s;
  s.kind = in.Enum(StatementKind::kVerdict);
  switch (s.kind) {
    case StatementKind::kVmap:
    case StatementKind::kInSet:
    case StatementKind::kDnatMap:
      s.key = ReadKey(in);
      s.set = in.String();
      s.inverted = in.U8() != 0;
      break;
    case StatementKind::kProtocol:
      s.protocol = in.U8();
      break;
    case StatementKind::kSource:
    case StatementKind::kDestination: {
      const auto address = in.Bytes(in.U8());
      s.address.assign(address.begin(), address.end());
      s.prefix = in.U8();
      s.inverted = in.U8() != 0;
      break;
    }
    case StatementKind::kMarkOr:
    case StatementKind::kMarkIs:
      s.mask = in.Number<uint32_t>();
      s.value = in.Number<uint32_t>();
      break;
    case StatementKind::kVerdict:
      s.verdict = ReadVerdictField(in);
      break;
    case StatementKind::kInputInterface:
      s.interface = in.String();
      break;
    case StatementKind::kMaxSegment:
      s.segment = in.Number<uint16_t>();
      break;
    case StatementKind::kMasquerade:
    case StatementKind::kCounter:
    case StatementKind::kDestinationTranslated:
    case StatementKind::kTcpSyn:
      break;
  }
  return s;
}

std::vector<std::string_view> ReadStrings(ProgramReader& in, uint32_t count) {
  std::vector<std::string_view> strings;
  // Each takes two bytes at least, so a count that lies ends in Fail() before it costs memory.
  for (uint32_t i = 0; i < count && in.ok(); ++i) strings.push_back(in.String());
  return strings;
}

ElementRows ReadRows(ProgramReader& in, const SetSpec& set, bool key_only) {
  ElementRows rows;
  rows.count = in.Number<uint32_t>();
  rows.keys = in.Bytes(uint64_t{rows.count} * ColumnLength(set.key));
  if (key_only) return rows;
  if (set.value_kind == ValueKind::kData) rows.values = in.Bytes(uint64_t{rows.count} * ColumnLength(set.value));
  if (set.value_kind == ValueKind::kVerdict) {
    rows.verdicts = in.Bytes(uint64_t{rows.count} * sizeof(int32_t));
    rows.chain = in.Bytes(uint64_t{rows.count} * sizeof(uint16_t));
    rows.chains = ReadStrings(in, in.Number<uint16_t>());
  }
  if (in.U8() != 0) {
    rows.comment = in.Bytes(uint64_t{rows.count} * sizeof(uint32_t));
    rows.comments = ReadStrings(in, in.Number<uint32_t>());
    for (const std::string_view comment : rows.comments) {
      if (comment.size() > kMaxComment) in.Fail();
    }
  }
  return rows;
}

// One operation at a time from the program into messages.
class BatchBuilder {
 public:
  BatchBuilder(Batch& batch, std::span<const uint8_t> program) : batch_(batch), writer_(batch.writer), in_(program) {}

  Result<Done> Run() {
    for (; !in_.done(); ++operation_) {
      const auto code = in_.Enum(OperationCode::kDeleteElements);
      table_.family = in_.U8();
      table_.name = in_.String();
      if (in_.ok()) One(code);
      if (in_.ok()) continue;
      Failure failure;
      failure.kind = FailureKind::kProtocol;
      failure.operation = "nftables.commit";
      failure.subject = "operation " + std::to_string(operation_);
      failure.message = "malformed program at byte " + std::to_string(in_.position());
      failure.index = operation_;
      return failure;
    }
    return Done{};
  }

 private:
  void Begin(uint8_t message, uint16_t flags) {
    batch_.origins.push_back({operation_, -1});
    writer_.Begin(MessageType(message), static_cast<uint16_t>(NLM_F_REQUEST | flags));
    writer_.Header(nfgenmsg{table_.family, NFNETLINK_V0, 0});
    // The table is attribute 1 of every message: NFTA_TABLE_NAME, NFTA_CHAIN_TABLE, NFTA_SET_TABLE, ...
    writer_.String(NFTA_TABLE_NAME, table_.name);
  }
  void Named(uint8_t message, uint16_t attribute) {
    const auto name = in_.String();
    Begin(message, 0);
    writer_.String(attribute, name);
    writer_.End();
  }

  void One(OperationCode code);
  void TableMessage(uint8_t message, uint16_t flags) {
    Begin(message, flags);
    writer_.End();
  }
  void ChainMessage(uint16_t flags);
  void RuleMessage(uint16_t flags, bool replace);
  void SetMessage(uint16_t flags);
  void Elements(uint8_t message, uint16_t flags);

  Batch& batch_;
  MessageWriter& writer_;
  ProgramReader in_;
  Table table_;
  int64_t operation_ = 0;
  uint32_t next_set_id_ = 1;
};

void BatchBuilder::ChainMessage(uint16_t flags) {
  const auto name = in_.String();
  Begin(NFT_MSG_NEWCHAIN, flags);
  writer_.String(NFTA_CHAIN_NAME, name);
  if (in_.U8() != 0) {
    writer_.String(NFTA_CHAIN_TYPE, in_.String());
    const size_t hook = writer_.BeginNest(NFTA_CHAIN_HOOK);
    writer_.U32Be(NFTA_HOOK_HOOKNUM, in_.Number<uint32_t>());
    writer_.U32Be(NFTA_HOOK_PRIORITY, static_cast<uint32_t>(in_.Number<int32_t>()));
    writer_.EndNest(hook);
  }
  writer_.End();
}

void BatchBuilder::RuleMessage(uint16_t flags, bool replace) {
  const auto chain = in_.String();
  const auto handle = replace ? in_.Number<uint64_t>() : 0;
  std::vector<Statement> statements(in_.U8());
  for (Statement& statement : statements) {
    if (in_.ok()) statement = ReadStatement(in_);
  }
  const auto comment = in_.String();
  const auto expressions = Compile(table_.family, statements);
  if (!expressions || comment.size() > kMaxComment) return in_.Fail();
  Begin(NFT_MSG_NEWRULE, flags);
  writer_.String(NFTA_RULE_CHAIN, chain);
  if (replace) writer_.U64Be(NFTA_RULE_HANDLE, handle);
  const size_t list = writer_.BeginNest(NFTA_RULE_EXPRESSIONS);
  for (const Expression& expression : *expressions) WriteExpression(writer_, expression);
  if (!writer_.EndNest(list)) in_.Fail();
  if (!comment.empty()) writer_.Bytes(NFTA_RULE_USERDATA, CommentUserdata(comment));
  writer_.End();
}

void BatchBuilder::SetMessage(uint16_t flags) {
  const SetSpec set = ReadSet(in_);
  if (!in_.ok()) return;
  Begin(NFT_MSG_NEWSET, flags);
  writer_.String(NFTA_SET_NAME, set.name);
  writer_.U32Be(NFTA_SET_FLAGS, set.value_kind == ValueKind::kNone ? 0 : NFT_SET_MAP);
  writer_.U32Be(NFTA_SET_KEY_TYPE, ConcatenatedType(set.key));
  writer_.U32Be(NFTA_SET_KEY_LEN, WireLength(set.key));
  if (set.value_kind == ValueKind::kVerdict) {
    writer_.U32Be(NFTA_SET_DATA_TYPE, kVerdictDataType);
    writer_.U32Be(NFTA_SET_DATA_LEN, 0);
  } else if (set.value_kind == ValueKind::kData) {
    writer_.U32Be(NFTA_SET_DATA_TYPE, ConcatenatedType(set.value));
    writer_.U32Be(NFTA_SET_DATA_LEN, WireLength(set.value));
  }
  // The kernel asks for an id (nf_tables_newset); ours are looked up by name.
  writer_.U32Be(NFTA_SET_ID, next_set_id_++);
  writer_.Bytes(NFTA_SET_USERDATA, SetUserdata(set));
  if (set.counter) {
    const size_t expression = writer_.BeginNest(NFTA_SET_EXPR);
    writer_.String(NFTA_EXPR_NAME, "counter");
    writer_.EndNest(writer_.BeginNest(NFTA_EXPR_DATA));
    writer_.EndNest(expression);
  }
  writer_.End();
}

void BatchBuilder::Elements(uint8_t message, uint16_t flags) {
  const SetSpec set = ReadSet(in_);
  if (!in_.ok()) return;
  const ElementRows rows = ReadRows(in_, set, message == NFT_MSG_DELSETELEM);
  if (!in_.ok()) return;
  std::vector<uint32_t> begun;
  if (!WriteElements(writer_, message, flags, table_, set, rows, &begun)) in_.Fail();
  for (const uint32_t row : begun) batch_.origins.push_back({operation_, row});
}

void BatchBuilder::One(OperationCode code) {
  constexpr uint16_t kCreate = NLM_F_CREATE;
  constexpr uint16_t kExclusive = NLM_F_CREATE | NLM_F_EXCL;
  switch (code) {
    case OperationCode::kAddTable:
      return TableMessage(NFT_MSG_NEWTABLE, kCreate);
    case OperationCode::kCreateTable:
      return TableMessage(NFT_MSG_NEWTABLE, kExclusive);
    case OperationCode::kDeleteTable:
      return TableMessage(NFT_MSG_DELTABLE, 0);
    // NFT_MSG_DELRULE without a rule empties the chain, without a chain every chain of the table.
    case OperationCode::kFlushTable:
      return TableMessage(NFT_MSG_DELRULE, 0);
    case OperationCode::kAddChain:
      return ChainMessage(kCreate);
    case OperationCode::kCreateChain:
      return ChainMessage(kExclusive);
    case OperationCode::kDeleteChain:
      return Named(NFT_MSG_DELCHAIN, NFTA_CHAIN_NAME);
    case OperationCode::kFlushChain:
      return Named(NFT_MSG_DELRULE, NFTA_RULE_CHAIN);
    case OperationCode::kAddRule:
      return RuleMessage(NLM_F_CREATE | NLM_F_APPEND, false);
    case OperationCode::kInsertRule:
      return RuleMessage(NLM_F_CREATE, false);
    case OperationCode::kReplaceRule:
      return RuleMessage(NLM_F_REPLACE, true);
    case OperationCode::kDeleteRule: {
      const auto chain = in_.String();
      const auto handle = in_.Number<uint64_t>();
      Begin(NFT_MSG_DELRULE, 0);
      writer_.String(NFTA_RULE_CHAIN, chain);
      writer_.U64Be(NFTA_RULE_HANDLE, handle);
      return writer_.End();
    }
    case OperationCode::kAddSet:
      return SetMessage(kCreate);
    case OperationCode::kCreateSet:
      return SetMessage(kExclusive);
    case OperationCode::kDeleteSet:
      return Named(NFT_MSG_DELSET, NFTA_SET_NAME);
    // NFT_MSG_DELSETELEM without elements empties the set.
    case OperationCode::kFlushSet:
      return Named(NFT_MSG_DELSETELEM, NFTA_SET_ELEM_LIST_SET);
    case OperationCode::kAddElements:
      return Elements(NFT_MSG_NEWSETELEM, kCreate);
    case OperationCode::kCreateElements:
      return Elements(NFT_MSG_NEWSETELEM, kExclusive);
    case OperationCode::kDeleteElements:
      return Elements(NFT_MSG_DELSETELEM, 0);
  }
}

// NFNL_MSG_BATCH_BEGIN and _END name the subsystem in res_id, network order.
void BatchBorder(Batch& batch, uint16_t type, std::optional<uint32_t> generation) {
  batch.origins.push_back({});
  batch.writer.Begin(type, NLM_F_REQUEST);
  batch.writer.Header(nfgenmsg{AF_UNSPEC, NFNETLINK_V0, htons(NFNL_SUBSYS_NFTABLES)});
  if (generation) batch.writer.U32Be(NFNL_BATCH_GENID, *generation);
  batch.writer.End();
}

}  // namespace

Result<Batch> BuildBatch(std::span<const uint8_t> program, std::optional<uint32_t> generation, bool apply) {
  Batch batch;
  BatchBorder(batch, NFNL_MSG_BATCH_BEGIN, generation);
  auto built = BatchBuilder(batch, program).Run();
  if (!built.ok()) return built.failure();
  batch.operations = batch.origins.size() - 1;
  // Kernels before 6.10 do not acknowledge BATCH_END, so the last operation is the fence.
  batch.fence = batch.operations;
  if (apply) BatchBorder(batch, NFNL_MSG_BATCH_END, std::nullopt);
  return batch;
}

}  // namespace ravel::nft

#include "../nftables.h"

#include <cerrno>
#include <random>

#include "../nftables_elements.h"
#include "../nftables_expressions.h"
#include "../nftables_userdata.h"
#include "check.h"
#include "fake_kernel.h"
#include "nftables_program_builder.h"

namespace ravel::test {
namespace {

using nft::OperationCode;

nlmsghdr HeaderAt(const nft::Batch& batch, size_t index) {
  nlmsghdr header;
  std::memcpy(&header, batch.writer.bytes().data() + batch.writer.starts()[index], sizeof(header));
  return header;
}

std::span<const uint8_t> AttributesAt(const nft::Batch& batch, size_t index) {
  return std::span(batch.writer.bytes())
      .subspan(batch.writer.starts()[index], HeaderAt(batch, index).nlmsg_len)
      .subspan(NLMSG_HDRLEN + sizeof(nfgenmsg));
}

TEST(nftables_batch_is_bracketed_and_fenced) {
  const auto program = EveryOperation();
  const auto batch = nft::BuildBatch(program, 42, true);
  REQUIRE(batch.ok());
  const nft::Batch& b = batch.value();
  const size_t last = b.writer.count() - 1;
  CHECK(HeaderAt(b, 0).nlmsg_type == NFNL_MSG_BATCH_BEGIN);
  CHECK(HeaderAt(b, last).nlmsg_type == NFNL_MSG_BATCH_END);
  CHECK(b.fence == last - 1 && b.origins.size() == b.writer.count());
  CHECK(b.origins[0].operation == -1 && b.origins[1].operation == 0 && b.origins[b.fence].operation == 15);
  AttributeReader reader(AttributesAt(b, 0));
  AttributeView attribute;
  REQUIRE(reader.Next(&attribute));
  CHECK(attribute.type == NFNL_BATCH_GENID && attribute.U32Be() == 42);
}

TEST(nftables_check_has_no_batch_end) {
  const auto program = EveryOperation();
  const auto batch = nft::BuildBatch(program, std::nullopt, false);
  REQUIRE(batch.ok());
  const size_t last = batch.value().writer.count() - 1;
  CHECK(HeaderAt(batch.value(), last).nlmsg_type == nft::MessageType(NFT_MSG_DELTABLE));
  CHECK(batch.value().fence == last);
}

TEST(nftables_elements_are_split_below_64_kib_and_read_back) {
  constexpr uint32_t kCount = 5000;
  ProgramBuilder program;
  AppendServices(program, kCount);
  const auto batch = nft::BuildBatch(program.bytes(), std::nullopt, true);
  REQUIRE(batch.ok());
  const nft::Batch& b = batch.value();
  REQUIRE(b.operations > 5);
  CHECK(!b.writer.overflowed());
  nft::ColumnBuilder builder(12, 0, true);
  uint32_t rows = 0;
  for (size_t i = 1; i <= b.operations; ++i) {
    CHECK(b.origins[i].operation == 0 && b.origins[i].element == rows);
    REQUIRE(builder.Append(AttributesAt(b, i)));
    rows = builder.columns().count;
  }
  const nft::ElementColumns& columns = builder.columns();
  REQUIRE(columns.count == kCount);
  CHECK(columns.keys.size() == size_t{kCount} * 12 && columns.key_length == 12);
  CHECK(columns.chains.size() == 1 && columns.chains[0] == "pods-tcp-2");
  CHECK(columns.verdict[kCount - 1] == NFT_GOTO && columns.chain[kCount - 1] == 0);
  CHECK(columns.comment_count == kCount && columns.comment[kCount - 1] == kCount);
  CHECK(columns.comments.starts_with(std::string("\0shop/service-0:http\0", 21)));
  // A table that grows during the dump repeats elements.
  REQUIRE(builder.Append(AttributesAt(b, 1)));
  CHECK(columns.count == kCount && columns.keys.size() == size_t{kCount} * 12 && columns.chain.size() == kCount);
  builder.Clear();
  REQUIRE(builder.Append(AttributesAt(b, 1)));
  CHECK(builder.columns().count > 0);
}

TEST(nftables_short_fields_are_padded_in_columns_only) {
  const nft::SetSpec ports{"ports", {nft::DataType::kInetService}, nft::ValueKind::kNone, {}, false};
  ProgramBuilder program;
  program.Operation(OperationCode::kAddElements).Set(ports).Number(uint32_t{1}).Number(uint32_t{0x5000}).U8(0);
  const auto batch = nft::BuildBatch(program.bytes(), std::nullopt, true);
  REQUIRE(batch.ok());
  nft::ColumnBuilder builder(nft::WireLength(ports.key), 0, false);
  REQUIRE(builder.Append(AttributesAt(batch.value(), 1)));
  CHECK(nft::WireLength(ports.key) == 2 && builder.columns().key_length == 4);
  CHECK(builder.columns().keys == (std::vector<uint8_t>{0x00, 0x50, 0, 0}));
}

TEST(nftables_set_userdata_is_what_nft_writes) {
  // nft -f: map services { type ipv4_addr . inet_proto . inet_service : verdict; counter; }
  const std::vector<uint8_t> services{0, 4, 0,  0, 0, 0, 1, 4, 0, 0, 0, 0, 3, 8,
                                      0, 4, 13, 0, 0, 0, 1, 0, 6, 4, 0, 0, 0, 0};
  CHECK(nft::SetUserdata(ServicesSet()) == services);
  // nft -f: set addresses { type ipv4_addr; }
  const nft::SetSpec addresses{"addresses", {nft::DataType::kIpv4Address}, nft::ValueKind::kNone, {}, false};
  CHECK(nft::SetUserdata(addresses) == (std::vector<uint8_t>{0, 4, 2, 0, 0, 0}));
  // typeof ip daddr . ip protocol . th dport . numgen random mod 2 : ip daddr . th dport
  CHECK(nft::SetUserdata(EndpointsSet()).size() == 176);
  CHECK(nft::CommentOf(nft::CommentUserdata("shop/api:http")) == "shop/api:http");
  const std::vector<uint8_t> cut{0, 14, 's'};
  CHECK(!nft::CommentOf(cut));
}

// Offset of the first byte of `needle` in message `index`.
uint32_t OffsetOf(const nft::Batch& batch, size_t index, std::string_view needle) {
  const auto* at = reinterpret_cast<const char*>(batch.writer.bytes().data() + batch.writer.starts()[index]);
  return static_cast<uint32_t>(std::string_view(at, HeaderAt(batch, index).nlmsg_len).find(needle));
}

TEST(nftables_refusals_name_operation_and_element) {
  ProgramBuilder program;
  program.Operation(OperationCode::kAddTable);
  AppendServices(program, 3000);
  const auto batch = nft::BuildBatch(program.bytes(), std::nullopt, true);
  REQUIRE(batch.ok());
  const nft::Batch& b = batch.value();
  const size_t message = b.operations;  // the last of several
  const uint32_t offset = OffsetOf(b, message, "shop/service-2990:http");
  const nft::Refusal refusal = nft::Explain(b, {message, EEXIST, "", offset});
  CHECK(refusal.operation == 1 && refusal.element == 2990 && refusal.error == EEXIST);
  CHECK(nft::Explain(b, {message, EEXIST, "", 0}).element == -1);
  CHECK(nft::Explain(b, {0, ERESTART, "", 0}).operation == -1);
  CHECK(nft::Explain(b, {100000, ENOENT, "", 0}).operation == -1);
}

TEST(nftables_missing_modules_are_named) {
  ProgramBuilder program;
  program.Operation(OperationCode::kCreateChain).String("c").U8(1).String("nat").Number(uint32_t{0}).Number(int32_t{0});
  program.Operation(OperationCode::kAddRule)
      .String("c")
      .U8(1)
      .U8(static_cast<size_t>(nft::StatementKind::kMasquerade))
      .String("");
  program.VmapRule("c", "services");
  const auto batch = nft::BuildBatch(program.bytes(), std::nullopt, true);
  REQUIRE(batch.ok());
  const nft::Batch& b = batch.value();
  // The attribute of the chain's type begins four bytes before its text.
  CHECK(nft::Explain(b, {1, ENOENT, "", OffsetOf(b, 1, "nat") - NLA_HDRLEN}).module == "nft_chain_nat");
  CHECK(nft::Explain(b, {2, ENOENT, "", OffsetOf(b, 2, "masq")}).module == "nft_masq");
  CHECK(nft::Explain(b, {2, EINVAL, "", OffsetOf(b, 2, "masq")}).module.empty());
  // A lookup is always there: its ENOENT is the set's.
  CHECK(nft::Explain(b, {3, ENOENT, "", OffsetOf(b, 3, "lookup")}).module.empty());
}

TEST(nftables_malformed_programs_are_refused) {
  ProgramBuilder unknown;
  unknown.U8(200).U8(2).String("t");
  ProgramBuilder comment;
  comment.Operation(OperationCode::kAddRule)
      .String("c")
      .U8(1)
      .U8(static_cast<size_t>(nft::StatementKind::kCounter))
      .String(std::string(128, 'x'));
  ProgramBuilder chain;
  const auto set = ServicesSet();
  chain.Operation(OperationCode::kAddElements).Set(set).Number(uint32_t{1}).Number(uint64_t{0}).Number(uint32_t{0});
  chain.Number(int32_t{NFT_GOTO}).Number(uint16_t{1}).Number(uint16_t{1}).String("only index 0").U8(0);
  ProgramBuilder rows;
  rows.Operation(OperationCode::kAddElements).Set(set).Number(uint32_t{0xffffffff});
  ProgramBuilder slots;
  slots.Operation(OperationCode::kAddSet)
      .Set({"s", std::vector(20, nft::DataType::kSlot), nft::ValueKind::kNone, {}, false});
  for (const ProgramBuilder* program : {&unknown, &comment, &chain, &rows, &slots}) {
    const auto batch = nft::BuildBatch(program->bytes(), std::nullopt, true);
    REQUIRE(!batch.ok());
    CHECK(batch.failure().kind == FailureKind::kProtocol && batch.failure().index == 0);
  }
}

TEST(nftables_program_reader_survives_damaged_programs) {
  std::mt19937_64 random(20251121);
  const auto whole = EveryOperation();
  size_t built = 0;
  for (int round = 0; round < 30000; ++round) {
    std::vector<uint8_t> bytes(whole);
    for (size_t i = random() % 4; i > 0; --i) bytes[random() % bytes.size()] = static_cast<uint8_t>(random());
    if (random() % 3 == 0) bytes.resize(random() % bytes.size());
    const std::vector<uint8_t> exact(bytes);
    const auto batch = nft::BuildBatch(exact, std::nullopt, true);
    if (!batch.ok()) continue;
    ++built;
    // Explaining must survive any offset, too.
    const size_t index = random() % batch.value().origins.size();
    static_cast<void>(nft::Explain(batch.value(), {index, ENOENT, "", static_cast<uint32_t>(random() % 400)}));
  }
  CHECK(built > 1000);
}

// What the kernel lists has the attributes that it was given, so a batch is a corpus for the readers.
TEST(nftables_readers_survive_damaged_dumps) {
  const auto program = EveryOperation();
  const auto batch = nft::BuildBatch(program, std::nullopt, true);
  REQUIRE(batch.ok());
  const std::vector<uint8_t>& whole = batch.value().writer.bytes();
  std::mt19937_64 random(20251121);
  size_t read = 0;
  for (int round = 0; round < 20000; ++round) {
    std::vector<uint8_t> bytes(whole);
    for (size_t i = random() % 6; i > 0; --i) bytes[random() % bytes.size()] = static_cast<uint8_t>(random());
    if (random() % 4 == 0) bytes.resize(random() % bytes.size());
    const std::vector<uint8_t> exact(bytes);
    nft::ColumnBuilder builder(12, 8, random() % 2 == 0);
    MessageReader messages(exact);
    MessageView message;
    while (messages.Next(&message)) {
      read += nft::ReadTable(message).has_value();
      read += nft::ReadChain(message).has_value();
      read += nft::ReadRule(message).has_value();
      read += nft::ReadSet(message).has_value();
      read += nft::ReadEvent(message).has_value();
      read += builder.Append(message.After<nfgenmsg>());
    }
    const nft::ElementColumns& columns = builder.columns();
    if (columns.keys.size() < size_t{columns.count} * 12) CHECK(false);
  }
  CHECK(read > 100000);
}

// --- the client over a socket that answers by hand; the first request has sequence 1

std::vector<uint8_t> GenerationAnswer(uint32_t sequence, uint32_t generation) {
  MessageWriter writer;
  writer.Begin(nft::MessageType(NFT_MSG_NEWGEN), 0);
  writer.Header(nfgenmsg{AF_UNSPEC, NFNETLINK_V0, 0});
  writer.U32Be(NFTA_GEN_ID, generation);
  writer.End();
  std::vector<uint8_t> bytes = writer.bytes();
  std::memcpy(bytes.data() + offsetof(nlmsghdr, nlmsg_seq), &sequence, sizeof(sequence));
  return bytes;
}

std::unique_ptr<nft::Client> OpenClient(FakeKernel& kernel) {
  auto socket = kernel.Open();
  kernel.Raw(GenerationAnswer(1, 7));
  kernel.Raw(FakeKernel::Ack(1, 0));
  auto client = nft::Client::Over(std::move(socket));
  return client.ok() ? std::move(client.value()) : nullptr;
}

TEST(nftables_kernel_without_nf_tables_is_unsupported) {
  FakeKernel kernel;
  auto socket = kernel.Open();
  kernel.Raw(FakeKernel::Ack(1, EINVAL));  // nfnetlink_rcv_msg() without the subsystem
  const auto client = nft::Client::Over(std::move(socket));
  REQUIRE(!client.ok());
  CHECK(client.failure().kind == FailureKind::kUnsupported);
  CHECK(client.failure().message == "modprobe nf_tables");
}

TEST(nftables_missing_capability_is_not_unsupported) {
  FakeKernel kernel;
  auto socket = kernel.Open();
  kernel.Raw(FakeKernel::Ack(1, EPERM));
  const auto client = nft::Client::Over(std::move(socket));
  REQUIRE(!client.ok());
  CHECK(client.failure().kind == FailureKind::kKernel && client.failure().error == EPERM);
}

TEST(nftables_acknowledged_messages_of_a_refused_transaction_are_no_success) {
  FakeKernel kernel;
  const auto client = OpenClient(kernel);
  REQUIRE(client != nullptr);
  ProgramBuilder program;
  for (int i = 0; i < 3; ++i) program.Operation(OperationCode::kAddTable, "t" + std::to_string(i));
  // Sequences: 2 BATCH_BEGIN, 3..5 operations, 6 BATCH_END. The fence is acknowledged all the same.
  kernel.Raw(FakeKernel::Ack(4, EEXIST, "again"));
  kernel.Raw(FakeKernel::Ack(5, 0));
  const auto outcome = client->Commit(program.bytes(), std::nullopt, true);
  REQUIRE(outcome.ok() && outcome.value().refusal);
  CHECK(outcome.value().refusal->operation == 1 && outcome.value().refusal->message == "again");
}

TEST(nftables_first_refusal_is_the_cause_of_the_others) {
  FakeKernel kernel;
  const auto client = OpenClient(kernel);
  REQUIRE(client != nullptr);
  ProgramBuilder program;
  for (int i = 0; i < 3; ++i) program.Operation(OperationCode::kAddTable, "t" + std::to_string(i));
  kernel.Raw(FakeKernel::Ack(4, EEXIST));
  kernel.Raw(FakeKernel::Ack(5, ENOENT));
  const auto outcome = client->Commit(program.bytes(), std::nullopt, true);
  REQUIRE(outcome.ok() && outcome.value().refusal);
  CHECK(outcome.value().refusal->operation == 1 && outcome.value().refusal->error == EEXIST);
}

TEST(nftables_wrong_generation_ends_the_transaction_without_a_fence) {
  FakeKernel kernel;
  const auto client = OpenClient(kernel);
  REQUIRE(client != nullptr);
  ProgramBuilder program;
  program.Operation(OperationCode::kAddTable);
  kernel.Raw(FakeKernel::Ack(2, ERESTART));
  const auto outcome = client->Commit(program.bytes(), 6, true);
  REQUIRE(outcome.ok() && outcome.value().refusal);
  CHECK(outcome.value().refusal->error == ERESTART && outcome.value().refusal->operation == -1);
}

TEST(nftables_empty_transactions_stay_at_home) {
  FakeKernel kernel;
  const auto client = OpenClient(kernel);
  REQUIRE(client != nullptr);
  kernel.Taken();
  const auto outcome = client->Commit({}, std::nullopt, true);
  CHECK(outcome.ok() && !outcome.value().refusal);
  CHECK(kernel.Taken().empty());
}

}  // namespace
}  // namespace ravel::test

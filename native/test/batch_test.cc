#include <cerrno>

#include "check.h"
#include "fake_kernel.h"

namespace ravel::test {
namespace {

TEST(batch_returns_the_errors_of_single_messages_by_index) {
  FakeKernel kernel;
  const auto socket = kernel.Open();
  kernel.Raw(FakeKernel::Ack(2, EEXIST, "already there", 20));
  kernel.Raw(FakeKernel::Ack(3, 0));
  MessageWriter writer;
  Fill(writer, 3);
  const auto result = socket->Batch(writer, "test.batch");
  REQUIRE(result.ok());
  REQUIRE(result.value().size() == 1);
  CHECK(result.value()[0].index == 1);
  CHECK(result.value()[0].error == EEXIST);
  CHECK(result.value()[0].message == "already there");
  CHECK(result.value()[0].offset == 20);
}

TEST(batch_reports_an_error_of_the_fence_itself) {
  FakeKernel kernel;
  const auto socket = kernel.Open();
  kernel.Raw(FakeKernel::Ack(2, ESRCH));
  MessageWriter writer;
  Fill(writer, 2);
  const auto result = socket->Batch(writer, "test.batch");
  REQUIRE(result.ok() && result.value().size() == 1);
  CHECK(result.value()[0].index == 1 && result.value()[0].error == ESRCH);
}

TEST(batch_of_nothing_sends_nothing) {
  FakeKernel kernel;
  const auto socket = kernel.Open();
  MessageWriter writer;
  const auto result = socket->Batch(writer, "test.batch");
  CHECK(result.ok() && result.value().empty());
  CHECK(kernel.Taken().empty());
}

TEST(batch_cuts_at_message_borders_with_one_fence_a_chunk) {
  FakeKernel kernel;
  const auto socket = kernel.Open();
  for (const uint32_t sequence : {4U, 8U, 10U}) kernel.Raw(FakeKernel::Ack(sequence, sequence == 8 ? ENOENT : 0));
  MessageWriter writer;
  Fill(writer, 10);  // 24 bytes each
  const auto result = socket->Batch(writer, "test.batch", 100);
  REQUIRE(result.ok());
  REQUIRE(result.value().size() == 1);
  CHECK(result.value()[0].index == 7);
  uint32_t sequence = 0;
  for (const size_t expected : {4U, 4U, 2U}) {
    const std::vector<uint8_t> datagram = kernel.Taken();
    CHECK(datagram.size() == expected * 24);
    MessageReader reader(datagram);
    MessageView message;
    size_t count = 0;
    while (reader.Next(&message)) {
      CHECK(message.sequence == ++sequence);
      ++count;
      CHECK(message.flags == (count == expected ? NLM_F_REQUEST | NLM_F_ACK : NLM_F_REQUEST));
    }
    CHECK(reader.ok() && count == expected);
  }
  CHECK(kernel.Taken().empty());
}

TEST(batch_sends_a_message_larger_than_a_chunk_alone) {
  FakeKernel kernel;
  const auto socket = kernel.Open();
  kernel.Raw(FakeKernel::Ack(1, 0));
  kernel.Raw(FakeKernel::Ack(2, 0));
  MessageWriter writer;
  for (int i = 0; i < 2; ++i) {
    writer.Begin(NLMSG_MIN_TYPE, 0);
    writer.Bytes(1, std::vector<uint8_t>(5000));
    writer.End();
  }
  CHECK(socket->Batch(writer, "test.batch", 1000).ok());
  CHECK(kernel.Taken().size() == 5020);
  CHECK(kernel.Taken().size() == 5020);
}

TEST(batch_skips_late_answers_of_an_earlier_conversation) {
  FakeKernel kernel;
  const auto socket = kernel.Open();
  kernel.Raw(FakeKernel::Ack(1, 0));
  MessageWriter first;
  Fill(first, 1);
  CHECK(socket->Batch(first, "test.batch").ok());
  kernel.Raw(FakeKernel::Ack(1, EPERM));    // late
  kernel.Raw(FakeKernel::Ack(900, EPERM));  // never asked
  kernel.Raw(FakeKernel::Ack(2, 0));
  MessageWriter second;
  Fill(second, 1);
  const auto result = socket->Batch(second, "test.batch");
  CHECK(result.ok() && result.value().empty());
}

TEST(silence_times_out_and_the_late_answer_is_never_read) {
  FakeKernel kernel;
  const auto socket = kernel.Open(30);
  MessageWriter writer;
  Fill(writer, 1);
  const auto lost = socket->Batch(writer, "test.batch");
  REQUIRE(!lost.ok());
  CHECK(lost.failure().kind == FailureKind::kTimeout);
  CHECK(lost.failure().operation == "test.batch");
  REQUIRE(kernel.descriptors() == 2);
  CHECK(!kernel.Raw(FakeKernel::Ack(2, EPERM), 0));  // the old socket is gone
  kernel.Raw(FakeKernel::Ack(1, EPERM));             // even on the new one it would be skipped
  kernel.Raw(FakeKernel::Ack(2, 0));
  MessageWriter again;
  Fill(again, 1);
  const auto result = socket->Batch(again, "test.batch");
  CHECK(result.ok() && result.value().empty());
}

TEST(a_socket_that_cannot_be_reopened_is_closed) {
  FakeKernel kernel;
  const auto socket = NetlinkSocket::FromDescriptorForTest(kernel.NewDescriptor(), 20);
  MessageWriter writer;
  Fill(writer, 1);
  const auto lost = socket->Batch(writer, "test.batch");
  CHECK(!lost.ok() && lost.failure().kind == FailureKind::kTimeout);
  const auto after = socket->Batch(writer, "test.batch");
  CHECK(!after.ok() && after.failure().kind == FailureKind::kClosed);
}

TEST(endless_foreign_answers_time_out_too) {
  FakeKernel kernel;
  const auto socket = kernel.Open(40);
  for (int i = 0; i < 100; ++i) kernel.Raw(FakeKernel::Ack(500, 0));
  MessageWriter writer;
  Fill(writer, 1);
  const auto result = socket->Batch(writer, "test.batch");
  CHECK(!result.ok() && result.failure().kind == FailureKind::kTimeout);
}

TEST(a_truncated_answer_is_a_protocol_error_and_reopens) {
  FakeKernel kernel;
  const auto socket = kernel.Open();
  REQUIRE(kernel.Raw(FakeKernel::Message(NLMSG_MIN_TYPE, 0, 1, std::vector<uint8_t>(300 << 10))));
  MessageWriter writer;
  Fill(writer, 1);
  const auto result = socket->Batch(writer, "test.batch");
  CHECK(!result.ok() && result.failure().kind == FailureKind::kProtocol);
  CHECK(kernel.descriptors() == 2);
}

TEST(malformed_answers_are_protocol_errors) {
  std::vector<uint8_t> short_length = FakeKernel::Ack(1, 0);
  short_length[0] = 12;
  std::vector<uint8_t> long_length = FakeKernel::Ack(1, 0);
  long_length[1] = 0x40;
  const std::vector<uint8_t> stub(9);
  const std::vector<uint8_t> short_error = FakeKernel::Message(NLMSG_ERROR, 0, 1, {0, 0});
  for (const auto& datagram : {short_length, long_length, stub, short_error}) {
    FakeKernel kernel;
    const auto socket = kernel.Open();
    kernel.Raw(datagram);
    MessageWriter writer;
    Fill(writer, 1);
    const auto result = socket->Batch(writer, "test.batch");
    CHECK(!result.ok() && result.failure().kind == FailureKind::kProtocol);
    CHECK(kernel.descriptors() == 2);
  }
}

TEST(extended_text_is_found_behind_a_copied_request_too) {
  FakeKernel kernel;
  const auto socket = kernel.Open();
  kernel.Raw(FakeKernel::Ack(1, EINVAL, "no such thing", 4, 40));
  MessageWriter writer;
  Fill(writer, 1);
  const auto result = socket->Batch(writer, "test.batch");
  REQUIRE(result.ok() && result.value().size() == 1);
  CHECK(result.value()[0].message == "no such thing");
}

TEST(an_overflowed_writer_is_not_sent) {
  FakeKernel kernel;
  const auto socket = kernel.Open();
  MessageWriter writer;
  writer.Begin(NLMSG_MIN_TYPE, 0);
  writer.Bytes(1, std::vector<uint8_t>(70000));
  writer.End();
  const auto result = socket->Batch(writer, "test.batch");
  CHECK(!result.ok() && result.failure().error == EMSGSIZE);
  CHECK(kernel.Taken().empty());
}

TEST(transaction_is_one_datagram_and_collects_errors_after_the_fence) {
  FakeKernel kernel;
  const auto socket = kernel.Open();
  kernel.Raw(FakeKernel::Ack(2, ENOENT));
  kernel.Raw(FakeKernel::Ack(3, 0));
  kernel.Raw(FakeKernel::Ack(4, EINVAL));
  MessageWriter writer;
  Fill(writer, 4);
  const auto result = socket->Transaction(writer, 2, "test.commit");
  REQUIRE(result.ok());
  REQUIRE(result.value().size() == 2);
  CHECK(result.value()[0].index == 1 && result.value()[0].error == ENOENT);
  CHECK(result.value()[1].index == 3 && result.value()[1].error == EINVAL);
  CHECK(kernel.Taken().size() == 4 * 24);
}

TEST(transaction_ends_when_its_first_message_is_refused) {
  FakeKernel kernel;
  const auto socket = kernel.Open();
  kernel.Raw(FakeKernel::Ack(1, ERESTART));
  MessageWriter writer;
  Fill(writer, 3);
  const auto result = socket->Transaction(writer, 1, "test.commit");
  REQUIRE(result.ok() && result.value().size() == 1);
  CHECK(result.value()[0].index == 0 && result.value()[0].error == ERESTART);
}

TEST(a_peer_that_goes_away_is_an_error_not_a_hang) {
  int pair[2];
  REQUIRE(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
  const auto socket = NetlinkSocket::FromDescriptorForTest(pair[1], 2000);
  close(pair[0]);
  MessageWriter writer;
  Fill(writer, 1);
  const auto result = socket->Batch(writer, "test.batch");
  CHECK(!result.ok() && result.failure().kind == FailureKind::kKernel);
}

}  // namespace
}  // namespace ravel::test

#include <cerrno>

#include "check.h"
#include "fake_kernel.h"

namespace ravel::test {
namespace {

std::vector<uint8_t> Part(uint32_t sequence, uint8_t value, uint16_t flags = 0) {
  return FakeKernel::Message(NLMSG_MIN_TYPE, NLM_F_MULTI | flags, sequence, {value, 0, 0, 0});
}

struct Dumped {
  std::vector<int> values;
  int restarts = 0;
  Result<Done> result = Done{};
};

Dumped RunDump(NetlinkSocket& socket, const MessageHandler& inner = {}) {
  Dumped dumped;
  MessageWriter writer;
  Fill(writer, 1);
  dumped.result = socket.Dump(
      writer, "test.list", "everything",
      [&](const MessageView& message) -> Result<Done> {
        dumped.values.push_back(message.payload.empty() ? -1 : message.payload[0]);
        return inner ? inner(message) : Result<Done>(Done{});
      },
      [&] {
        ++dumped.restarts;
        dumped.values.clear();
      });
  return dumped;
}

TEST(dump_hands_over_messages_in_awkward_pieces) {
  FakeKernel kernel;
  const auto socket = kernel.Open();
  std::vector<uint8_t> two = Part(1, 10);
  const std::vector<uint8_t> second = Part(1, 20);
  two.insert(two.end(), second.begin(), second.end());
  kernel.Raw(two);
  kernel.Raw(Part(1, 30));
  kernel.Raw(Part(77, 99));  // another conversation's
  kernel.Raw(FakeKernel::DumpEnd(1));
  const Dumped dumped = RunDump(*socket);
  CHECK(dumped.result.ok());
  CHECK((dumped.values == std::vector<int>{10, 20, 30}));
  const std::vector<uint8_t> sent = kernel.Taken();
  MessageReader reader(sent);
  MessageView request;
  REQUIRE(reader.Next(&request));
  CHECK(request.flags == (NLM_F_REQUEST | NLM_F_DUMP));
}

TEST(dump_of_an_empty_table_is_empty) {
  FakeKernel kernel;
  const auto socket = kernel.Open();
  kernel.Raw(FakeKernel::DumpEnd(1));
  const Dumped dumped = RunDump(*socket);
  CHECK(dumped.result.ok() && dumped.values.empty() && dumped.restarts == 0);
}

TEST(dump_fails_with_the_errno_of_its_end) {
  FakeKernel kernel;
  const auto socket = kernel.Open();
  kernel.Raw(Part(1, 10));
  kernel.Raw(FakeKernel::DumpEnd(1, EACCES));
  const Dumped dumped = RunDump(*socket);
  REQUIRE(!dumped.result.ok());
  CHECK(dumped.result.failure().error == EACCES && dumped.result.failure().kind == FailureKind::kKernel);
  CHECK(dumped.result.failure().operation == "test.list" && dumped.result.failure().subject == "everything");
}

TEST(dump_fails_with_a_refusal_and_its_text) {
  FakeKernel kernel;
  const auto socket = kernel.Open();
  kernel.Raw(FakeKernel::Ack(1, EOPNOTSUPP, "not here", 12));
  const Dumped dumped = RunDump(*socket);
  REQUIRE(!dumped.result.ok());
  CHECK(dumped.result.failure().error == EOPNOTSUPP && dumped.result.failure().message == "not here");
}

TEST(interrupted_dumps_are_read_again) {
  FakeKernel kernel;
  const auto socket = kernel.Open();
  kernel.Raw(Part(1, 10, NLM_F_DUMP_INTR));
  kernel.Raw(FakeKernel::DumpEnd(1));
  kernel.Raw(FakeKernel::DumpEnd(2, 0, NLM_F_DUMP_INTR));
  kernel.Raw(FakeKernel::Ack(3, EBUSY));
  kernel.Raw(Part(4, 40));
  kernel.Raw(FakeKernel::DumpEnd(4));
  const Dumped dumped = RunDump(*socket);
  CHECK(dumped.result.ok());
  CHECK(dumped.restarts == 3);
  CHECK((dumped.values == std::vector<int>{40}));
}

TEST(dumps_interrupted_four_times_give_up) {
  FakeKernel kernel;
  const auto socket = kernel.Open();
  for (uint32_t sequence = 1; sequence <= 4; ++sequence) kernel.Raw(FakeKernel::DumpEnd(sequence, EINTR));
  const Dumped dumped = RunDump(*socket);
  REQUIRE(!dumped.result.ok());
  CHECK(dumped.result.failure().kind == FailureKind::kInterrupted);
  CHECK(dumped.restarts == 3);
}

TEST(a_failing_handler_still_drains_the_dump) {
  FakeKernel kernel;
  const auto socket = kernel.Open();
  kernel.Raw(Part(1, 10));
  kernel.Raw(Part(1, 20));
  kernel.Raw(FakeKernel::DumpEnd(1));
  const Dumped dumped = RunDump(*socket, [](const MessageView&) -> Result<Done> {
    return Failure{.kind = FailureKind::kProtocol, .message = "odd"};
  });
  REQUIRE(!dumped.result.ok());
  CHECK(dumped.result.failure().message == "odd");
  CHECK(dumped.values.size() == 1);
  kernel.Raw(Part(2, 50));
  kernel.Raw(FakeKernel::DumpEnd(2));
  const Dumped next = RunDump(*socket);
  CHECK(next.result.ok() && (next.values == std::vector<int>{50}));
}

TEST(a_dump_that_falls_silent_times_out_and_the_rest_is_never_read) {
  FakeKernel kernel;
  const auto socket = kernel.Open(30);
  kernel.Raw(Part(1, 10));
  const Dumped dumped = RunDump(*socket);
  REQUIRE(!dumped.result.ok());
  CHECK(dumped.result.failure().kind == FailureKind::kTimeout);
  kernel.Raw(Part(1, 11));
  kernel.Raw(Part(2, 60));
  kernel.Raw(FakeKernel::DumpEnd(2));
  const Dumped next = RunDump(*socket);
  CHECK(next.result.ok() && (next.values == std::vector<int>{60}));
}

TEST(request_hands_over_the_reply_and_waits_for_the_acknowledgement) {
  FakeKernel kernel;
  const auto socket = kernel.Open();
  kernel.Raw(FakeKernel::Message(NLMSG_MIN_TYPE, 0, 1, {7, 0, 0, 0}));
  kernel.Raw(FakeKernel::Ack(1, 0));
  MessageWriter writer;
  Fill(writer, 1);
  int value = 0;
  const MessageHandler handler = [&](const MessageView& message) -> Result<Done> {
    value = message.payload[0];
    return Done{};
  };
  CHECK(socket->Request(writer, "test.get", "it", handler).ok());
  CHECK(value == 7);
}

TEST(request_fails_with_errno_text_and_offset) {
  FakeKernel kernel;
  const auto socket = kernel.Open();
  kernel.Raw(FakeKernel::Ack(1, ENODEV, "no device", 8));
  MessageWriter writer;
  Fill(writer, 1);
  const auto result = socket->Request(writer, "test.get", "it");
  REQUIRE(!result.ok());
  CHECK(result.failure().error == ENODEV && result.failure().message == "no device" && result.failure().offset == 8);
  CHECK(result.failure().subject == "it");
}

TEST(receive_gives_what_is_queued_and_does_not_wait) {
  FakeKernel kernel;
  const auto socket = kernel.Open();
  int count = 0;
  const MessageHandler handler = [&](const MessageView&) -> Result<Done> {
    ++count;
    return Done{};
  };
  auto result = socket->Receive(handler);
  CHECK(result.ok() && !result.value() && count == 0);
  kernel.Raw(Part(0, 1));
  kernel.Raw(FakeKernel::Message(NLMSG_OVERRUN, 0, 0, {}));
  kernel.Raw(Part(0, 2));
  result = socket->Receive(handler);
  CHECK(result.ok() && result.value());
  CHECK(count == 2);
}

}  // namespace
}  // namespace ravel::test

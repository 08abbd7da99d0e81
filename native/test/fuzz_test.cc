// A fuzzer that needs no clang: well-formed messages, damaged a little, many times, from a seed that
// is printed. RAVEL_FUZZ_SEED and RAVEL_FUZZ_ROUNDS choose.
#include <array>
#include <cerrno>
#include <cstdlib>
#include <random>

#include "../message.h"
#include "check.h"
#include "fake_kernel.h"
#include "fuzz_target.h"

namespace ravel::test {
namespace {

uint64_t Setting(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

using Random = std::mt19937_64;

std::vector<uint8_t> Seed(Random& random) {
  MessageWriter writer;
  const size_t messages = 1 + random() % 3;
  for (size_t m = 0; m < messages; ++m) {
    writer.Begin(static_cast<uint16_t>(random() % 64), static_cast<uint16_t>(random()));
    // Zeroes and small families, in the size of a genlmsghdr, an rtmsg or an ifinfomsg.
    const std::array<uint8_t, 16> header = {static_cast<uint8_t>(random() % 3 == 0 ? 10 : random() % 3)};
    switch (random() % 3) {
      case 0:
        writer.Header(uint32_t{0x01020304});
        break;
      case 1:
        writer.Header(std::array<uint8_t, 12>{header[0]});
        break;
      default:
        writer.Header(header);
    }
    std::vector<size_t> open;
    for (size_t i = random() % 12; i > 0; --i) {
      switch (random() % 6) {
        case 0:
          open.push_back(writer.BeginNest(static_cast<uint16_t>(random() % 30)));
          break;
        case 1:
          if (!open.empty()) {
            static_cast<void>(writer.EndNest(open.back()));
            open.pop_back();
          }
          break;
        case 2:
          writer.U64Be(static_cast<uint16_t>(random() % 30), random());
          break;
        case 3:
          writer.String(static_cast<uint16_t>(random() % 30), "name");
          break;
        default:
          writer.U32(static_cast<uint16_t>(random() % 30), static_cast<uint32_t>(random()));
      }
    }
    for (; !open.empty(); open.pop_back()) static_cast<void>(writer.EndNest(open.back()));
    writer.End();
  }
  return writer.bytes();
}

void Damage(Random& random, std::vector<uint8_t>& bytes) {
  for (size_t i = random() % 5; i > 0 && !bytes.empty(); --i) {
    const size_t at = random() % bytes.size();
    switch (random() % 5) {
      case 0:
        bytes[at] = static_cast<uint8_t>(random());
        break;
      case 1:
        bytes[at] ^= static_cast<uint8_t>(1U << (random() % 8));
        break;
      case 2:
        bytes.resize(at);
        break;
      case 3:
        bytes.insert(bytes.begin() + static_cast<std::ptrdiff_t>(at), random() % 9, static_cast<uint8_t>(random()));
        break;
      default:
        bytes[at] = random() % 2 == 0 ? 0 : 0xff;
    }
  }
}

TEST(readers_survive_damaged_messages) {
  const uint64_t seed = Setting("RAVEL_FUZZ_SEED", 20251121);
  const uint64_t rounds = Setting("RAVEL_FUZZ_ROUNDS", 300000);
  std::printf("fuzz: seed %llu, %llu rounds\n", static_cast<unsigned long long>(seed),
              static_cast<unsigned long long>(rounds));
  Random random(seed);
  size_t walked = 0;
  for (uint64_t round = 0; round < rounds; ++round) {
    std::vector<uint8_t> bytes = Seed(random);
    Damage(random, bytes);
    // Exactly sized on the heap, so that one byte too far is the sanitizer's to see.
    const std::vector<uint8_t> exact(bytes);
    walked += WalkDatagram(exact);
  }
  CHECK(walked > rounds);  // most of them were still worth walking
}

TEST(conversations_survive_damaged_answers) {
  Random random(Setting("RAVEL_FUZZ_SEED", 20251121));
  std::vector<int> outcomes(8);
  for (int round = 0; round < 3000; ++round) {
    FakeKernel kernel;
    const auto socket = kernel.Open(1);
    for (size_t i = 1 + random() % 3; i > 0; --i) {
      std::vector<uint8_t> answer = random() % 2 == 0 ? FakeKernel::Ack(1, random() % 3 == 0 ? EEXIST : 0, "text", 4)
                                                      : FakeKernel::DumpEnd(1, random() % 2 == 0 ? ENOENT : 0);
      Damage(random, answer);
      if (!answer.empty()) kernel.Raw(answer);
    }
    MessageWriter writer;
    Fill(writer, 1);
    const MessageHandler ignore = [](const MessageView&) -> Result<Done> { return Done{}; };
    Result<Done> result = Done{};
    if (round % 2 == 0) {
      result = socket->Dump(writer, "test", "", ignore);
    } else {
      result = socket->Request(writer, "test", "", ignore);
    }
    ++outcomes[result.ok() ? 7 : static_cast<size_t>(result.failure().kind)];
  }
  // Damage must reach every way out, or this test tests nothing.
  CHECK(outcomes[7] > 0);
  CHECK(outcomes[static_cast<size_t>(FailureKind::kKernel)] > 0);
  CHECK(outcomes[static_cast<size_t>(FailureKind::kTimeout)] > 0);
  CHECK(outcomes[static_cast<size_t>(FailureKind::kProtocol)] > 0);
}

}  // namespace
}  // namespace ravel::test

#include "../packet.h"

#include "check.h"

namespace ravel::packet {
namespace {

const Mac kMac = {2, 0, 0, 0, 0, 1};
const Mac kBroadcast = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
const Ipv4 kVip = {192, 0, 2, 10};

TEST(announcements_have_the_bytes_of_the_rfc) {
  const ArpFrame request = WriteArp(Gratuitous(ArpOperation::kRequest, kMac, kVip), kBroadcast);
  const ArpFrame expected = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2,   0, 0, 0,  0, 1, 0x08, 0x06,  // Ethernet
                             0,    1,    0x08, 0,    6,    4,    0,   1,                           // who has
                             2,    0,    0,    0,    0,    1,    192, 0, 2, 10,                    // sender
                             0,    0,    0,    0,    0,    0,    192, 0, 2, 10};                   // target
  CHECK(request == expected);
  const ArpFrame reply = WriteArp(Gratuitous(ArpOperation::kReply, kMac, kVip), kBroadcast);
  CHECK(reply[21] == 2);
  CHECK(std::equal(kMac.begin(), kMac.end(), reply.begin() + 32));
}

TEST(a_written_packet_reads_back) {
  const ArpRecord packet = Gratuitous(ArpOperation::kReply, kMac, kVip);
  const ArpFrame frame = WriteArp(packet, kBroadcast);
  const auto read = ReadArp(frame);
  REQUIRE(read.has_value());
  CHECK(read->operation == packet.operation && read->sender_mac == kMac && read->sender == kVip);
  CHECK(read->target_mac == kMac && read->target == kVip);
}

TEST(every_shorter_frame_is_refused) {
  const ArpFrame frame = WriteArp(Gratuitous(ArpOperation::kReply, kMac, kVip), kBroadcast);
  for (size_t size = 0; size < frame.size(); ++size) {
    const std::vector<uint8_t> exact(frame.begin(), frame.begin() + static_cast<std::ptrdiff_t>(size));
    CHECK(!ReadArp(exact).has_value());
  }
}

TEST(every_changed_type_or_length_is_refused) {
  const ArpFrame frame = WriteArp(Gratuitous(ArpOperation::kRequest, kMac, kVip), kBroadcast);
  for (size_t at = 12; at < 20; ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      ArpFrame changed = frame;
      changed[at] ^= static_cast<uint8_t>(1U << bit);
      CHECK(!ReadArp(changed).has_value());
    }
  }
  for (const uint8_t operation : {0, 3, 8, 255}) {
    ArpFrame changed = frame;
    changed[21] = operation;
    CHECK(!ReadArp(changed).has_value());
  }
}

}  // namespace
}  // namespace ravel::packet

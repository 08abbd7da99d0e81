#include "../ndp.h"

#include <random>

#include "check.h"

namespace ravel::ndp {
namespace {

const Mac kMac = {2, 0, 0, 0, 0, 1};
const Ipv6 kVip = {0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10};

// An ND message by hand: the checksum is worked out the slow way, apart from the code under test.
struct Draft {
  uint8_t type = 136;
  uint8_t code = 0;
  uint8_t flags = 0x20;
  uint8_t hops = 255;
  Ipv6 source = kVip;
  Ipv6 destination = {0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
  Ipv6 target = kVip;
  std::vector<uint8_t> options = {};
  bool right_checksum = true;

  [[nodiscard]] std::vector<uint8_t> Frame() const {
    std::vector<uint8_t> frame = {0x33, 0x33, 0, 0, 0, 1, 2, 0, 0, 0, 0, 1, 0x86, 0xdd, 0x60, 0, 0, 0};
    const size_t length = 24 + options.size();
    frame.insert(frame.end(), {static_cast<uint8_t>(length >> 8), static_cast<uint8_t>(length), 58, hops});
    frame.insert(frame.end(), source.begin(), source.end());
    frame.insert(frame.end(), destination.begin(), destination.end());
    frame.insert(frame.end(), {type, code, 0, 0, flags, 0, 0, 0});
    frame.insert(frame.end(), target.begin(), target.end());
    frame.insert(frame.end(), options.begin(), options.end());
    std::vector<uint8_t> pseudo(frame.begin() + 22, frame.begin() + 54);
    pseudo.insert(pseudo.end(), {0, 0, static_cast<uint8_t>(length >> 8), static_cast<uint8_t>(length), 0, 0, 0, 58});
    pseudo.insert(pseudo.end(), frame.begin() + 54, frame.end());
    if (pseudo.size() % 2 == 1) pseudo.push_back(0);
    uint64_t sum = right_checksum ? 0 : 1;
    for (size_t i = 0; i < pseudo.size(); i += 2) sum += static_cast<uint64_t>(pseudo[i] * 256 + pseudo[i + 1]);
    while (sum >= 65536) sum = sum % 65536 + sum / 65536;
    frame[56] = static_cast<uint8_t>((65535 - sum) >> 8);
    frame[57] = static_cast<uint8_t>(65535 - sum);
    return frame;
  }
};

const std::vector<uint8_t> kTargetOption = {2, 1, 2, 0, 0, 0, 0, 1};
const std::vector<uint8_t> kSourceOption = {1, 1, 2, 0, 0, 0, 0, 1};
const Ipv6 kSolicitedNode = {0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0, 0, 0x10};

Draft Solicitation() {
  Draft draft;
  draft.type = 135;
  draft.flags = 0;
  draft.source = {0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2};
  draft.destination = kSolicitedNode;
  draft.options = kSourceOption;
  return draft;
}

Draft Advertisement() {
  Draft draft;
  draft.options = kTargetOption;
  return draft;
}

TEST(advertisements_have_the_bytes_of_the_rfc) {
  const AdvertisementFrame frame = WriteAdvertisement(kMac, kVip);
  const std::vector<uint8_t> expected = Advertisement().Frame();
  CHECK(std::equal(frame.begin(), frame.end(), expected.begin(), expected.end()));
}

TEST(a_written_advertisement_reads_back) {
  const auto read = ReadNdp(WriteAdvertisement(kMac, kVip));
  REQUIRE(read.has_value());
  CHECK(read->kind == Kind::kAdvertisement && read->flags == kOverride);
  CHECK(read->sender_mac == kMac && read->sender == kVip && read->target == kVip && read->link_layer == kMac);
}

TEST(solicitations_are_read_with_and_without_an_address_of_the_sender) {
  const auto asked = ReadNdp(Solicitation().Frame());
  REQUIRE(asked.has_value());
  CHECK(asked->kind == Kind::kSolicitation && asked->flags == 0 && asked->target == kVip);
  CHECK(asked->sender == Solicitation().source && asked->link_layer == kMac);
  Draft probe = Solicitation();
  probe.source = {};
  probe.options = {};
  const auto probed = ReadNdp(probe.Frame());
  REQUIRE(probed.has_value());
  CHECK(probed->sender == Ipv6{} && !probed->link_layer.has_value());
}

TEST(padding_of_the_frame_and_unknown_options_are_skipped) {
  std::vector<uint8_t> padded = Advertisement().Frame();
  padded.resize(padded.size() + 20, 0xee);
  CHECK(ReadNdp(padded).has_value());
  Draft nonce = Advertisement();  // RFC 3971 section 5.3.2
  nonce.options = {14, 1, 9, 9, 9, 9, 9, 9, 2, 1, 2, 0, 0, 0, 0, 1};
  const auto read = ReadNdp(nonce.Frame());
  REQUIRE(read.has_value());
  CHECK(read->link_layer == kMac);
}

TEST(what_the_rfc_has_receivers_throw_away_is_refused) {
  const auto refused = [](auto change) {
    Draft draft = Advertisement();
    change(draft);
    return !ReadNdp(draft.Frame()).has_value();
  };
  CHECK(!refused([](Draft&) {}));
  CHECK(refused([](Draft& d) { d.hops = 254; }));
  CHECK(refused([](Draft& d) { d.right_checksum = false; }));
  CHECK(refused([](Draft& d) { d.code = 1; }));
  CHECK(refused([](Draft& d) { d.type = 137; }));
  CHECK(refused([](Draft& d) { d.target = kSolicitedNode; }));
  CHECK(refused([](Draft& d) { d.flags |= kSolicited; }));                             // to a group
  CHECK(refused([](Draft& d) { d.options = {2, 0, 2, 0, 0, 0, 0, 1}; }));              // no length
  CHECK(refused([](Draft& d) { d.options = {2, 2, 2, 0, 0, 0, 0, 1}; }));              // too long
  CHECK(refused([](Draft& d) { d.options.resize(16, 0), d.options[1] = 2; }));         // not of Ethernet
  CHECK(refused([](Draft& d) { d.options.insert(d.options.end(), {14, 1, 0, 0}); }));  // cut
}

TEST(probes_for_a_free_address_go_to_its_group_and_tell_no_hardware_address) {
  Draft probe = Solicitation();
  probe.source = {};
  CHECK(!ReadNdp(probe.Frame()).has_value());
  probe.options = {};
  CHECK(ReadNdp(probe.Frame()).has_value());
  probe.destination = kVip;
  CHECK(!ReadNdp(probe.Frame()).has_value());
}

TEST(every_shorter_frame_of_discovery_is_refused) {
  for (const Draft& draft : {Advertisement(), Solicitation()}) {
    const std::vector<uint8_t> frame = draft.Frame();
    for (size_t size = 0; size < frame.size(); ++size) {
      const std::vector<uint8_t> exact(frame.begin(), frame.begin() + static_cast<std::ptrdiff_t>(size));
      CHECK(!ReadNdp(exact).has_value());
    }
  }
}

TEST(every_changed_bit_of_the_packet_is_noticed) {
  const std::vector<uint8_t> frame = Advertisement().Frame();
  for (size_t at = 12; at < frame.size(); ++at) {
    // Traffic class and flow label are not covered by the checksum, and mean nothing here.
    if (at >= 15 && at < 18) continue;
    for (int bit = 0; bit < 8; ++bit) {
      std::vector<uint8_t> changed = frame;
      changed[at] ^= static_cast<uint8_t>(1U << bit);
      if (at == 14 && bit < 4) continue;
      CHECK(!ReadNdp(changed).has_value());
    }
  }
}

// Options are only looked at behind a right checksum, which damage of whole frames never leaves.
TEST(random_options_are_read_within_the_frame) {
  std::mt19937_64 random(20251121);
  int read = 0;
  for (int round = 0; round < 20000; ++round) {
    Draft draft = round % 2 == 0 ? Advertisement() : Solicitation();
    draft.options.assign(random() % 48, 0);
    for (uint8_t& byte : draft.options) byte = static_cast<uint8_t>(random() % 4);
    std::vector<uint8_t> frame = draft.Frame();
    if (random() % 4 == 0) frame.resize(frame.size() - random() % frame.size());
    const std::vector<uint8_t> exact(frame);
    read += ReadNdp(exact).has_value() ? 1 : 0;
  }
  CHECK(read > 100 && read < 19000);  // both ways out
}

}  // namespace
}  // namespace ravel::ndp

#include "../message.h"

#include <string>

#include "check.h"

namespace ravel {
namespace {

std::vector<uint8_t> Flat(std::initializer_list<int> bytes) { return {bytes.begin(), bytes.end()}; }

TEST(writer_frames_messages_with_lengths_and_zero_padding) {
  MessageWriter writer;
  writer.Begin(20, NLM_F_CREATE);
  writer.U8(1, 0xff);
  writer.U16Be(2, 0x1234);
  writer.String(3, "lo");
  writer.End();
  const std::vector<uint8_t> expected = Flat({16 + 8 + 8 + 8,
                                              0,
                                              0,
                                              0,
                                              20,
                                              0,
                                              0,
                                              4,
                                              0,
                                              0,
                                              0,
                                              0,
                                              0,
                                              0,
                                              0,
                                              0,  // nlmsghdr
                                              5,
                                              0,
                                              1,
                                              0,
                                              0xff,
                                              0,
                                              0,
                                              0,  //
                                              6,
                                              0,
                                              2,
                                              0,
                                              0x12,
                                              0x34,
                                              0,
                                              0,  //
                                              7,
                                              0,
                                              3,
                                              0,
                                              'l',
                                              'o',
                                              0,
                                              0});
  CHECK(writer.bytes() == expected);
  CHECK(writer.count() == 1);
}

TEST(writer_keeps_starts_and_flags_of_each_message) {
  MessageWriter writer;
  for (int i = 0; i < 3; ++i) {
    writer.Begin(16, 0);
    writer.U32(1, static_cast<uint32_t>(i));
    writer.End();
  }
  writer.AddFlags(1, NLM_F_ACK);
  CHECK((writer.starts() == std::vector<size_t>{0, 24, 48}));
  MessageReader reader(writer.bytes());
  MessageView message;
  int index = 0;
  while (reader.Next(&message)) {
    CHECK(message.flags == (index == 1 ? NLM_F_ACK : 0));
    ++index;
  }
  CHECK(reader.ok());
  CHECK(index == 3);
}

TEST(nest_holds_its_attributes_and_is_marked) {
  MessageWriter writer;
  writer.Begin(16, 0);
  const size_t token = writer.BeginNest(9);
  writer.U32(1, 7);
  writer.Flag(2);
  CHECK(writer.EndNest(token));
  writer.End();
  CHECK((writer.bytes()[16 + 3] & 0x80) != 0);  // NLA_F_NESTED in the high byte of nla_type
  AttributeReader outer(std::span<const uint8_t>(writer.bytes()).subspan(16));
  AttributeView nest;
  REQUIRE(outer.Next(&nest));
  CHECK(nest.type == 9);
  AttributeReader inner(nest.data);
  AttributeView attribute;
  REQUIRE(inner.Next(&attribute));
  CHECK(attribute.type == 1 && attribute.U32() == 7);
  REQUIRE(inner.Next(&attribute));
  CHECK(attribute.type == 2 && attribute.data.empty());
  CHECK(!inner.Next(&attribute) && inner.ok());
}

TEST(nest_above_65535_bytes_is_refused_and_remembered) {
  MessageWriter writer;
  writer.Begin(16, 0);
  const size_t token = writer.BeginNest(1);
  const std::vector<uint8_t> block(1020);
  for (int i = 0; i < 64; ++i) writer.Bytes(2, block);  // 64 x 1024 = 65536
  CHECK(!writer.EndNest(token));
  CHECK(writer.overflowed());
  writer.Clear();
  CHECK(!writer.overflowed());
}

TEST(largest_nest_is_accepted) {
  MessageWriter writer;
  writer.Begin(16, 0);
  const size_t token = writer.BeginNest(1);
  for (int i = 0; i < 63; ++i) writer.Bytes(2, std::vector<uint8_t>(1020));
  writer.Bytes(2, std::vector<uint8_t>(1012));  // 4 + 63 x 1024 + 1016 = 65532
  CHECK(writer.EndNest(token));
  CHECK(!writer.overflowed());
}

TEST(attribute_above_65531_bytes_is_refused) {
  MessageWriter writer;
  writer.Begin(16, 0);
  writer.Bytes(1, std::vector<uint8_t>(65531));
  CHECK(!writer.overflowed());
  writer.Bytes(1, std::vector<uint8_t>(65532));
  CHECK(writer.overflowed());
  MessageWriter text;
  text.Begin(16, 0);
  text.String(1, std::string(65531, 'x'));
  CHECK(text.overflowed());
}

TEST(attribute_lengths_that_lie_stop_the_walk) {
  AttributeView attribute;
  for (const int length : {0, 1, 2, 3, 9, 255}) {
    const std::vector<uint8_t> bytes = Flat({length, 0, 1, 0, 1, 2, 3, 4});
    AttributeReader reader(bytes);
    CHECK(!reader.Next(&attribute));
    CHECK(!reader.ok());
    CHECK(!reader.Next(&attribute));
  }
}

TEST(attribute_walk_ends_at_padding_and_unaligned_tails) {
  AttributeView attribute;
  for (const size_t tail : {0U, 1U, 2U, 3U}) {
    std::vector<uint8_t> bytes = Flat({5, 0, 7, 0, 0xaa, 0, 0, 0});
    bytes.resize(bytes.size() + tail);
    AttributeReader reader(bytes);
    CHECK(reader.Next(&attribute));
    CHECK(attribute.type == 7 && attribute.U8() == 0xaa);
    CHECK(!reader.Next(&attribute));
    CHECK(reader.ok());
  }
  // The last attribute may lack its padding.
  const std::vector<uint8_t> bytes = Flat({5, 0, 7, 0, 0xaa});
  AttributeReader reader(bytes);
  CHECK(reader.Next(&attribute) && !reader.Next(&attribute) && reader.ok());
}

TEST(numbers_of_the_wrong_length_read_as_zero_and_say_so) {
  const std::vector<uint8_t> bytes = Flat({1, 2, 3});
  const AttributeView attribute{1, bytes};
  bool ok = true;
  CHECK(attribute.U32(&ok) == 0);
  CHECK(!ok);
  ok = true;
  CHECK(attribute.U16Be(&ok) == 0 && !ok);
  const AttributeView empty{1, {}};
  CHECK(empty.String().empty());
}

TEST(strings_end_at_the_first_nul_or_the_end) {
  const std::vector<uint8_t> with = Flat({'a', 'b', 0, 'c'});
  CHECK((AttributeView{1, with}.String() == "ab"));
  const std::vector<uint8_t> without = Flat({'a', 'b'});
  CHECK((AttributeView{1, without}.String() == "ab"));
}

TEST(message_lengths_that_lie_stop_the_walk) {
  MessageView message;
  for (const int length : {0, 15, 17, 200}) {
    std::vector<uint8_t> bytes(16);
    bytes[0] = static_cast<uint8_t>(length);
    MessageReader reader(bytes);
    CHECK(!reader.Next(&message));
    CHECK(!reader.ok());
  }
  const std::vector<uint8_t> stub(7, 1);
  MessageReader reader(stub);
  CHECK(!reader.Next(&message) && !reader.ok());
}

TEST(message_headers_are_copied_only_when_whole) {
  const std::vector<uint8_t> bytes(5);
  const MessageView message{.payload = bytes};
  uint64_t eight = 0;
  CHECK(!message.Header(&eight));
  CHECK(message.After<uint64_t>().empty());
  CHECK(message.After<uint32_t>().size() == 1);
}

}  // namespace
}  // namespace ravel

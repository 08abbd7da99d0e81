#include "../fou.h"

#include <linux/fou.h>
#include <linux/genetlink.h>
#include <sys/socket.h>

#include "check.h"
#include "messages.h"

namespace ravel::fou {
namespace {

using test::Only;

TEST(a_port_reads_back_as_written) {
  for (const uint8_t family : {uint8_t{4}, uint8_t{6}}) {
    MessageWriter writer;
    WritePort(writer, 40, FOU_CMD_ADD, {.port = 6080, .family = family, .type = FOU_ENCAP_GUE});
    const MessageView message = Only(writer);
    CHECK(message.type == 40);
    genlmsghdr header;
    REQUIRE(message.Header(&header));
    CHECK(header.cmd == FOU_CMD_ADD && header.version == FOU_GENL_VERSION);
    PortRecord port;
    REQUIRE(ReadPort(message, &port));
    CHECK(port.port == 6080 && port.family == family && port.type == FOU_ENCAP_GUE && port.protocol == 0);
  }
}

TEST(a_deletion_names_the_port_alone) {
  MessageWriter writer;
  WritePort(writer, 40, FOU_CMD_DEL, {.port = 6080, .family = 4, .type = FOU_ENCAP_DIRECT, .protocol = 4});
  PortRecord port;
  REQUIRE(ReadPort(Only(writer), &port));
  CHECK(port.port == 6080 && port.family == 4 && port.type == 0 && port.protocol == 0);
}

TEST(answers_of_the_wrong_length_or_family_are_no_ports) {
  const auto read = [](uint8_t family, size_t port_size) {
    MessageWriter writer;
    writer.Begin(40, 0);
    writer.Header(genlmsghdr{});
    writer.Bytes(FOU_ATTR_PORT, std::vector<uint8_t>(port_size, 1));
    writer.U8(FOU_ATTR_AF, family);
    writer.End();
    PortRecord port;
    return ReadPort(Only(writer), &port);
  };
  CHECK(read(AF_INET, 2));
  CHECK(!read(AF_INET, 1));
  CHECK(!read(AF_INET, 4));
  CHECK(!read(AF_UNIX, 2));
  const std::vector<uint8_t> bytes(3, 1);
  PortRecord port;
  CHECK(!ReadPort({.payload = bytes}, &port));
}

}  // namespace
}  // namespace ravel::fou

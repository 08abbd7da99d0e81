// What is sent for each IPVS operation, attribute by attribute, beside the ipvsadm command that asks
// for the same.
#include <cstdio>

#include "check.h"
#include "ipvs_messages.h"

namespace ravel::test {
namespace {

using ipvs::Operation;

std::string Hex(std::span<const uint8_t> bytes) {
  std::string text;
  for (const uint8_t byte : bytes) {
    char two[3];
    (void)std::snprintf(two, sizeof(two), "%02x", byte);
    text += two;
  }
  return text;
}

// `command flags | S1=... S2=... | D1=...`: nested attributes by number with their bytes.
std::string Sent(const std::vector<uint8_t>& bytes) {
  const MessageView view = Reply::ViewOf(bytes);
  genlmsghdr header{};
  if (!view.Header(&header) || view.type != kIpvsFamily || header.version != 1) return "not an IPVS message";
  std::string text = std::to_string(header.cmd) + " f" + std::to_string(view.flags);
  AttributeReader nests(view.After<genlmsghdr>());
  AttributeView nest;
  while (nests.Next(&nest)) {
    text += nest.type == IPVS_CMD_ATTR_SERVICE ? " |S" : nest.type == IPVS_CMD_ATTR_DEST ? " |D" : " |?";
    AttributeReader reader(nest.data);
    AttributeView attribute;
    while (reader.Next(&attribute)) text += " " + std::to_string(attribute.type) + "=" + Hex(attribute.data);
    if (!reader.ok()) text += " malformed";
  }
  if (!nests.ok()) text += " malformed";
  return text;
}

std::string SentFor(const OperationRow& row) {
  const std::vector<uint8_t> bytes = BlockBytes({row});
  auto block = ipvs::OperationBlock::Create(bytes, 1, {"", "wrr", "sip", "mh"});
  if (!block.ok()) return block.failure().message;
  MessageWriter writer;
  ipvs::OperationEncoder(&writer, kIpvsFamily, &block.value()).Encode(0);
  return Sent(writer.bytes());
}

void Same(const OperationRow& row, const std::string& expected, const char* file, int line) {
  const std::string sent = SentFor(row);
  if (sent != expected) Fail(file, line, "\n    sent     " + sent + "\n    expected " + expected);
}
#define SAME(row, expected) Same(row, expected, __FILE__, __LINE__)

constexpr const char* kZeros12 = "000000000000000000000000";
const std::string kTcp = std::string(" |S 1=0200 2=0600 3=c000020a") + kZeros12 + " 4=0050";  // 192.0.2.10:80
const std::string kReal = std::string(" |D 1=0a000001") + kZeros12 + " 2=1f90";               // 10.0.0.1:8080

OperationRow Tcp(Operation operation) {
  OperationRow row;
  row.operation = operation;
  row.address = Address({192, 0, 2, 10});
  row.port = 80;
  row.scheduler = 1;
  row.destination_address = Address({10, 0, 0, 1});
  row.destination_port = 8080;
  return row;
}

// ipvsadm -A -t 192.0.2.10:80 -s wrr
TEST(IpvsEncodesAddService) {
  SAME(Tcp(Operation::kAddService), "1 f1" + kTcp + " 6=77727200 7=00000000ffffffff 8=00000000 9=ffffffff");
}

// ipvsadm -E -t 192.0.2.10:80 -s mh -b mh-port,mh-fallback -p 300 -M 255.255.255.0 --pe sip -o
TEST(IpvsEncodesSetServiceWithEverything) {
  OperationRow row = Tcp(Operation::kSetService);
  row.scheduler = 3;
  row.flags = 0x1 | 0x4 | 0x8 | 0x10;
  row.timeout = 300;
  row.prefix = 24;
  row.engine = 2;
  SAME(row, "2 f1" + kTcp + " 6=6d6800 7=1d000000ffffffff 8=2c010000 9=ffffff00 11=73697000");
}

// ipvsadm -D -t 192.0.2.10:80
TEST(IpvsEncodesDeleteServiceByIdentityAlone) {
  OperationRow row = Tcp(Operation::kDeleteService);
  row.flags = 1;
  row.timeout = 300;
  SAME(row, "3 f1" + kTcp);
}

// ipvsadm -A -f 7 -6 -s wrr -p 60 -M 64
TEST(IpvsEncodesFirewallMark) {
  OperationRow row;
  row.fwmark = 7;
  row.family = 6;
  row.protocol = 0;
  row.scheduler = 1;
  row.flags = 1;
  row.timeout = 60;
  row.prefix = 64;
  SAME(row, "1 f1 |S 1=0a00 5=07000000 6=77727200 7=01000000ffffffff 8=3c000000 9=40000000");
}

// ipvsadm -a -t 192.0.2.10:80 -r 10.0.0.1:8080 -g -w 3 -x 1000 -y 500
TEST(IpvsEncodesAddDestination) {
  OperationRow row = Tcp(Operation::kAddDestination);
  row.forward = 3;
  row.weight = 3;
  row.upper = 1000;
  row.lower = 500;
  SAME(row, "5 f1" + kTcp + kReal + " 3=03000000 4=03000000 5=e8030000 6=f4010000 11=0200");
}

// ipvsadm -e -t 192.0.2.10:80 -r 10.0.0.1:8080 -i --tun-type gue --tun-port 6080 --tun-csum -w 0
TEST(IpvsEncodesSetDestinationWithTunnel) {
  OperationRow row = Tcp(Operation::kSetDestination);
  row.forward = 2;
  row.tunnel_type = 1;
  row.tunnel_port = 6080;
  row.tunnel_flags = 1;
  SAME(row, "6 f1" + kTcp + kReal + " 3=02000000 4=00000000 5=00000000 6=00000000 11=0200 13=01 14=17c0 15=0100");
}

// Plain IP-in-IP says nothing of tunnels: kernels before 5.3 have no such attributes.
TEST(IpvsLeavesOutTheDefaultTunnel) {
  OperationRow row = Tcp(Operation::kSetDestination);
  row.forward = 2;
  SAME(row, "6 f1" + kTcp + kReal + " 3=02000000 4=00000000 5=00000000 6=00000000 11=0200");
}

// ipvsadm -d -t 192.0.2.10:80 -r 10.0.0.1:8080
TEST(IpvsEncodesDeleteDestinationByIdentityAlone) {
  OperationRow row = Tcp(Operation::kDeleteDestination);
  row.weight = 9;
  row.forward = 2;
  row.tunnel_type = 1;
  SAME(row, "7 f1" + kTcp + kReal + " 11=0200");
}

// ipvsadm -a -u [2001:db8::a]:53 -r [2001:db8::1]:53 -m -w 1
TEST(IpvsEncodesIpv6) {
  OperationRow row;
  row.operation = Operation::kAddDestination;
  row.family = row.destination_family = 6;
  row.protocol = 17;
  row.address = {0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xa};
  row.destination_address = {0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
  row.port = row.destination_port = 53;
  row.weight = 1;
  SAME(row,
       "5 f1 |S 1=0a00 2=1100 3=20010db800000000000000000000000a 4=0035"
       " |D 1=20010db8000000000000000000000001 2=0035 3=00000000 4=01000000 5=00000000 6=00000000 11=0a00");
}

TEST(IpvsEncodesTimeoutsThatAreGiven) {
  MessageWriter writer;
  ipvs::EncodeTimeouts(&writer, kIpvsFamily, {.tcp = 900, .tcp_fin = 0, .udp = 300});
  AttributeReader reader(Reply::ViewOf(writer.bytes()).After<genlmsghdr>());
  AttributeView attribute;
  REQUIRE(reader.Next(&attribute));
  CHECK(attribute.type == IPVS_CMD_ATTR_TIMEOUT_TCP && attribute.U32() == 900);
  REQUIRE(reader.Next(&attribute));
  CHECK(attribute.type == IPVS_CMD_ATTR_TIMEOUT_UDP && attribute.U32() == 300);
  CHECK(!reader.Next(&attribute) && reader.ok());
}

// The same bytes, whether or not the row before named the same service.
TEST(IpvsEncodesRowsOfOneServiceAlike) {
  OperationRow other = Tcp(Operation::kAddDestination);
  other.port = 81;
  OperationRow mark = Tcp(Operation::kAddDestination);
  mark.fwmark = 9;
  mark.protocol = 0;
  OperationRow six = Tcp(Operation::kDeleteDestination);
  six.family = 6;
  OperationRow udp = Tcp(Operation::kSetDestination);
  udp.protocol = 17;
  OperationRow elsewhere = Tcp(Operation::kAddDestination);
  elsewhere.address = Address({192, 0, 2, 11});
  const std::vector<OperationRow> kinds{Tcp(Operation::kAddService),
                                        Tcp(Operation::kAddDestination),
                                        Tcp(Operation::kDeleteDestination),
                                        other,
                                        mark,
                                        six,
                                        udp,
                                        elsewhere};
  // Every kind after every kind.
  std::vector<OperationRow> rows;
  for (const auto& first : kinds) {
    for (const auto& second : kinds) rows.insert(rows.end(), {first, second});
  }
  const std::vector<std::string> names{"", "wrr"};
  const std::vector<uint8_t> bytes = BlockBytes(rows);
  auto block = ipvs::OperationBlock::Create(bytes, rows.size(), names);
  REQUIRE(block.ok());
  MessageWriter writer;
  ipvs::OperationEncoder encoder(&writer, kIpvsFamily, &block.value());
  for (size_t i = 0; i < rows.size(); i++) {
    writer.Clear();
    encoder.Encode(i);
    CHECK(Sent(writer.bytes()) == SentFor(rows[i]));
  }
}

// A row that points to an earlier one has that one's service, whatever its own columns say.
TEST(IpvsEncodesRowsThatPointToTheirService) {
  std::vector<OperationRow> rows{Tcp(Operation::kAddService), Tcp(Operation::kAddDestination),
                                 Tcp(Operation::kAddDestination), Tcp(Operation::kDeleteService)};
  rows[1].port = 81;
  for (const size_t i : {2, 3}) {
    rows[i].service_row = i == 2 ? 0 : 1;
    rows[i].port = 9999;
    rows[i].address = Address({203, 0, 113, 1});
    rows[i].family = 0;
  }
  const std::vector<uint8_t> bytes = BlockBytes(rows);
  auto block = ipvs::OperationBlock::Create(bytes, rows.size(), {"", "wrr"});
  REQUIRE(block.ok());
  MessageWriter writer;
  ipvs::OperationEncoder encoder(&writer, kIpvsFamily, &block.value());
  std::vector<std::string> sent;
  for (size_t i = 0; i < rows.size(); i++) {
    writer.Clear();
    encoder.Encode(i);
    sent.push_back(Sent(writer.bytes()));
  }
  OperationRow deleted = Tcp(Operation::kDeleteService);
  deleted.port = 81;
  CHECK(sent[2] == SentFor(Tcp(Operation::kAddDestination)));
  CHECK(sent[3] == SentFor(deleted));
}

TEST(IpvsBlockRefusesWhatItCannotHold) {
  const std::vector<std::string> names{"", "wrr"};
  const auto refused = [&](const OperationRow& row) {
    const std::vector<uint8_t> one = BlockBytes({row});
    auto block = ipvs::OperationBlock::Create(one, 1, names);
    return !block.ok() && block.failure().kind == FailureKind::kProtocol;
  };
  CHECK(!refused(Tcp(Operation::kAddDestination)));
  OperationRow row = Tcp(static_cast<Operation>(6));
  CHECK(refused(row));
  row = Tcp(Operation::kAddService);
  row.family = 5;
  CHECK(refused(row));
  row = Tcp(Operation::kAddDestination);
  row.destination_family = 0;
  CHECK(refused(row));
  row = Tcp(Operation::kAddService);
  row.scheduler = 2;
  CHECK(refused(row));
  row = Tcp(Operation::kAddService);
  row.engine = 0xffff;
  CHECK(refused(row));
  row = Tcp(Operation::kAddService);
  row.service_row = 1;
  CHECK(refused(row));
  row.service_row = UINT32_MAX - 1;
  CHECK(refused(row));
  std::vector<uint8_t> bytes = BlockBytes({row, row});
  CHECK(!ipvs::OperationBlock::Create(bytes, 1, names).ok());
  CHECK(!ipvs::OperationBlock::Create(bytes, 3, names).ok());
  CHECK(!ipvs::OperationBlock::Create(bytes, SIZE_MAX / 2, names).ok());
  bytes.pop_back();
  CHECK(!ipvs::OperationBlock::Create(bytes, 2, names).ok());
  CHECK(!ipvs::OperationBlock::Create(BlockBytes({Tcp(Operation::kAddService)}), 1, {"", "sixteen-letters-"}).ok());
  CHECK(ipvs::OperationBlock::Create({}, 0, {}).ok());
}

TEST(IpvsNetmasks) {
  for (int prefix = 0; prefix <= 128; prefix++) {
    ipvs::ServiceRecord service;
    service.family = AF_INET6;
    service.netmask = ipvs::NetmaskOf(AF_INET6, static_cast<uint8_t>(prefix));
    CHECK(ipvs::PrefixOf(service) == prefix);
    if (prefix > 32) continue;
    service.family = AF_INET;
    service.netmask = ipvs::NetmaskOf(AF_INET, static_cast<uint8_t>(prefix));
    CHECK(ipvs::PrefixOf(service) == prefix);
  }
}

}  // namespace
}  // namespace ravel::test

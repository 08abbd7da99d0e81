#include "../nftables_statements.h"

#include <cstdlib>
#include <random>

#include "check.h"

namespace ravel::test {
namespace {

using nft::Expression;
using nft::ExpressionKind;
using nft::KeyPart;
using nft::KeyPartKind;
using nft::Statement;
using nft::StatementKind;
using Random = std::mt19937_64;

Statement Of(StatementKind kind) {
  Statement statement;
  statement.kind = kind;
  return statement;
}

std::vector<KeyPart> RandomKey(Random& random, uint8_t family) {
  std::vector<KeyPart> key;
  const bool ipv4 = family == NFPROTO_IPV4 || (family == NFPROTO_INET && random() % 2 == 0);
  // An address first: dnat takes its family from it.
  key.push_back({ipv4 ? KeyPartKind::kIpDestination : KeyPartKind::kIp6Destination, 0});
  for (size_t i = random() % 4; i > 0; --i) {
    const KeyPartKind kinds[] = {ipv4 ? KeyPartKind::kIpSource : KeyPartKind::kIp6Source,
                                 KeyPartKind::kL4Protocol,
                                 KeyPartKind::kTransportSource,
                                 KeyPartKind::kTransportDestination,
                                 KeyPartKind::kCtOriginalIpDestination,
                                 KeyPartKind::kNumgenRandom};
    const KeyPartKind kind = kinds[random() % std::size(kinds)];
    key.push_back({kind, kind == KeyPartKind::kNumgenRandom ? static_cast<uint32_t>(1 + random() % 1000) : 0});
  }
  // Three IPv6 addresses are 48 of the 64 bytes of registers.
  if (key.size() > 3 && !ipv4) key.resize(3);
  return key;
}

Statement RandomStatement(Random& random, uint8_t family) {
  Statement s = Of(static_cast<StatementKind>(random() % (static_cast<uint8_t>(StatementKind::kVerdict) + 1)));
  switch (s.kind) {
    case StatementKind::kInSet:
      s.inverted = random() % 2 == 0;
      [[fallthrough]];
    case StatementKind::kVmap:
    case StatementKind::kDnatMap:
      s.key = RandomKey(random, family);
      s.set = "set" + std::to_string(random() % 9);
      break;
    case StatementKind::kProtocol:
      s.protocol = static_cast<uint8_t>(random());
      break;
    case StatementKind::kSource:
    case StatementKind::kDestination: {
      const bool ipv4 = family == NFPROTO_IPV4 || (family == NFPROTO_INET && random() % 2 == 0);
      s.address.resize(ipv4 ? 4 : 16);
      s.prefix = static_cast<uint8_t>(1 + random() % (s.address.size() * 8));
      for (size_t bit = 0; bit < s.prefix; ++bit)
        s.address[bit / 8] |= static_cast<uint8_t>((random() % 2) << (7 - bit % 8));
      s.inverted = random() % 2 == 0;
      break;
    }
    case StatementKind::kMarkOr:
      s.mask = static_cast<uint32_t>(random());
      break;
    case StatementKind::kMarkIs:
      s.mask = random() % 4 == 0 ? ~0U : static_cast<uint32_t>(random());
      s.value = static_cast<uint32_t>(random());
      break;
    case StatementKind::kVerdict:
      s.verdict = random() % 2 == 0 ? nft::Verdict{NFT_GOTO, "chain"} : nft::Verdict{NF_ACCEPT, {}};
      break;
    case StatementKind::kInputInterface:
      s.interface = std::string("eth0.1234567890").substr(0, 1 + random() % 15);
      break;
    case StatementKind::kMaxSegment:
      s.segment = static_cast<uint16_t>(random());
      break;
    case StatementKind::kMasquerade:
    case StatementKind::kCounter:
    case StatementKind::kDestinationTranslated:
    case StatementKind::kTcpSyn:
      break;
  }
  return s;
}

bool IsTcp(const Statement& s) { return s.kind == StatementKind::kTcpSyn || s.kind == StatementKind::kMaxSegment; }

// Through the attributes and back, as the kernel would echo them.
std::optional<std::vector<Expression>> Echo(const std::vector<Expression>& expressions) {
  MessageWriter writer;
  for (const Expression& expression : expressions) WriteExpression(writer, expression);
  const std::vector<uint8_t> exact(writer.bytes());
  return nft::ReadExpressions(exact);
}

TEST(nftables_statements_survive_the_way_to_the_kernel_and_back) {
  Random random(20251121);
  size_t longest = 0;
  for (int round = 0; round < 20000; ++round) {
    const uint8_t family = std::to_array<uint8_t>({NFPROTO_IPV4, NFPROTO_IPV6, NFPROTO_INET})[random() % 3];
    std::vector<Statement> statements;
    for (size_t i = 1 + random() % 4; i > 0; --i) {
      Statement s = RandomStatement(random, family);
      if (IsTcp(s)) {
        statements.push_back(Of(StatementKind::kProtocol));
        statements.back().protocol = IPPROTO_TCP;
      }
      statements.push_back(std::move(s));
    }
    const auto expressions = nft::Compile(family, statements);
    REQUIRE(expressions.has_value());
    const auto echoed = Echo(*expressions);
    REQUIRE(echoed.has_value());
    REQUIRE(*echoed == *expressions);
    const auto again = nft::Decompile(family, *echoed);
    REQUIRE(again.has_value());
    REQUIRE(*again == statements);
    longest = std::max(longest, expressions->size());
  }
  CHECK(longest > 15);
}

TEST(nftables_keys_use_the_registers_that_nft_uses) {
  Statement dnat = Of(StatementKind::kDnatMap);
  dnat.set = "endpoints";
  dnat.key = {{KeyPartKind::kIpDestination, 0},
              {KeyPartKind::kL4Protocol, 0},
              {KeyPartKind::kTransportDestination, 0},
              {KeyPartKind::kNumgenRandom, 2}};
  // nft --debug=netlink: reg 1, 9, 10, 11; nat dnat ip addr_min reg 1 proto_min reg 9
  auto compiled = nft::Compile(NFPROTO_IPV4, {dnat});
  REQUIRE(compiled && compiled->size() == 6);
  for (const auto& [at, expected] : {std::pair(0, 1U), std::pair(1, 9U), std::pair(2, 10U), std::pair(3, 11U)}) {
    CHECK((*compiled)[at].destination == expected);
  }
  CHECK((*compiled)[5].address == 1 && (*compiled)[5].port == 9);
  // ip6: reg 1, 2, 13, 14; nat dnat ip6 addr_min reg 1 proto_min reg 2
  dnat.key[0].kind = KeyPartKind::kIp6Destination;
  compiled = nft::Compile(NFPROTO_IPV6, {dnat});
  REQUIRE(compiled && compiled->size() == 6);
  for (const auto& [at, expected] : {std::pair(0, 1U), std::pair(1, 2U), std::pair(2, 13U), std::pair(3, 14U)}) {
    CHECK((*compiled)[at].destination == expected);
  }
  CHECK((*compiled)[5].address == 1 && (*compiled)[5].port == 2);
}

TEST(nftables_inet_tables_match_the_protocol_once) {
  Statement source = Of(StatementKind::kSource);
  source.address = {192, 0, 2, 0};
  source.prefix = 24;
  const auto compiled = nft::Compile(NFPROTO_INET, {source, source});
  REQUIRE(compiled.has_value());
  CHECK(compiled->size() == 6);  // meta nfproto, cmp, then twice payload and cmp
  CHECK((*compiled)[0].key == NFT_META_NFPROTO);
}

TEST(nftables_statements_that_cannot_be_written_are_refused) {
  Statement source = Of(StatementKind::kSource);
  source.address = {192, 0, 2, 0};
  source.prefix = 24;
  CHECK(!nft::Compile(NFPROTO_IPV6, {source}));
  source.prefix = 0;
  CHECK(!nft::Compile(NFPROTO_IPV4, {source}));
  source.prefix = 33;
  CHECK(!nft::Compile(NFPROTO_IPV4, {source}));
  Statement set = Of(StatementKind::kInSet);
  set.set = "s";
  CHECK(!nft::Compile(NFPROTO_IPV4, {set}));  // no key
  set.key.assign(5, {KeyPartKind::kIp6Source, 0});
  CHECK(!nft::Compile(NFPROTO_IPV6, {set}));  // 80 bytes
}

TEST(nftables_parts_of_tcp_need_the_protocol_before_them) {
  const Statement syn = Of(StatementKind::kTcpSyn);
  Statement segment = Of(StatementKind::kMaxSegment);
  segment.segment = 1360;
  Statement tcp = Of(StatementKind::kProtocol);
  tcp.protocol = IPPROTO_TCP;
  Statement udp = Of(StatementKind::kProtocol);
  udp.protocol = IPPROTO_UDP;
  Statement ports = Of(StatementKind::kInSet);
  ports.set = "s";
  ports.key = {{KeyPartKind::kCtOriginalTransportDestination, 0}};
  for (const Statement& part : {syn, segment}) {
    CHECK(!nft::Compile(NFPROTO_IPV4, {part}));
    CHECK(!nft::Compile(NFPROTO_IPV4, {udp, part}));
    CHECK(!nft::Compile(NFPROTO_IPV4, {tcp, udp, part}));
  }
  CHECK(!nft::Compile(NFPROTO_IPV4, {ports}));
  CHECK(nft::Compile(NFPROTO_IPV4, {udp, ports}).has_value());
  // nft --debug=netlink: immediate reg 1 0x00005005 (05 50 on the wire), exthdr write tcpopt reg 1 => 2b @ 2 + 2
  const auto compiled = nft::Compile(NFPROTO_IPV6, {tcp, syn, segment});
  REQUIRE(compiled && compiled->size() == 7);
  CHECK((*compiled)[2].offset == 13 && (*compiled)[2].length == 1);
  CHECK((*compiled)[3].data == std::vector<uint8_t>{2});
  CHECK((*compiled)[5].data == (std::vector<uint8_t>{0x05, 0x50}));
  CHECK((*compiled)[6].kind == ExpressionKind::kTcpOptionSet && (*compiled)[6].key == 2);
}

TEST(nftables_interface_names_are_compared_whole) {
  Statement s = Of(StatementKind::kInputInterface);
  s.interface = "eth0";
  const auto compiled = nft::Compile(NFPROTO_IPV4, {s});
  REQUIRE(compiled && compiled->size() == 2);
  CHECK((*compiled)[1].data.size() == 16);
  // eth* of nft: the name's bytes without the end.
  auto wildcard = *compiled;
  wildcard[1].data.resize(3);
  CHECK(!nft::Decompile(NFPROTO_IPV4, wildcard));
  for (const std::string& name : {std::string(), std::string(16, 'e')}) {
    s.interface = name;
    CHECK(!nft::Compile(NFPROTO_IPV4, {s}));
  }
}

TEST(nftables_status_bits_that_are_not_ours_are_foreign) {
  const auto ours = nft::Compile(NFPROTO_IPV4, {Of(StatementKind::kDestinationTranslated)});
  REQUIRE(ours && ours->size() == 3);
  auto source_translated = *ours;
  source_translated[1].data[0] = 0x10;  // IPS_SRC_NAT
  CHECK(!nft::Decompile(NFPROTO_IPV4, source_translated));
  auto untranslated = *ours;
  untranslated[2].operation = NFT_CMP_EQ;
  CHECK(!nft::Decompile(NFPROTO_IPV4, untranslated));
  auto replies = *ours;
  replies[0].directed = true;
  CHECK(!nft::Decompile(NFPROTO_IPV4, replies));
}

TEST(nftables_foreign_rules_give_no_statements) {
  const Statement counter = Of(StatementKind::kCounter);
  const auto ours = nft::Compile(NFPROTO_IPV4, {counter});
  REQUIRE(ours.has_value());
  // A comparison that no statement makes, a lookup that hangs in the air, registers of another layout.
  Expression greater;
  greater.kind = ExpressionKind::kCompare;
  greater.source = 1;
  greater.operation = NFT_CMP_GT;
  greater.data = {6};
  Expression protocol;
  protocol.kind = ExpressionKind::kMeta;
  protocol.key = NFT_META_L4PROTO;
  protocol.destination = 1;
  CHECK(!nft::Decompile(NFPROTO_IPV4, {protocol, greater}));
  CHECK(!nft::Decompile(NFPROTO_IPV4, {greater}));
  CHECK(!nft::Decompile(NFPROTO_IPV4, {protocol}));
  protocol.destination = 2;
  Expression lookup;
  lookup.kind = ExpressionKind::kLookup;
  lookup.source = 2;
  lookup.set = "s";
  CHECK(!nft::Decompile(NFPROTO_IPV4, {protocol, lookup}));
  CHECK(nft::Decompile(NFPROTO_IPV4, *ours).has_value());
}

TEST(nftables_unknown_attributes_are_ignored_and_known_ones_are_not) {
  const auto lookup_with = [](uint16_t type, uint32_t value) {
    MessageWriter writer;
    const size_t element = writer.BeginNest(NFTA_LIST_ELEM);
    writer.String(NFTA_EXPR_NAME, "lookup");
    const size_t data = writer.BeginNest(NFTA_EXPR_DATA);
    writer.U32Be(NFTA_LOOKUP_SREG, 1);
    writer.String(NFTA_LOOKUP_SET, "s");
    writer.U32Be(type, value);
    writer.EndNest(data);
    writer.EndNest(element);
    return nft::ReadExpressions(writer.bytes());
  };
  CHECK(lookup_with(200, 7).has_value());
  CHECK(lookup_with(NFTA_LOOKUP_FLAGS, NFT_LOOKUP_F_INV).has_value());
  CHECK(!lookup_with(NFTA_LOOKUP_FLAGS, 0x80).has_value());
}

}  // namespace
}  // namespace ravel::test

// The closed nftables vocabulary of src/native/nftables-types.ts in C++, with the tables that map it
// to the kernel's numbers (linux/netfilter/nf_tables.h) and nft's (datatype.h). Node-free.
#pragma once

// Before any linux/netfilter header: linux/in.h and netinet/in.h redefine each other otherwise.
#include <netinet/in.h>
// In this order.
#include <linux/netfilter.h>
#include <linux/netfilter/nf_nat.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace ravel::nft {

// nlmsg_type of a message of the nf_tables subsystem.
constexpr uint16_t MessageType(uint8_t type) { return static_cast<uint16_t>(NFNL_SUBSYS_NFTABLES << 8 | type); }

// The kernel keeps keys and registers in words of four bytes (NFT_REG32_SIZE).
constexpr uint32_t Padded(uint32_t length) { return (length + 3) & ~3U; }

// Indices into kDataTypes; the order is that of the type list in src/native/nftables-encode.ts.
enum class DataType : uint8_t { kIpv4Address, kIpv6Address, kInetProtocol, kInetService, kMark, kSlot };

// NFTA_SET_USERDATA key and data byte order, as nft's enum byteorder; nft prints numbers by it.
enum class ByteOrder : uint32_t { kNone = 0, kHost = 1, kBig = 2 };

struct DataTypeRow {
  const char* name;
  uint32_t id;  // enum datatypes of nft; a concatenation holds 6 bits for each (TYPE_BITS)
  uint32_t length;
  ByteOrder byte_order;
};

inline constexpr DataTypeRow kDataTypes[] = {
    {"ipv4_addr", 7, 4, ByteOrder::kBig},      // TYPE_IPADDR
    {"ipv6_addr", 8, 16, ByteOrder::kBig},     // TYPE_IP6ADDR
    {"inet_proto", 12, 1, ByteOrder::kNone},   // TYPE_INET_PROTOCOL
    {"inet_service", 13, 2, ByteOrder::kBig},  // TYPE_INET_SERVICE
    {"mark", 19, 4, ByteOrder::kHost},         // TYPE_MARK
    {"slot", 4, 4, ByteOrder::kHost},          // TYPE_INTEGER, the result of numgen
};
inline constexpr uint32_t kVerdictDataType = 0xffffff00;  // NFT_DATA_VERDICT

constexpr const DataTypeRow& Row(DataType type) { return kDataTypes[static_cast<size_t>(type)]; }

// nft's concat_subtype ids: six bits each, the first field highest.
uint32_t ConcatenatedType(const std::vector<DataType>& types);
// Bytes on the wire: a single field as long as it is, fields of a concatenation padded each.
uint32_t WireLength(const std::vector<DataType>& types);
// Bytes in our columns: always padded.
uint32_t ColumnLength(const std::vector<DataType>& types);

enum class ValueKind : uint8_t { kNone, kData, kVerdict };

struct SetSpec {
  std::string name;
  std::vector<DataType> key;
  ValueKind value_kind = ValueKind::kNone;
  std::vector<DataType> value;
  bool counter = false;
};

// NF_ACCEPT, NF_DROP, or an NFT_* code (enum nft_verdicts); `chain` for goto and jump.
struct Verdict {
  int32_t code = 0;
  std::string chain;
  bool operator==(const Verdict&) const = default;
};

// Indices into the table of key parts (nftables_expressions.cc) and of nftables-encode.ts.
enum class KeyPartKind : uint8_t {
  kIpSource,
  kIpDestination,
  kIp6Source,
  kIp6Destination,
  kL4Protocol,
  kTransportSource,
  kTransportDestination,
  kCtOriginalIpDestination,
  kCtOriginalIp6Destination,
  kCtOriginalTransportDestination,
  kNumgenRandom,
};

struct KeyPart {
  KeyPartKind kind = KeyPartKind::kIpSource;
  uint32_t modulus = 0;  // kNumgenRandom only
  bool operator==(const KeyPart&) const = default;
};

enum class StatementKind : uint8_t {
  kVmap,
  kInSet,
  kProtocol,
  kSource,
  kDestination,
  kDnatMap,
  kMarkOr,
  kMarkIs,
  kMasquerade,
  kCounter,
  kInputInterface,
  kDestinationTranslated,
  kTcpSyn,
  kMaxSegment,
  kVerdict,
};

// One statement; which fields count follows from `kind`, as in the TypeScript union.
struct Statement {
  StatementKind kind = StatementKind::kCounter;
  std::vector<KeyPart> key;      // vmap, inSet, dnatMap
  std::string set;               // vmap, inSet, dnatMap
  bool inverted = false;         // inSet, source, destination
  uint8_t protocol = 0;          // protocol
  std::vector<uint8_t> address;  // source, destination: 4 or 16 bytes
  uint8_t prefix = 0;            // source, destination
  uint32_t mask = 0;             // markIs; markOr: the bits
  uint32_t value = 0;            // markIs
  std::string interface;         // inputInterface
  uint16_t segment = 0;          // maxSegment, bytes
  Verdict verdict;               // verdict
  bool operator==(const Statement&) const = default;
};

struct Chain {
  std::string name;
  uint64_t handle = 0;
  bool base = false;
  std::string type;
  uint32_t hook = 0;
  int32_t priority = 0;
  bool drops = false;  // base chains: policy NF_DROP instead of NF_ACCEPT
};

struct Rule {
  std::string chain;
  uint64_t handle = 0;
  std::optional<std::string> comment;
  // Nothing when the rule uses expressions outside the vocabulary.
  std::optional<std::vector<Statement>> statements;
};

struct ListedSet {
  SetSpec spec;
  uint64_t handle = 0;
  bool known = false;
  uint32_t key_length = 0;  // on the wire
  uint32_t value_length = 0;
};

struct Table {
  uint8_t family = 0;  // NFPROTO_*
  std::string name;
  bool dormant = false;  // NFT_TABLE_F_DORMANT: none of its chains sees a packet
};

struct TableState {
  bool dormant = false;
  std::vector<Chain> chains;
  std::vector<Rule> rules;
  std::vector<ListedSet> sets;
};

// Elements of one set, row i of every column belonging together; see ElementColumns in
// src/native/nftables-types.ts. Strings are joined by NUL: one crossing into JavaScript for all.
struct ElementColumns {
  uint32_t count = 0;
  uint32_t key_length = 0;
  uint32_t value_length = 0;
  std::vector<uint8_t> keys;
  std::vector<uint8_t> values;
  std::vector<uint16_t> chain;
  std::vector<int32_t> verdict;
  std::vector<std::string> chains;
  std::vector<double> packets;
  std::vector<double> bytes;
  std::vector<uint32_t> flags;  // NFT_SET_ELEM_*
  std::vector<uint32_t> comment;
  uint32_t comment_count = 0;
  std::string comments;  // each preceded by a NUL: index 0 is the empty string before the first
};

}  // namespace ravel::nft

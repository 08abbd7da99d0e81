// Programs as src/native/nftables-encode.ts makes them, for the tests of their reader.
#pragma once

#include <cstring>
#include <string>
#include <vector>

#include "../nftables_program.h"

namespace ravel::test {

class ProgramBuilder {
 public:
  template <typename T>
  ProgramBuilder& Number(T value) {
    const size_t at = bytes_.size();
    bytes_.resize(at + sizeof(T));
    std::memcpy(bytes_.data() + at, &value, sizeof(T));
    return *this;
  }
  ProgramBuilder& U8(size_t value) { return Number(static_cast<uint8_t>(value)); }
  ProgramBuilder& String(const std::string& text) {
    Number(static_cast<uint16_t>(text.size()));
    bytes_.insert(bytes_.end(), text.begin(), text.end());
    return *this;
  }
  ProgramBuilder& Operation(nft::OperationCode code, const std::string& table = "ravel") {
    return U8(static_cast<size_t>(code)).U8(NFPROTO_IPV4).String(table);
  }
  ProgramBuilder& Types(const std::vector<nft::DataType>& types) {
    U8(types.size());
    for (const nft::DataType type : types) U8(static_cast<size_t>(type));
    return *this;
  }
  ProgramBuilder& Set(const nft::SetSpec& set) {
    return String(set.name)
        .Types(set.key)
        .U8(static_cast<size_t>(set.value_kind))
        .Types(set.value)
        .U8(set.counter ? 1 : 0);
  }
  // addRule with a vmap over address, protocol and port.
  ProgramBuilder& VmapRule(const std::string& chain, const std::string& map) {
    Operation(nft::OperationCode::kAddRule)
        .String(chain)
        .U8(1)
        .U8(static_cast<size_t>(nft::StatementKind::kVmap))
        .U8(3);
    for (const auto part :
         {nft::KeyPartKind::kIpDestination, nft::KeyPartKind::kL4Protocol, nft::KeyPartKind::kTransportDestination}) {
      U8(static_cast<size_t>(part)).Number(uint32_t{0});
    }
    return String(map).U8(0).String("a comment");
  }
  [[nodiscard]] const std::vector<uint8_t>& bytes() const { return bytes_; }

 private:
  std::vector<uint8_t> bytes_;
};

inline nft::SetSpec ServicesSet() {
  using nft::DataType;
  return {"services",
          {DataType::kIpv4Address, DataType::kInetProtocol, DataType::kInetService},
          nft::ValueKind::kVerdict,
          {},
          true};
}

inline nft::SetSpec EndpointsSet() {
  using nft::DataType;
  return {"endpoints",
          {DataType::kIpv4Address, DataType::kInetProtocol, DataType::kInetService, DataType::kSlot},
          nft::ValueKind::kData,
          {DataType::kIpv4Address, DataType::kInetService},
          false};
}

// addElements of `count` services with comments, all going to one chain.
inline void AppendServices(ProgramBuilder& program, uint32_t count,
                           nft::OperationCode code = nft::OperationCode::kAddElements) {
  program.Operation(code).Set(ServicesSet()).Number(count);
  for (uint32_t i = 0; i < count; ++i) {
    program.Number(__builtin_bswap32(0x0a000000 + i)).Number(uint32_t{6}).Number(uint32_t{0x5000});
  }
  if (code == nft::OperationCode::kDeleteElements) return;
  for (uint32_t i = 0; i < count; ++i) program.Number(int32_t{NFT_GOTO});
  for (uint32_t i = 0; i < count; ++i) program.Number(uint16_t{0});
  program.Number(uint16_t{1}).String("pods-tcp-2").U8(1);
  for (uint32_t i = 0; i < count; ++i) program.Number(i + 1);
  program.Number(count);
  for (uint32_t i = 0; i < count; ++i) program.String("shop/service-" + std::to_string(i) + ":http");
}

// One operation of every kind.
inline std::vector<uint8_t> EveryOperation() {
  using nft::OperationCode;
  ProgramBuilder program;
  for (const auto code : {OperationCode::kAddTable, OperationCode::kCreateTable, OperationCode::kFlushTable})
    program.Operation(code);
  program.Operation(OperationCode::kAddChain).String("pods-tcp-2").U8(0);
  program.Operation(OperationCode::kCreateChain)
      .String("prerouting")
      .U8(1)
      .String("nat")
      .Number(uint32_t{0})
      .Number(int32_t{-101});
  program.Operation(OperationCode::kAddSet).Set(ServicesSet());
  program.Operation(OperationCode::kCreateSet).Set(EndpointsSet());
  program.VmapRule("prerouting", "services");
  AppendServices(program, 20);
  AppendServices(program, 3, OperationCode::kDeleteElements);
  program.Operation(OperationCode::kDeleteRule).String("prerouting").Number(uint64_t{7});
  program.Operation(OperationCode::kFlushSet).String("services");
  program.Operation(OperationCode::kDeleteSet).String("endpoints");
  program.Operation(OperationCode::kFlushChain).String("prerouting");
  program.Operation(OperationCode::kDeleteChain).String("prerouting");
  program.Operation(OperationCode::kDeleteTable);
  return program.bytes();
}

}  // namespace ravel::test

// How IPVS data cross to JavaScript: one block of bytes per call, cut into columns in a fixed order,
// widest elements first so that every column is aligned. src/native/ipvs-blocks.ts cuts the same
// blocks in the same order. Node-free.
#pragma once

#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "ipvs_attributes.h"
#include "result.h"

namespace ravel::ipvs {

// What one row of an operation block asks for; the value is the column's value.
enum class Operation : uint8_t {
  kAddService = 0,
  kSetService = 1,
  kDeleteService = 2,
  kAddDestination = 3,
  kSetDestination = 4,
  kDeleteDestination = 5,
};
inline constexpr uint8_t kOperationCount = 6;

// Operations in columns: a view of JavaScript's bytes, to be used up within the call that gave them.
class OperationBlock {
 public:
  static constexpr size_t kBytesPerRow = 7 * 4 + 6 * 2 + 7 + 2 * 16;

  // `bytes` are kBytesPerRow * count. kProtocol for a wrong size, an operation or a family that
  // does not exist, a service row that comes later, a name index past `names` or a name of kNameSize
  // bytes or more.
  static Result<OperationBlock> Create(std::span<const uint8_t> bytes, size_t count, std::vector<std::string> names);

  [[nodiscard]] size_t count() const { return count_; }
  [[nodiscard]] Operation operation(size_t row) const { return static_cast<Operation>(U8(kOperationColumn, row)); }
  [[nodiscard]] ServiceRecord service(size_t row) const;
  [[nodiscard]] DestinationRecord destination(size_t row) const;
  // Rows of one service that follow one another have the same.
  [[nodiscard]] uint32_t service_row(size_t row) const { return U32(kServiceRow, row); }

 private:
  // Order of the columns in the block, per width.
  // kServiceRow: the row, this one or an earlier one, whose columns name this row's service.
  enum Column32 { kServiceRow, kFwmark, kFlags, kTimeout, kWeight, kUpper, kLower, kColumns32 };
  enum Column16 { kPort, kScheduler, kEngine, kDestinationPort, kTunnelPort, kTunnelFlags, kColumns16 };
  enum Column8 {
    kOperationColumn,
    kFamily,
    kProtocol,
    kPrefix,
    kDestinationFamily,
    kForward,
    kTunnelType,
    kColumns8,
  };

  [[nodiscard]] uint32_t U32(Column32 column, size_t row) const { return Load<uint32_t>((column * count_ + row) * 4); }
  [[nodiscard]] uint16_t U16(Column16 column, size_t row) const {
    return Load<uint16_t>(kColumns32 * count_ * 4 + (column * count_ + row) * 2);
  }
  [[nodiscard]] uint8_t U8(Column8 column, size_t row) const { return bytes_[Bytes8() + column * count_ + row]; }
  // The two address columns follow, 16 bytes a row.
  [[nodiscard]] const uint8_t* Address(size_t which, size_t row) const {
    return bytes_.data() + Bytes8() + kColumns8 * count_ + (which * count_ + row) * 16;
  }
  [[nodiscard]] size_t Bytes8() const { return (kColumns32 * 4 + kColumns16 * 2) * count_; }
  template <typename T>
  [[nodiscard]] T Load(size_t at) const {
    T value;
    std::memcpy(&value, bytes_.data() + at, sizeof(T));
    return value;
  }

  std::span<const uint8_t> bytes_;
  size_t count_ = 0;
  std::vector<std::string> names_;
};

// Everything the kernel holds, in the order it was dumped.
struct Table {
  std::vector<ServiceRecord> services;
  std::vector<DestinationRecord> destinations;
  // Destinations of service i are first[i] .. first[i + 1] - 1.
  std::vector<uint32_t> first;
};

// A table laid out for JavaScript.
struct SnapshotBlock {
  size_t service_count = 0;
  size_t destination_count = 0;
  std::vector<std::string> names;  // index 0 is ""
  std::vector<uint8_t> bytes;

  static SnapshotBlock From(const Table& table);
  static size_t Size(size_t services, size_t destinations);
};

// Prefix length of ServiceRecord::netmask: the leading ones of an IPv4 mask, IPv6's value itself.
uint8_t PrefixOf(const ServiceRecord& service);
// The reverse, for `prefix` 0..128.
uint32_t NetmaskOf(uint16_t family, uint8_t prefix);

}  // namespace ravel::ipvs

// Hand-built IPVS replies and operation blocks, for the tests of the codec.
#pragma once

#include <linux/genetlink.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "../ipvs_codec.h"

namespace ravel::test {

inline constexpr uint16_t kIpvsFamily = 0x21;

// One operation with every column; names are indexes into the block's list.
struct OperationRow {
  ipvs::Operation operation = ipvs::Operation::kAddService;
  uint32_t service_row = UINT32_MAX;
  uint32_t fwmark = 0, flags = 0, timeout = 0, weight = 0, upper = 0, lower = 0;
  uint16_t port = 0, scheduler = 0, engine = 0, destination_port = 0, tunnel_port = 0, tunnel_flags = 0;
  uint8_t family = 4, protocol = 6, prefix = 32, destination_family = 4, forward = 0, tunnel_type = 0;
  std::vector<uint8_t> address = std::vector<uint8_t>(16);
  std::vector<uint8_t> destination_address = std::vector<uint8_t>(16);
};

inline std::vector<uint8_t> Address(std::vector<uint8_t> bytes) {
  bytes.resize(16);
  return bytes;
}

// The block's bytes, column after column, written here a second time on purpose.
inline std::vector<uint8_t> BlockBytes(const std::vector<OperationRow>& rows) {
  std::vector<uint8_t> bytes;
  const auto put = [&bytes](const auto& value) {
    const auto* raw = reinterpret_cast<const uint8_t*>(&value);
    bytes.insert(bytes.end(), raw, raw + sizeof(value));
  };
  for (size_t row = 0; row < rows.size(); row++) {
    // UINT32_MAX, the usual case: the row names its service itself.
    put(rows[row].service_row == UINT32_MAX ? static_cast<uint32_t>(row) : rows[row].service_row);
  }
  for (const auto column : {&OperationRow::fwmark, &OperationRow::flags, &OperationRow::timeout, &OperationRow::weight,
                            &OperationRow::upper, &OperationRow::lower}) {
    for (const auto& row : rows) put(row.*column);
  }
  for (const auto column : {&OperationRow::port, &OperationRow::scheduler, &OperationRow::engine,
                            &OperationRow::destination_port, &OperationRow::tunnel_port, &OperationRow::tunnel_flags}) {
    for (const auto& row : rows) put(row.*column);
  }
  for (const auto& row : rows) put(static_cast<uint8_t>(row.operation));
  for (const auto column : {&OperationRow::family, &OperationRow::protocol, &OperationRow::prefix,
                            &OperationRow::destination_family, &OperationRow::forward, &OperationRow::tunnel_type}) {
    for (const auto& row : rows) put(row.*column);
  }
  for (const auto& row : rows) bytes.insert(bytes.end(), row.address.begin(), row.address.end());
  for (const auto& row : rows)
    bytes.insert(bytes.end(), row.destination_address.begin(), row.destination_address.end());
  return bytes;
}

// A reply whose attributes `build` writes, as MessageReader would hand it over.
class Reply {
 public:
  explicit Reply(uint8_t command, const std::function<void(MessageWriter&)>& build) {
    writer_.Begin(kIpvsFamily, NLM_F_MULTI);
    writer_.Header(genlmsghdr{.cmd = command, .version = IPVS_GENL_VERSION, .reserved = 0});
    build(writer_);
    writer_.End();
  }
  [[nodiscard]] const std::vector<uint8_t>& bytes() const { return writer_.bytes(); }
  [[nodiscard]] MessageView view() const { return ViewOf(writer_.bytes()); }

  static MessageView ViewOf(const std::vector<uint8_t>& bytes) {
    MessageReader reader(bytes);
    MessageView view;
    static_cast<void>(reader.Next(&view));
    return view;
  }

 private:
  MessageWriter writer_;
};

inline void PutStatistics(MessageWriter& writer, uint16_t attribute, bool wide, uint64_t first) {
  const size_t nest = writer.BeginNest(attribute);
  for (const ipvs::Row& row : ipvs::kStatisticsRows) {
    if (row.attribute == 0) continue;
    const uint64_t value = first + row.offset;
    if (wide || row.wire == ipvs::Wire::kU64) {
      writer.U64(row.attribute, value);
    } else {
      writer.U32(row.attribute, static_cast<uint32_t>(value));
    }
  }
  static_cast<void>(writer.EndNest(nest));
}

}  // namespace ravel::test

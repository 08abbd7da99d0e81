#include "ipvs_columns.h"

#include <endian.h>

#include <algorithm>
#include <bit>
#include <utility>

namespace ravel::ipvs {
namespace {

Failure BadBlock(std::string message) {
  return Failure{.kind = FailureKind::kProtocol,
                 .operation = "ipvs.apply",
                 .subject = "operation columns",
                 .error = 0,
                 .message = std::move(message)};
}

uint16_t FamilyOf(uint8_t version) { return version == 6 ? AF_INET6 : AF_INET; }
uint8_t VersionOf(uint16_t family) { return family == AF_INET6 ? 6 : 4; }

void CopyName(const std::string& from, std::array<char, kNameSize>* to) {
  std::memcpy(to->data(), from.data(), std::min(from.size(), kNameSize - 1));
}

// Hands out consecutive columns of a block.
class Cutter {
 public:
  explicit Cutter(uint8_t* at) : at_(at) {}
  template <typename T>
  T* Take(size_t count) {
    auto* column = reinterpret_cast<T*>(at_);
    at_ += count * sizeof(T);
    return column;
  }

 private:
  uint8_t* at_;
};

uint16_t IndexOf(std::vector<std::string>* names, const std::array<char, kNameSize>& name) {
  const std::string_view text(name.data(), strnlen(name.data(), kNameSize));
  // A handful of schedulers: a scan beats a map.
  const auto found = std::find(names->begin(), names->end(), text);
  if (found != names->end()) return static_cast<uint16_t>(found - names->begin());
  names->emplace_back(text);
  return static_cast<uint16_t>(names->size() - 1);
}

void PutStatistics(double* column, size_t row, const Statistics& statistics) {
  for (size_t k = 0; k < kStatisticsCount; k++) {
    column[row * kStatisticsCount + k] = static_cast<double>(statistics[k]);
  }
}

}  // namespace

Result<OperationBlock> OperationBlock::Create(std::span<const uint8_t> bytes, size_t count,
                                              std::vector<std::string> names) {
  if (count > bytes.size() || bytes.size() != count * kBytesPerRow) {
    return BadBlock(std::to_string(bytes.size()) + " bytes for " + std::to_string(count) + " rows of " +
                    std::to_string(kBytesPerRow));
  }
  for (const auto& name : names) {
    if (name.size() >= kNameSize) return BadBlock("name \"" + name + "\" has more than 15 bytes");
  }
  OperationBlock block;
  block.bytes_ = bytes;
  block.count_ = count;
  block.names_ = std::move(names);
  const auto known = [](uint8_t version) { return version == 4 || version == 6; };
  for (size_t row = 0; row < count; row++) {
    const uint8_t operation = block.U8(kOperationColumn, row);
    if (operation >= kOperationCount) return BadBlock("row " + std::to_string(row) + ": no such operation");
    const bool destination = operation >= static_cast<uint8_t>(Operation::kAddDestination);
    const uint32_t service_row = block.service_row(row);
    if (service_row > row) return BadBlock("row " + std::to_string(row) + ": service in a later row");
    if (!known(block.U8(kFamily, service_row)) || (destination && !known(block.U8(kDestinationFamily, row)))) {
      return BadBlock("row " + std::to_string(row) + ": address family is neither 4 nor 6");
    }
    if (block.U16(kScheduler, row) >= block.names_.size() || block.U16(kEngine, row) >= block.names_.size()) {
      return BadBlock("row " + std::to_string(row) + ": no such name");
    }
  }
  return block;
}

ServiceRecord OperationBlock::service(size_t row) const {
  ServiceRecord record;
  const size_t named = service_row(row);
  record.family = FamilyOf(U8(kFamily, named));
  record.protocol = U8(kProtocol, named);
  std::memcpy(record.address.data(), Address(0, named), record.address.size());
  record.port = U16(kPort, named);
  record.fwmark = U32(kFwmark, named);
  CopyName(names_[U16(kScheduler, row)], &record.scheduler);
  // All bits are ours to set: with a narrower mask an edit would keep old scheduler flags.
  record.flags = {.flags = U32(kFlags, row), .mask = ~0U};
  record.timeout = U32(kTimeout, row);
  record.netmask = NetmaskOf(record.family, U8(kPrefix, row));
  CopyName(names_[U16(kEngine, row)], &record.engine);
  return record;
}

DestinationRecord OperationBlock::destination(size_t row) const {
  DestinationRecord record;
  record.family = FamilyOf(U8(kDestinationFamily, row));
  std::memcpy(record.address.data(), Address(1, row), record.address.size());
  record.port = U16(kDestinationPort, row);
  record.forward = U8(kForward, row);
  record.weight = U32(kWeight, row);
  record.upper = U32(kUpper, row);
  record.lower = U32(kLower, row);
  record.tunnel_type = U8(kTunnelType, row);
  record.tunnel_port = U16(kTunnelPort, row);
  record.tunnel_flags = U16(kTunnelFlags, row);
  return record;
}

size_t SnapshotBlock::Size(size_t services, size_t destinations) {
  return services * (kStatisticsCount * 8 + 4 * 4 + 3 * 2 + 3 + 16) + 4 +
         destinations * (kStatisticsCount * 8 + 6 * 4 + 3 * 2 + 3 + 16);
}

SnapshotBlock SnapshotBlock::From(const Table& table) {
  const size_t n = table.services.size();
  const size_t m = table.destinations.size();
  SnapshotBlock block;
  block.service_count = n;
  block.destination_count = m;
  block.names.emplace_back();
  block.bytes.resize(Size(n, m));

  Cutter cut(block.bytes.data());
  auto* service_statistics = cut.Take<double>(n * kStatisticsCount);
  auto* statistics = cut.Take<double>(m * kStatisticsCount);
  auto* fwmark = cut.Take<uint32_t>(n);
  auto* flags = cut.Take<uint32_t>(n);
  auto* timeout = cut.Take<uint32_t>(n);
  auto* first = cut.Take<uint32_t>(n + 1);
  auto* weight = cut.Take<uint32_t>(m);
  auto* upper = cut.Take<uint32_t>(m);
  auto* lower = cut.Take<uint32_t>(m);
  auto* active = cut.Take<uint32_t>(m);
  auto* inactive = cut.Take<uint32_t>(m);
  auto* persistent = cut.Take<uint32_t>(m);
  auto* service_port = cut.Take<uint16_t>(n);
  auto* scheduler = cut.Take<uint16_t>(n);
  auto* engine = cut.Take<uint16_t>(n);
  auto* port = cut.Take<uint16_t>(m);
  auto* tunnel_port = cut.Take<uint16_t>(m);
  auto* tunnel_flags = cut.Take<uint16_t>(m);
  auto* service_family = cut.Take<uint8_t>(n);
  auto* protocol = cut.Take<uint8_t>(n);
  auto* prefix = cut.Take<uint8_t>(n);
  auto* family = cut.Take<uint8_t>(m);
  auto* forward = cut.Take<uint8_t>(m);
  auto* tunnel_type = cut.Take<uint8_t>(m);
  auto* service_address = cut.Take<uint8_t>(n * 16);
  auto* address = cut.Take<uint8_t>(m * 16);

  for (size_t i = 0; i < n; i++) {
    const ServiceRecord& service = table.services[i];
    PutStatistics(service_statistics, i, service.statistics);
    fwmark[i] = service.fwmark;
    flags[i] = service.flags.flags & ~static_cast<uint32_t>(IP_VS_SVC_F_HASHED);
    timeout[i] = service.timeout;
    first[i] = table.first[i];
    service_port[i] = service.port;
    scheduler[i] = IndexOf(&block.names, service.scheduler);
    engine[i] = IndexOf(&block.names, service.engine);
    service_family[i] = VersionOf(service.family);
    protocol[i] = static_cast<uint8_t>(service.fwmark != 0 ? 0 : service.protocol);
    prefix[i] = PrefixOf(service);
    std::memcpy(service_address + i * 16, service.address.data(), 16);
  }
  first[n] = static_cast<uint32_t>(m);
  for (size_t i = 0; i < m; i++) {
    const DestinationRecord& destination = table.destinations[i];
    PutStatistics(statistics, i, destination.statistics);
    weight[i] = destination.weight;
    upper[i] = destination.upper;
    lower[i] = destination.lower;
    active[i] = destination.active;
    inactive[i] = destination.inactive;
    persistent[i] = destination.persistent;
    port[i] = destination.port;
    tunnel_port[i] = destination.tunnel_port;
    tunnel_flags[i] = destination.tunnel_flags;
    family[i] = VersionOf(destination.family);
    forward[i] = static_cast<uint8_t>(destination.forward & IP_VS_CONN_F_FWD_MASK);
    tunnel_type[i] = destination.tunnel_type;
    std::memcpy(address + i * 16, destination.address.data(), 16);
  }
  return block;
}

uint8_t PrefixOf(const ServiceRecord& service) {
  if (service.family == AF_INET6) return static_cast<uint8_t>(std::min<uint32_t>(service.netmask, 128));
  return static_cast<uint8_t>(std::countl_one(be32toh(service.netmask)));
}

uint32_t NetmaskOf(uint16_t family, uint8_t prefix) {
  if (family == AF_INET6) return std::min<uint32_t>(prefix, 128);
  return prefix == 0 ? 0 : htobe32(~0U << (32 - std::min<uint32_t>(prefix, 32)));
}

}  // namespace ravel::ipvs

#include "nftables_types.h"

namespace ravel::nft {

uint32_t ConcatenatedType(const std::vector<DataType>& types) {
  uint32_t id = 0;
  for (const DataType type : types) id = id << 6 | Row(type).id;
  return id;
}

uint32_t ColumnLength(const std::vector<DataType>& types) {
  uint32_t length = 0;
  for (const DataType type : types) length += Padded(Row(type).length);
  return length;
}

uint32_t WireLength(const std::vector<DataType>& types) {
  return types.size() == 1 ? Row(types.front()).length : ColumnLength(types);
}

}  // namespace ravel::nft

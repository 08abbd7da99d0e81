// Entries as the columns that JavaScript gets and hands back.
#include "../conntrack_columns.h"

#include "check.h"
#include "conntrack_entries.h"

namespace ravel::test {
namespace {

TEST(conntrack_columns_come_back_as_the_same_entries) {
  std::vector<EntryRecord> entries = Zoned();
  entries.push_back(Udp4());
  entries.push_back(Sctp6());
  const std::vector<uint8_t> block = conntrack::ColumnsOf(entries);
  CHECK(block.size() == entries.size() * conntrack::kBytesPerEntry);
  const std::vector<uint32_t> rows = {4, 0, 3, 3};
  const auto back = conntrack::EntriesAt(block, entries.size(), rows);
  REQUIRE(back.ok() && back.value().size() == rows.size());
  for (size_t i = 0; i < rows.size(); ++i) CHECK(Same(back.value()[i], entries[rows[i]]));
  CHECK(conntrack::ColumnsOf({}).empty());
}

TEST(conntrack_columns_that_do_not_add_up_are_refused) {
  const std::vector<EntryRecord> entries = {Udp4(), Sctp6()};
  const std::vector<uint8_t> block = conntrack::ColumnsOf(entries);
  const std::vector<uint32_t> first = {0};
  const auto refused = [](const Result<std::vector<EntryRecord>>& result) {
    return !result.ok() && result.failure().kind == FailureKind::kProtocol;
  };
  CHECK(refused(conntrack::EntriesAt(block, 3, first)));
  CHECK(refused(conntrack::EntriesAt(block, 1, first)));
  CHECK(refused(conntrack::EntriesAt({block.data(), block.size() - 1}, 2, first)));
  CHECK(refused(conntrack::EntriesAt({}, SIZE_MAX, first)));
  CHECK(refused(conntrack::EntriesAt(block, 2, std::vector<uint32_t>{2})));
  CHECK(refused(conntrack::EntriesAt(block, 2, std::vector<uint32_t>{0xffffffff})));
  for (const size_t column : {size_t{26}, size_t{27}, size_t{28}}) {  // family, protocol, zone directions
    std::vector<uint8_t> wrong = block;
    wrong[column * entries.size()] = 200;
    CHECK(refused(conntrack::EntriesAt(wrong, 2, first)));
  }
}

}  // namespace
}  // namespace ravel::test

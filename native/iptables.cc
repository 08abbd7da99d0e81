#include "iptables.h"

#include <netinet/in.h>
//
#include <libiptc/libiptc.h>
// Unlike its sister, this header does not say that it is C.
extern "C" {
#include <libiptc/libip6tc.h>
}

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstring>
#include <span>
#include <string_view>
#include <thread>
#include <unordered_set>

#include "iptables_edit.h"
#include "iptables_entry.h"
#include "iptables_lock.h"
#include "iptables_support.h"

namespace ravel::ipt {
namespace {

constexpr const char* kTable = "nat";

// Reads of one commit. The lock keeps away everybody who knows of it, so a second one is rare.
constexpr uint32_t kAttempts = 20;

// libiptc finds a rule by its number along a list, from the nearer end. Past so many steps a chain is filled anew.
constexpr size_t kWalkLimit = 4'000'000;

// The two libraries have the same functions under two names.
struct Ipv4 {
  using Entry = ipt_entry;
  static constexpr Family kFamily = Family::kIpv4;
  static constexpr auto Init = iptc_init;
  static constexpr auto Free = iptc_free;
  static constexpr auto FirstChain = iptc_first_chain;
  static constexpr auto NextChain = iptc_next_chain;
  static constexpr auto Builtin = iptc_builtin;
  static constexpr auto GetPolicy = iptc_get_policy;
  static constexpr auto SetPolicy = iptc_set_policy;
  static constexpr auto FirstRule = iptc_first_rule;
  static constexpr auto NextRule = iptc_next_rule;
  static constexpr auto Target = iptc_get_target;
  static constexpr auto Insert = iptc_insert_entry;
  static constexpr auto Append = iptc_append_entry;
  static constexpr auto Delete = iptc_delete_num_entry;
  static constexpr auto Flush = iptc_flush_entries;
  static constexpr auto CreateChain = iptc_create_chain;
  static constexpr auto DeleteChain = iptc_delete_chain;
  static constexpr auto Commit = iptc_commit;
};

struct Ipv6 {
  using Entry = ip6t_entry;
  static constexpr Family kFamily = Family::kIpv6;
  static constexpr auto Init = ip6tc_init;
  static constexpr auto Free = ip6tc_free;
  static constexpr auto FirstChain = ip6tc_first_chain;
  static constexpr auto NextChain = ip6tc_next_chain;
  static constexpr auto Builtin = ip6tc_builtin;
  static constexpr auto GetPolicy = ip6tc_get_policy;
  static constexpr auto SetPolicy = ip6tc_set_policy;
  static constexpr auto FirstRule = ip6tc_first_rule;
  static constexpr auto NextRule = ip6tc_next_rule;
  static constexpr auto Target = ip6tc_get_target;
  static constexpr auto Insert = ip6tc_insert_entry;
  static constexpr auto Append = ip6tc_append_entry;
  static constexpr auto Delete = ip6tc_delete_num_entry;
  static constexpr auto Flush = ip6tc_flush_entries;
  static constexpr auto CreateChain = ip6tc_create_chain;
  static constexpr auto DeleteChain = ip6tc_delete_chain;
  static constexpr auto Commit = ip6tc_commit;
};

// xt_chainlabel is an array of 32 characters, and the functions' parameters are pointers into one.
struct Label {
  explicit Label(std::string_view name) { name.copy(static_cast<char*>(text), sizeof(text) - 1); }
  xt_chainlabel text{};
};

Rule JumpTo(const std::string& chain) {
  Rule rule;
  rule.chain = chain;
  return rule;
}

// One reading of the table, and the changes to it that Commit() sends.
template <typename Api>
class Table {
 public:
  static Result<std::unique_ptr<Table>> Read(const std::string& operation) {
    errno = 0;
    xtc_handle* handle = Api::Init(kTable);
    if (handle == nullptr) return TableFailure(operation, kTable, errno, Api::kFamily);
    return std::unique_ptr<Table>(new Table(handle));
  }
  ~Table() { Api::Free(handle_); }
  Table(const Table&) = delete;
  Table& operator=(const Table&) = delete;

  std::vector<std::string> Chains() {
    std::vector<std::string> names;
    for (const char* name = Api::FirstChain(handle_); name != nullptr; name = Api::NextChain(handle_)) {
      names.emplace_back(name);
    }
    return names;
  }

  bool IsBuiltin(const std::string& chain) { return Api::Builtin(chain.c_str(), handle_) != 0; }

  // Calls `take` with the bytes of each rule of the chain, and the name of its target.
  void Walk(const std::string& chain, const auto& take) {
    for (const auto* entry = Api::FirstRule(chain.c_str(), handle_); entry != nullptr;
         entry = Api::NextRule(entry, handle_)) {
      const char* target = Api::Target(entry, handle_);
      take(std::span(reinterpret_cast<const uint8_t*>(entry), entry->next_offset),
           std::string_view(target == nullptr ? "" : target), entry->counters);
    }
  }

  std::vector<ListedRule> Rules(const std::string& chain) {
    std::vector<ListedRule> rules;
    Walk(chain, [&rules](std::span<const uint8_t> bytes, std::string_view target, const xt_counters& counters) {
      rules.push_back(Listed(bytes, target, counters));
    });
    return rules;
  }

  static ListedRule Listed(std::span<const uint8_t> bytes, std::string_view target, const xt_counters& counters) {
    ListedRule listed;
    listed.rule = DecodeEntry(bytes, target, Api::kFamily);
    if (!listed.rule) listed.foreign = DescribeEntry(bytes, target, Api::kFamily);
    listed.packets = counters.pcnt;
    listed.bytes = counters.bcnt;
    return listed;
  }

  // Each of these is true when libiptc took the change; errno says why not.
  bool CreateChain(const std::string& chain) { return Api::CreateChain(Label(chain).text, handle_) != 0; }
  bool DeleteChain(const std::string& chain) { return Api::DeleteChain(Label(chain).text, handle_) != 0; }
  bool Flush(const std::string& chain) { return Api::Flush(Label(chain).text, handle_) != 0; }
  bool Delete(const std::string& chain, size_t index) {
    return Api::Delete(Label(chain).text, static_cast<unsigned int>(index), handle_) != 0;
  }
  bool Insert(const std::string& chain, const Rule& rule, size_t index) {
    const auto bytes = EncodeEntry(rule, Api::kFamily);
    return Api::Insert(Label(chain).text, EntryAt(bytes), static_cast<unsigned int>(index), handle_) != 0;
  }
  bool Append(const std::string& chain, const Rule& rule, const xt_counters& counters = {}) {
    auto bytes = EncodeEntry(rule, Api::kFamily);
    std::memcpy(&bytes[offsetof(typename Api::Entry, counters)], &counters, sizeof(counters));
    return Api::Append(Label(chain).text, EntryAt(bytes), handle_) != 0;
  }
  // libiptc starts the counters of a kernel's chain at zero in every commit, unless they are given to it.
  bool KeepPolicy(const std::string& chain) {
    xt_counters counters{};
    const char* policy = Api::GetPolicy(chain.c_str(), &counters, handle_);
    return policy != nullptr && Api::SetPolicy(Label(chain).text, Label(policy).text, &counters, handle_) != 0;
  }
  bool Commit() { return Api::Commit(handle_) != 0; }

 private:
  explicit Table(xtc_handle* handle) : handle_(handle) {}

  // Memory from operator new is aligned for everything an entry holds.
  static const typename Api::Entry* EntryAt(const std::vector<uint8_t>& bytes) {
    return reinterpret_cast<const typename Api::Entry*>(bytes.data());
  }

  xtc_handle* handle_;
};

// Turns what is ours in one reading of the table into what the program says.
template <typename Api>
class Merge {
 public:
  Merge(Table<Api>& table, const Program& program) : table_(table), program_(program) {}

  Result<Outcome> Run() {
    const std::vector<std::string> names = table_.Chains();
    const std::unordered_set<std::string_view> present(names.begin(), names.end());
    std::unordered_set<std::string_view> wanted;
    // All chains first: a rule may jump to any of them.
    for (const Chain& chain : program_.chains) {
      wanted.insert(chain.name);
      if (present.contains(chain.name)) continue;
      if (!table_.CreateChain(chain.name)) return Failed(chain.name);
      ++outcome_.added;
    }
    for (const Chain& chain : program_.chains) {
      if (!Fill(chain, present.contains(chain.name))) return Failed(chain.name);
    }
    if (!MergeJumps(names)) return Failed(where_);
    std::vector<const std::string*> stale;
    for (const std::string& name : names) {
      if (!program_.Owns(name) || wanted.contains(name) || table_.IsBuiltin(name)) continue;
      stale.push_back(&name);
    }
    // They may jump to each other, so all are emptied before the first one goes.
    for (const std::string* name : stale) {
      if (!table_.Flush(*name)) return Failed(*name);
    }
    for (const std::string* name : stale) {
      if (!table_.DeleteChain(*name)) return Failed(*name);
      ++outcome_.removed;
    }
    outcome_.changed = outcome_.added + outcome_.rewritten + outcome_.removed + outcome_.jumps > 0;
    if (!outcome_.changed) return outcome_;
    for (const std::string& name : names) {
      if (table_.IsBuiltin(name) && !table_.KeepPolicy(name)) return Failed(name);
    }
    return outcome_;
  }

 private:
  static Failure Failed(const std::string& chain) {
    return TableFailure("iptables.commit", "chain " + chain, errno, Api::kFamily);
  }

  bool Fill(const Chain& chain, bool existed) {
    const std::vector<ListedRule> observed = existed ? table_.Rules(chain.name) : std::vector<ListedRule>();
    if (SameRules(observed, chain.rules)) return true;
    if (existed) ++outcome_.rewritten;
    const auto kept = KeptRules(observed, chain.rules);
    std::vector<const ListedRule*> from(chain.rules.size(), nullptr);  // what stays, by its place
    size_t stays = 0;
    for (size_t i = 0; i < kept.size(); ++i) {
      if (!kept[i]) continue;
      from[*kept[i]] = &observed[i];
      ++stays;
    }
    const size_t edits = observed.size() + chain.rules.size() - 2 * stays;
    const size_t length = std::max(observed.size(), chain.rules.size());
    return stays == 0 || edits * length > kWalkLimit ? Refill(chain, from) : Edit(chain, kept, from);
  }

  // Single deletions and insertions: what stays is not touched and loses no packet from its counters.
  bool Edit(const Chain& chain, const std::vector<std::optional<size_t>>& kept,
            const std::vector<const ListedRule*>& from) {
    for (size_t i = kept.size(); i-- > 0;) {
      if (!kept[i] && !table_.Delete(chain.name, i)) return false;
    }
    for (size_t i = 0; i < from.size(); ++i) {
      if (from[i] == nullptr && !table_.Insert(chain.name, chain.rules[i], i)) return false;
    }
    return true;
  }

  // The counters of what stays go on from what was read.
  bool Refill(const Chain& chain, const std::vector<const ListedRule*>& from) {
    if (!table_.Flush(chain.name)) return false;
    for (size_t i = 0; i < from.size(); ++i) {
      const xt_counters counters = from[i] == nullptr ? xt_counters{} : xt_counters{from[i]->packets, from[i]->bytes};
      if (!table_.Append(chain.name, chain.rules[i], counters)) return false;
    }
    return true;
  }

  // Leaves the first rule that is exactly a wanted jump where it is, takes away every other one that leads to us.
  bool MergeJumps(const std::vector<std::string>& names) {
    std::vector<bool> found(program_.jumps.size(), false);
    for (const std::string& name : names) {
      if (program_.Owns(name) && !table_.IsBuiltin(name)) continue;
      where_ = name;
      const std::vector<size_t> surplus = Surplus(name, found);
      for (auto index = surplus.rbegin(); index != surplus.rend(); ++index, ++outcome_.jumps) {
        if (!table_.Delete(name, *index)) return false;
      }
    }
    for (size_t i = 0; i < found.size(); ++i) {
      if (found[i]) continue;
      where_ = program_.jumps[i].from;
      if (!table_.Append(where_, JumpTo(program_.jumps[i].to))) return false;
      ++outcome_.jumps;
    }
    return true;
  }

  std::vector<size_t> Surplus(const std::string& chain, std::vector<bool>& found) {
    std::vector<size_t> surplus;
    size_t index = 0;
    table_.Walk(chain, [&](std::span<const uint8_t> bytes, std::string_view target, const xt_counters& /*counters*/) {
      const size_t at = index++;
      if (!program_.Owns(target) || !EntersChain(bytes, target, Api::kFamily)) return;
      const auto rule = DecodeEntry(bytes, target, Api::kFamily);
      for (size_t i = 0; i < program_.jumps.size(); ++i) {
        const Jump& jump = program_.jumps[i];
        if (found[i] || jump.from != chain || !rule || *rule != JumpTo(jump.to)) continue;
        found[i] = true;
        return;
      }
      surplus.push_back(at);
    });
    return surplus;
  }

  Table<Api>& table_;
  const Program& program_;
  Outcome outcome_;
  std::string where_;
};

template <typename Api>
Result<Outcome> CommitLocked(const Program& program) {
  for (uint32_t attempt = 1;; ++attempt) {
    auto table = Table<Api>::Read("iptables.commit");
    if (!table.ok()) return std::move(table.failure());
    auto outcome = Merge<Api>(*table.value(), program).Run();
    if (!outcome.ok()) return outcome;
    outcome.value().attempts = attempt;
    if (!outcome.value().changed || table.value()->Commit()) return outcome;
    // Somebody who does not know of the lock was faster.
    if (errno != EAGAIN || attempt == kAttempts) {
      return TableFailure("iptables.commit", std::string("table ") + kTable, errno, Api::kFamily);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(attempt));
  }
}

template <typename Api>
Result<Listing> ListTable(const std::string& prefix) {
  auto table = Table<Api>::Read("iptables.list");
  if (!table.ok()) return std::move(table.failure());
  const Program ours{.prefix = prefix, .jumps = {}, .chains = {}};
  Listing listing{.present = true, .jumps = {}, .chains = {}};
  for (const std::string& name : table.value()->Chains()) {
    if (ours.Owns(name) && !table.value()->IsBuiltin(name)) {
      listing.chains.push_back({name, table.value()->Rules(name)});
      continue;
    }
    table.value()->Walk(name,
                        [&](std::span<const uint8_t> bytes, std::string_view target, const xt_counters& counters) {
                          if (!ours.Owns(target) || !EntersChain(bytes, target, Api::kFamily)) return;
                          listing.jumps.push_back({name, Table<Api>::Listed(bytes, target, counters)});
                        });
  }
  return listing;
}

}  // namespace

Result<std::unique_ptr<Client>> Client::Open(Family family, std::string lock_file) {
  const auto support = CheckSupport(family);
  if (!support.ok()) return support.failure();
  const auto lock = XtablesLock::Check(lock_file);
  if (!lock.ok()) return lock.failure();
  return std::unique_ptr<Client>(new Client(family, std::move(lock_file)));
}

Result<Listing> Client::List(const std::string& prefix) {
  // libiptc would make the table by looking at it.
  const auto present = TablePresent(family_);
  if (!present.ok()) return present.failure();
  if (!present.value()) return Listing{};
  return family_ == Family::kIpv4 ? ListTable<Ipv4>(prefix) : ListTable<Ipv6>(prefix);
}

Result<Outcome> Client::Commit(const Program& program, int lock_timeout_ms, const std::atomic<bool>& cancelled) {
  const bool nothing = program.chains.empty() && program.jumps.empty();
  if (nothing) {
    const auto present = TablePresent(family_);
    if (!present.ok()) return present.failure();
    if (!present.value()) return Outcome{};
  }
  const auto lock = XtablesLock::Acquire(lock_file_, lock_timeout_ms, cancelled);
  if (!lock.ok()) return lock.failure();
  auto outcome = family_ == Family::kIpv4 ? CommitLocked<Ipv4>(program) : CommitLocked<Ipv6>(program);
  if (outcome.ok()) outcome.value().lock_wait_ms = lock.value()->waited_ms();
  return outcome;
}

}  // namespace ravel::ipt

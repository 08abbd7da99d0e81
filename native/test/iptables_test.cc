// The parts of the iptables backend that need neither libiptc nor a kernel: bytes, entries, edits, the lock.
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <random>
#include <thread>

#include "../iptables_edit.h"
#include "../iptables_entry.h"
#include "../iptables_lock.h"
#include "../iptables_program.h"
#include "../iptables_support.h"
#include "check.h"

namespace ravel::ipt {
namespace {

Prefix PrefixOf(std::initializer_list<uint8_t> bytes, uint8_t length, bool inverted = false) {
  Prefix prefix;
  std::copy(bytes.begin(), bytes.end(), prefix.address.begin());
  prefix.length = length;
  prefix.inverted = inverted;
  return prefix;
}

Rule Jump(const std::string& chain) {
  Rule rule;
  rule.chain = chain;
  return rule;
}

// Every field and every target at least once, for both families.
std::vector<Rule> Samples() {
  std::vector<Rule> rules;
  Rule service = Jump("RAVEL-SVC-67NZLRHBNDSAWJRO");
  service.destination = PrefixOf({192, 0, 2, 10}, 32);
  service.protocol = IPPROTO_TCP;
  service.port = 80;
  service.comment = "shop/web:http";
  service.probability = 0x60000000;
  rules.push_back(service);
  service.opening = true;
  rules.push_back(service);
  service.opening = false;
  service.protocol = IPPROTO_UDP;
  service.comment = std::string(255, 'x');
  rules.push_back(service);
  service.protocol = IPPROTO_SCTP;
  service.port = 0;
  rules.push_back(service);
  Rule mark;
  mark.source = PrefixOf({10, 50}, 15, true);
  mark.target = TargetKind::kSetMark;
  mark.set = {0x4000, 0x4000};
  rules.push_back(mark);
  Rule dnat;
  dnat.protocol = IPPROTO_TCP;
  dnat.target = TargetKind::kDnat;
  dnat.to = {10, 50, 1, 2};
  rules.push_back(dnat);
  dnat.to_port = 8080;
  rules.push_back(dnat);
  Rule masquerade;
  masquerade.mark = Mark{0x4000, 0x4000};
  masquerade.target = TargetKind::kMasquerade;
  rules.push_back(masquerade);
  return rules;
}

// What the kernel hands back: a jump has no name, and libiptc finds it by the offset.
std::vector<uint8_t> AsListed(const Rule& rule, Family family) {
  std::vector<uint8_t> entry = EncodeEntry(rule, family);
  if (rule.target != TargetKind::kJump) return entry;
  const auto at = std::search(entry.begin(), entry.end(), rule.chain.begin(), rule.chain.end());
  std::fill(at, at + static_cast<std::ptrdiff_t>(rule.chain.size()), 0);
  return entry;
}

std::string TargetName(const Rule& rule) {
  constexpr const char* kNames[] = {"", "MARK", "DNAT", "MASQUERADE"};
  return rule.target == TargetKind::kJump ? rule.chain : kNames[static_cast<size_t>(rule.target)];
}

TEST(iptables_entries_read_back_as_the_rule) {
  for (const Family family : {Family::kIpv4, Family::kIpv6}) {
    for (const Rule& rule : Samples()) {
      const auto entry = AsListed(rule, family);
      const auto read = DecodeEntry(entry, TargetName(rule), family);
      REQUIRE(read.has_value());
      CHECK(*read == rule);
      CHECK(entry.size() % 8 == 0);
      CHECK(EntersChain(entry, TargetName(rule), family) == (rule.target == TargetKind::kJump));
    }
  }
}

TEST(iptables_every_changed_or_shorter_entry_is_read_within_its_bytes) {
  std::mt19937 random(7);  // NOLINT(cert-msc51-cpp): the same bytes in every run
  size_t others = 0;
  for (const Family family : {Family::kIpv4, Family::kIpv6}) {
    for (const Rule& rule : Samples()) {
      const auto entry = AsListed(rule, family);
      for (size_t size = 0; size < entry.size(); ++size) {
        const std::vector<uint8_t> exact(entry.begin(), entry.begin() + static_cast<std::ptrdiff_t>(size));
        static_cast<void>(DecodeEntry(exact, TargetName(rule), family));
        static_cast<void>(DescribeEntry(exact, TargetName(rule), family));
      }
      for (int round = 0; round < 2000; ++round) {
        std::vector<uint8_t> changed = entry;
        changed[random() % changed.size()] = static_cast<uint8_t>(random());
        const auto read = DecodeEntry(changed, TargetName(rule), family);
        static_cast<void>(DescribeEntry(changed, TargetName(rule), family));
        if (!read || *read != rule) ++others;
      }
    }
  }
  CHECK(others > 1000);
}

TEST(iptables_what_the_vocabulary_cannot_say_is_foreign) {
  Rule rule = Samples().front();
  auto entry = AsListed(rule, Family::kIpv4);
  // struct ipt_ip: src, dst, smsk, dmsk, iniface, outiface, masks, proto, flags, invflags.
  const auto with = [&](size_t at, uint8_t value) {
    std::vector<uint8_t> changed = entry;
    changed[at] = value;
    return DecodeEntry(changed, rule.chain, Family::kIpv4);
  };
  CHECK(with(15, 0xff).has_value());   // the last byte of dmsk, as it is
  CHECK(!with(14, 0xf7).has_value());  // a mask with a hole
  CHECK(!with(48, 0xff).has_value());  // an interface
  CHECK(!with(82, 0x02).has_value());  // IPT_F_GOTO
  CHECK(!with(83, 0x01).has_value());  // IPT_INV_VIA_IN
  // struct ipt_entry has 112 bytes, struct xt_entry_match 32; struct xt_tcp: spts, dpts, option, flg_mask, flg_cmp.
  CHECK(with(153, 0x00).has_value());   // any flags, as it is
  CHECK(!with(153, 0x17).has_value());  // none of FIN, SYN, RST, ACK
  CHECK(!DecodeEntry(entry, "ACCEPT", Family::kIpv4).has_value());
  CHECK(!EntersChain(entry, "RETURN", Family::kIpv4));
  CHECK(DescribeEntry(entry, "LOG", Family::kIpv4) == "-d 192.0.2.10/32 -p 6 -m tcp -m comment -m statistic -j LOG");
  rule.opening = true;
  entry = AsListed(rule, Family::kIpv4);
  CHECK(with(153, 0x17) == rule);       // FIN, SYN, RST, ACK, as it is
  CHECK(!with(153, 0x12).has_value());  // SYN and ACK alone
  CHECK(!with(153, 0x3f).has_value());  // PSH and URG too
  CHECK(!with(154, 0x12).has_value());  // both SYN and ACK set
  CHECK(!with(155, 0x04).has_value());  // XT_TCP_INV_FLAGS
}

void Put(std::vector<uint8_t>& out, const auto value) {
  const auto* raw = reinterpret_cast<const uint8_t*>(&value);
  out.insert(out.end(), raw, raw + sizeof(value));
}

void PutText(std::vector<uint8_t>& out, const std::string& text) {
  Put(out, static_cast<uint16_t>(text.size()));
  out.insert(out.end(), text.begin(), text.end());
}

// The program whose only chain has the rules, through the writer of listings: it writes rules as programs have them.
std::vector<uint8_t> ProgramOf(const std::string& prefix, const std::string& chain, const std::vector<Rule>& rules,
                               Family family) {
  std::vector<uint8_t> out;
  PutText(out, prefix);
  Put(out, uint32_t{1});
  PutText(out, "PREROUTING");
  PutText(out, prefix);
  Put(out, uint32_t{1});
  PutText(out, chain);
  Put(out, static_cast<uint32_t>(rules.size()));
  for (const Rule& rule : rules) {
    const Listing one{.present = true, .jumps = {}, .chains = {{"", {{.rule = rule, .foreign = {}}}}}};
    const auto bytes = WriteListing(one, family);
    // present, no jumps, one chain, its empty name, one rule, its counters, that it is known
    constexpr std::ptrdiff_t kBefore = 1 + 4 + 4 + 2 + 4 + 16 + 1;
    out.insert(out.end(), bytes.begin() + kBefore, bytes.end());
  }
  return out;
}

TEST(iptables_programs_read_back) {
  for (const Family family : {Family::kIpv4, Family::kIpv6}) {
    const auto program = ReadProgram(ProgramOf("RAVEL", "RAVEL-SVC-1", Samples(), family), family);
    REQUIRE(program.ok());
    CHECK(program.value().jumps.size() == 1 && program.value().chains.size() == 1);
    CHECK(program.value().chains[0].rules == Samples());
  }
}

TEST(iptables_programs_for_chains_of_others_are_refused) {
  const auto refused = [](const std::string& prefix, const std::string& chain, const std::vector<Rule>& rules) {
    return !ReadProgram(ProgramOf(prefix, chain, rules, Family::kIpv4), Family::kIpv4).ok();
  };
  CHECK(!refused("RAVEL", "RAVEL", {}));
  CHECK(refused("RAVEL", "RAVELIN", {}));
  CHECK(refused("RAVEL", "KUBE-SERVICES", {}));
  CHECK(refused("RAVEL", "", {}));
  CHECK(refused("RAVEL", "RAVEL-" + std::string(23, 'X'), {}));
  CHECK(refused("", "RAVEL", {}));
  // A jump from one of our chains, and one to somebody else's.
  CHECK(refused("PREROUTING", "PREROUTING", {}));
  Rule rule = Jump("RAVEL");
  rule.port = 80;
  CHECK(refused("RAVEL", "RAVEL", {rule}));
  rule.protocol = IPPROTO_TCP;
  CHECK(!refused("RAVEL", "RAVEL", {rule}));
  rule.opening = true;
  CHECK(!refused("RAVEL", "RAVEL", {rule}));
  rule.protocol = IPPROTO_UDP;
  CHECK(refused("RAVEL", "RAVEL", {rule}));
  rule.protocol = IPPROTO_TCP;
  rule.port.reset();
  CHECK(refused("RAVEL", "RAVEL", {rule}));
  rule.opening = false;
  rule.comment = std::string(256, 'x');
  CHECK(refused("RAVEL", "RAVEL", {rule}));
  rule.comment = std::string("a\0b", 3);
  CHECK(refused("RAVEL", "RAVEL", {rule}));
  rule.comment.clear();
  rule.probability = 0x80000001;
  CHECK(refused("RAVEL", "RAVEL", {rule}));
  rule.probability = 0;
  rule.destination = PrefixOf({10}, 33);
  CHECK(refused("RAVEL", "RAVEL", {rule}));
}

TEST(iptables_every_changed_or_shorter_program_is_read_within_its_bytes) {
  std::mt19937 random(11);  // NOLINT(cert-msc51-cpp)
  const auto program = ProgramOf("RAVEL", "RAVEL-SVC-1", Samples(), Family::kIpv4);
  for (size_t size = 0; size < program.size(); ++size) {
    const std::vector<uint8_t> exact(program.begin(), program.begin() + static_cast<std::ptrdiff_t>(size));
    CHECK(!ReadProgram(exact, Family::kIpv4).ok());
  }
  for (int round = 0; round < 20000; ++round) {
    std::vector<uint8_t> changed = program;
    for (int change = 0; change < 3; ++change) changed[random() % changed.size()] = static_cast<uint8_t>(random());
    const auto read = ReadProgram(changed, Family::kIpv4);
    if (!read.ok()) continue;
    for (const Chain& chain : read.value().chains) {
      CHECK(read.value().Owns(chain.name));
      for (const Rule& rule : chain.rules) static_cast<void>(EncodeEntry(rule, Family::kIpv4));
    }
  }
}

TEST(iptables_host_bits_do_not_count) {
  Rule rule = Jump("RAVEL");
  rule.source = PrefixOf({10, 51, 3, 4}, 15);
  const auto program = ReadProgram(ProgramOf("RAVEL", "RAVEL", {rule}, Family::kIpv4), Family::kIpv4);
  REQUIRE(program.ok());
  CHECK(program.value().chains[0].rules[0].source == PrefixOf({10, 50}, 15));
}

std::vector<ListedRule> Observed(const std::vector<Rule>& rules) {
  std::vector<ListedRule> observed;
  observed.reserve(rules.size());
  for (const Rule& rule : rules) observed.push_back({.rule = rule, .foreign = {}});
  return observed;
}

std::vector<Rule> Chains(const std::string& letters) {
  std::vector<Rule> rules;
  rules.reserve(letters.size());
  for (const char letter : letters) rules.push_back(Jump(std::string(1, letter)));
  return rules;
}

// How many of `from` stay when `to` is wanted; the result must be increasing and equal.
size_t Stays(const std::string& from, const std::string& to) {
  const auto observed = Observed(Chains(from));
  const auto wanted = Chains(to);
  const auto kept = KeptRules(observed, wanted);
  size_t count = 0;
  size_t last = 0;
  CHECK(kept.size() == observed.size());
  for (size_t i = 0; i < kept.size(); ++i) {
    if (!kept[i]) continue;
    CHECK(*kept[i] < wanted.size() && *observed[i].rule == wanted[*kept[i]]);
    CHECK(count == 0 || *kept[i] > last);
    last = *kept[i];
    ++count;
  }
  return count;
}

TEST(iptables_as_many_rules_as_possible_stay) {
  CHECK(Stays("", "abc") == 0);
  CHECK(Stays("abc", "") == 0);
  CHECK(Stays("abcdef", "abcdef") == 6);
  CHECK(Stays("abcdef", "abxdef") == 5);
  CHECK(Stays("abcdef", "bcdefa") == 5);
  CHECK(Stays("fabcde", "abcdef") == 5);
  CHECK(Stays("aab", "aaab") == 3);
  CHECK(Stays("xyz", "abc") == 0);
  std::vector<ListedRule> observed = Observed(Chains("abc"));
  CHECK(SameRules(observed, Chains("abc")));
  CHECK(!SameRules(observed, Chains("ab")));
  CHECK(!SameRules(observed, Chains("abd")));
  observed[1].rule.reset();
  CHECK(!SameRules(observed, Chains("abc")));
  CHECK(!KeptRules(observed, Chains("abc"))[1].has_value());
}

// A folder of the test's own, gone at its end.
class Folder {
 public:
  Folder() {
    if (mkdtemp(path_.data()) == nullptr) test::Fail(__FILE__, __LINE__, "mkdtemp");
  }
  ~Folder() {
    unlink(lock().c_str());
    rmdir(path_.c_str());
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] std::string lock() const { return path_ + "/xtables.lock"; }

 private:
  std::string path_ = "/tmp/ravel-lock-XXXXXX";
};

TEST(iptables_lock_waits_within_bounds_and_names_the_holder) {
  const Folder folder;
  const std::atomic<bool> never = false;
  auto held = XtablesLock::Acquire(folder.lock(), 0, never);
  REQUIRE(held.ok());
  struct stat status {};
  CHECK(stat(folder.lock().c_str(), &status) == 0 && (status.st_mode & 0777) == 0600);
  const auto began = std::chrono::steady_clock::now();
  auto second = XtablesLock::Acquire(folder.lock(), 50, never);
  const auto waited = std::chrono::steady_clock::now() - began;
  REQUIRE(!second.ok());
  CHECK(second.failure().kind == FailureKind::kTimeout);
  CHECK(second.failure().subject == folder.lock());
  CHECK(second.failure().message.find("(pid " + std::to_string(getpid()) + ")") != std::string::npos);
  CHECK(waited >= std::chrono::milliseconds(50) && waited < std::chrono::seconds(5));
  held.value().reset();
  CHECK(XtablesLock::Acquire(folder.lock(), 0, never).ok());
}

TEST(iptables_lock_is_taken_when_it_comes_free_and_given_up_when_cancelled) {
  const Folder folder;
  std::atomic<bool> cancelled = false;
  auto held = XtablesLock::Acquire(folder.lock(), 0, cancelled);
  REQUIRE(held.ok());
  std::thread other([&] {
    auto waited = XtablesLock::Acquire(folder.lock(), 60000, cancelled);
    CHECK(!waited.ok() && waited.failure().kind == FailureKind::kClosed);
  });
  cancelled = true;
  other.join();
  cancelled = false;
  std::thread next([&] { CHECK(XtablesLock::Acquire(folder.lock(), 60000, cancelled).ok()); });
  held.value().reset();
  next.join();
}

TEST(iptables_lock_that_cannot_be_opened_says_why) {
  const Folder folder;
  const auto directory = XtablesLock::Check(folder.path());
  CHECK(!directory.ok() && directory.failure().error == EISDIR);
  CHECK(!directory.ok() && directory.failure().message.find("FileOrCreate") != std::string::npos);
  const auto missing = XtablesLock::Check(folder.path() + "/none/xtables.lock");
  CHECK(!missing.ok() && missing.failure().error == ENOENT);
}

TEST(iptables_support_names_what_is_missing) {
  const auto with = [](int error, const std::string& only) {
    return CheckSupport(Family::kIpv4,
                        [&](const char* name, uint8_t, bool) { return only.empty() || only == name ? error : 0; });
  };
  CHECK(with(0, "").ok());
  const auto none = with(ENOPROTOOPT, "");
  CHECK(!none.ok() && none.failure().kind == FailureKind::kUnsupported);
  CHECK(!none.ok() && none.failure().message.find("the nft variant") != std::string::npos);
  const auto old = with(EPROTONOSUPPORT, "DNAT");
  CHECK(!old.ok() && old.failure().kind == FailureKind::kUnsupported);
  CHECK(!old.ok() && old.failure().subject == "ip_tables target DNAT revision 2");
  CHECK(!old.ok() && old.failure().message == "modprobe xt_nat");
  const auto match = with(ENOENT, "statistic");
  CHECK(!match.ok() && match.failure().message == "modprobe xt_statistic");
  const auto denied = with(EPERM, "");
  CHECK(!denied.ok() && denied.failure().kind == FailureKind::kKernel && denied.failure().error == EPERM);
}

}  // namespace
}  // namespace ravel::ipt

#include "iptables_edit.h"

#include <algorithm>
#include <deque>
#include <functional>
#include <string_view>
#include <unordered_map>

namespace ravel::ipt {
namespace {

// Enough of a rule to tell most apart; equality decides.
size_t HashOf(const Rule& rule) {
  const std::hash<std::string_view> text;
  const auto bytes = [&text](const Address& address) {
    return text({reinterpret_cast<const char*>(address.data()), address.size()});
  };
  size_t hash = text(rule.chain);
  const auto mix = [&hash](size_t value) { hash = hash * 1099511628211U ^ value; };
  mix(bytes(rule.to));
  mix(rule.to_port);
  mix(rule.port.value_or(0) + (static_cast<size_t>(rule.protocol) << 16));
  if (rule.source) mix(bytes(rule.source->address));
  if (rule.destination) mix(bytes(rule.destination->address));
  mix(static_cast<size_t>(rule.target));
  return hash;
}

struct PointedHash {
  size_t operator()(const Rule* rule) const { return HashOf(*rule); }
};
struct PointedEqual {
  bool operator()(const Rule* a, const Rule* b) const { return *a == *b; }
};

constexpr size_t kNone = static_cast<size_t>(-1);

// Indices of a longest strictly increasing run among `places`, where kNone takes no part.
std::vector<size_t> LongestIncreasing(const std::vector<size_t>& places) {
  std::vector<size_t> tails;  // index whose place is the smallest end of a run of length i + 1
  std::vector<size_t> before(places.size(), kNone);
  for (size_t i = 0; i < places.size(); ++i) {
    if (places[i] == kNone) continue;
    const auto at = std::lower_bound(tails.begin(), tails.end(), places[i],
                                     [&places](size_t tail, size_t place) { return places[tail] < place; });
    if (at != tails.begin()) before[i] = *std::prev(at);
    if (at == tails.end()) {
      tails.push_back(i);
    } else {
      *at = i;
    }
  }
  std::vector<size_t> run;
  for (size_t i = tails.empty() ? kNone : tails.back(); i != kNone; i = before[i]) run.push_back(i);
  std::reverse(run.begin(), run.end());
  return run;
}

}  // namespace

bool SameRules(const std::vector<ListedRule>& observed, const std::vector<Rule>& wanted) {
  return std::equal(observed.begin(), observed.end(), wanted.begin(), wanted.end(),
                    [](const ListedRule& listed, const Rule& rule) { return listed.rule && *listed.rule == rule; });
}

std::vector<std::optional<size_t>> KeptRules(const std::vector<ListedRule>& observed, const std::vector<Rule>& wanted) {
  std::unordered_map<const Rule*, std::deque<size_t>, PointedHash, PointedEqual> places_of;
  for (size_t place = 0; place < wanted.size(); ++place) places_of[&wanted[place]].push_back(place);
  std::vector<size_t> places(observed.size(), kNone);
  for (size_t i = 0; i < observed.size(); ++i) {
    if (!observed[i].rule) continue;
    const auto found = places_of.find(&*observed[i].rule);
    // Equal rules take the places in turn.
    if (found == places_of.end() || found->second.empty()) continue;
    places[i] = found->second.front();
    found->second.pop_front();
  }
  std::vector<std::optional<size_t>> kept(observed.size());
  for (const size_t i : LongestIncreasing(places)) kept[i] = places[i];
  return kept;
}

}  // namespace ravel::ipt

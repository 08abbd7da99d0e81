#include <unistd.h>

#include <cstring>

#include "check.h"

namespace ravel::test {
namespace {

bool failed = false;
std::string skipped;

}  // namespace

std::vector<Case>& Cases() {
  static std::vector<Case> cases;
  return cases;
}

void Fail(const char* file, int line, const std::string& what) {
  failed = true;
  std::printf("  %s:%d: %s\n", file, line, what.c_str());
}

void Skip(const std::string& reason) { skipped = reason; }

}  // namespace ravel::test

// Arguments: substrings of the names to run; none is all.
int main(int count, char** arguments) {
  using namespace ravel::test;
  alarm(300);  // a deadlock ends the run instead of holding it
  int passed = 0;
  int failures = 0;
  int skips = 0;
  for (const Case& test : Cases()) {
    bool wanted = count < 2;
    for (int i = 1; i < count; ++i) wanted = wanted || std::strstr(test.name, arguments[i]) != nullptr;
    if (!wanted) continue;
    failed = false;
    skipped.clear();
    test.body();
    if (failed) {
      ++failures;
      std::printf("not ok %s\n", test.name);
    } else if (!skipped.empty()) {
      ++skips;
      std::printf("skipped %s: %s\n", test.name, skipped.c_str());
    } else {
      ++passed;
    }
    static_cast<void>(std::fflush(stdout));
  }
  std::printf("%d passed, %d failed, %d skipped\n", passed, failures, skips);
  return failures == 0 && passed > 0 ? 0 : 1;
}

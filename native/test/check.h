// Thirty lines in place of a test framework: TEST() registers, CHECK() counts, Skip() says why.
#pragma once

#include <cstdio>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace ravel::test {

struct Case {
  const char* name;
  std::function<void()> body;
};

std::vector<Case>& Cases();
// Marks the running test as failed.
void Fail(const char* file, int line, const std::string& what);
// Marks the running test as skipped; it must return at once.
void Skip(const std::string& reason);

struct Registration {
  Registration(const char* name, std::function<void()> body) { Cases().push_back({name, std::move(body)}); }
};

}  // namespace ravel::test

#define TEST(name)                                                                  \
  static void Test_##name();                                                        \
  static const ::ravel::test::Registration registration_##name{#name, Test_##name}; \
  static void Test_##name()

#define CHECK(condition)                                                   \
  do {                                                                     \
    if (!(condition)) ::ravel::test::Fail(__FILE__, __LINE__, #condition); \
  } while (false)
// For conditions without which the rest of the test makes no sense.
#define REQUIRE(condition)                                 \
  do {                                                     \
    if (!(condition)) {                                    \
      ::ravel::test::Fail(__FILE__, __LINE__, #condition); \
      return;                                              \
    }                                                      \
  } while (false)

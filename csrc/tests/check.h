// What the native tests assert with: a failure is reported with its place and values, counted, and the test goes on.
#pragma once
#include <cstdio>

namespace jcb::tests {

inline int failures = 0;
inline long checks = 0;

#define JCB_CHECK(condition, ...)                                       \
  do {                                                                  \
    ++jcb::tests::checks;                                               \
    if (!(condition) && ++jcb::tests::failures <= 20) {                 \
      std::printf("%s:%d: %s does not hold: ", __FILE__, __LINE__, #condition); \
      std::printf(__VA_ARGS__);                                         \
      std::printf("\n");                                                \
    }                                                                   \
  } while (false)

template <class Exception, class Function>
bool throws(const Function& function) {
  try {
    function();
  } catch (const Exception&) {
    return true;
  }
  return false;
}

inline int report(const char* name) {
  std::printf("%s: %ld checks, %d failures\n", name, checks, failures);
  return failures == 0 ? 0 : 1;
}

}  // namespace jcb::tests

// A test is a function that returns what is wrong, or nothing.
#pragma once

#include <cstdarg>
#include <cstdio>
#include <functional>
#include <string>
#include <vector>

namespace krait::test {

struct Test {
  std::string name;
  std::function<std::string()> body;
};

inline std::vector<Test>& tests() {
  static std::vector<Test> all;
  return all;
}

// Declared as a static variable, it adds a test.
struct Adds {
  Adds(std::string name, std::function<std::string()> body) { tests().push_back({std::move(name), std::move(body)}); }
};

[[gnu::format(printf, 1, 2)]] inline std::string text(const char* format, ...) {
  char buffer[512];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(buffer, sizeof(buffer), format, arguments);
  va_end(arguments);
  return buffer;
}

}  // namespace krait::test

// krait_tests <folder of programs> [part of a name]: prints what fails and, last, the counts.
#include <cstring>

#include "check.h"
#include "programs.h"

int main(int count, char** arguments) {
  if (count < 2) {
    std::fprintf(stderr, "usage: krait_tests <folder of programs> [part of a name]\n");
    return 2;
  }
  krait::test::add_program_tests(arguments[1]);
  int passed = 0;
  int failed = 0;
  for (const krait::test::Test& test : krait::test::tests()) {
    if (count > 2 && test.name.find(arguments[2]) == std::string::npos) continue;
    // Before the test too: a sanitizer ends the process.
    std::printf("  %s", test.name.c_str());
    std::fflush(stdout);
    const std::string wrong = test.body();
    if (wrong.empty()) {
      ++passed;
      std::printf(": ok\n");
    } else {
      ++failed;
      std::printf(": FAILED, %s\n", wrong.c_str());
    }
  }
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed > 0 || passed == 0 ? 1 : 0;
}

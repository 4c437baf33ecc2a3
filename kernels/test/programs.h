#pragma once

#include <string>

namespace krait::test {

// Adds tests for every *.program in a folder.
void add_program_tests(const std::string& folder);

}  // namespace krait::test

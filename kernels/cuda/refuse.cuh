// How a kernel refuses data that only it can see: it marks the device's error word and goes on without reading out of bounds.
#pragma once

#include "cuda.h"

namespace krait::cuda {

constexpr bool same_name(const char* a, const char* b) {
  while (*a != 0 && *a == *b) ++a, ++b;
  return *a == *b;
}

// The op's number in the records; −1 for none.
constexpr int32_t op_number(const char* name) {
  for (int32_t i = 0; i < kOpCount; ++i) {
    if (same_name(kOps[i].name, name)) return i;
  }
  return -1;
}

// The mark that `synchronize` turns back into the op's name. As a template, so that a wrong name does not compile.
template <int32_t kOp>
__device__ __forceinline__ void refuse(int32_t* error_word) {
  static_assert(kOp >= 0, "no op of this name");
  *error_word = 1 + kOp;
}

}  // namespace krait::cuda

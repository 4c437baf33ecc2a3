// Borders of packed sequences as kernels meet them.
#pragma once

#include "cpu.h"

namespace krait::cpu {

// Borders may come from another op: before they are used as indices they must start at 0, never fall and end at `total`.
inline bool are_borders(const Tensor& borders, int64_t total) {
  const int32_t* at = borders.as<int32_t>();
  const int64_t count = borders.dim[0];
  if (count < 1 || at[0] != 0 || at[count - 1] != total) return false;
  for (int64_t s = 1; s < count; ++s) {
    if (at[s] < at[s - 1]) return false;
  }
  return true;
}

inline Status bad_borders(const char* op, int64_t total) {
  return error(StatusCode::invalid_argument, "Expected borders for %s that start at 0, never fall and end at %lld but received others", op,
               static_cast<long long>(total));
}

}  // namespace krait::cpu

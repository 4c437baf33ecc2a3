// Weights on their way from a file into memory: read in blocks by all threads, converted and looked at while a block is in the cache.
#pragma once

#include <cstdint>

#include "krait/abi.h"

namespace krait::cpu {

enum class Stored : int32_t { f32, bf16, f16, f64 };

constexpr int64_t stored_size(Stored stored) {
  return stored == Stored::f64 ? 8 : stored == Stored::f32 ? 4 : 2;
}

struct WeightRead {
  int fd = -1;
  int64_t offset = 0;  // in the file, bytes
  int64_t count = 0;   // elements
  Stored stored = Stored::f32;
  float scale = 1;      // of every element
  bool rounds = false;  // to bf16, also where float32 is wanted
};

struct WeightsRead {
  bool is_short = false;  // the file ended before the elements did
  int64_t bad = -1;       // one element that is not finite; −1 for none
};

// Fills `to` with `count` elements of `target`, f32 or bf16.
Status read_weights(int threads, const WeightRead& read, DType target, void* to, WeightsRead* result);

}  // namespace krait::cpu

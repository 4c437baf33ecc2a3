// Weights on their way from a file into memory: read in blocks by all threads, converted and looked at while a block is in the cache.
#pragma once

#include <cstdint>
#include <vector>

#include "krait/abi.h"

namespace krait::cpu {

enum class Stored : int32_t { f32, bf16, f16, f64 };

constexpr int64_t stored_size(Stored stored) {
  return stored == Stored::f64 ? 8 : stored == Stored::f32 ? 4 : 2;
}

// Elements that lie one after the other in a file and in memory.
struct WeightRead {
  int fd = -1;
  int64_t offset = 0;  // in the file, bytes
  int64_t count = 0;   // elements
  Stored stored = Stored::f32;
  float scale = 1;      // of every element
  bool rounds = false;  // to bf16, also where float32 is wanted
  DType target = DType::f32;  // or bf16
  void* to = nullptr;         // at a multiple of the target's size
  bool is_there = false;      // `to` has the elements already, as they are stored: they are only looked at
};

// The first read that did not give what it should; −1 when all did.
struct WeightsRead {
  int64_t read = -1;
  int64_t bad = -1;  // its first element that is not finite; −1 when the file ended before its elements did
};

// Does all reads with `threads` threads, whatever their sizes. When a file ends too soon the others may stay undone.
Status read_weights(int threads, const std::vector<WeightRead>& reads, WeightsRead* result);

}  // namespace krait::cpu

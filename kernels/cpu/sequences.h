// Cutting packed sequences into pieces that threads can share, without a table.
#pragma once

#include <cstdint>

#include "cpu.h"

namespace krait::cpu {

// Pieces of at most `size` tokens, counted from each sequence's start. Piece c of sequence s has the number first(s) + c; some numbers
// below `count()` belong to no piece.
struct Pieces {
  const int32_t* borders;  // [sequences + 1]
  int64_t sequences;
  int64_t size;

  int64_t length(int64_t s) const { return borders[s + 1] - borders[s]; }
  int64_t pieces(int64_t s) const { return (length(s) + size - 1) / size; }
  // ⌊from / size⌋ + s never overlaps: a sequence fills at most one piece more than the borders between them pass.
  int64_t first(int64_t s) const { return borders[s] / size + s; }
  int64_t count() const { return sequences == 0 ? 0 : borders[sequences] / size + sequences; }

  struct Piece {
    int64_t sequence;
    int64_t index;  // −1 when the number belongs to none
    int64_t from;   // tokens of the run
    int64_t to;
  };

  Piece operator[](int64_t number) const {
    int64_t low = 0;
    int64_t high = sequences;  // first(low) ≤ number < first(high)
    while (high - low > 1) {
      const int64_t middle = (low + high) / 2;
      (first(middle) <= number ? low : high) = middle;
    }
    const int64_t c = number - first(low);
    if (c >= pieces(low)) return {low, -1, 0, 0};
    const int64_t from = borders[low] + c * size;
    const int64_t end = borders[low + 1];
    return {low, c, from, from + size < end ? from + size : end};
  }
};

// Slots may come from anywhere: before they are used as indices each must be -1 or one of the pool.
inline bool are_slots(const Tensor& index, const Tensor& pool) {
  if (!index || !pool) return true;
  for (int64_t s = 0; s < index.dim[0]; ++s) {
    const int32_t slot = index.as<int32_t>()[s];
    if (slot < -1 || slot >= pool.dim[0]) return false;
  }
  return true;
}

inline Status bad_slots(const char* op, const Tensor& pool) {
  return error(StatusCode::invalid_argument, "Expected state slots from -1 to %lld for %s but received others",
               static_cast<long long>(pool.dim[0] - 1), op);
}

}  // namespace krait::cpu

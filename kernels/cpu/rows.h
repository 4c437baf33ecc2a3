// How light work over rows is cut into pieces for the threads.
#pragma once

#include <algorithm>
#include <cstdint>

#include "cpu.h"

namespace krait::cpu {

// Elements below which waking another thread costs more than it saves.
inline constexpr int64_t kPieceElements = 16384;

// Threads for work on `elements` numbers.
inline int threads_for(const Cpu& cpu, int64_t elements) {
  return static_cast<int>(std::clamp<int64_t>(elements / kPieceElements, 1, cpu.threads));
}

// True when the rows of a matrix follow each other without gaps.
inline bool is_dense(const Tensor& t) { return t.dim[0] <= 1 || t.stride[0] == t.dim[1]; }

// Elements of a row that are kept in float32 where they are stored narrower before all is known that is to be done with them.
inline constexpr int64_t kKeptRow = 8192;

// Room for such a row, one per thread. Not inlined: the address of a thread's own variable would be asked for anew at every use.
[[gnu::noinline]] inline float* kept_row() {
  alignas(64) static thread_local float row[kKeptRow];
  return row;
}

// Calls body(row, from, to) for pieces of the rows that together cover [rows, width], in parallel.
template <typename Body>
void for_pieces(const Cpu& cpu, int64_t rows, int64_t width, const Body& body) {
  const int64_t per_row = (width + kPieceElements - 1) / kPieceElements;
#pragma omp parallel for num_threads(threads_for(cpu, rows * width)) schedule(static)
  for (int64_t piece = 0; piece < rows * per_row; ++piece) {
    const int64_t from = piece % per_row * kPieceElements;
    body(piece / per_row, from, std::min(width, from + kPieceElements));
  }
}

}  // namespace krait::cpu

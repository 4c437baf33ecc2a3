// Matrix products of our own in float32: what serves where oneDNN is slower or not there, and products of a few rows everywhere.
#pragma once

#include <cstdint>

#include "cpu.h"

namespace krait::cpu {

// Called for every piece of a product when it is complete, on the thread that computed it, while it is still in a cache.
// Null: nothing is left to do.
struct GemmFinish {
  void (*call)(const void* context, int64_t row, int64_t rows, int64_t column, int64_t columns) = nullptr;
  const void* context = nullptr;

  void operator()(int64_t row, int64_t rows, int64_t column, int64_t columns) const {
    if (call != nullptr) call(context, row, rows, column, columns);
  }
};

// Rows of A up to which each weight is better read once, as it lies, than packed.
inline constexpr int64_t kFewRows = 32;

// C[m, n] = A[m, k] · B[n, k]ᵀ + beta · C, row-major with leading dimensions; C is not read when beta is 0. Every element is summed in
// an order that depends on k, and on whether m ≤ kFewRows, alone: neither on the threads nor on the other elements.
// Fails only for want of memory, before anything is written.
Status gemm_nt(const Cpu& cpu, int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const float* b, int64_t ldb, float beta,
               float* c, int64_t ldc, const GemmFinish& finish = {});

// The same from bf16 patterns, widened where they are packed: every m is summed as m > kFewRows is.
Status gemm_nt(const Cpu& cpu, int64_t m, int64_t n, int64_t k, const uint16_t* a, int64_t lda, const uint16_t* b, int64_t ldb, float beta,
               float* c, int64_t ldc, const GemmFinish& finish = {});

// Whether this processor is one where products of more than kFewRows rows are faster here than in oneDNN.
bool gemm_leads();

// How a product [m, n] is cut into equal blocks, one per thread.
struct GemmGrid {
  int rows = 1;     // blocks along m
  int columns = 1;  // blocks along n
  int64_t block_rows = 0;
  int64_t block_columns = 0;
};
GemmGrid gemm_grid(int threads, int64_t m, int64_t n);

// Threads worth waking for a product.
int gemm_threads(const Cpu& cpu, int64_t m, int64_t n, int64_t k);

// The same for a product of few rows, whose time is that of its n rows of weights through memory.
int few_rows_threads(const Cpu& cpu, int64_t n, int64_t row_bytes);

}  // namespace krait::cpu

// oneDNN, opened at run time: never needed to build or to load.
#pragma once

#include <cstdint>

namespace krait::cpu {

// C[m, n] = A[m, k] · B[n, k]ᵀ + beta · C, row-major with leading dimensions. False when oneDNN is not there or refuses.
bool onednn_gemm_nt(int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const float* b, int64_t ldb, float beta, float* c,
                    int64_t ldc);

// The same from bf16 patterns, accumulated in float32. False also where the processor has no bf16 instructions: there float32 is faster.
bool onednn_gemm_nt(int64_t m, int64_t n, int64_t k, const uint16_t* a, int64_t lda, const uint16_t* b, int64_t ldb, float beta, float* c,
                    int64_t ldc);

bool onednn_has_bf16();

bool onednn_is_there();

// KRAIT_ONEDNN=on: oneDNN also where products of our own are faster.
bool onednn_is_wanted();

// "onednn 2.6.3", or "own" when it is not there.
const char* onednn_version();

}  // namespace krait::cpu

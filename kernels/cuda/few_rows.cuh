// What the kernels of products with a few rows share.
#pragma once

#include "functions.cuh"
#include "gemm.cuh"
#include "rows.cuh"

namespace krait::cuda {

inline constexpr int kFewRowsWarps = 8;  // of a block, each with a column

struct FewRows {
  const void *x, *weight, *bias;
  void* y;
  int64_t width, x_stride, weight_stride, y_stride;
  int32_t rows, packs;  // packs of 16 bytes in a row of x and of the weight
  bool bias_is_bf16, y_is_bf16;
  LinearArgs::Activation activation;

  __device__ __forceinline__ float bias_at(int64_t column) const {
    if (bias == nullptr) return 0.0f;
    return bias_is_bf16 ? to_float(static_cast<const __nv_bfloat16*>(bias)[column]) : static_cast<const float*>(bias)[column];
  }
  __device__ __forceinline__ void finish(int64_t row, int64_t column, float sum) const {
    float value[1] = {sum};
    activate(activation, value);
    const int64_t at = row * y_stride + column;
    if (y_is_bf16) static_cast<__nv_bfloat16*>(y)[at] = from_float<__nv_bfloat16>(value[0]);
    else static_cast<float*>(y)[at] = value[0];
  }
};

FewRows few_rows(const Product& p);

template <typename E>
__device__ __forceinline__ float dot(const Raw<E, 16 / sizeof(E)>& a, const Raw<E, 16 / sizeof(E)>& b, float sum) {
#pragma unroll
  for (int i = 0; i < static_cast<int>(16 / sizeof(E)); ++i) sum = fmaf(a[i], b[i], sum);
  return sum;
}

}  // namespace krait::cuda

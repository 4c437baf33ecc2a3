// The activations, in full float32 precision. NaN stays NaN.
#pragma once

#include "cuda.h"

namespace krait::cuda {

__device__ __forceinline__ float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }
__device__ __forceinline__ float silu(float x) { return x / (1.0f + expf(-x)); }
// By the fast exponential and reciprocal: about 1e-6 off, for code that otherwise waits for memory only.
__device__ __forceinline__ float silu_fast(float x) { return __fdividef(x, 1.0f + __expf(-x)); }
__device__ __forceinline__ float gelu(float x) { return 0.5f * x * erfcf(-x * 0.70710678f); }
// x·(1 + tanh u)/2 = x / (1 + e^(−2u)), which does not cancel for negative u.
__device__ __forceinline__ float gelu_tanh(float x) {
  return x / (1.0f + expf(-1.59576912f * (x + 0.044715f * x * x * x)));
}
__device__ __forceinline__ float softplus(float x) { return x > 20.0f ? x : log1pf(expf(x)); }
__device__ __forceinline__ float relu(float x) { return x < 0.0f ? 0.0f : x; }
__device__ __forceinline__ float relu2(float x) { return x < 0.0f ? 0.0f : x * x; }
__device__ __forceinline__ float larger(float a, float b) { return a < b || b != b ? b : a; }

template <int N>
__device__ __forceinline__ void activate(LinearArgs::Activation kind, float (&v)[N]) {
  using K = LinearArgs::Activation;
  switch (kind) {
    case K::identity:
      break;
    case K::silu:
#pragma unroll
      for (int i = 0; i < N; ++i) v[i] = silu(v[i]);
      break;
    case K::gelu:
#pragma unroll
      for (int i = 0; i < N; ++i) v[i] = gelu(v[i]);
      break;
    case K::gelu_tanh:
#pragma unroll
      for (int i = 0; i < N; ++i) v[i] = gelu_tanh(v[i]);
      break;
    case K::relu:
#pragma unroll
      for (int i = 0; i < N; ++i) v[i] = relu(v[i]);
      break;
    case K::relu2:
#pragma unroll
      for (int i = 0; i < N; ++i) v[i] = relu2(v[i]);
      break;
  }
}

}  // namespace krait::cuda

// The walk that the norms share: one group of threads per row, the row held in registers between its two uses.
#pragma once

#include "reduce.cuh"
#include "rows.cuh"

namespace krait::cuda {

inline constexpr int kNormPack = 8;
// Packs one thread keeps; what a row has beyond blockDim.x times as many is read twice.
inline constexpr int kNormHeld = 4;

// `body` has width, eps and, for elements [at, at + kNormPack) of a row, read() (zeros past the width), seen() (called once) and write().
template <typename Body>
__global__ void __launch_bounds__(512) normalise_kernel(int64_t rows, const Body body) {
  __shared__ float shared[32];
  constexpr int N = kNormPack;
  const int64_t step = static_cast<int64_t>(blockDim.x) * N;
  const int64_t begin = static_cast<int64_t>(threadIdx.x) * N;
  // The whole block goes round together, because row_sum waits for all of it.
  for (int64_t first = static_cast<int64_t>(blockIdx.x) * blockDim.y; first < rows; first += static_cast<int64_t>(gridDim.x) * blockDim.y) {
    const int64_t row = first + threadIdx.y;
    const bool mine = row < rows;
    float held[kNormHeld][N];
    float square = 0;
#pragma unroll
    for (int p = 0; p < kNormHeld; ++p) {
      const int64_t at = begin + p * step;
      if (mine && at < body.width) {
        body.read(held[p], row, at);
        body.seen(held[p], row, at);
#pragma unroll
        for (int i = 0; i < N; ++i) square += held[p][i] * held[p][i];
      }
    }
    for (int64_t at = begin + kNormHeld * step; mine && at < body.width; at += step) {
      float h[N];
      body.read(h, row, at);
      body.seen(h, row, at);
#pragma unroll
      for (int i = 0; i < N; ++i) square += h[i] * h[i];
    }
    const float mean = row_sum(square, shared) / static_cast<float>(body.width);
    const float scale = 1.0f / sqrtf(mean + body.eps);
#pragma unroll
    for (int p = 0; p < kNormHeld; ++p) {
      const int64_t at = begin + p * step;
      if (mine && at < body.width) body.write(held[p], row, at, scale);
    }
    for (int64_t at = begin + kNormHeld * step; mine && at < body.width; at += step) {
      float h[N];
      body.read(h, row, at);
      body.write(h, row, at, scale);
    }
  }
}

template <typename Body>
Status normalise(const char* op, const Cuda& cuda, int64_t rows, int64_t width, const Body& body) {
  if (rows <= 0 || width <= 0) return {};
  const int64_t packs = divide_up(width, kNormPack);
  unsigned x = 32;
  while (x < 512 && x * 2 < packs) x *= 2;
  const unsigned y = std::max(1u, 256 / x);
  const int64_t most = static_cast<int64_t>(std::max(cuda.multiprocessors, 1)) * 32;
  normalise_kernel<<<static_cast<unsigned>(std::min(divide_up(rows, y), most)), dim3(x, y), 0, cuda.stream>>>(rows, body);
  return launched(op);
}

}  // namespace krait::cuda

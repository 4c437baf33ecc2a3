// A 64 × 64 tile of a · bᵀ by one block of 256 threads, for operands that are computed while they are loaded.
#pragma once

#include "mma.cuh"

namespace krait::cuda {

inline constexpr int32_t kTile = 64;
inline constexpr int32_t kTileThreads = 256;

// Which index neighbouring threads walk while an operand is loaded: the one that is contiguous in its memory.
enum class Along { depth, rows };

// E is what the operands are rounded to; sums are float32, in the order of depth for float, in that of the tensor cores for bfloat16.
template <typename E>
class Tile;

template <>
class Tile<float> {
 public:
  static constexpr int32_t kDepth = 16;
  struct __align__(16) Shared {
    float a[kDepth][kTile + 4];
    float b[kDepth][kTile + 4];
  };

  // a and b: (row in [0, 64), k in [0, depth)) → float, zero for rows outside.
  template <Along kA, Along kB, typename A, typename B>
  __device__ void multiply(Shared& shared, int32_t depth, A a, B b) {
    const int32_t y = static_cast<int32_t>(threadIdx.x) / 16 * 4, x = static_cast<int32_t>(threadIdx.x) % 16 * 4;
    for (int32_t begin = 0; begin < depth; begin += kDepth) {
      __syncthreads();
      load<kA>(shared.a, begin, depth, a);
      load<kB>(shared.b, begin, depth, b);
      __syncthreads();
#pragma unroll
      for (int32_t k = 0; k < kDepth; ++k) {
        const float4 p = *reinterpret_cast<const float4*>(&shared.a[k][y]);
        const float4 q = *reinterpret_cast<const float4*>(&shared.b[k][x]);
        const float rows[4] = {p.x, p.y, p.z, p.w}, columns[4] = {q.x, q.y, q.z, q.w};
#pragma unroll
        for (int32_t i = 0; i < 4; ++i) {
#pragma unroll
          for (int32_t j = 0; j < 4; ++j) sum_[i][j] = fmaf(rows[i], columns[j], sum_[i][j]);
        }
      }
    }
  }

  // body(row, column, sum&) for the elements this thread holds.
  template <typename Body>
  __device__ void each(Body body) {
    const int32_t y = static_cast<int32_t>(threadIdx.x) / 16 * 4, x = static_cast<int32_t>(threadIdx.x) % 16 * 4;
#pragma unroll
    for (int32_t i = 0; i < 4; ++i) {
#pragma unroll
      for (int32_t j = 0; j < 4; ++j) body(y + i, x + j, sum_[i][j]);
    }
  }

 private:
  template <Along kAlong, typename Load>
  __device__ static void load(float (&to)[kDepth][kTile + 4], int32_t begin, int32_t depth, Load from) {
#pragma unroll
    for (int32_t i = static_cast<int32_t>(threadIdx.x); i < kTile * kDepth; i += kTileThreads) {
      const int32_t row = kAlong == Along::depth ? i / kDepth : i % kTile;
      const int32_t k = kAlong == Along::depth ? i % kDepth : i / kTile;
      to[k][row] = begin + k < depth ? from(row, begin + k) : 0.0f;
    }
  }

  float sum_[4][4] = {};
};

template <>
class Tile<__nv_bfloat16> {
 public:
  static constexpr int32_t kDepth = 32;
  // A pitch of 20 words lets the 8 × 4 lanes of a fragment meet 32 banks.
  struct __align__(16) Shared {
    uint32_t a[kTile][kDepth / 2 + 4];
    uint32_t b[kTile][kDepth / 2 + 4];
  };

  template <Along kA, Along kB, typename A, typename B>
  __device__ void multiply(Shared& shared, int32_t depth, A a, B b) {
    const int32_t g = static_cast<int32_t>(threadIdx.x) % 32 / 4, t = static_cast<int32_t>(threadIdx.x) % 4;
    const int32_t y = top() + g, x = left() + g;
    for (int32_t begin = 0; begin < depth; begin += kDepth) {
      __syncthreads();
      load<kA>(shared.a, begin, depth, a);
      load<kB>(shared.b, begin, depth, b);
      __syncthreads();
#pragma unroll
      for (int32_t k = 0; k < kDepth / 2; k += 8) {
        const uint32_t rows[4] = {shared.a[y][k + t], shared.a[y + 8][k + t], shared.a[y][k + t + 4], shared.a[y + 8][k + t + 4]};
#pragma unroll
        for (int32_t j = 0; j < 4; ++j) mma_bf16(sum_[j], rows, shared.b[x + 8 * j][k + t], shared.b[x + 8 * j][k + t + 4]);
      }
    }
  }

  template <typename Body>
  __device__ void each(Body body) {
    const int32_t g = static_cast<int32_t>(threadIdx.x) % 32 / 4, t = static_cast<int32_t>(threadIdx.x) % 4;
#pragma unroll
    for (int32_t j = 0; j < 4; ++j) {
#pragma unroll
      for (int32_t i = 0; i < 4; ++i) body(top() + g + i / 2 * 8, left() + 8 * j + 2 * t + i % 2, sum_[j][i]);
    }
  }

 private:
  // Eight warps, each 16 rows by 32 columns.
  __device__ static int32_t top() { return static_cast<int32_t>(threadIdx.x) / 32 % 4 * 16; }
  __device__ static int32_t left() { return static_cast<int32_t>(threadIdx.x) / 128 * 32; }

  template <Along kAlong, typename Load>
  __device__ static void load(uint32_t (&to)[kTile][kDepth / 2 + 4], int32_t begin, int32_t depth, Load from) {
#pragma unroll
    for (int32_t i = static_cast<int32_t>(threadIdx.x); i < kTile * kDepth / 2; i += kTileThreads) {
      const int32_t row = kAlong == Along::depth ? i / (kDepth / 2) : i % kTile;
      const int32_t pair = kAlong == Along::depth ? i % (kDepth / 2) : i / kTile;
      const int32_t k = begin + 2 * pair;
      to[row][pair] = pack_bf16(k < depth ? from(row, k) : 0.0f, k + 1 < depth ? from(row, k + 1) : 0.0f);
    }
  }

  float sum_[4][4] = {};
};

}  // namespace krait::cuda

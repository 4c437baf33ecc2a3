// Attention in float32 on the plain cores: 16 × 16 threads, each 4 rows by 2 keys of the scores and 4 rows by kD / 16 columns of the output.
#pragma once

#include "attention.cuh"

namespace krait::cuda {

template <int32_t kD>
struct AttentionF32 {
  static constexpr int32_t kKeys = 32;
  static constexpr int32_t kThreads = 256;
  struct Shared {
    float q[kTileRows][kD + 4];
    float k[kKeys][kD + 4];
    float v[kKeys][kD + 4];
    float p[kTileRows][kKeys + 4];
    const float* keys[kKeys];
    const float* values[kKeys];
  };
};

template <int32_t kD>
__device__ __forceinline__ void load_row_f32(float (&to)[kD + 4], const float* from, int32_t at, int32_t D, bool wide) {
  float4 value = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
  if (from != nullptr && at < D) {
    if (wide) {
      value = *reinterpret_cast<const float4*>(from + at);
    } else {
      value.x = from[at];
      if (at + 1 < D) value.y = from[at + 1];
      if (at + 2 < D) value.z = from[at + 2];
      if (at + 3 < D) value.w = from[at + 3];
    }
  }
  *reinterpret_cast<float4*>(&to[at]) = value;
}

// Blocks: pieces × Hk. Walk: CausalWalk or GeneralWalk.
template <int32_t kD, template <typename, int32_t, int32_t> class Walk>
__global__ void __launch_bounds__(256) attention_f32(const Attention<float> a) {
  using Layout = AttentionF32<kD>;
  constexpr int32_t kKeys = Layout::kKeys, kColumns = kD / 64;
  extern __shared__ float4 shared_memory[];
  auto& shared = *reinterpret_cast<typename Layout::Shared*>(shared_memory);
  const int32_t thread = static_cast<int32_t>(threadIdx.x);
  const int32_t x = thread % 16, y = thread / 16 * 4;
  const int32_t head = static_cast<int32_t>(blockIdx.x) % a.Hk;
  const Piece piece = a.pieces[static_cast<int32_t>(blockIdx.x) / a.Hk];
  if (piece.sequence < 0) return;
  using Keys = Walk<float, kKeys, 4>;
  const typename Keys::Span tile = Keys::span(a, piece);
  if (tile.rows <= 0) return;

  for (int32_t i = thread; i < kTileRows * kD; i += Layout::kThreads) {
    const int32_t r = i / kD, d = i % kD;
    shared.q[r][d] = turned_query(a, tile, head, r, d);
  }

  int64_t position[4];
#pragma unroll
  for (int32_t r = 0; r < 4; ++r) position[r] = y + r < tile.rows ? tile.start + tile.token_of(y + r, a.R) : -1;
  // The rows of a warp are its own: 8 of them from `y` of its first thread.
  const bool is_active = thread / 32 * 8 < tile.rows;
  float top[4], total[4], sum[4][kColumns][4];
#pragma unroll
  for (int32_t r = 0; r < 4; ++r) {
    top[r] = -INFINITY;
    total[r] = 0.0f;
#pragma unroll
    for (int32_t c = 0; c < kColumns; ++c) sum[r][c][0] = sum[r][c][1] = sum[r][c][2] = sum[r][c][3] = 0.0f;
  }

  for (Keys walk(a, tile, position); !walk.done(); walk.next(a, tile, position)) {
    // The barrier below also ends the use of the block before; that of its pointers has ended already.
    if (thread < kKeys) walk.find(a, tile, thread, head, shared.keys[thread], shared.values[thread]);
    __syncthreads();
    for (int32_t i = thread; i < kKeys * kD / 4; i += Layout::kThreads) {
      const int32_t j = i / (kD / 4), d = i % (kD / 4) * 4;
      load_row_f32<kD>(shared.k[j], shared.keys[j], d, a.D, a.wide);
      load_row_f32<kD>(shared.v[j], shared.values[j], d, a.D, a.wide);
    }
    __syncthreads();
    if (!is_active) continue;

    float score[4][2] = {};
#pragma unroll 4
    for (int32_t d = 0; d < kD; d += 4) {
      const float4 k0 = *reinterpret_cast<const float4*>(&shared.k[x][d]);
      const float4 k1 = *reinterpret_cast<const float4*>(&shared.k[x + 16][d]);
#pragma unroll
      for (int32_t r = 0; r < 4; ++r) {
        const float4 q = *reinterpret_cast<const float4*>(&shared.q[y + r][d]);
        score[r][0] = fmaf(q.w, k0.w, fmaf(q.z, k0.z, fmaf(q.y, k0.y, fmaf(q.x, k0.x, score[r][0]))));
        score[r][1] = fmaf(q.w, k1.w, fmaf(q.z, k1.z, fmaf(q.y, k1.y, fmaf(q.x, k1.x, score[r][1]))));
      }
    }
#pragma unroll
    for (int32_t r = 0; r < 4; ++r) {
      const auto mask = walk.mask(a, tile, position, r);
      const float s0 = mask.sees(x) ? a.scale * score[r][0] : -INFINITY;
      const float s1 = mask.sees(x + 16) ? a.scale * score[r][1] : -INFINITY;
      float highest = larger(s0, s1);
#pragma unroll
      for (int32_t step = 8; step > 0; step /= 2) highest = larger(highest, __shfl_xor_sync(0xffffffffu, highest, step));
      highest = larger(top[r], highest);
      // A row that has seen no key yet keeps its zeros.
      const bool any = highest != -INFINITY;
      const float rescale = any ? expf(top[r] - highest) : 1.0f;
      const float p0 = any ? expf(s0 - highest) : 0.0f, p1 = any ? expf(s1 - highest) : 0.0f;
      top[r] = highest;
      float part = p0 + p1;
#pragma unroll
      for (int32_t step = 8; step > 0; step /= 2) part += __shfl_xor_sync(0xffffffffu, part, step);
      total[r] = fmaf(total[r], rescale, part);
#pragma unroll
      for (int32_t c = 0; c < kColumns; ++c) {
#pragma unroll
        for (int32_t e = 0; e < 4; ++e) sum[r][c][e] *= rescale;
      }
      shared.p[y + r][x] = p0;
      shared.p[y + r][x + 16] = p1;
    }
    __syncwarp();
#pragma unroll 2
    for (int32_t j = 0; j < kKeys; j += 4) {
      float p[4][4];
#pragma unroll
      for (int32_t r = 0; r < 4; ++r) *reinterpret_cast<float4*>(p[r]) = *reinterpret_cast<const float4*>(&shared.p[y + r][j]);
#pragma unroll
      for (int32_t e = 0; e < 4; ++e) {
#pragma unroll
        for (int32_t c = 0; c < kColumns; ++c) {
          const float4 v = *reinterpret_cast<const float4*>(&shared.v[j + e][64 * c + 4 * x]);
#pragma unroll
          for (int32_t r = 0; r < 4; ++r) {
            sum[r][c][0] = fmaf(p[r][e], v.x, sum[r][c][0]);
            sum[r][c][1] = fmaf(p[r][e], v.y, sum[r][c][1]);
            sum[r][c][2] = fmaf(p[r][e], v.z, sum[r][c][2]);
            sum[r][c][3] = fmaf(p[r][e], v.w, sum[r][c][3]);
          }
        }
      }
    }
  }

#pragma unroll
  for (int32_t r = 0; r < 4; ++r) {
    if (y + r >= tile.rows) continue;
    float* to = query_row(a, tile, a.y, a.y_row, head, y + r);
#pragma unroll
    for (int32_t c = 0; c < kColumns; ++c) {
#pragma unroll
      for (int32_t e = 0; e < 4; ++e) {
        const int32_t d = 64 * c + 4 * x + e;
        if (d < a.D) to[d] = sum[r][c][e] / total[r];
      }
    }
  }
}

}  // namespace krait::cuda

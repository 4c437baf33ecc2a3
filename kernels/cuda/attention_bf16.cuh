// Attention in bfloat16 on the tensor cores, sums and softmax in float32: four warps of 16 rows each, blocks of 64 keys.
#pragma once

#include "attention.cuh"
#include "mma.cuh"

namespace krait::cuda {

template <int32_t kD>
struct AttentionBf16 {
  static constexpr int32_t kKeys = 64;
  static constexpr int32_t kThreads = 128;
  static constexpr int32_t kPitch = kD + 8;  // 16 bytes more than a multiple of 128: eight rows meet all banks
  struct Shared {
    __nv_bfloat16 q[kTileRows][kPitch];
    __nv_bfloat16 k[kKeys][kPitch];
    __nv_bfloat16 v[kKeys][kPitch];
    const __nv_bfloat16* keys[kKeys];
    const __nv_bfloat16* values[kKeys];
  };
};

// Eight elements from `at` on.
__device__ __forceinline__ void load_row_bf16(__nv_bfloat16* to, const __nv_bfloat16* from, int32_t at, int32_t D, bool wide) {
  uint4 value = make_uint4(0, 0, 0, 0);
  if (from != nullptr && at < D) {
    if (wide) {
      value = *reinterpret_cast<const uint4*>(from + at);
    } else {
      const __nv_bfloat16 zero = __float2bfloat16_rn(0.0f);
      __nv_bfloat162 pairs[4];
#pragma unroll
      for (int32_t i = 0; i < 4; ++i) {
        pairs[i].x = at + 2 * i < D ? from[at + 2 * i] : zero;
        pairs[i].y = at + 2 * i + 1 < D ? from[at + 2 * i + 1] : zero;
      }
      value = *reinterpret_cast<const uint4*>(pairs);
    }
  }
  *reinterpret_cast<uint4*>(to + at) = value;
}

// Blocks: pieces × Hk. Walk: CausalWalk or GeneralWalk.
template <int32_t kD, template <typename, int32_t, int32_t> class Walk>
__global__ void __launch_bounds__(128) attention_bf16(const Attention<__nv_bfloat16> a) {
  using Layout = AttentionBf16<kD>;
  constexpr int32_t kKeys = Layout::kKeys;
  extern __shared__ float4 shared_memory[];
  auto& shared = *reinterpret_cast<typename Layout::Shared*>(shared_memory);
  const int32_t thread = static_cast<int32_t>(threadIdx.x);
  const int32_t lane = thread % 32, g = lane / 4, t4 = lane % 4;
  const int32_t top_row = thread / 32 * 16;
  const int32_t head = static_cast<int32_t>(blockIdx.x) % a.Hk;
  const Piece piece = a.pieces[static_cast<int32_t>(blockIdx.x) / a.Hk];
  if (piece.sequence < 0) return;
  using Keys = Walk<__nv_bfloat16, kKeys, 2>;
  const typename Keys::Span tile = Keys::span(a, piece);
  if (tile.rows <= 0) return;

  for (int32_t i = thread; i < kTileRows * kD; i += Layout::kThreads) {
    const int32_t r = i / kD, d = i % kD;
    shared.q[r][d] = __float2bfloat16_rn(turned_query(a, tile, head, r, d));
  }

  // This thread's rows are g and g + 8 of its warp's.
  int64_t position[2];
#pragma unroll
  for (int32_t i = 0; i < 2; ++i) {
    const int32_t r = top_row + g + 8 * i;
    position[i] = r < tile.rows ? tile.start + tile.token_of(r, a.R) : -1;
  }
  const bool is_active = top_row < tile.rows;
  const float scale = a.scale * 1.44269504f;  // powers of two instead of e
  float top[2] = {-INFINITY, -INFINITY};
  float total[2] = {0.0f, 0.0f};  // of this thread's columns only
  float sum[kD / 8][4];
#pragma unroll
  for (int32_t c = 0; c < kD / 8; ++c) sum[c][0] = sum[c][1] = sum[c][2] = sum[c][3] = 0.0f;

  for (Keys walk(a, tile, position); !walk.done(); walk.next(a, tile, position)) {
    // The barrier below also ends the use of the block before; that of its pointers has ended already.
    if (thread < kKeys) walk.find(a, tile, thread, head, shared.keys[thread], shared.values[thread]);
    __syncthreads();
    for (int32_t i = thread; i < kKeys * kD / 8; i += Layout::kThreads) {
      const int32_t j = i / (kD / 8), d = i % (kD / 8) * 8;
      load_row_bf16(shared.k[j], shared.keys[j], d, a.D, a.wide);
      load_row_bf16(shared.v[j], shared.values[j], d, a.D, a.wide);
    }
    __syncthreads();
    if (!is_active) continue;

    float score[kKeys / 8][4] = {};
#pragma unroll 4
    for (int32_t d = 0; d < kD; d += 16) {
      // Matrices: rows 0-7 and 8-15 at d, the same at d + 8.
      uint32_t q[4];
      load_matrices(q, &shared.q[top_row + lane % 16][d + lane / 16 * 8]);
#pragma unroll
      for (int32_t n = 0; n < kKeys / 8; n += 2) {
        // Matrices: keys 8n … at d and d + 8, keys 8(n + 1) … at d and d + 8.
        uint32_t k[4];
        load_matrices(k, &shared.k[8 * n + lane / 16 * 8 + lane % 8][d + lane / 8 % 2 * 8]);
        mma_bf16(score[n], q, k[0], k[1]);
        mma_bf16(score[n + 1], q, k[2], k[3]);
      }
    }

#pragma unroll
    for (int32_t i = 0; i < 2; ++i) {
      const auto mask = walk.mask(a, tile, position, i);
      float highest = -INFINITY;
#pragma unroll
      for (int32_t n = 0; n < kKeys / 8; ++n) {
#pragma unroll
        for (int32_t e = 0; e < 2; ++e) {
          float& s = score[n][2 * i + e];
          s = mask.sees(8 * n + 2 * t4 + e) ? scale * s : -INFINITY;
          highest = larger(highest, s);
        }
      }
      highest = larger(highest, __shfl_xor_sync(0xffffffffu, highest, 1));
      highest = larger(highest, __shfl_xor_sync(0xffffffffu, highest, 2));
      highest = larger(top[i], highest);
      // A row that has seen no key yet keeps its zeros.
      const bool any = highest != -INFINITY;
      const float rescale = any ? exp2f(top[i] - highest) : 1.0f;
      top[i] = highest;
      float part = 0.0f;
#pragma unroll
      for (int32_t n = 0; n < kKeys / 8; ++n) {
#pragma unroll
        for (int32_t e = 0; e < 2; ++e) {
          float& s = score[n][2 * i + e];
          s = any ? exp2f(s - highest) : 0.0f;
          part += s;
        }
      }
      total[i] = fmaf(total[i], rescale, part);
#pragma unroll
      for (int32_t c = 0; c < kD / 8; ++c) {
        sum[c][2 * i] *= rescale;
        sum[c][2 * i + 1] *= rescale;
      }
    }

#pragma unroll
    for (int32_t j = 0; j < kKeys / 16; ++j) {
      // The scores of 16 keys lie as the a operand wants them.
      const uint32_t p[4] = {pack_bf16(score[2 * j][0], score[2 * j][1]), pack_bf16(score[2 * j][2], score[2 * j][3]),
                             pack_bf16(score[2 * j + 1][0], score[2 * j + 1][1]), pack_bf16(score[2 * j + 1][2], score[2 * j + 1][3])};
#pragma unroll
      for (int32_t c = 0; c < kD / 8; c += 2) {
        // Matrices: keys 16j … and 16j + 8 … at column 8c, the same at column 8(c + 1).
        uint32_t v[4];
        load_matrices_transposed(v, &shared.v[16 * j + lane % 16][8 * c + lane / 16 * 8]);
        mma_bf16(sum[c], p, v[0], v[1]);
        mma_bf16(sum[c + 1], p, v[2], v[3]);
      }
    }
  }

#pragma unroll
  for (int32_t i = 0; i < 2; ++i) {
    total[i] += __shfl_xor_sync(0xffffffffu, total[i], 1);
    total[i] += __shfl_xor_sync(0xffffffffu, total[i], 2);
    const int32_t r = top_row + g + 8 * i;
    if (r >= tile.rows) continue;
    __nv_bfloat16* to = query_row(a, tile, a.y, a.y_row, head, r);
#pragma unroll
    for (int32_t c = 0; c < kD / 8; ++c) {
#pragma unroll
      for (int32_t e = 0; e < 2; ++e) {
        const int32_t d = 8 * c + 2 * t4 + e;
        if (d < a.D) to[d] = __float2bfloat16_rn(sum[c][2 * i + e] / total[i]);
      }
    }
  }
}

}  // namespace krait::cuda

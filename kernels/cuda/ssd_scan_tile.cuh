// What a block of the fused ssd_scan kernel keeps in shared memory, how it gets there, and who works on which part.
#pragma once

#include "ssd_scan_chain.cuh"
#include "ssd_scan_products.cuh"

namespace krait::cuda {

template <int32_t Q, int32_t N>
struct Fused {
  static constexpr int32_t kP = 64;
  static constexpr int32_t kTeams = 2;  // of 8 warps; each works on a head of its own
  static constexpr int32_t kTeamThreads = 256;
  static constexpr int32_t kMostHeads = 8;
  static constexpr int32_t kRowTiles = Q / 16;
  static constexpr int32_t kColumns = kP * kRowTiles / 8;  // of y that one warp computes, for 16 tokens
  static constexpr int32_t kParts = N / 16;                // 8-column parts of the state that one warp holds, for 16 rows of P
  static constexpr int32_t kVectors = kLinkVectors<N>;
  struct Shared {
    __nv_bfloat16 B[Q * N];
    __nv_bfloat16 C[Q * N];
    __nv_bfloat16 x[kTeams][2][Q * kP];
    __nv_bfloat16 state[kTeams][kP * N];
    float2 sums[kMostHeads][Q];            // Σ log₂ of the decays up to and with the token, as high + low
    float steps[kMostHeads][Q];            // Δ
    __nv_bfloat16 weights[kMostHeads][Q];  // of a token in the state that the tile adds
    float totals[kMostHeads];              // decay of the whole tile
    float skips[kMostHeads][kP];           // D
    __nv_bfloat16 reach[kTeams * 8][Q];    // of a token at the start of a warp's own 16 rows
    bool begun[kTeams * 8];                // all chains of a warp
    // C·Bᵀ by 16 × 16 elements at and below the diagonal, row after row, each as the lanes hold an a operand.
    uint4 products[kRowTiles * (kRowTiles + 1) / 2][32];
    Job job;
  };
};

__device__ __forceinline__ float power_of_two(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

__device__ __forceinline__ float reach_between(float2 later, float2 earlier) {
  const float value = (later.x - earlier.x) + (later.y - earlier.y);
  return power_of_two(value > 0.0f ? 0.0f : value);
}

inline constexpr int32_t kRowBytes = 128;  // of a panel

// Where a 16-byte chunk of a row lies in a tile in shared memory, in elements: panels of 64 columns, each as
// warpgroup_products wants them; eight rows of one column meet all banks.
template <int32_t kRows>
__device__ __forceinline__ int32_t chunk_index(int32_t row, int32_t chunk) {
  return (chunk / 8 * kRows + row) * 64 + ((chunk % 8) ^ (row & 7)) * 8;
}

// `rows` of kRows rows exist, the others read as zeros. To be committed and waited for.
template <int32_t kRows, int32_t kRowChunks>
__device__ __forceinline__ void load_tile(__nv_bfloat16* to, const __nv_bfloat16* from, int64_t stride, int32_t rows, int32_t thread,
                                          int32_t threads, bool wide) {
#pragma unroll 4
  for (int32_t i = thread; i < kRows * kRowChunks; i += threads) {
    const int32_t row = i / kRowChunks, chunk = i % kRowChunks;
    __nv_bfloat16* at = to + chunk_index<kRows>(row, chunk);
    const bool exists = row < rows;
    const __nv_bfloat16* source = exists ? from + row * stride + chunk * 8 : from;
    if (wide) {
      const uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(at));
      asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(source), "r"(exists ? 16 : 0) : "memory");
    } else {
#pragma unroll
      for (int32_t e = 0; e < 8; ++e) at[e] = exists ? source[e] : __float2bfloat16_rn(0.0f);
    }
  }
}

__device__ __forceinline__ void end_loads() { asm volatile("cp.async.commit_group;\n cp.async.wait_group 0;" ::: "memory"); }

__device__ __forceinline__ void team_barrier(int32_t team) { asm volatile("bar.sync %0, 256;" ::"r"(1 + team) : "memory"); }

// Δ, decays and weights of one head, by one warp.
template <int32_t Q, int32_t N>
__device__ void tile_decays(const SsdScan<__nv_bfloat16>& s, const Chunk& chunk, int32_t h, int32_t i, int32_t lane,
                            typename Fused<Q, N>::Shared& shared) {
  constexpr int32_t kEach = Q / 32;
  const double A = s.A(h);
  double sums[kEach];
  float steps[kEach];
  double sum = 0.0;
#pragma unroll
  for (int32_t e = 0; e < kEach; ++e) {
    const int32_t l = lane * kEach + e;
    steps[e] = l < chunk.length ? s.step(chunk.token + l, h) : 0.0f;
    if (l < chunk.length) sum += exponent(steps[e], A) * 1.4426950408889634;
    sums[e] = sum;
  }
  double upto = sum;
#pragma unroll
  for (int32_t distance = 1; distance < 32; distance *= 2) {
    const double other = __shfl_up_sync(0xffffffffu, upto, distance);
    if (lane >= distance) upto += other;
  }
  double before = __shfl_up_sync(0xffffffffu, upto, 1);
  if (lane == 0) before = 0.0;
  const double last = __shfl_sync(0xffffffffu, before + sum, 31);
  const float2 end = split(last);
#pragma unroll
  for (int32_t e = 0; e < kEach; ++e) {
    const int32_t l = lane * kEach + e;
    const float2 here = split(before + sums[e]);
    shared.sums[i][l] = here;
    shared.steps[i][l] = steps[e];
    shared.weights[i][l] = __float2bfloat16_rn(reach_between(end, here) * steps[e]);
  }
  if (lane == 0) shared.totals[i] = reach_between(end, make_float2(0.0f, 0.0f));
}

// Which part of the work of its team a thread has.
template <int32_t Q>
struct Place {
  int32_t team, thread, warp, lane;
  int32_t g, t;          // as in mma.cuh
  int32_t row_tile, p0;  // of y: the warp's 16 tokens and first column. Long and short rows of C·Bᵀ meet on each scheduler
  int32_t rows16, half;  // of the state: the warp's 16 rows and half of the columns

  __device__ __forceinline__ explicit Place(uint32_t id) {
    team = static_cast<int32_t>(id / 256), thread = static_cast<int32_t>(id % 256);
    warp = thread / 32, lane = thread % 32, g = lane / 4, t = lane % 4;
    row_tile = warp < 4 ? warp : (Q == 128 ? 11 : 7) - warp;
    p0 = Q == 128 ? 0 : warp / 4 * 32;
    rows16 = warp % 4, half = warp / 4;
  }
  __device__ int32_t first_product() const { return row_tile * (row_tile + 1) / 2; }
};

}  // namespace krait::cuda

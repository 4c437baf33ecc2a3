// ssd_scan in bfloat16 on the tensor cores, in one kernel that reads x, B and C once and writes y once. A block takes a tile of Q tokens
// of one sequence (Q divides the chunk size) and up to eight heads that share B and C; C·Bᵀ is computed once for them. What the tile adds
// to a head's state is known without the state before it; states pass from tile to tile through memory that stays in the L2 cache, warp
// by warp, strictly in the order of the sequence: a state depends on the tiles behind it alone, and cuts at chunks keep the bits.
#pragma once

#include "ssd_scan_tile.cuh"

namespace krait::cuda {

// C·Bᵀ at and below the diagonal, once for all heads of the block.
template <int32_t Q, int32_t N>
__device__ __forceinline__ void tile_products(typename Fused<Q, N>::Shared& shared) {
  using F = Fused<Q, N>;
  // Q / 16 rows of tiles are shared by 16 warps.
  constexpr int32_t kSharers = 16 / F::kRowTiles;
  const Place<Q> me(threadIdx.x);
  uint32_t c[N / 16][4];
#pragma unroll
  for (int32_t k = 0; k < N / 16; ++k) load_matrices(c[k], shared.C + chunk_index<Q>(16 * me.row_tile + me.lane % 16, 2 * k + me.lane / 16));
  for (int32_t j = me.team * (kSharers / 2) + (Q == 128 ? 0 : me.warp / 4); j <= me.row_tile; j += kSharers) {
    float sum[2][4] = {};
#pragma unroll
    for (int32_t k = 0; k < N / 16; ++k) {
      uint32_t b[4];
      load_matrices(b, shared.B + chunk_index<Q>(16 * j + me.lane / 16 * 8 + me.lane % 8, 2 * k + me.lane / 8 % 2));
      mma_bf16(sum[0], c[k], b[0], b[1]);
      mma_bf16(sum[1], c[k], b[2], b[3]);
    }
    shared.products[me.first_product() + j][me.lane] = make_uint4(pack_bf16(sum[0][0], sum[0][1]), pack_bf16(sum[0][2], sum[0][3]),
                                                                  pack_bf16(sum[1][0], sum[1][1]), pack_bf16(sum[1][2], sum[1][3]));
  }
}

// What the tile adds to the state of the block's head i: Σ_l w_l x_l ⊗ B_l.
template <int32_t Q, int32_t N>
__device__ __forceinline__ void add_tile(const typename Fused<Q, N>::Shared& shared, int32_t i, const __nv_bfloat16* x, float (&added)[N / 4]) {
  constexpr int32_t kParts = Fused<Q, N>::kParts;
  const Place<Q> me(anew(threadIdx.x));
  const uint32_t x_rows = anew(place_of(x) + 2 * chunk_index<Q>(me.lane / 16 * 8 + me.lane % 8, 2 * me.rows16 + me.lane / 8 % 2));
  const __nv_bfloat16* weights = shared.weights[i] + 2 * me.t;
  const auto rows_of_x = [&](uint32_t (&a)[4], int32_t k) {
    load_matrices_transposed(a, x_rows + k * 16 * kRowBytes);
    const uint32_t low = pair_at(weights + 16 * k), high = pair_at(weights + 16 * k + 8);
    a[0] = scaled(a[0], low), a[1] = scaled(a[1], low), a[2] = scaled(a[2], high), a[3] = scaled(a[3], high);
  };
  if constexpr (kWarpgroups && N == 128) {
    uint32_t a[Q / 16][4];
#pragma unroll
    for (int32_t k = 0; k < Q / 16; ++k) rows_of_x(a[k], k);
    warpgroup_products<Q / 16, true>(added, a, place_of(shared.B) + me.half * Q * kRowBytes);
  } else {
    const uint32_t B_rows = anew(place_of(shared.B) + 2 * chunk_index<Q>(me.lane % 16, me.half * kParts + me.lane / 16));
#pragma unroll
    for (int32_t k = 0; k < Q / 16; ++k) {
      uint32_t a[4];
      rows_of_x(a, k);
#pragma unroll
      for (int32_t j = 0; j < kParts; j += 2) {
        uint32_t b[4];
        load_matrices_transposed(b, (B_rows ^ (16 * j)) + k * 16 * kRowBytes);
        mma_four(added + 4 * j, a, b[0], b[1]);
        mma_four(added + 4 * j + 4, a, b[2], b[3]);
      }
    }
  }
}

// The state before the tile comes from the tile before, or the sequence's slot; the one after it goes on the same way. The one before is
// left in shared memory, for the outputs.
template <int32_t Q, int32_t N>
__device__ __forceinline__ void pass_state(const SsdScan<__nv_bfloat16>& s, const Chain& chain, typename Fused<Q, N>::Shared& shared, int32_t i,
                                           float (&added)[N / 4]) {
  using F = Fused<Q, N>;
  constexpr int32_t P = F::kP, kParts = F::kParts;
  const Place<Q> me(anew(threadIdx.x));
  const Job& job = shared.job;
  const int64_t of_warp = (job.first_chain + i) * 8 + me.warp;
  float4* links = chain.links + of_warp * F::kVectors * 32 + me.lane;
  float* kept = kept_state(s, job, job.h0 + i, P * N);
  if (kept != nullptr) kept += (16 * me.rows16 + me.g) * N + me.half * (N / 2) + 2 * me.t;
  // Read before the wait: from here to the states' going on, all tiles behind are waiting too.
  const int32_t index = job.index;
  const bool goes_on = job.chunk.goes_on, begun = shared.begun[me.team * 8 + me.warp];
  const float total = shared.totals[i];
  float before[3 * F::kVectors] = {};
  if (index > 0) {
    if (!begun) {
      while (acquire(chain.begun + of_warp) == 0) {
      }
    }
    // One lane looks out for all: what waits must not crowd out what moves.
    if (me.lane == 0) {
      while (number_of(take_link(links)) != index) {
      }
    }
    __syncwarp();
    bool complete;
    do {
      bool own = true;
#pragma unroll
      for (int32_t v = 0; v < F::kVectors; ++v) {
        const float4 link = take_link(links + v * 32);
        before[3 * v] = link.x, before[3 * v + 1] = link.y, before[3 * v + 2] = link.z;
        own = own && number_of(link) == index;
      }
      complete = __all_sync(0xffffffffu, own) != 0;
    } while (!complete);
  } else if (kept != nullptr) {
#pragma unroll
    for (int32_t j = 0; j < kParts; ++j) {
#pragma unroll
      for (int32_t r = 0; r < 2; ++r) {
        const float* from = kept + r * 8 * N + 8 * j;
        const float2 pair = chain.wide_state ? *reinterpret_cast<const float2*>(from) : make_float2(from[0], from[1]);
        before[4 * j + 2 * r] = pair.x, before[4 * j + 2 * r + 1] = pair.y;
      }
    }
  }
#pragma unroll
  for (int32_t e = 0; e < 4 * kParts; ++e) added[e] = fmaf(total, before[e], added[e]);
  if (goes_on) {
    const auto value = [&](int32_t e) { return e < 4 * kParts ? added[e % (4 * kParts)] : 0.0f; };
#pragma unroll
    for (int32_t v = 0; v < F::kVectors; ++v) pass_link(links + v * 32, value(3 * v), value(3 * v + 1), value(3 * v + 2), index + 1);
    if (index == 0) {
      __syncwarp();
      if (me.lane == 0) release(chain.begun + of_warp, 1);
    }
  } else if (kept != nullptr) {
#pragma unroll
    for (int32_t j = 0; j < kParts; ++j) {
#pragma unroll
      for (int32_t e = 0; e < 4; ++e) kept[e / 2 * 8 * N + 8 * j + e % 2] = added[4 * j + e];
    }
  }
  if (!job.chunk.zero) {
    const uint32_t place = anew(2 * chunk_index<P>(16 * me.rows16 + me.g, me.half * kParts) + 4 * me.t);
#pragma unroll
    for (int32_t j = 0; j < kParts; ++j) {
      char* top = reinterpret_cast<char*>(shared.state[me.team]) + (place ^ (16 * j));
      *reinterpret_cast<uint32_t*>(top) = pack_bf16(before[4 * j], before[4 * j + 1]);
      *reinterpret_cast<uint32_t*>(top + 8 * kRowBytes) = pack_bf16(before[4 * j + 2], before[4 * j + 3]);
    }
  }
}

// y_i = e(start → i)·(e(0 → start)·C_i·Sᵀ + Σ_{j < start} C_i·B_j e(j → start) Δ_j x_j) + Σ_{start ≤ j ≤ i} C_i·B_j e(j → i) Δ_j x_j + D·x_i;
// e: decay; start: the first of the warp's 16 rows.
template <int32_t Q, int32_t N>
__device__ __forceinline__ void tile_outputs(const SsdScan<__nv_bfloat16>& s, const Chain& chain, typename Fused<Q, N>::Shared& shared, int32_t i,
                                             const __nv_bfloat16* x) {
  using F = Fused<Q, N>;
  constexpr int32_t P = F::kP;
  const Place<Q> me(anew(threadIdx.x));
  const Chunk& chunk = shared.job.chunk;
  const uint32_t state = place_of(shared.state[me.team]);
  const int32_t start = 16 * me.row_tile;
  constexpr int32_t kTiles = F::kColumns / 8;
  float sum[4 * kTiles] = {};
  const float2* sums = shared.sums[i];
  const float2 zero = make_float2(0.0f, 0.0f);
  const float2 begin = start == 0 ? zero : sums[start - 1];
  __nv_bfloat16* reach = shared.reach[me.team * 8 + me.warp];
  __syncwarp();
  for (int32_t j = me.lane; j < start; j += 32) reach[j] = __float2bfloat16_rn(reach_between(begin, sums[j]) * shared.steps[i][j]);
  if (!chunk.zero) {
    const uint32_t C_rows = anew(place_of(shared.C) + 2 * chunk_index<Q>(start + me.lane % 16, me.lane / 16));
    const auto rows_of_C = [&](uint32_t (&c)[4], int32_t k) { load_matrices(c, (C_rows ^ (32 * (k % 4))) + k / 4 * Q * kRowBytes); };
    if constexpr (kWarpgroups && Q == 128) {
      uint32_t c[N / 16][4];
#pragma unroll
      for (int32_t k = 0; k < N / 16; ++k) rows_of_C(c[k], k);
      warpgroup_products<N / 16, false>(sum, c, state);
    } else {
      const uint32_t state_rows = anew(state + 2 * chunk_index<P>(me.p0 + me.lane / 16 * 8 + me.lane % 8, me.lane / 8 % 2));
#pragma unroll
      for (int32_t k = 0; k < N / 16; ++k) {
        uint32_t c[4];
        rows_of_C(c, k);
#pragma unroll
        for (int32_t j = 0; j < kTiles; j += 2) {
          uint32_t b[4];
          load_matrices(b, (state_rows ^ (32 * (k % 4))) + (k / 4 * P + j * 8) * kRowBytes);
          mma_four(sum + 4 * j, c, b[0], b[1]);
          mma_four(sum + 4 * j + 4, c, b[2], b[3]);
        }
      }
    }
    const float scale = reach_between(begin, zero);
#pragma unroll
    for (int32_t e = 0; e < 4 * kTiles; ++e) sum[e] *= scale;
  }
  if (start >= chunk.length) return;
  __syncwarp();
  const uint32_t x_rows = anew(place_of(x) + 2 * chunk_index<Q>(me.lane % 16, me.p0 / 8 + me.lane / 16));
  for (int32_t k = 0; k < me.row_tile; ++k) {
    const uint32_t low = pair_at(reach + 16 * k + 2 * me.t), high = pair_at(reach + 16 * k + 2 * me.t + 8);
    const uint4 product = shared.products[me.first_product() + k][me.lane];
    const uint32_t a[4] = {scaled(product.x, low), scaled(product.y, low), scaled(product.z, high), scaled(product.w, high)};
#pragma unroll
    for (int32_t j = 0; j < kTiles; j += 2) {
      uint32_t b[4];
      load_matrices_transposed(b, (x_rows ^ (16 * j)) + k * 16 * kRowBytes);
      mma_four(sum + 4 * j, a, b[0], b[1]);
      mma_four(sum + 4 * j + 4, a, b[2], b[3]);
    }
  }
  const float2 mine[2] = {sums[start + me.g], sums[start + me.g + 8]};
  const float scale[2] = {reach_between(mine[0], begin), reach_between(mine[1], begin)};
#pragma unroll
  for (int32_t e = 0; e < 4 * kTiles; ++e) sum[e] *= scale[e / 2 % 2];
  {
    const uint4 product = shared.products[me.first_product() + me.row_tile][me.lane];
    const uint32_t pairs[4] = {product.x, product.y, product.z, product.w};
    uint32_t a[4];
#pragma unroll
    for (int32_t e = 0; e < 4; ++e) {
      const int32_t row = me.g + e % 2 * 8, column = 2 * me.t + e / 2 * 8;
      const float4 two = *reinterpret_cast<const float4*>(&sums[start + column]);
      const float2 steps = *reinterpret_cast<const float2*>(&shared.steps[i][start + column]);
      const float low = column <= row ? low_half(pairs[e]) * reach_between(mine[e % 2], make_float2(two.x, two.y)) * steps.x : 0.0f;
      const float high = column < row ? high_half(pairs[e]) * reach_between(mine[e % 2], make_float2(two.z, two.w)) * steps.y : 0.0f;
      a[e] = pack_bf16(low, high);
    }
#pragma unroll
    for (int32_t j = 0; j < kTiles; j += 2) {
      uint32_t b[4];
      load_matrices_transposed(b, (x_rows ^ (16 * j)) + start * kRowBytes);
      mma_four(sum + 4 * j, a, b[0], b[1]);
      mma_four(sum + 4 * j + 4, a, b[2], b[3]);
    }
  }

#pragma unroll
  for (int32_t r = 0; r < 2; ++r) {
    const int32_t row = start + me.g + 8 * r;
    const bool exists = row < chunk.length;
    __nv_bfloat16* y = s.y_at(chunk.token + row, shared.job.h0 + i) + me.p0;
    const uint32_t place = anew(2 * chunk_index<Q>(row, me.p0 / 8) + 4 * me.t);
#pragma unroll
    for (int32_t j = 0; j < kTiles; j += 2) {
      uint32_t pair[2];
#pragma unroll
      for (int32_t e = 0; e < 2; ++e) {
        const int32_t p = me.p0 + 8 * (j + e) + 2 * me.t;
        const uint32_t own = *reinterpret_cast<const uint32_t*>(reinterpret_cast<const char*>(x) + (place ^ (16 * (j + e))));
        const float2 skip = *reinterpret_cast<const float2*>(&shared.skips[i][p]);
        pair[e] = pack_bf16(fmaf(skip.x, low_half(own), sum[4 * (j + e) + 2 * r]), fmaf(skip.y, high_half(own), sum[4 * (j + e) + 2 * r + 1]));
      }
      // Neighbours trade halves: an even lane gets four columns of the first part, an odd one four of the second.
      const uint32_t other = __shfl_xor_sync(0xffffffffu, me.t % 2 == 0 ? pair[1] : pair[0], 1);
      const uint32_t low = me.t % 2 == 0 ? pair[0] : other, high = me.t % 2 == 0 ? other : pair[1];
      __nv_bfloat16* to = y + 8 * (j + me.t % 2) + me.t / 2 * 4;
      if (!exists) continue;
      if (chain.wide_y) {
        *reinterpret_cast<uint2*>(to) = make_uint2(low, high);
      } else {
        to[0] = __float2bfloat16_rn(low_half(low)), to[1] = __float2bfloat16_rn(high_half(low));
        to[2] = __float2bfloat16_rn(low_half(high)), to[3] = __float2bfloat16_rn(high_half(high));
      }
    }
  }
}

// Blocks: pieces × blocks.
template <int32_t Q, int32_t N>
__global__ void __launch_bounds__(512, 1) fused_kernel(const SsdScan<__nv_bfloat16> s, const Chain chain) {
  using F = Fused<Q, N>;
  constexpr int32_t P = F::kP, kWide = N / 8;
  extern __shared__ __align__(1024) float4 shared_memory[];
  auto& shared = *reinterpret_cast<typename F::Shared*>(shared_memory);
  const Place<Q> me(threadIdx.x);
  if (threadIdx.x == 0) take_job(s, chain, Q, shared.job);
  __syncthreads();
  const Job& job = shared.job;
  const Chunk& chunk = job.chunk;
  if (chunk.length == 0) return;

  if (chunk.length == 1) {
    // Always the last of several: its state comes from the chain.
    for (int32_t i = me.team; i < job.heads; i += F::kTeams) {
      const int32_t h = job.h0 + i;
      if (me.lane < 8) {
        while (acquire(chain.begun + (job.first_chain + i) * 8 + me.lane) == 0) {
        }
      }
      __syncwarp();
      const LinkedState<N> held{chain.links + (job.first_chain + i) * 8 * F::kVectors * 32, job.index, kept_state(s, job, h, P * N)};
      const float step = s.step(chunk.token, h);
      advance_rows(s, chunk.token, h, me.warp, P, 8, held, step, decay_to(split(exponent(step, s.A(h)))));
    }
    return;
  }

  load_tile<Q, kWide>(shared.B, s.B_at(chunk.token, job.group), s.B_row, chunk.length, static_cast<int32_t>(threadIdx.x), 512, chain.wide_B);
  load_tile<Q, kWide>(shared.C, s.C_at(chunk.token, job.group), s.C_row, chunk.length, static_cast<int32_t>(threadIdx.x), 512, chain.wide_C);
  if (me.team < job.heads) {
    load_tile<Q, 8>(shared.x[me.team][0], s.x_at(chunk.token, job.h0 + me.team), s.x_row, chunk.length, me.thread, F::kTeamThreads, chain.wide_x);
  }
  for (int32_t i = me.team * 8 + me.warp; i < job.heads; i += 16) tile_decays<Q, N>(s, chunk, job.h0 + i, i, me.lane, shared);
  for (int32_t i = static_cast<int32_t>(threadIdx.x); i < job.heads * P; i += 512) shared.skips[i / P][i % P] = s.skip(job.h0 + i / P, i % P);
  // Of this warp's chains; in a long sequence true of all blocks but the first.
  const bool begun =
      job.index == 0 || __all_sync(0xffffffffu, me.lane >= job.heads || acquire(chain.begun + (job.first_chain + me.lane) * 8 + me.warp) != 0) != 0;
  if (me.lane == 0) shared.begun[me.team * 8 + me.warp] = begun;
  end_loads();
  settle_shared();
  __syncthreads();

  tile_products<Q, N>(shared);
  __syncthreads();

  for (int32_t i = me.team, turn = 0; i < job.heads; i += F::kTeams, turn ^= 1) {
    const int32_t h = job.h0 + i;
    const __nv_bfloat16* x = shared.x[me.team][turn];
    end_loads();
    // This head's x is there, and nobody needs the last one's any more.
    team_barrier(me.team);
    if (i + F::kTeams < job.heads) {
      load_tile<Q, 8>(shared.x[me.team][turn ^ 1], s.x_at(chunk.token, h + F::kTeams), s.x_row, chunk.length, me.thread, F::kTeamThreads,
                      chain.wide_x);
    }
    float added[N / 4] = {};
    if (chunk.needed) add_tile<Q, N>(shared, i, x, added);
    pass_state<Q, N>(s, chain, shared, i, added);
    settle_shared();
    team_barrier(me.team);
    tile_outputs<Q, N>(s, chain, shared, i, x);
  }
}

}  // namespace krait::cuda

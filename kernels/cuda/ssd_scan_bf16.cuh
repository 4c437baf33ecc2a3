// ssd_scan in bfloat16 on the tensor cores, in one kernel that reads x, B and C once and writes y once. A block takes a tile of Q tokens
// of one sequence (Q divides the chunk size) and up to eight heads that share B and C; C·Bᵀ is computed once for them. What the tile adds
// to a head's state is known without the state before it; states pass from tile to tile through memory that stays in the L2 cache, warp
// by warp, strictly in the order of the sequence: a state depends on the tiles behind it alone, and cuts at chunks keep the bits.
#pragma once

#include "mma.cuh"
#include "rows.cuh"
#include "ssd_scan.cuh"

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
  static constexpr int32_t kVectors = (4 * kParts + 2) / 3;  // of three floats of the state that a thread passes on
  struct Shared {
    __nv_bfloat16 B[Q * N];
    __nv_bfloat16 C[Q * N];
    __nv_bfloat16 x[kTeams][2][Q * kP];
    __nv_bfloat16 state[kTeams][kP * N];
    float2 sums[kMostHeads][Q];      // Σ log₂ of the decays up to and with the token, as high + low
    float steps[kMostHeads][Q];      // Δ
    float weights[kMostHeads][Q];    // of a token in the state that the tile adds
    float totals[kMostHeads];        // decay of the whole tile
    float skips[kMostHeads][kP];     // D
    // C·Bᵀ by 16 × 16 elements at and below the diagonal, row after row, each as the lanes hold an a operand.
    uint4 products[kRowTiles * (kRowTiles + 1) / 2][32];
    float reach[kTeams * 8][Q];      // of a token at the start of a warp's own 16 rows
    int32_t ticket;
  };
};

// How states pass from tile to tile: 16 bytes at a time, three floats and the number of the tile that they enter. A reader that finds
// the number has the floats too: no fence, no second look. Numbers left in the memory by others mean nothing until the first tile of the
// sequence has written over them and said so in `begun`.
struct Chain {
  const Piece* pieces;
  const int32_t* first;  // pieces before each sequence
  int32_t heads;         // per block
  int32_t blocks;        // per piece
  bool by_sequence;
  int32_t* ticket;  // blocks take work in the order in which they start, so that nobody waits for a block that has not started
  int32_t* begun;   // [chains, H, 8 warps]
  float4* links;    // [chains, H, 8 warps, vectors, 32 lanes]
  bool wide_x, wide_B, wide_C, wide_y, wide_state;

  // Sequences of one tile need none. The first tiles of any two others are at least two apart.
  __device__ int64_t of(int32_t sequence) const { return by_sequence ? sequence : first[sequence] / 2; }
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

// The 16-byte chunk of a row in shared memory; eight rows of one column meet all banks.
template <int32_t kRowChunks>
__device__ __forceinline__ int32_t chunk_index(int32_t row, int32_t chunk) {
  return (row * kRowChunks + (chunk ^ (row & 7))) * 8;
}

// `rows` of kRows rows exist, the others read as zeros. To be committed and waited for.
template <int32_t kRows, int32_t kRowChunks>
__device__ __forceinline__ void load_tile(__nv_bfloat16* to, const __nv_bfloat16* from, int64_t stride, int32_t rows, int32_t thread,
                                          int32_t threads, bool wide) {
#pragma unroll 4
  for (int32_t i = thread; i < kRows * kRowChunks; i += threads) {
    const int32_t row = i / kRowChunks, chunk = i % kRowChunks;
    __nv_bfloat16* at = to + chunk_index<kRowChunks>(row, chunk);
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

__device__ __forceinline__ int32_t acquire(const int32_t* from) {
  int32_t value;
  asm volatile("ld.acquire.gpu.global.b32 %0, [%1];" : "=r"(value) : "l"(from) : "memory");
  return value;
}

__device__ __forceinline__ void release(int32_t* to, int32_t value) {
  asm volatile("st.release.gpu.global.b32 [%0], %1;" ::"l"(to), "r"(value) : "memory");
}

// One access of 16 bytes each.
__device__ __forceinline__ float4 take_link(const float4* from) {
  uint64_t low, high;
  asm volatile("{\n .reg .b128 link;\n ld.relaxed.gpu.global.b128 link, [%2];\n mov.b128 {%0, %1}, link;\n}" : "=l"(low), "=l"(high) : "l"(from) : "memory");
  return make_float4(__uint_as_float(static_cast<uint32_t>(low)), __uint_as_float(static_cast<uint32_t>(low >> 32)),
                     __uint_as_float(static_cast<uint32_t>(high)), __uint_as_float(static_cast<uint32_t>(high >> 32)));
}

__device__ __forceinline__ void pass_link(float4* to, float a, float b, float c, int32_t number) {
  const uint64_t low = __float_as_uint(a) | static_cast<uint64_t>(__float_as_uint(b)) << 32;
  const uint64_t high = __float_as_uint(c) | static_cast<uint64_t>(static_cast<uint32_t>(number)) << 32;
  asm volatile("{\n .reg .b128 link;\n mov.b128 link, {%1, %2};\n st.relaxed.gpu.global.b128 [%0], link;\n}" ::"l"(to), "l"(low), "l"(high) : "memory");
}

__device__ __forceinline__ int32_t number_of(const float4& link) { return __float_as_int(link.w); }

__device__ __forceinline__ uint32_t shared_address(const void* pointer) { return static_cast<uint32_t>(__cvta_generic_to_shared(pointer)); }

// As those of mma.cuh, by address.
__device__ __forceinline__ void load_matrices(uint32_t (&r)[4], uint32_t row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];" : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(row) : "memory");
}

__device__ __forceinline__ void load_matrices_transposed(uint32_t (&r)[4], uint32_t row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];" : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(row) : "memory");
}

__device__ __forceinline__ float low_half(uint32_t pair) { return __uint_as_float(pair << 16); }
__device__ __forceinline__ float high_half(uint32_t pair) { return __uint_as_float(pair & 0xffff0000u); }
__device__ __forceinline__ uint32_t scaled(uint32_t pair, float2 by) { return pack_bf16(low_half(pair) * by.x, high_half(pair) * by.y); }

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
    shared.weights[i][l] = reach_between(end, here) * steps[e];
  }
  if (lane == 0) shared.totals[i] = reach_between(end, make_float2(0.0f, 0.0f));
}

// The state of a head in its chain, by row and column.
template <int32_t N>
struct LinkedState {
  const float4* links;
  int32_t number;
  float* kept;  // [P, N], or null

  __device__ float load(int32_t p, int32_t n) const {
    const int32_t warp = n / (N / 2) * 4 + p / 16, part = n % (N / 2) / 8, lane = p % 8 * 4 + n % 8 / 2;
    const int32_t at = part * 4 + p % 16 / 8 * 2 + n % 2;
    float4 link;
    do {
      link = take_link(links + (warp * Fused<64, N>::kVectors + at / 3) * 32 + lane);
    } while (number_of(link) != number);
    return at % 3 == 0 ? link.x : at % 3 == 1 ? link.y : link.z;
  }
  __device__ void store(int32_t p, int32_t n, float value) const {
    if (kept != nullptr) kept[p * N + n] = value;
  }
};

// Blocks: pieces × blocks.
template <int32_t Q, int32_t N>
__global__ void __launch_bounds__(512, 1) fused_kernel(const SsdScan<__nv_bfloat16> s, const Chain chain) {
  using F = Fused<Q, N>;
  constexpr int32_t P = F::kP, kParts = F::kParts, kRowTiles = F::kRowTiles, kWide = N / 8;
  extern __shared__ __align__(1024) float4 shared_memory[];
  auto& shared = *reinterpret_cast<typename F::Shared*>(shared_memory);
  const int32_t thread = static_cast<int32_t>(threadIdx.x) % F::kTeamThreads, team = static_cast<int32_t>(threadIdx.x) / F::kTeamThreads;
  const int32_t lane = thread % 32, warp = thread / 32, g = lane / 4, t = lane % 4;
  if (threadIdx.x == 0) shared.ticket = atomicAdd(chain.ticket, 1);
  __syncthreads();
  const Piece piece = chain.pieces[shared.ticket / chain.blocks];
  const Chunk chunk = chunk_of(s, piece, Q);
  if (chunk.length == 0) return;
  const int32_t per_group = s.H / s.G, blocks_per_group = chain.blocks / s.G;
  const int32_t block = shared.ticket % chain.blocks;
  const int32_t group = block / blocks_per_group, offset = block % blocks_per_group * chain.heads;
  const int32_t h0 = group * per_group + offset, heads = min(chain.heads, per_group - offset);
  const int32_t slot = s.sequences.slot(piece.sequence);
  const int64_t first_chain = chain.of(piece.sequence) * s.H + h0;

  if (chunk.length == 1) {
    // Always the last of several: its state comes from the chain.
    for (int32_t i = team; i < heads; i += F::kTeams) {
      const int32_t h = h0 + i;
      if (lane < 8) {
        while (acquire(chain.begun + (first_chain + i) * 8 + lane) == 0) {
        }
      }
      __syncwarp();
      const LinkedState<N> held{chain.links + (first_chain + i) * 8 * F::kVectors * 32, piece.index,
                              slot < 0 ? nullptr : s.state + slot * s.state_slot + static_cast<int64_t>(h) * P * N};
      const float step = s.step(chunk.token, h);
      advance_rows(s, chunk.token, h, warp, P, 8, held, step, decay_to(split(exponent(step, s.A(h)))));
    }
    return;
  }

  load_tile<Q, kWide>(shared.B, s.B_at(chunk.token, group), s.B_row, chunk.length, static_cast<int32_t>(threadIdx.x), 512, chain.wide_B);
  load_tile<Q, kWide>(shared.C, s.C_at(chunk.token, group), s.C_row, chunk.length, static_cast<int32_t>(threadIdx.x), 512, chain.wide_C);
  if (team < heads) {
    load_tile<Q, 8>(shared.x[team][0], s.x_at(chunk.token, h0 + team), s.x_row, chunk.length, thread, F::kTeamThreads, chain.wide_x);
  }
  for (int32_t i = team * 8 + warp; i < heads; i += 16) tile_decays<Q, N>(s, chunk, h0 + i, i, lane, shared);
  for (int32_t i = static_cast<int32_t>(threadIdx.x); i < heads * P; i += 512) shared.skips[i / P][i % P] = s.skip(h0 + i / P, i % P);
  // Of this warp's chains; in a long sequence true of all blocks but the first.
  const bool begun =
      piece.index == 0 || __all_sync(0xffffffffu, lane >= heads || acquire(chain.begun + (first_chain + lane) * 8 + warp) != 0) != 0;
  end_loads();
  __syncthreads();

  // y: this warp's 16 tokens and columns. Long and short rows of C·Bᵀ meet on each scheduler.
  const int32_t row_tile = Q == 128 ? (warp < 4 ? warp : 11 - warp) : (warp < 4 ? warp : 7 - warp);
  const int32_t p0 = Q == 128 ? 0 : warp / 4 * F::kColumns;
  // The state: this warp's 16 rows and half of the columns.
  const int32_t rows16 = warp % 4, half = warp / 4;

  const uint32_t B_address = shared_address(shared.B);
  const int32_t first_product = row_tile * (row_tile + 1) / 2;
  {
    // Both teams need all products; Q / 16 rows are shared by 16 warps.
    constexpr int32_t kSharers = 16 / kRowTiles;
    uint32_t c[N / 16][4];
#pragma unroll
    for (int32_t k = 0; k < N / 16; ++k) load_matrices(c[k], shared.C + chunk_index<kWide>(16 * row_tile + lane % 16, 2 * k + lane / 16));
    for (int32_t j = team * (kSharers / 2) + (Q == 128 ? 0 : warp / 4); j <= row_tile; j += kSharers) {
      float sum[2][4] = {};
#pragma unroll
      for (int32_t k = 0; k < N / 16; ++k) {
        uint32_t b[4];
        load_matrices(b, shared.B + chunk_index<kWide>(16 * j + lane / 16 * 8 + lane % 8, 2 * k + lane / 8 % 2));
        mma_bf16(sum[0], c[k], b[0], b[1]);
        mma_bf16(sum[1], c[k], b[2], b[3]);
      }
      shared.products[first_product + j][lane] = make_uint4(pack_bf16(sum[0][0], sum[0][1]), pack_bf16(sum[0][2], sum[0][3]),
                                                            pack_bf16(sum[1][0], sum[1][1]), pack_bf16(sum[1][2], sum[1][3]));
    }
  }
  __syncthreads();

  for (int32_t i = team, turn = 0; i < heads; i += F::kTeams, turn ^= 1) {
    const int32_t h = h0 + i;
    const __nv_bfloat16* x = shared.x[team][turn];
    __nv_bfloat16* state = shared.state[team];
    end_loads();
    // This head's x is there, and nobody needs the last one's any more.
    team_barrier(team);
    if (i + F::kTeams < heads) {
      load_tile<Q, 8>(shared.x[team][turn ^ 1], s.x_at(chunk.token, h + F::kTeams), s.x_row, chunk.length, thread, F::kTeamThreads, chain.wide_x);
    }
    const uint32_t x_address = shared_address(x);

    // What the tile adds to the state: Σ_l w_l x_l ⊗ B_l.
    float added[kParts][4] = {};
    if (chunk.needed) {
      const uint32_t x_rows = x_address + 2 * chunk_index<8>(lane / 16 * 8 + lane % 8, 2 * rows16 + lane / 8 % 2);
      const uint32_t B_rows = B_address + 2 * chunk_index<kWide>(lane % 16, half * kParts + lane / 16);
      const float* weights = shared.weights[i] + 2 * t;
#pragma unroll
      for (int32_t k = 0; k < Q / 16; ++k) {
        uint32_t a[4];
        load_matrices_transposed(a, x_rows + k * 16 * 2 * P);
        const float2 low = *reinterpret_cast<const float2*>(weights + 16 * k), high = *reinterpret_cast<const float2*>(weights + 16 * k + 8);
        a[0] = scaled(a[0], low), a[1] = scaled(a[1], low), a[2] = scaled(a[2], high), a[3] = scaled(a[3], high);
#pragma unroll
        for (int32_t j = 0; j < kParts; j += 2) {
          uint32_t b[4];
          load_matrices_transposed(b, (B_rows ^ (16 * j)) + k * 16 * 2 * N);
          mma_bf16(added[j], a, b[0], b[1]);
          mma_bf16(added[j + 1], a, b[2], b[3]);
        }
      }
    }

    // The state before the tile comes from the tile before, or the sequence's slot; the one after it goes on the same way.
    {
      const int64_t of_warp = (first_chain + i) * 8 + warp;
      float4* links = chain.links + of_warp * F::kVectors * 32 + lane;
      float* kept = slot < 0 ? nullptr
                             : s.state + slot * s.state_slot + (static_cast<int64_t>(h) * P + 16 * rows16 + g) * N + half * (N / 2) + 2 * t;
      float before[3 * F::kVectors] = {};
      if (piece.index > 0) {
        if (!begun) {
          while (acquire(chain.begun + of_warp) == 0) {
          }
        }
        // One lane looks out for all.
        if (lane == 0) {
          while (number_of(take_link(links)) != piece.index) {
          }
        }
        __syncwarp();
        bool complete;
        do {
          complete = true;
#pragma unroll
          for (int32_t v = 0; v < F::kVectors; ++v) {
            const float4 link = take_link(links + v * 32);
            before[3 * v] = link.x, before[3 * v + 1] = link.y, before[3 * v + 2] = link.z;
            complete = complete && number_of(link) == piece.index;
          }
        } while (!complete);
        __syncwarp();
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
      const float total = shared.totals[i];
#pragma unroll
      for (int32_t e = 0; e < 4 * kParts; ++e) added[e / 4][e % 4] = fmaf(total, before[e], added[e / 4][e % 4]);
      if (chunk.goes_on) {
        const auto value = [&](int32_t e) { return e < 4 * kParts ? added[e / 4 % kParts][e % 4] : 0.0f; };
#pragma unroll
        for (int32_t v = 0; v < F::kVectors; ++v) pass_link(links + v * 32, value(3 * v), value(3 * v + 1), value(3 * v + 2), piece.index + 1);
        if (piece.index == 0) {
          __syncwarp();
          if (lane == 0) release(chain.begun + of_warp, 1);
        }
      } else if (kept != nullptr) {
#pragma unroll
        for (int32_t j = 0; j < kParts; ++j) {
#pragma unroll
          for (int32_t e = 0; e < 4; ++e) kept[e / 2 * 8 * N + 8 * j + e % 2] = added[j][e];
        }
      }
      if (!chunk.zero) {
#pragma unroll
        for (int32_t j = 0; j < kParts; ++j) {
          __nv_bfloat16* top = state + chunk_index<kWide>(16 * rows16 + g, half * kParts + j) + 2 * t;
          *reinterpret_cast<uint32_t*>(top) = pack_bf16(before[4 * j], before[4 * j + 1]);
          *reinterpret_cast<uint32_t*>(top + 8 * N) = pack_bf16(before[4 * j + 2], before[4 * j + 3]);
        }
      }
    }
    team_barrier(team);

    // y_i = e(start → i)·(e(0 → start)·C_i·Sᵀ + Σ_{j < start} C_i·B_j e(j → start) Δ_j x_j) + Σ_{start ≤ j ≤ i} …, start: of the warp's rows.
    const int32_t start = 16 * row_tile;
    if (start >= chunk.length) continue;
    constexpr int32_t kTiles = F::kColumns / 8;
    float sum[kTiles][4] = {};
    const float2* sums = shared.sums[i];
    const float2 zero = make_float2(0.0f, 0.0f);
    const float2 begin = start == 0 ? zero : sums[start - 1];
    float* reach = shared.reach[team * 8 + warp];
    __syncwarp();
    for (int32_t j = lane; j < start; j += 32) reach[j] = reach_between(begin, sums[j]) * shared.steps[i][j];
    if (!chunk.zero) {
      const uint32_t C_rows = shared_address(shared.C) + 2 * chunk_index<kWide>(start + lane % 16, lane / 16);
      const uint32_t state_rows = shared_address(state) + 2 * chunk_index<kWide>(p0 + lane / 16 * 8 + lane % 8, lane / 8 % 2);
#pragma unroll
      for (int32_t k = 0; k < N / 16; ++k) {
        uint32_t c[4];
        load_matrices(c, C_rows ^ (32 * k));
#pragma unroll
        for (int32_t j = 0; j < kTiles; j += 2) {
          uint32_t b[4];
          load_matrices(b, (state_rows ^ (32 * k)) + j * 8 * 2 * N);
          mma_bf16(sum[j], c, b[0], b[1]);
          mma_bf16(sum[j + 1], c, b[2], b[3]);
        }
      }
      const float scale = reach_between(begin, zero);
#pragma unroll
      for (int32_t j = 0; j < kTiles; ++j) {
#pragma unroll
        for (int32_t e = 0; e < 4; ++e) sum[j][e] *= scale;
      }
    }
    __syncwarp();
    const uint32_t x_rows = x_address + 2 * chunk_index<8>(lane % 16, p0 / 8 + lane / 16);
    for (int32_t k = 0; k < row_tile; ++k) {
      const float2 low = *reinterpret_cast<const float2*>(&reach[16 * k + 2 * t]);
      const float2 high = *reinterpret_cast<const float2*>(&reach[16 * k + 2 * t + 8]);
      const uint4 product = shared.products[first_product + k][lane];
      const uint32_t a[4] = {scaled(product.x, low), scaled(product.y, low), scaled(product.z, high), scaled(product.w, high)};
#pragma unroll
      for (int32_t j = 0; j < kTiles; j += 2) {
        uint32_t b[4];
        load_matrices_transposed(b, (x_rows ^ (16 * j)) + k * 16 * 2 * P);
        mma_bf16(sum[j], a, b[0], b[1]);
        mma_bf16(sum[j + 1], a, b[2], b[3]);
      }
    }
    const float2 mine[2] = {sums[start + g], sums[start + g + 8]};
    const float scale[2] = {reach_between(mine[0], begin), reach_between(mine[1], begin)};
#pragma unroll
    for (int32_t j = 0; j < kTiles; ++j) {
#pragma unroll
      for (int32_t e = 0; e < 4; ++e) sum[j][e] *= scale[e / 2];
    }
    {
      const uint4 product = shared.products[first_product + row_tile][lane];
      const uint32_t pairs[4] = {product.x, product.y, product.z, product.w};
      uint32_t a[4];
#pragma unroll
      for (int32_t e = 0; e < 4; ++e) {
        const int32_t row = g + e % 2 * 8, column = 2 * t + e / 2 * 8;
        const float4 two = *reinterpret_cast<const float4*>(&sums[start + column]);
        const float2 steps = *reinterpret_cast<const float2*>(&shared.steps[i][start + column]);
        const float low = column <= row ? low_half(pairs[e]) * reach_between(mine[e % 2], make_float2(two.x, two.y)) * steps.x : 0.0f;
        const float high = column < row ? high_half(pairs[e]) * reach_between(mine[e % 2], make_float2(two.z, two.w)) * steps.y : 0.0f;
        a[e] = pack_bf16(low, high);
      }
#pragma unroll
      for (int32_t j = 0; j < kTiles; j += 2) {
        uint32_t b[4];
        load_matrices_transposed(b, (x_rows ^ (16 * j)) + start * 2 * P);
        mma_bf16(sum[j], a, b[0], b[1]);
        mma_bf16(sum[j + 1], a, b[2], b[3]);
      }
    }

#pragma unroll
    for (int32_t r = 0; r < 2; ++r) {
      const int32_t row = start + g + 8 * r;
      const bool exists = row < chunk.length;
      __nv_bfloat16* y = s.y_at(chunk.token + row, h) + p0;
#pragma unroll
      for (int32_t j = 0; j < kTiles; j += 2) {
        uint32_t pair[2];
#pragma unroll
        for (int32_t e = 0; e < 2; ++e) {
          const int32_t p = p0 + 8 * (j + e) + 2 * t;
          const uint32_t own = *reinterpret_cast<const uint32_t*>(x + chunk_index<8>(row, p0 / 8 + j + e) + 2 * t);
          const float2 skip = *reinterpret_cast<const float2*>(&shared.skips[i][p]);
          pair[e] = pack_bf16(fmaf(skip.x, low_half(own), sum[j + e][2 * r]), fmaf(skip.y, high_half(own), sum[j + e][2 * r + 1]));
        }
        // Neighbours trade halves: an even lane gets four columns of the first part, an odd one four of the second.
        const uint32_t other = __shfl_xor_sync(0xffffffffu, t % 2 == 0 ? pair[1] : pair[0], 1);
        const uint32_t low = t % 2 == 0 ? pair[0] : other, high = t % 2 == 0 ? other : pair[1];
        __nv_bfloat16* to = y + 8 * (j + t % 2) + t / 2 * 4;
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
}

}  // namespace krait::cuda

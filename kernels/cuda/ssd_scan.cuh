// What the kernels of ssd_scan share. Letters as in the op's record; q is the chunk size, L ≤ q the length of one chunk.
#pragma once

#include "borders.cuh"
#include "functions.cuh"

namespace krait::cuda {

inline constexpr int32_t kSsdScan = op_number("ssd_scan");
inline constexpr int32_t kLongestChunk = 256;

template <typename E>
struct SsdScan {
  Sequences sequences;
  int32_t H, P, G, N, q;
  const E *x, *dt, *B, *C;
  int64_t x_row, dt_row, B_row, C_row;
  const float *a_log, *D, *dt_bias;
  int64_t D_row;
  bool D_per_channel;
  bool softplus;
  float step_low, step_high;
  float* state;
  int64_t state_slot;  // elements from slot to slot
  E* y;
  int64_t y_row;
  int32_t* error_word;

  // Scratch. Sequences of one token have no chunks; the step kernel serves them.
  int32_t chunks;   // at most
  Piece* pieces;    // [chunks]
  int32_t* first;   // [S + 1]
  float* steps;     // [chunks, H, q], Δ
  float2* sums;     // [chunks, H, q], Σ Δ·A up to and with the token, as high + low
  float* totals;    // [chunks, H], the decay of the whole chunk
  float* products;  // [chunks, G, q, q], C·Bᵀ at and below the diagonal
  float* states;    // [chunks, H, P, N], what a chunk adds, then the state it starts from

  __device__ int32_t group(int32_t h) const { return h / (H / G); }
  __device__ const E* x_at(int64_t t, int32_t h) const { return x + t * x_row + static_cast<int64_t>(h) * P; }
  __device__ const E* B_at(int64_t t, int32_t g) const { return B + t * B_row + static_cast<int64_t>(g) * N; }
  __device__ const E* C_at(int64_t t, int32_t g) const { return C + t * C_row + static_cast<int64_t>(g) * N; }
  __device__ E* y_at(int64_t t, int32_t h) const { return y + t * y_row + static_cast<int64_t>(h) * P; }
  __device__ double A(int32_t h) const { return -exp(static_cast<double>(a_log[h])); }
  __device__ float skip(int32_t h, int32_t p) const {
    return D == nullptr ? 0.0f : D[static_cast<int64_t>(h) * D_row + (D_per_channel ? p : 0)];
  }

  // Δ of one token. Comparisons that let NaN through.
  __device__ float step(int64_t t, int32_t h) const {
    float value = to_float(dt[t * dt_row + h]) + (dt_bias == nullptr ? 0.0f : dt_bias[h]);
    if (softplus) value = cuda::softplus(value);
    if (value < step_low) value = step_low;
    if (value > step_high) value = step_high;
    return value;
  }
};

struct Chunk {
  int32_t sequence;
  int32_t length;  // 0: nothing to do
  int64_t token;   // its first
  bool zero;       // starts from the zero state
  bool goes_on;    // another chunk of the sequence follows
  bool needed;     // what it adds to the state is read by somebody
};

// A piece of `size` tokens.
template <typename E>
__device__ __forceinline__ Chunk chunk_of(const SsdScan<E>& s, Piece piece, int32_t size) {
  if (piece.sequence < 0) return {-1, 0, 0, false, false, false};
  const int32_t from = s.sequences.borders[piece.sequence];
  const int32_t left = s.sequences.borders[piece.sequence + 1] - from - piece.index * size;
  const bool stateless = s.sequences.slot(piece.sequence) < 0;
  return {piece.sequence, left < size ? left : size, static_cast<int64_t>(from) + static_cast<int64_t>(piece.index) * size,
          stateless && piece.index == 0, left > size, !stateless || left > size};
}

template <typename E>
__device__ __forceinline__ Chunk chunk_at(const SsdScan<E>& s, int32_t c) {
  return chunk_of(s, s.pieces[c], s.q);
}

// Δ·A, never positive. exp(−1000) is zero even in float64, and the bound keeps sums finite.
__device__ __forceinline__ double exponent(float step, double A) {
  const double value = static_cast<double>(step) * A;
  return value < -1000.0 ? -1000.0 : value;
}

// A float32 sum over a chunk would round differences of neighbours; high + low does not.
__device__ __forceinline__ float2 split(double sum) {
  const float high = static_cast<float>(sum);
  return make_float2(high, static_cast<float>(sum - high));
}

__device__ __forceinline__ float decay_to(float2 sum) { return expf(sum.x + sum.y); }

__device__ __forceinline__ float decay_between(float2 later, float2 earlier) {
  const float value = (later.x - earlier.x) + (later.y - earlier.y);
  return expf(value > 0.0f ? 0.0f : value);
}

// One token's update, spelled out so that every kernel rounds it alike.
__device__ __forceinline__ float advance(float decay, float state, float step_x, float b) {
  return __fmaf_rn(step_x, b, __fmul_rn(decay, state));
}

// The state [P, N] of a head in memory; null for zeros that nobody wants to keep.
template <bool kStore>
struct PlainState {
  float* data;
  int32_t N;

  __device__ float load(int32_t p, int32_t n) const { return data == nullptr ? 0.0f : data[static_cast<int64_t>(p) * N + n]; }
  __device__ void store(int32_t p, int32_t n, float value) const {
    if (kStore) data[static_cast<int64_t>(p) * N + n] = value;
  }
};

// One token, from its entering state: a warp takes the rows p = from, from + by, … before `to`.
template <typename E, typename State>
__device__ void advance_rows(const SsdScan<E>& s, int64_t t, int32_t h, int32_t from, int32_t to, int32_t by, const State& state, float step,
                             float decay) {
  const int32_t lane = static_cast<int32_t>(threadIdx.x) % 32;
  const E* B = s.B_at(t, s.group(h));
  const E* C = s.C_at(t, s.group(h));
  for (int32_t p = from; p < to; p += by) {
    const float x = to_float(s.x_at(t, h)[p]);
    const float step_x = __fmul_rn(step, x);
    float sum = 0.0f;
#pragma unroll 4
    for (int32_t n = lane; n < s.N; n += 32) {
      const float value = advance(decay, state.load(p, n), step_x, to_float(B[n]));
      state.store(p, n, value);
      sum = __fmaf_rn(value, to_float(C[n]), sum);
    }
#pragma unroll
    for (int32_t mask = 16; mask > 0; mask /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, mask);
    if (lane == 0) s.y_at(t, h)[p] = from_float<E>(__fmaf_rn(s.skip(h, p), x, sum));
  }
}

}  // namespace krait::cuda

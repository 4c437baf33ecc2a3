// Mamba-1's scan, token after token: eight lanes share a channel's states, sixteen at a time. Half the warps of a block scan one tile of
// tokens while the others compute Δ and Δ·x of the next and gate the outputs of the one before.
#pragma once

#include <algorithm>
#include <cfloat>

#include "borders.cuh"
#include "rows.cuh"

namespace krait::cuda {
namespace {

constexpr int32_t kScan = op_number("selective_scan");
constexpr int32_t kLanes = 8;    // of one channel
constexpr int32_t kStates = 16;  // of one channel at a time: two per lane
constexpr int32_t kPass = 16;    // tokens whose sums over the lanes are formed together
constexpr float kLog2E = 1.44269504f;

// An operand with a row per token; elements from row to row and from tile to tile.
template <typename T>
struct Tokens {
  T* data;
  int64_t row, tile;
};

// Sequences in segments that are scanned side by side; see selective_scan_segments.cuh.
struct Segments {
  int32_t tokens;      // of each but the last
  int32_t count;       // of a sequence; 1: it is not cut
  float* begins;       // [S, count, C, N]: the states that they begin with
  float* decays;       // [S, count, C, N]: what a segment leaves of the state before it
  float* totals;       // [S, count, C]: Σ Δ over `seen` tokens
  int32_t* seen;       // [S, count, parts]: tokens at a segment's end on which the state behind it depends
  uint32_t* strides;   // their sum, in steps of the walk back; null: nothing to decide
  uint32_t most;       // above which the sequences are better left whole

  // Whether this way to scan, cut or whole, is the one.
  __device__ bool are_due() const { return strides == nullptr || (*strides <= most) == (count > 1); }
};

template <typename E>
struct Scan {
  Sequences sequences;
  int32_t C, N;
  Tokens<const E> x, dt, z, B, out;  // `out` is the operand C
  Tokens<E> y;
  const float *a_log, *D, *dt_bias;
  int64_t a_log_row;
  float* state;
  int64_t state_slot;
  Segments segments;
  bool softplus;
  bool wide;         // packs of four channels are aligned
  bool wide_states;  // packs of four states are
  int32_t* error_word;

  void set_tiles(int64_t length) {
    x.tile = x.row * length, dt.tile = dt.row * length, z.tile = z.row * length;
    B.tile = B.row * length, out.tile = out.row * length, y.tile = y.row * length;
  }
  __device__ float* begins(int32_t sequence, int32_t segment) const {
    return segments.begins + (static_cast<int64_t>(sequence) * segments.count + segment) * C * N;
  }
  __device__ float* decays(int32_t sequence, int32_t segment) const {
    return segments.decays + (static_cast<int64_t>(sequence) * segments.count + segment) * C * N;
  }
};

// The special function unit's own 2^x, within 2 units in the last place.
__device__ __forceinline__ float exp2_fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

__device__ __forceinline__ float reciprocal(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// max(x, 0) + log1p(w), w = e^−|x|, by log1p(w) = 2·artanh(d / 2), d = w / (1 + w/2): no difference of neighbours, so that small steps keep
// their digits.
__device__ __forceinline__ float softplus_fast(float x) {
  const float w = exp2_fast(-kLog2E * fabsf(x));
  const float d = w * reciprocal(fmaf(0.5f, w, 1.0f));
  const float square = d * d;
  // A fit of log1p(w) / d over d ≤ 2/3, within 2e-7.
  float p = 2.654968e-3f;
  p = fmaf(p, square, 1.23862393e-2f);
  p = fmaf(p, square, 8.33418543e-2f);
  p = fmaf(p, square, 1.0f);
  return fmaf(d, p, fmaxf(x, 0.0f));
}

__device__ __forceinline__ float silu_fast(float x) { return x * reciprocal(1.0f + exp2_fast(-kLog2E * x)); }

// c[16, 8] += a[16, 8] · b[8, 8]ᵀ in tf32. With g = lane / 4, t = lane % 4: a: (g, t), (g + 8, t), (g, t + 4), (g + 8, t + 4); b: column g
// at rows t, t + 4; c: (g, 2t), (g, 2t + 1), (g + 8, 2t), (g + 8, 2t + 1).
__device__ __forceinline__ void mma_tf32(float (&c)[4], const float (&a)[4], float b0, float b1) {
  asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(__float_as_uint(a[0])), "r"(__float_as_uint(a[1])), "r"(__float_as_uint(a[2])), "r"(__float_as_uint(a[3])),
        "r"(__float_as_uint(b0)), "r"(__float_as_uint(b1)));
}

template <int32_t kThreads>
__device__ __forceinline__ void meet() {
  asm volatile("bar.sync 1, %0;" ::"n"(kThreads) : "memory");
}

__device__ __forceinline__ void prefetch(const void* address) { asm volatile("prefetch.global.L2 [%0];" ::"l"(address)); }

// Four neighbouring elements as they lie in memory.
template <typename E>
struct alignas(4 * sizeof(E)) Four {
  uint32_t word[sizeof(E)];

  __device__ __forceinline__ float at(int32_t i) const {
    if constexpr (sizeof(E) == 4) return __uint_as_float(word[i]);
    else return __uint_as_float(i % 2 == 0 ? word[i / 2] << 16 : word[i / 2] & 0xffff0000u);
  }
};

template <typename E>
__device__ __forceinline__ Four<E> fetch_four(const E* from) {
  return *reinterpret_cast<const Four<E>*>(from);
}

// The first `count` of them, and zeros.
template <typename E>
__device__ __forceinline__ Four<E> fetch_four(const E* from, int32_t count, bool wide) {
  if (wide && count >= 4) return fetch_four(from);
  Four<E> four = {};
#pragma unroll
  for (int32_t i = 0; i < 4; ++i) {
    if (i >= count) break;
    if constexpr (sizeof(E) == 4) four.word[i] = __float_as_uint(from[i]);
    else four.word[i / 2] |= static_cast<uint32_t>(reinterpret_cast<const uint16_t*>(from)[i]) << (i % 2 * 16);
  }
  return four;
}

__device__ __forceinline__ bool is_finite(float x) { return fabsf(x) <= FLT_MAX; }

// Sums over a channel's eight lanes of one value per token, by the tensor cores: each product sums four tokens over four lanes and has
// `pick` put the sums into two columns, 2j and 2j + 1. Lane (g, t) ends with those of tokens 4t + 2·(g % 2) and the next.
// tf32 drops the low bits of a value; with kExact they are summed too.
template <bool kExact>
__device__ __forceinline__ void sum_lanes(const float (&v)[kPass], const float (&pick)[kPass / 2], float& first, float& second) {
  float sum[4] = {};
#pragma unroll
  for (int32_t j = 0; j < kPass / 4; ++j) {
    const float values[4] = {v[4 * j], v[4 * j + 1], v[4 * j + 2], v[4 * j + 3]};
    if constexpr (kExact) {
      float high[4], low[4];
#pragma unroll
      for (int32_t i = 0; i < 4; ++i) {
        high[i] = __uint_as_float(__float_as_uint(values[i]) & 0xffffe000u);
        low[i] = values[i] - high[i];
      }
      mma_tf32(sum, low, pick[2 * j], pick[2 * j + 1]);
      mma_tf32(sum, high, pick[2 * j], pick[2 * j + 1]);
    } else {
      mma_tf32(sum, values, pick[2 * j], pick[2 * j + 1]);
    }
  }
  const bool odd = (threadIdx.x & 4) != 0;
  first = (odd ? sum[1] : sum[0]) + __shfl_xor_sync(0xffffffffu, odd ? sum[0] : sum[1], 4);
  second = (odd ? sum[3] : sum[2]) + __shfl_xor_sync(0xffffffffu, odd ? sum[2] : sum[3], 4);
}

// The first token of a lane after `sum_lanes`.
__device__ __forceinline__ int32_t summed_token() { return static_cast<int32_t>(threadIdx.x % 4 * 4 + threadIdx.x / 4 % 2 * 2); }

// The products above multiply every token's value with the others' zeros. Where that makes a NaN, only the token it is from may have it.
template <bool kExact>
__device__ void mend(const float (&v)[kPass], const float (&pick)[kPass / 2], float& first, float& second) {
  const int32_t channel = static_cast<int32_t>(threadIdx.x) % 32 / kLanes;
  float finite[kPass];
  bool is_bad[2] = {};
#pragma unroll
  for (int32_t t = 0; t < kPass; ++t) {
    const bool good = is_finite(v[t]);
    finite[t] = good ? v[t] : 0.0f;
    const uint32_t bad = __ballot_sync(0xffffffffu, !good) >> (kLanes * channel) & 0xffu;
    if (summed_token() == t - t % 2) is_bad[t % 2] = bad != 0;
  }
  sum_lanes<kExact>(finite, pick, first, second);
  if (is_bad[0]) first = __uint_as_float(0x7fffffffu);
  if (is_bad[1]) second = __uint_as_float(0x7fffffffu);
}

// A block's shared memory, in floats. Tokens are the inner index of all but y; column τ of row r lies at τ ^ (r & 8), so that four packs of
// rows by eight tokens are written without bank conflicts.
template <int32_t kChannels, int32_t kTokens>
struct Layout {
  static constexpr int32_t kPitch = kTokens + 4;
  static constexpr int32_t kWidth = kChannels + 4;  // of a row of y
  static constexpr int32_t kScanners = kChannels * kLanes;
  static constexpr int32_t kThreads = 2 * kScanners;

  int32_t states;  // rounded up

  __host__ __device__ int32_t stage() const { return 2 * (kChannels + states) * kPitch + kTokens * kWidth; }
  __host__ __device__ int32_t floats(bool kept) const { return 2 * stage() + (kept ? states / kStates * kScanners * 4 : 0); }
  __device__ float* steps(float* shared, int32_t tile) const { return shared + (tile & 1) * stage(); }
  __device__ float* inputs(float* shared, int32_t tile) const { return steps(shared, tile) + kChannels * kPitch; }
  __device__ float* B(float* shared, int32_t tile) const { return inputs(shared, tile) + kChannels * kPitch; }
  __device__ float* out(float* shared, int32_t tile) const { return B(shared, tile) + states * kPitch; }
  __device__ float* y(float* shared, int32_t tile) const { return out(shared, tile) + states * kPitch; }
  // Rates and states of a scanning thread where there are more than registers hold.
  __device__ float4* kept(float* shared) const { return reinterpret_cast<float4*>(shared + 2 * stage()); }
};

// One block's work: `length` tokens from `from` on, channels from `first` on. The states before and behind them, [C, N]; null: zeros, and
// nowhere.
struct Share {
  int64_t from;
  int32_t length;
  int32_t first;
  const float* before;
  float* behind;
};

template <int32_t kTokens, int32_t kChannels, bool kFew, bool kStateOnly, typename E>
class Scanner {
 public:
  using Shared = Layout<kChannels, kTokens>;

  __device__ Scanner(const Scan<E>& a, const Share& share, const Shared& layout, float* shared)
      : a_(a), share_(share), layout_(layout), shared_(shared) {
    const int32_t lane = static_cast<int32_t>(threadIdx.x) % 32;
    channel_ = static_cast<int32_t>(threadIdx.x) / kLanes;
    part_ = lane % kLanes;
#pragma unroll
    for (int32_t j = 0; j < kPass / 2; ++j) pick_[j] = lane / 4 == j ? 1.0f : 0.0f;
  }

  __device__ void run() {
    float4 own = {};
    each_block([&](int32_t block, float4& kept) { kept = open(block); }, own);
    meet<Shared::kThreads>();
    const int32_t tiles = (share_.length - 1) / kTokens + 1;
    for (int32_t tile = 0; tile < tiles; ++tile) {
      if (share_.length - tile * kTokens > kTokens - kPass) advance<kTokens / kPass>(tile, own);
      else advance<1>(tile, own);
      meet<Shared::kThreads>();
    }
    each_block([&](int32_t block, float4& kept) { close(block, kept); }, own);
  }

 private:
  // x, y: A·log₂e of states part and part + 8 of a block of 16; z, w: the states themselves.
  template <typename Body>
  __device__ __forceinline__ void each_block(Body body, float4& own) {
    if constexpr (kFew) {
      body(0, own);
    } else {
      for (int32_t block = 0; block * kStates < layout_.states; ++block) {
        float4 kept = layout_.kept(shared_)[block * Shared::kScanners + threadIdx.x];
        body(block, kept);
        layout_.kept(shared_)[block * Shared::kScanners + threadIdx.x] = kept;
      }
    }
  }

  __device__ int64_t state_at(int32_t n) const { return static_cast<int64_t>(share_.first + channel_) * a_.N + n; }
  __device__ bool is_inside(int32_t n) const { return share_.first + channel_ < a_.C && n < a_.N; }

  __device__ float4 open(int32_t block) const {
    float rate[2], state[2];
#pragma unroll
    for (int32_t i = 0; i < 2; ++i) {
      const int32_t n = block * kStates + i * 8 + part_;
      const bool inside = is_inside(n);
      const float size = inside ? expf(a_.a_log[(share_.first + channel_) * a_.a_log_row + n]) * kLog2E : 0.0f;
      // Bounded, because 0 · ∞ is a NaN.
      rate[i] = size > 3e38f ? -3e38f : -size;
      state[i] = inside && share_.before != nullptr ? share_.before[state_at(n)] : 0.0f;
    }
    return make_float4(rate[0], rate[1], state[0], state[1]);
  }

  __device__ void close(int32_t block, const float4& kept) const {
    if (share_.behind == nullptr) return;
    const int32_t n = block * kStates + part_;
    if (is_inside(n)) share_.behind[state_at(n)] = kept.z;
    if (is_inside(n + 8)) share_.behind[state_at(n + 8)] = kept.w;
  }

  // The first kPasses · 16 tokens of a tile.
  template <int32_t kPasses>
  __device__ __forceinline__ void advance(int32_t tile, float4& own) {
    static_assert(kTokens <= 2 * kPass, "a tail takes one pass or all");
    const float* steps = layout_.steps(shared_, tile) + channel_ * Shared::kPitch;
    const float* inputs = layout_.inputs(shared_, tile) + channel_ * Shared::kPitch;
    const float* B = layout_.B(shared_, tile) + part_ * Shared::kPitch;
    const float* out = layout_.out(shared_, tile) + part_ * Shared::kPitch;
    constexpr bool kExact = sizeof(E) == 4;
    float v[kPasses][kPass] = {};
    if constexpr (kStateOnly) {
#pragma unroll
      for (int32_t p = 0; p < kPasses; ++p) pass(v[p], own, steps, inputs, B, out, p * kPass, 0);
      return;
    }
    float first[kPasses], second[kPasses];
    bool is_whole = true;
#pragma unroll
    for (int32_t p = 0; p < kPasses; ++p) {
      each_block([&](int32_t block, float4& kept) { pass(v[p], kept, steps, inputs, B, out, p * kPass, block * kStates * Shared::kPitch); }, own);
      sum_lanes<kExact>(v[p], pick_, first[p], second[p]);
      is_whole = is_whole && is_finite(first[p]) && is_finite(second[p]);
    }
    if (!__all_sync(0xffffffffu, is_whole)) {
#pragma unroll
      for (int32_t p = 0; p < kPasses; ++p) mend<kExact>(v[p], pick_, first[p], second[p]);
    }
    float* y = layout_.y(shared_, tile) + summed_token() * Shared::kWidth + channel_;
#pragma unroll
    for (int32_t p = 0; p < kPasses; ++p) {
      y[p * kPass * Shared::kWidth] = first[p];
      y[(p * kPass + 1) * Shared::kWidth] = second[p];
    }
  }

  // Sixteen tokens of a block of states; adds C·h of this lane's two to v.
  __device__ __forceinline__ void pass(float (&v)[kPass], float4& kept, const float* steps, const float* inputs, const float* B, const float* out,
                                       int32_t base, int32_t rows) const {
    const int32_t turn = channel_ & 8;
#pragma unroll
    for (int32_t t = 0; t < kPass; t += 4) {
      const int32_t column = base + (t < 8 ? t + turn : t - turn), straight = rows + base + t;
      const int32_t turned = rows + 8 * Shared::kPitch + base + (t ^ 8);
      float step[4], input[4], b0[4], b1[4], c0[4], c1[4];
      read(step, steps + column), read(input, inputs + column);
      read(b0, B + straight), read(b1, B + turned);
      if constexpr (!kStateOnly) read(c0, out + straight), read(c1, out + turned);
#pragma unroll
      for (int32_t i = 0; i < 4; ++i) {
        kept.z = fmaf(exp2_fast(step[i] * kept.x), kept.z, __fmul_rn(input[i], b0[i]));
        kept.w = fmaf(exp2_fast(step[i] * kept.y), kept.w, __fmul_rn(input[i], b1[i]));
        if constexpr (!kStateOnly) v[t + i] = fmaf(c1[i], kept.w, kFew ? __fmul_rn(c0[i], kept.z) : fmaf(c0[i], kept.z, v[t + i]));
      }
    }
  }

  __device__ static __forceinline__ void read(float (&to)[4], const float* from) {
    const float4 four = *reinterpret_cast<const float4*>(from);
    to[0] = four.x, to[1] = four.y, to[2] = four.z, to[3] = four.w;
  }

  const Scan<E>& a_;
  const Share& share_;
  const Shared& layout_;
  float* shared_;
  int32_t channel_, part_;
  float pick_[kPass / 2];
};

// The other half of the block: a thread has the same token and four channels of every tile.
template <int32_t kTokens, int32_t kChannels, bool kFew, bool kStateOnly, typename E>
class Helper {
 public:
  using Shared = Layout<kChannels, kTokens>;

  __device__ Helper(const Scan<E>& a, const Share& share, const Shared& layout, float* shared)
      : a_(a), share_(share), layout_(layout), shared_(shared) {
    thread_ = static_cast<int32_t>(threadIdx.x) - Shared::kScanners;
    token_ = thread_ / kQuads;
    quad_ = thread_ % kQuads * 4;
    const int32_t c = share.first + quad_;
#pragma unroll
    for (int32_t i = 0; i < 4; ++i) {
      bias_[i] = a.dt_bias != nullptr && c + i < a.C ? a.dt_bias[c + i] : 0.0f;
      skip_[i] = a.D != nullptr && c + i < a.C ? a.D[c + i] : 0.0f;
    }
    is_easy_ = kFew && a.wide && a.wide_states && share.first + kChannels <= a.C && a.N == kStates;
    const int64_t t = share.from + token_;
    x_at_ = a.x.data + t * a.x.row + c;
    dt_at_ = a.dt.data + t * a.dt.row + c;
    z_at_ = a.z.data + t * a.z.row + c;
    y_at_ = a.y.data + t * a.y.row + c;
    B_at_ = a.B.data + (share.from + token_of(thread_)) * a.B.row;
    out_at_ = a.out.data + (share.from + token_of(thread_)) * a.out.row;
    if (kFew) B_at_ += state_of(thread_), out_at_ += state_of(thread_);
  }

  __device__ void run() {
    const int32_t tiles = (share_.length - 1) / kTokens + 1;
    Output done = {}, next = {};
    fetch_next(0);
    for (int32_t tile = -1;; ++tile) {
      if (!kStateOnly && tile > 0) finish(tile - 1, done);
      done = next;
      if (tile + 1 < tiles) next = is_whole(tile + 1) ? prepare<true>(tile + 1) : prepare<false>(tile + 1);
      if (tile + 2 < tiles) fetch_next(tile + 2);
      if (tile == tiles) return;
      meet<Shared::kThreads>();
    }
  }

 private:
  static constexpr int32_t kQuads = kChannels / 4;
  // Packs of four states that a thread holds ahead, of tokens that lie kScanners / 4 apart.
  static constexpr int32_t kPacks = kFew ? kTokens * kStates / 4 / Shared::kScanners : 1;
  static constexpr int32_t kAhead = 3;  // tiles that are on their way to the second cache

  // What is still to be done to a y: (y + skip) · gate.
  struct Output {
    float skip[4], gate[4];
  };

  __device__ bool has_gate() const { return !kStateOnly && a_.z.data != nullptr; }
  __device__ int32_t left(int32_t tile) const { return share_.length - tile * kTokens; }
  // Whether a tile needs no look at its ends.
  __device__ bool is_whole(int32_t tile) const { return is_easy_ && left(tile) >= kTokens; }

  // Pack p of a tile's B or C: eight tokens by four packs for each warp.
  __device__ static int32_t token_of(int32_t p) { return p / 4 % kTokens; }
  __device__ static int32_t state_of(int32_t p) { return (p / (4 * kTokens) * 4 + p % 4) * 4; }

  // Called for tile after tile: the addresses go along.
  __device__ __forceinline__ void fetch_next(int32_t tile) {
    if (is_whole(tile)) fetch_whole();
    else fetch_part(tile);
    if (is_whole(tile + kAhead)) {
      prefetch(x_at_ + kAhead * a_.x.tile);
      prefetch(dt_at_ + kAhead * a_.dt.tile);
      if (has_gate()) prefetch(z_at_ + kAhead * a_.z.tile);
    }
    x_at_ += a_.x.tile, dt_at_ += a_.dt.tile, z_at_ += a_.z.tile, B_at_ += a_.B.tile, out_at_ += a_.out.tile;
  }

  __device__ __forceinline__ void fetch_whole() {
    x_ = fetch_four(x_at_);
    dt_ = fetch_four(dt_at_);
    if (has_gate()) z_ = fetch_four(z_at_);
#pragma unroll
    for (int32_t i = 0; i < kPacks; ++i) {
      B_[i] = fetch_four(B_at_ + i * (Shared::kScanners / 4) * a_.B.row);
      if (!kStateOnly) out_[i] = fetch_four(out_at_ + i * (Shared::kScanners / 4) * a_.out.row);
    }
  }

  __device__ __forceinline__ void fetch_part(int32_t tile) {
    const int32_t count = token_ < kTokens && token_ < left(tile) ? a_.C - share_.first - quad_ : 0;
    x_ = fetch_four(x_at_, count, a_.wide);
    dt_ = fetch_four(dt_at_, count, a_.wide);
    if (has_gate()) z_ = fetch_four(z_at_, count, a_.wide);
    if constexpr (kFew) {
#pragma unroll
      for (int32_t i = 0; i < kPacks; ++i) {
        const int32_t token = token_of(thread_) + i * (Shared::kScanners / 4);
        const int32_t states = token < left(tile) ? a_.N - state_of(thread_) : 0;
        B_[i] = fetch_four(B_at_ + i * (Shared::kScanners / 4) * a_.B.row, states, a_.wide_states);
        if (!kStateOnly) out_[i] = fetch_four(out_at_ + i * (Shared::kScanners / 4) * a_.out.row, states, a_.wide_states);
      }
    }
  }

  __device__ __forceinline__ void spread(float* rows, int32_t row, int32_t token, const Four<E>& four) const {
#pragma unroll
    for (int32_t i = 0; i < 4; ++i) rows[(row + i) * Shared::kPitch + (token ^ (row & 8))] = four.at(i);
  }

  // Fills a stage; what it returns is for `finish`.
  template <bool kWhole>
  __device__ __forceinline__ Output prepare(int32_t tile) {
    Output output = {};
    if (kWhole || token_ < kTokens) {
      const bool is_token = kWhole || token_ < left(tile);
      float* steps = layout_.steps(shared_, tile) + quad_ * Shared::kPitch + (token_ ^ (quad_ & 8));
      float* inputs = layout_.inputs(shared_, tile) + quad_ * Shared::kPitch + (token_ ^ (quad_ & 8));
      float x[4], step[4];
#pragma unroll
      for (int32_t i = 0; i < 4; ++i) {
        x[i] = x_.at(i);
        step[i] = dt_.at(i) + bias_[i];
        output.skip[i] = skip_[i] * x[i];
        output.gate[i] = 1.0f;
      }
      if (a_.softplus) {
#pragma unroll
        for (int32_t i = 0; i < 4; ++i) step[i] = softplus_fast(step[i]);
      }
#pragma unroll
      for (int32_t i = 0; i < 4; ++i) {
        // Behind the end: h ← 1·h + −0·0, which is h to the last bit, and to the sign of its zeros.
        steps[i * Shared::kPitch] = is_token ? step[i] : 0.0f;
        inputs[i * Shared::kPitch] = is_token ? step[i] * x[i] : -0.0f;
      }
      if (has_gate()) {
#pragma unroll
        for (int32_t i = 0; i < 4; ++i) output.gate[i] = silu_fast(z_.at(i));
      }
    }
    float* B = layout_.B(shared_, tile);
    float* out = layout_.out(shared_, tile);
    if constexpr (kFew) {
#pragma unroll
      for (int32_t i = 0; i < kPacks; ++i) {
        spread(B, state_of(thread_), token_of(thread_) + i * (Shared::kScanners / 4), B_[i]);
        if (!kStateOnly) spread(out, state_of(thread_), token_of(thread_) + i * (Shared::kScanners / 4), out_[i]);
      }
    } else {
      const int64_t from = share_.from + static_cast<int64_t>(tile) * kTokens;
      for (int32_t p = thread_; p < kTokens * layout_.states / 4; p += Shared::kScanners) {
        const int32_t token = token_of(p), n = state_of(p);
        const int32_t states = token < left(tile) ? a_.N - n : 0;
        spread(B, n, token, fetch_four(a_.B.data + (from + token) * a_.B.row + n, states, a_.wide_states));
        spread(out, n, token, fetch_four(a_.out.data + (from + token) * a_.out.row + n, states, a_.wide_states));
      }
    }
    return output;
  }

  __device__ __forceinline__ void finish(int32_t tile, const Output& output) {
    const bool whole = is_whole(tile);
    if (whole || (token_ < kTokens && token_ < left(tile))) {
      const float4 sum = *reinterpret_cast<const float4*>(layout_.y(shared_, tile) + token_ * Shared::kWidth + quad_);
      const float y[4] = {(sum.x + output.skip[0]) * output.gate[0], (sum.y + output.skip[1]) * output.gate[1],
                          (sum.z + output.skip[2]) * output.gate[2], (sum.w + output.skip[3]) * output.gate[3]};
      store(y_at_, y, whole ? 4 : a_.C - share_.first - quad_, whole || a_.wide);
    }
    y_at_ += a_.y.tile;
  }

  const Scan<E>& a_;
  const Share& share_;
  const Shared& layout_;
  float* shared_;
  int32_t thread_, token_, quad_;
  bool is_easy_;
  float bias_[4], skip_[4];
  const E *x_at_, *dt_at_, *z_at_, *B_at_, *out_at_;
  E* y_at_;
  Four<E> x_, dt_, z_, B_[kPacks], out_[kPacks];
};

}  // namespace
}  // namespace krait::cuda

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/ssd_scan.cpp"
#include "hwy/foreach_target.h"
//
#include <algorithm>
#include <cmath>
#include <cstring>

#include "activations-inl.h"
#include "borders.h"
#include "hwy/highway.h"
#include "sequences.h"
#include "tile-inl.h"

// Inside a chunk of q tokens, with a = the cumulated Δ·A:
//   y_i = exp(a_i) · C_i·S + Σ_{j≤i} (C_i·B_j) exp(a_i − a_j) Δ_j x_j + D x_i,   S ← exp(a_last) S + Σ_j exp(a_last − a_j) Δ_j x_j ⊗ B_j.
// The first sum over the groups is shared by their heads. A chunk of few tokens runs the recurrence itself. Which of the two depends on
// the chunk's length alone, so that a run cut between chunks gives the same bits.
#ifndef KRAIT_CPU_SSD_SCAN_ONCE
#define KRAIT_CPU_SSD_SCAN_ONCE
namespace krait::cpu {

inline constexpr int64_t kSsdMaxChunk = 256;
inline constexpr int64_t kSsdColumns = 64;  // channels of a head that one piece of work takes
inline constexpr int64_t kSsdShort = 8;     // tokens up to which a chunk runs the recurrence
inline constexpr int64_t kSsdDepth = 128;   // of B turned at once

struct Ssd {
  const SsdScanArgs& a;
  Pieces chunks;
  int64_t heads, head_dim, groups, state_size;
  float* products;  // C·Bᵀ: [chunks, groups, q · q]
  float* states;    // [chunks, heads, P · N]; within a head blocks of columns, each [N, columns]
  float* decays;    // [chunks, heads]: of a whole chunk

  explicit Ssd(const SsdScanArgs& args)
      : a(args),
        chunks{args.cu_seqlens.as<int32_t>(), args.cu_seqlens.dim[0] - 1, args.chunk_size},
        heads(args.x.dim[1]),
        head_dim(args.x.dim[2]),
        groups(args.B.dim[1]),
        state_size(args.B.dim[2]),
        products(static_cast<float*>(args.scratch)),
        states(products + chunks.count() * groups * chunks.size * chunks.size),
        decays(states + chunks.count() * heads * head_dim * state_size) {}

  int64_t bytes() const { return (decays + chunks.count() * heads - products) * static_cast<int64_t>(sizeof(float)); }
  int64_t column_blocks() const { return (head_dim + kSsdColumns - 1) / kSsdColumns; }
  int64_t columns(int64_t p) const { return std::min(kSsdColumns, head_dim - p); }

  const float* x(int64_t t, int64_t h) const { return a.x.as<float>() + t * a.x.stride[0] + h * head_dim; }
  float* y(int64_t t, int64_t h) const { return a.y.as<float>() + t * a.y.stride[0] + h * head_dim; }
  const float* b(int64_t t, int64_t g) const { return a.B.as<float>() + t * a.B.stride[0] + g * state_size; }
  const float* c(int64_t t, int64_t g) const { return a.C.as<float>() + t * a.C.stride[0] + g * state_size; }
  int64_t group(int64_t h) const { return h / (heads / groups); }

  float* product(int64_t chunk, int64_t g) const { return products + (chunk * groups + g) * chunks.size * chunks.size; }
  float* state(int64_t chunk, int64_t h, int64_t p) const {
    return states + ((chunk * heads + h) * head_dim + p) * state_size;
  }
  // The carried state of a head from channel p on, [P, N]; null for none.
  float* carried(int64_t s, int64_t h, int64_t p) const {
    const int32_t slot = a.state && a.state_index ? a.state_index.as<int32_t>()[s] : -1;
    return slot < 0 ? nullptr : a.state.as<float>() + slot * a.state.stride[0] + (h * head_dim + p) * state_size;
  }
  // Chunks of a sequence that are not short; they come first.
  int64_t long_chunks(int64_t s) const {
    const int64_t length = chunks.length(s);
    return chunks.size <= kSsdShort ? 0 : length / chunks.size + (length % chunks.size > kSsdShort ? 1 : 0);
  }
  Pieces::Piece chunk(int64_t s, int64_t index) const {
    const int64_t from = chunks.borders[s] + index * chunks.size;
    return {s, index, from, std::min<int64_t>(from + chunks.size, chunks.borders[s + 1])};
  }
};

}  // namespace krait::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace krait::cpu::HWY_NAMESPACE {

// Δ and Δ·A of `count` tokens of one head. An exponent below −10⁴ is nothing in float, and bounded sums stay exact.
void SsdSteps(const Ssd& ssd, int64_t t, int64_t h, int64_t count, float* steps, double* exponents) {
  const SsdScanArgs& a = ssd.a;
  const FloatTag d;
  const float bias = a.dt_bias ? a.dt_bias.as<float>()[h] : 0.0f;
  const float* dt = a.dt.as<float>() + t * a.dt.stride[0] + h;
  for (int64_t i = 0; i < count; ++i) steps[i] = dt[i * a.dt.stride[0]] + bias;
  const FloatVec low = hn::Set(d, static_cast<float>(a.dt_min));
  const FloatVec high = hn::Set(d, static_cast<float>(a.dt_max));
  for (int64_t i = 0; i < count; i += kLanes) {
    FloatVec v = LoadPart(d, steps + i, std::min(kLanes, count - i));
    if (a.dt_softplus) v = Softplus::Of(d, v);
    // The second operand of Max and Min is the one that stays when it is a NaN.
    StorePart(hn::Min(high, hn::Max(low, v)), d, steps + i, std::min(kLanes, count - i));
  }
  const double rate = -std::exp(static_cast<double>(a.a_log.as<float>()[h]));
  for (int64_t i = 0; i < count; ++i) exponents[i] = std::max(steps[i] * rate, -1e4);
}

// What a head's chunk needs of its decays.
struct ChunkDecays {
  alignas(64) float steps[kSsdMaxChunk];
  // The cumulated exponents as high + low, so that differences keep their digits however long the chunk.
  alignas(64) float high[kSsdMaxChunk];
  alignas(64) float low[kSsdMaxChunk];
  alignas(64) float from_start[kSsdMaxChunk];  // exp(a_i)
  alignas(64) float to_end[kSsdMaxChunk];      // exp(a_last − a_i) · Δ_i
  float total;                                 // exp(a_last)

  void Fill(const Ssd& ssd, const Pieces::Piece& chunk, int64_t h) {
    const FloatTag d;
    const int64_t count = chunk.to - chunk.from;
    double exponents[kSsdMaxChunk];
    SsdSteps(ssd, chunk.from, h, count, steps, exponents);
    double sum = 0;
    for (int64_t i = 0; i < count; ++i) {
      sum += exponents[i];
      high[i] = static_cast<float>(sum);
      low[i] = static_cast<float>(sum - high[i]);
    }
    const FloatVec last_high = hn::Set(d, high[count - 1]);
    const FloatVec last_low = hn::Set(d, low[count - 1]);
    for (int64_t i = 0; i < count; i += kLanes) {
      const FloatVec at = hn::Load(d, high + i);
      const FloatVec left = hn::Add(hn::Sub(last_high, at), hn::Sub(last_low, hn::Load(d, low + i)));
      hn::Store(SafeExp(d, at), d, from_start + i);
      hn::Store(hn::Mul(SafeExp(d, hn::Min(hn::Zero(d), left)), hn::Load(d, steps + i)), d, to_end + i);
    }
    total = from_start[count - 1];
  }
};

// C·Bᵀ for one block of columns on and below the diagonal.
struct ProductTiles {
  const float* c;
  int64_t c_step;
  const float* b;  // [depth, kSsdColumns]
  int64_t depth;
  bool first;
  float* out;
  int64_t out_step;

  template <int R>
  void Rows(int64_t) {}

  template <int R, int N, bool kPartial>
  HWY_INLINE void Tile(int64_t i, int64_t j, int64_t rest) {
    FloatVec acc[R][N];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
      for (int n = 0; n < N; ++n) {
        acc[r][n] = first ? hn::Zero(FloatTag()) : LoadVec<kPartial>(out + (i + r) * out_step + j + n * kLanes, rest);
      }
    }
    MulAddRows<kPartial>(acc, c + i * c_step, c_step, 1, b + j, kSsdColumns, rest, static_cast<int>(depth));
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
      for (int n = 0; n < N; ++n) StoreVec<kPartial>(acc[r][n], out + (i + r) * out_step + j + n * kLanes, rest);
    }
  }
};

void SsdProduct(const Ssd& ssd, const Pieces::Piece& chunk, int64_t number, int64_t g) {
  alignas(64) float turned[kSsdDepth * kSsdColumns];
  const int64_t count = chunk.to - chunk.from;
  const int64_t q = ssd.chunks.size;
  for (int64_t j = 0; j < count; j += kSsdColumns) {
    const int64_t columns = std::min(kSsdColumns, count - j);
    for (int64_t n = 0; n < ssd.state_size; n += kSsdDepth) {
      const int64_t depth = std::min(kSsdDepth, ssd.state_size - n);
      Transpose(ssd.b(chunk.from + j, g) + n, ssd.a.B.stride[0], columns, depth, turned, kSsdColumns);
      ProductTiles tiles = {
          ssd.c(chunk.from + j, g) + n, ssd.a.C.stride[0], turned, depth, n == 0, ssd.product(number, g) + j * q + j, q};
      ForTiles(tiles, count - j, columns);
    }
  }
}

// The outputs of a chunk: from the state before it and from its own tokens.
struct OutputTiles {
  const ChunkDecays& decays;
  const float* product;
  int64_t product_step;
  const float* c;
  int64_t c_step;
  const float* state;  // [N, columns]
  int64_t state_size;
  int64_t columns;
  const float* x;  // [tokens, kSsdColumns]
  const float* skip;
  float* y;
  int64_t y_step;
  alignas(64) float weights[kTileRows * kSsdMaxChunk];  // (C_i·B_j) exp(a_i − a_j) Δ_j of the rows at hand

  template <int R>
  void Rows(int64_t i) {
    const FloatTag d;
    for (int r = 0; r < R; ++r) {
      const FloatVec high = hn::Set(d, decays.high[i + r]);
      const FloatVec low = hn::Set(d, decays.low[i + r]);
      const float* from = product + (i + r) * product_step;
      for (int64_t j = 0; j <= i + r; j += kLanes) {
        const FloatVec left = hn::Add(hn::Sub(high, hn::Load(d, decays.high + j)), hn::Sub(low, hn::Load(d, decays.low + j)));
        const FloatVec weight = hn::Mul(SafeExp(d, hn::Min(hn::Zero(d), left)), hn::Load(d, decays.steps + j));
        hn::Store(hn::Mul(LoadPart(d, from + j, std::min<int64_t>(kLanes, i + r + 1 - j)), weight), d, weights + r * kSsdMaxChunk + j);
      }
    }
  }

  template <int R, int N, bool kPartial>
  HWY_INLINE void Tile(int64_t i, int64_t p, int64_t rest) {
    const FloatTag d;
    FloatVec acc[R][N];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
      for (int n = 0; n < N; ++n) acc[r][n] = hn::Zero(d);
    }
    MulAddRows<kPartial>(acc, c + i * c_step, c_step, 1, state + p, columns, rest, static_cast<int>(state_size));
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const FloatVec decay = hn::Set(d, decays.from_start[i + r]);
#pragma GCC unroll 8
      for (int n = 0; n < N; ++n) acc[r][n] = hn::Mul(acc[r][n], decay);
    }
    MulAddRows<kPartial>(acc, weights, kSsdMaxChunk, 1, x + p, kSsdColumns, rest, static_cast<int>(i));
    // The corner on the diagonal, where later tokens must not enter even with weight 0.
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) MulAddRow<kPartial>(acc[r], weights + r * kSsdMaxChunk + i, x + i * kSsdColumns + p, kSsdColumns, rest, r + 1);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
      for (int n = 0; n < N; ++n) {
        const FloatVec token = LoadVec<kPartial>(x + (i + r) * kSsdColumns + p + n * kLanes, rest);
        const FloatVec out = hn::MulAdd(LoadVec<kPartial>(skip + p + n * kLanes, rest), token, acc[r][n]);
        StoreVec<kPartial>(out, y + (i + r) * y_step + p + n * kLanes, rest);
      }
    }
  }
};

// What a chunk adds to the state, alone or on top of the decayed state before it.
struct StateTiles {
  const float* b;
  int64_t b_step;
  const float* x;  // [tokens, kSsdColumns], weighted
  int64_t tokens;
  bool add;
  float decay;
  float* state;  // [N, columns]
  int64_t columns;

  template <int R>
  void Rows(int64_t) {}

  template <int R, int N, bool kPartial>
  HWY_INLINE void Tile(int64_t s, int64_t p, int64_t rest) {
    const FloatTag d;
    FloatVec acc[R][N];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
      for (int n = 0; n < N; ++n) acc[r][n] = hn::Zero(d);
    }
    MulAddRows<kPartial>(acc, b + s, 1, b_step, x + p, kSsdColumns, rest, static_cast<int>(tokens));
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
      for (int n = 0; n < N; ++n) {
        float* at = state + (s + r) * columns + p + n * kLanes;
        const FloatVec sum = add ? hn::MulAdd(LoadVec<kPartial>(at, rest), hn::Set(d, decay), acc[r][n]) : acc[r][n];
        StoreVec<kPartial>(sum, at, rest);
      }
    }
  }
};

// One head's channels p … p + columns in one chunk.
struct ChunkWork {
  const Ssd& ssd;
  int64_t h, p, columns;
  ChunkDecays decays;
  alignas(64) float x[kSsdMaxChunk * kSsdColumns];
  alignas(64) float skip[kSsdColumns] = {0};

  ChunkWork(const Ssd& scan, int64_t head, int64_t channel) : ssd(scan), h(head), p(channel), columns(scan.columns(channel)) {
    const Tensor& D = ssd.a.D;
    if (!D) return;
    for (int64_t i = 0; i < columns; ++i) skip[i] = D.as<float>()[D.dim[1] == 1 ? h : h * ssd.head_dim + p + i];
  }

  void Open(const Pieces::Piece& chunk) {
    decays.Fill(ssd, chunk, h);
    for (int64_t t = chunk.from; t < chunk.to; ++t) {
      std::memcpy(x + (t - chunk.from) * kSsdColumns, ssd.x(t, h) + p, static_cast<size_t>(columns) * sizeof(float));
    }
  }

  void Output(const Pieces::Piece& chunk, const float* state) {
    const int64_t g = ssd.group(h);
    const int64_t number = ssd.chunks.first(chunk.sequence) + chunk.index;
    OutputTiles tiles{decays,
                      ssd.product(number, g),
                      ssd.chunks.size,
                      ssd.c(chunk.from, g),
                      ssd.a.C.stride[0],
                      state,
                      ssd.state_size,
                      columns,
                      x,
                      skip,
                      ssd.y(chunk.from, h) + p,
                      ssd.a.y.stride[0],
                      {}};
    ForTiles(tiles, chunk.to - chunk.from, columns);
  }

  // Turns x into what enters the state, so that it comes last.
  void Advance(const Pieces::Piece& chunk, float* state, bool add) {
    const FloatTag d;
    for (int64_t i = 0; i < chunk.to - chunk.from; ++i) {
      const FloatVec weight = hn::Set(d, decays.to_end[i]);
      float* row = x + i * kSsdColumns;
      for (int64_t c = 0; c < kSsdColumns; c += kLanes) hn::Store(hn::Mul(hn::Load(d, row + c), weight), d, row + c);
    }
    StateTiles tiles = {
        ssd.b(chunk.from, ssd.group(h)), ssd.a.B.stride[0], x, chunk.to - chunk.from, add, decays.total, state, columns};
    ForTiles(tiles, ssd.state_size, columns);
  }
};

// The recurrence over kTokens tokens for R rows of a state [rows, N].
template <int R, int kTokens, bool kPartial>
HWY_INLINE void StepVector(float* state, int64_t n_all, const float* const* b, const float* const* c, const float* decay, const float* input,
                           FloatVec (&dots)[R][kTokens], int64_t n, int64_t rest) {
  const FloatTag d;
  FloatVec s[R];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) s[r] = LoadVec<kPartial>(state + r * n_all + n, rest);
#pragma GCC unroll 8
  for (int t = 0; t < kTokens; ++t) {
    const FloatVec bv = LoadVec<kPartial>(b[t] + n, rest);
    const FloatVec cv = LoadVec<kPartial>(c[t] + n, rest);
    const FloatVec keep = hn::Set(d, decay[t]);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      s[r] = hn::MulAdd(s[r], keep, hn::Mul(hn::Set(d, input[t * kSsdColumns + r]), bv));
      dots[r][t] = hn::MulAdd(s[r], cv, dots[r][t]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) StoreVec<kPartial>(s[r], state + r * n_all + n, rest);
}

template <int R, int kTokens>
HWY_INLINE void StepRows(float* state, int64_t n_all, const float* const* b, const float* const* c, const float* decay, const float* input,
                         float* out) {
  const FloatTag d;
  FloatVec dots[R][kTokens];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int t = 0; t < kTokens; ++t) dots[r][t] = hn::Zero(d);
  }
  int64_t n = 0;
  for (; n + kLanes <= n_all; n += kLanes) StepVector<R, kTokens, false>(state, n_all, b, c, decay, input, dots, n, 0);
  if (n < n_all) StepVector<R, kTokens, true>(state, n_all, b, c, decay, input, dots, n, n_all - n);
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int t = 0; t < kTokens; ++t) out[t * kSsdColumns + r] = hn::GetLane(hn::SumOfLanes(d, dots[r][t]));
  }
}

template <int kTokens>
HWY_INLINE void StepTokens(const Ssd& ssd, int64_t t, int64_t h, int64_t p, const float* skip, float* state) {
  constexpr int kRows = HWY_TARGET <= HWY_AVX3 ? 4 : 2;
  const FloatTag d;
  const int64_t columns = ssd.columns(p);
  const int64_t n_all = ssd.state_size;
  alignas(64) float steps[kLanes < 4 ? 4 : kLanes] = {0};
  alignas(64) float decay[kLanes < 4 ? 4 : kLanes] = {0};
  double exponents[kTokens];
  SsdSteps(ssd, t, h, kTokens, steps, exponents);
  for (int i = 0; i < kTokens; ++i) decay[i] = static_cast<float>(exponents[i]);
  for (int64_t i = 0; i < kTokens; i += kLanes) hn::Store(SafeExp(d, hn::Load(d, decay + i)), d, decay + i);

  alignas(64) float input[kTokens * kSsdColumns];
  alignas(64) float out[kTokens * kSsdColumns];
  const float* b[kTokens];
  const float* c[kTokens];
  for (int i = 0; i < kTokens; ++i) {
    b[i] = ssd.b(t + i, ssd.group(h));
    c[i] = ssd.c(t + i, ssd.group(h));
    const float* x = ssd.x(t + i, h) + p;
    for (int64_t r = 0; r < columns; ++r) input[i * kSsdColumns + r] = steps[i] * x[r];
  }
  int64_t r = 0;
  for (; r + kRows <= columns; r += kRows) StepRows<kRows, kTokens>(state + r * n_all, n_all, b, c, decay, input + r, out + r);
  for (; r < columns; ++r) StepRows<1, kTokens>(state + r * n_all, n_all, b, c, decay, input + r, out + r);
  for (int i = 0; i < kTokens; ++i) {
    const float* x = ssd.x(t + i, h) + p;
    float* y = ssd.y(t + i, h) + p;
    for (int64_t at = 0; at < columns; at += kLanes) {
      const int64_t rest = std::min(kLanes, columns - at);
      const FloatVec v = hn::MulAdd(hn::Load(d, skip + at), LoadPart(d, x + at, rest), hn::Load(d, out + i * kSsdColumns + at));
      StorePart(v, d, y + at, rest);
    }
  }
}

// The recurrence over tokens [from, to) on a state [columns, N]. In what portions has no influence on the result.
void SsdRecur(const Ssd& ssd, int64_t from, int64_t to, int64_t h, int64_t p, const float* skip, float* state) {
  int64_t t = from;
  for (; t + 4 <= to; t += 4) StepTokens<4>(ssd, t, h, p, skip, state);
  if (t + 2 <= to) {
    StepTokens<2>(ssd, t, h, p, skip, state);
    t += 2;
  }
  if (t < to) StepTokens<1>(ssd, t, h, p, skip, state);
}

// After the long chunks of a sequence: what is left, on the state in its outer form.
void Finish(const Ssd& ssd, int64_t s, ChunkWork& work, float* state) {
  const int64_t done = ssd.long_chunks(s);
  SsdRecur(ssd, ssd.chunk(s, done).from, ssd.chunks.borders[s + 1], work.h, work.p, work.skip, state);
}

// A whole sequence for one head's block of columns, chunk after chunk.
void SsdSequence(const Ssd& ssd, int64_t s, int64_t h, int64_t p) {
  if (ssd.chunks.length(s) == 0) return;
  const int64_t long_chunks = ssd.long_chunks(s);
  const int64_t all_chunks = ssd.chunks.pieces(s);
  const int64_t first = ssd.chunks.first(s);
  const int64_t n_all = ssd.state_size;
  ChunkWork work(ssd, h, p);
  float* outer = ssd.carried(s, h, p);
  const size_t bytes = static_cast<size_t>(work.columns * n_all) * sizeof(float);
  if (long_chunks > 0) {
    float* state = ssd.state(first, h, p);
    if (outer != nullptr) {
      Transpose(outer, n_all, work.columns, n_all, state, work.columns);
    } else {
      std::memset(state, 0, bytes);
    }
    for (int64_t c = 0; c < long_chunks; ++c) {
      const Pieces::Piece chunk = ssd.chunk(s, c);
      work.Open(chunk);
      work.Output(chunk, state);
      work.Advance(chunk, state, true);
    }
    if (outer == nullptr && long_chunks < all_chunks) outer = ssd.state(first + all_chunks - 1, h, p);
    if (outer != nullptr) Transpose(state, work.columns, n_all, work.columns, outer, n_all);
  } else if (outer == nullptr) {
    outer = ssd.state(first, h, p);
    std::memset(outer, 0, bytes);
  }
  if (long_chunks < all_chunks) Finish(ssd, s, work, outer);
}

// The same in three passes that share chunks among threads: what each chunk adds, the state before each, the outputs.
void SsdChunkState(const Ssd& ssd, const Pieces::Piece& chunk, int64_t h, int64_t p) {
  ChunkWork work(ssd, h, p);
  work.Open(chunk);
  const int64_t number = ssd.chunks.first(chunk.sequence) + chunk.index;
  work.Advance(chunk, ssd.state(number, h, p), false);
  if (p == 0) ssd.decays[number * ssd.heads + h] = work.decays.total;
}

void SsdPassStates(const Ssd& ssd, int64_t s, int64_t h, int64_t p) {
  if (ssd.chunks.length(s) == 0) return;
  constexpr int64_t kRows = 16;
  const FloatTag d;
  const int64_t long_chunks = ssd.long_chunks(s);
  const int64_t all_chunks = ssd.chunks.pieces(s);
  const int64_t first = ssd.chunks.first(s);
  const int64_t n_all = ssd.state_size;
  ChunkWork work(ssd, h, p);
  const float* start = ssd.carried(s, h, p);
  float* outer = ssd.carried(s, h, p);
  if (outer == nullptr && long_chunks < all_chunks) outer = ssd.state(first + all_chunks - 1, h, p);
  alignas(64) float running[kRows * kSsdColumns];
  for (int64_t n = 0; n < n_all; n += kRows) {
    const int64_t rows = std::min(kRows, n_all - n);
    const int64_t count = rows * work.columns;
    std::memset(running, 0, sizeof(running));
    if (start != nullptr) Transpose(start + n, n_all, work.columns, rows, running, work.columns);
    for (int64_t c = 0; c < long_chunks; ++c) {
      float* added = ssd.state(first + c, h, p) + n * work.columns;
      const FloatVec decay = hn::Set(d, ssd.decays[(first + c) * ssd.heads + h]);
      for (int64_t i = 0; i < count; i += kLanes) {
        const int64_t rest = std::min(kLanes, count - i);
        const FloatVec before = hn::Load(d, running + i);
        hn::Store(hn::MulAdd(before, decay, LoadPart(d, added + i, rest)), d, running + i);
        StorePart(before, d, added + i, rest);
      }
    }
    if (outer != nullptr) Transpose(running, work.columns, rows, work.columns, outer + n, n_all);
  }
  if (long_chunks < all_chunks) Finish(ssd, s, work, outer);
}

void SsdChunkOutput(const Ssd& ssd, const Pieces::Piece& chunk, int64_t h, int64_t p) {
  ChunkWork work(ssd, h, p);
  work.Open(chunk);
  work.Output(chunk, ssd.state(ssd.chunks.first(chunk.sequence) + chunk.index, h, p));
}

}  // namespace krait::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace krait::cpu {
namespace {

HWY_EXPORT(SsdProduct);
HWY_EXPORT(SsdSequence);
HWY_EXPORT(SsdChunkState);
HWY_EXPORT(SsdPassStates);
HWY_EXPORT(SsdChunkOutput);

// Calls work(ssd, chunk, …) for every long chunk × `inner`.
template <typename Work>
void for_chunks(const Ssd& ssd, const Cpu& cpu, int64_t inner, const Work& work) {
  const int64_t units = ssd.chunks.count() * inner;
#pragma omp parallel for num_threads(cpu.threads) schedule(dynamic) if (units > 1)
  for (int64_t u = 0; u < units; ++u) {
    const Pieces::Piece chunk = ssd.chunks[u / inner];
    if (chunk.index >= 0 && chunk.index < ssd.long_chunks(chunk.sequence)) work(chunk, u / inner, u % inner);
  }
}

// Calls work(ssd, sequence, head, channel) for all blocks of columns.
template <typename Work>
void for_sequences(const Ssd& ssd, const Cpu& cpu, const Work& work) {
  const int64_t blocks = ssd.column_blocks();
  const int64_t units = ssd.chunks.sequences * ssd.heads * blocks;
#pragma omp parallel for num_threads(cpu.threads) schedule(dynamic) if (units > 1)
  for (int64_t u = 0; u < units; ++u) work(ssd, u / blocks / ssd.heads, u / blocks % ssd.heads, u % blocks * kSsdColumns);
}

}  // namespace

Status ssd_scan(const SsdScanArgs& a, const Cpu& cpu) {
  const int64_t tokens = a.x.dim[0];
  if (!are_borders(a.cu_seqlens, tokens)) return bad_borders("ssd_scan", tokens);
  const Ssd ssd(a);
  if (tokens > 0 && ssd.bytes() > a.scratch_bytes) {
    return error(StatusCode::invalid_program, "Expected %lld bytes of scratch memory for ssd_scan but received %lld",
                 static_cast<long long>(ssd.bytes()), static_cast<long long>(a.scratch_bytes));
  }
  const auto product = HWY_DYNAMIC_DISPATCH(SsdProduct);
  for_chunks(ssd, cpu, ssd.groups, [&](const Pieces::Piece& chunk, int64_t number, int64_t g) { product(ssd, chunk, number, g); });

  int64_t busy = 0;
  for (int64_t s = 0; s < ssd.chunks.sequences; ++s) busy += ssd.chunks.length(s) > 0 ? 1 : 0;
  const int64_t blocks = ssd.column_blocks();
  if (busy * ssd.heads * blocks >= cpu.threads) {
    for_sequences(ssd, cpu, HWY_DYNAMIC_DISPATCH(SsdSequence));
    return {};
  }
  const auto state = HWY_DYNAMIC_DISPATCH(SsdChunkState);
  const auto output = HWY_DYNAMIC_DISPATCH(SsdChunkOutput);
  for_chunks(ssd, cpu, ssd.heads * blocks, [&](const Pieces::Piece& chunk, int64_t, int64_t unit) {
    state(ssd, chunk, unit / blocks, unit % blocks * kSsdColumns);
  });
  for_sequences(ssd, cpu, HWY_DYNAMIC_DISPATCH(SsdPassStates));
  for_chunks(ssd, cpu, ssd.heads * blocks, [&](const Pieces::Piece& chunk, int64_t, int64_t unit) {
    output(ssd, chunk, unit / blocks, unit % blocks * kSsdColumns);
  });
  return {};
}

}  // namespace krait::cpu
#endif

// One chunk of ssd_scan as matrix products. Included once per SIMD target.
#if defined(KRAIT_CPU_SSD_CHUNK_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef KRAIT_CPU_SSD_CHUNK_INL_H_
#undef KRAIT_CPU_SSD_CHUNK_INL_H_
#else
#define KRAIT_CPU_SSD_CHUNK_INL_H_
#endif

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "activations-inl.h"
#include "hwy/highway.h"
#include "part-inl.h"
#include "ssd.h"
#include "ssd_step-inl.h"
#include "tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace krait::cpu::HWY_NAMESPACE {

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

inline void SsdProduct(const Ssd& ssd, const Pieces::Piece& chunk, int64_t number, int64_t g) {
  alignas(64) float turned[kSsdDepth * kSsdColumns];
  const int64_t count = chunk.to - chunk.from;
  const int64_t q = ssd.chunks.size;
  for (int64_t j = 0; j < count; j += kSsdColumns) {
    const int64_t columns = std::min(kSsdColumns, count - j);
    for (int64_t n = 0; n == 0 || n < ssd.state_size; n += kSsdDepth) {
      const int64_t depth = std::min(kSsdDepth, ssd.state_size - n);
      Transpose(ssd.b(chunk.from + j, g) + n, ssd.a.B.stride[0], columns, depth, turned, kSsdColumns);
      ProductTiles tiles = {
          ssd.c(chunk.from + j, g) + n, ssd.a.C.stride[0], turned, depth, n == 0, ssd.product(number, g) + j * q + j, q};
      ForTiles(tiles, count - j, columns);
    }
  }
}

// The outputs of a chunk: from the state before it and from its own tokens.
template <class E>
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
  E* y;
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
        E* to = y + (i + r) * y_step + p + n * kLanes;
        if constexpr (kPartial) {
          StorePart(out, d, to, rest);
        } else {
          StoreRow(out, d, to);
        }
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
    const FloatTag d;
    for (int64_t t = chunk.from; t < chunk.to; ++t) {
      float* to = x + (t - chunk.from) * kSsdColumns;
      if (ssd.is_narrow()) {
        const uint16_t* from = ssd.x<uint16_t>(t, h) + p;
        for (int64_t c = 0; c < columns; c += kLanes) hn::Store(LoadPart(d, from + c, std::min(kLanes, columns - c)), d, to + c);
      } else {
        std::memcpy(to, ssd.x<float>(t, h) + p, static_cast<size_t>(columns) * sizeof(float));
      }
    }
  }

  template <class E>
  void OutputOf(const Pieces::Piece& chunk, const float* state) {
    const int64_t g = ssd.group(h);
    const int64_t number = ssd.chunks.first(chunk.sequence) + chunk.index;
    OutputTiles<E> tiles{decays,
                         ssd.product(number, g),
                         ssd.chunks.size,
                         ssd.c(chunk.from, g),
                         ssd.a.C.stride[0],
                         state,
                         ssd.state_size,
                         columns,
                         x,
                         skip,
                         ssd.y<E>(chunk.from, h) + p,
                         ssd.a.y.stride[0],
                         {}};
    ForTiles(tiles, chunk.to - chunk.from, columns);
  }

  void Output(const Pieces::Piece& chunk, const float* state) {
    if (ssd.is_narrow()) {
      OutputOf<uint16_t>(chunk, state);
    } else {
      OutputOf<float>(chunk, state);
    }
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

}  // namespace krait::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif

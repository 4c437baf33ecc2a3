// Small dense products on rows of float, kept in registers. Included once per SIMD target.
//
// Every result is one chain of multiply-adds in the order of its index, so it does not depend on the tile it falls into.
#if defined(KRAIT_CPU_TILE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef KRAIT_CPU_TILE_INL_H_
#undef KRAIT_CPU_TILE_INL_H_
#else
#define KRAIT_CPU_TILE_INL_H_
#endif

#include <cstdint>

#include "hwy/highway.h"
#include "part-inl.h"

HWY_BEFORE_NAMESPACE();
namespace krait::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using FloatTag = hn::ScalableTag<float>;
using FloatVec = hn::Vec<FloatTag>;
inline constexpr int64_t kLanes = HWY_LANES(float);
// Tiles are 4 rows by this many vectors: as wide as the registers allow.
inline constexpr int kTileVectors = HWY_TARGET <= HWY_AVX3 ? 4 : 3;
inline constexpr int kTileRows = 4;

// `rest` counts the lanes of a partial vector; unused when the vector is whole.
template <bool kPartial>
HWY_INLINE FloatVec LoadVec(const float* p, int64_t rest) {
  if constexpr (kPartial) return LoadPart(FloatTag(), p, rest);
  return hn::LoadU(FloatTag(), p);
}

template <bool kPartial>
HWY_INLINE void StoreVec(FloatVec v, float* p, int64_t rest) {
  if constexpr (kPartial) {
    StorePart(v, FloatTag(), p, rest);
  } else {
    hn::StoreU(v, FloatTag(), p);
  }
}

// acc[r][:] += Σ_k a[r · row + k · step] · b[k · b_step + :], k ascending. Depths are head sizes and block sizes: an int holds them.
template <bool kPartial, int R, int N>
HWY_INLINE void MulAddRows(FloatVec (&acc)[R][N], const float* a, int64_t row, int64_t step, const float* b, int64_t b_step, int64_t rest,
                           int depth) {
  const FloatTag d;
  for (int k = 0; k < depth; ++k) {
    FloatVec bv[N];
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) bv[n] = LoadVec<kPartial>(b + k * b_step + n * kLanes, rest);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const FloatVec av = hn::Set(d, a[r * row + k * step]);
#pragma GCC unroll 8
      for (int n = 0; n < N; ++n) acc[r][n] = hn::MulAdd(av, bv[n], acc[r][n]);
    }
  }
}

// The same for one row, whose a are contiguous.
template <bool kPartial, int N>
HWY_INLINE void MulAddRow(FloatVec (&acc)[N], const float* a, const float* b, int64_t b_step, int64_t rest, int depth) {
  const FloatTag d;
  for (int k = 0; k < depth; ++k) {
    const FloatVec av = hn::Set(d, a[k]);
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) acc[n] = hn::MulAdd(av, LoadVec<kPartial>(b + k * b_step + n * kLanes, rest), acc[n]);
  }
}

// Calls op.Tile<R, N, partial>(row, column, rest) over all columns of R rows.
template <int R, class Op>
HWY_INLINE void ForColumns(Op& op, int64_t row, int64_t columns) {
  int64_t c = 0;
  for (; c + kTileVectors * kLanes <= columns; c += kTileVectors * kLanes) op.template Tile<R, kTileVectors, false>(row, c, 0);
  if constexpr (kTileVectors > 2) {
    for (; c + 2 * kLanes <= columns; c += 2 * kLanes) op.template Tile<R, 2, false>(row, c, 0);
  }
  for (; c + kLanes <= columns; c += kLanes) op.template Tile<R, 1, false>(row, c, 0);
  if (c < columns) op.template Tile<R, 1, true>(row, c, columns - c);
}

// Calls op.Rows<R>(row), then the tiles of these rows, for all rows.
template <class Op>
HWY_INLINE void ForTiles(Op& op, int64_t rows, int64_t columns) {
  int64_t row = 0;
  for (; row + kTileRows <= rows; row += kTileRows) {
    op.template Rows<kTileRows>(row);
    ForColumns<kTileRows>(op, row, columns);
  }
  for (; row < rows; ++row) {
    op.template Rows<1>(row);
    ForColumns<1>(op, row, columns);
  }
}

// to[c · to_step + r] = from[r · from_step + c].
HWY_INLINE void Transpose(const float* from, int64_t from_step, int64_t rows, int64_t columns, float* to, int64_t to_step) {
  int64_t r = 0;
#if HWY_TARGET != HWY_SCALAR
  const hn::FixedTag<float, 4> d;
  const hn::Repartition<double, decltype(d)> pairs;
  for (; r + 4 <= rows; r += 4) {
    int64_t c = 0;
    for (; c + 4 <= columns; c += 4) {
      const float* at = from + r * from_step + c;
      const auto v0 = hn::LoadU(d, at);
      const auto v1 = hn::LoadU(d, at + from_step);
      const auto v2 = hn::LoadU(d, at + 2 * from_step);
      const auto v3 = hn::LoadU(d, at + 3 * from_step);
      const auto low01 = hn::BitCast(pairs, hn::InterleaveLower(d, v0, v1));
      const auto low23 = hn::BitCast(pairs, hn::InterleaveLower(d, v2, v3));
      const auto high01 = hn::BitCast(pairs, hn::InterleaveUpper(d, v0, v1));
      const auto high23 = hn::BitCast(pairs, hn::InterleaveUpper(d, v2, v3));
      float* out = to + c * to_step + r;
      hn::StoreU(hn::BitCast(d, hn::InterleaveLower(pairs, low01, low23)), d, out);
      hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(pairs, low01, low23)), d, out + to_step);
      hn::StoreU(hn::BitCast(d, hn::InterleaveLower(pairs, high01, high23)), d, out + 2 * to_step);
      hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(pairs, high01, high23)), d, out + 3 * to_step);
    }
    for (; c < columns; ++c) {
      for (int64_t i = r; i < r + 4; ++i) to[c * to_step + i] = from[i * from_step + c];
    }
  }
#endif
  for (; r < rows; ++r) {
    for (int64_t c = 0; c < columns; ++c) to[c * to_step + r] = from[r * from_step + c];
  }
}

}  // namespace krait::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/rms_norm.cpp"
#include "hwy/foreach_target.h"
//
#include <algorithm>
#include <cmath>

#include "cpu.h"
#include "hwy/highway.h"
#include "part-inl.h"
#include "rows.h"

HWY_BEFORE_NAMESPACE();
namespace krait::cpu::HWY_NAMESPACE {
namespace {

// The sum of squares of h = x or x + residual; the latter is kept in `sum`, and in `kept` where that is given. The order of summation
// depends on the width alone.
template <bool kResidual, class X, class R>
float SquareSum(const X* HWY_RESTRICT x, const R* residual, R* sum, float* kept, int64_t width) {
  const hn::ScalableTag<float> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  auto a = hn::Zero(d);
  auto b = hn::Zero(d);
  const auto load = [&](int64_t i) HWY_ATTR {
    auto h = LoadRow(d, x + i);
    if constexpr (kResidual) {
      h = hn::Add(h, LoadRow(d, residual + i));
      StoreRow(h, d, sum + i);
      if (kept != nullptr) hn::StoreU(h, d, kept + i);
    }
    return h;
  };
  int64_t i = 0;
  for (; i + 2 * lanes <= width; i += 2 * lanes) {
    const auto h0 = load(i);
    const auto h1 = load(i + lanes);
    a = hn::MulAdd(h0, h0, a);
    b = hn::MulAdd(h1, h1, b);
  }
  for (; i < width; i += lanes) {
    const int64_t n = std::min(lanes, width - i);
    auto h = LoadPart(d, x + i, n);
    if constexpr (kResidual) {
      h = hn::Add(h, LoadPart(d, residual + i, n));
      StorePart(h, d, sum + i, n);
      if (kept != nullptr) StorePart(h, d, kept + i, n);
    }
    a = hn::MulAdd(h, h, a);
  }
  return hn::GetLane(hn::SumOfLanes(d, hn::Add(a, b)));
}

template <class H, class Y>
void Scale(const H* h, const float* HWY_RESTRICT weight, Y* y, int64_t width, float square, float eps) {
  const hn::ScalableTag<float> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const auto scale = hn::Set(d, 1.0f / std::sqrt(square / static_cast<float>(width) + eps));
  int64_t i = 0;
  for (; i + lanes <= width; i += lanes) StoreRow(hn::Mul(hn::Mul(LoadRow(d, h + i), scale), hn::LoadU(d, weight + i)), d, y + i);
  if (i == width) return;
  const int64_t n = width - i;
  StorePart(hn::Mul(hn::Mul(LoadPart(d, h + i, n), scale), LoadPart(d, weight + i, n)), d, y + i, n);
}

template <class X, class R, class Y>
void RowOf(const RmsNormArgs& a, int64_t t) {
  const int64_t width = a.x.dim[1];
  const float eps = static_cast<float>(a.eps);
  const float* weight = a.weight.as<float>();
  const X* x = a.x.as<X>() + t * a.x.stride[0];
  Y* y = a.y.as<Y>() + t * a.y.stride[0];
  if (!a.residual) return Scale(x, weight, y, width, SquareSum<false, X, R>(x, nullptr, nullptr, nullptr, width), eps);
  const R* residual = a.residual.as<R>() + t * a.residual.stride[0];
  R* sum = a.sum.as<R>() + t * a.sum.stride[0];
  if constexpr (sizeof(R) == 2) {
    if (width <= kKeptRow) {
      float* kept = kept_row();
      return Scale(kept, weight, y, width, SquareSum<true>(x, residual, sum, kept, width), eps);
    }
  }
  Scale(sum, weight, y, width, SquareSum<true>(x, residual, sum, static_cast<float*>(nullptr), width), eps);
}

template <class X, class R>
void RowFrom(const RmsNormArgs& a, int64_t t) {
  return a.y.dtype == DType::bf16 ? RowOf<X, R, uint16_t>(a, t) : RowOf<X, R, float>(a, t);
}

void RmsNormRow(const RmsNormArgs& a, int64_t t) {
  const bool narrow_residual = a.residual && a.residual.dtype == DType::bf16;
  if (a.x.dtype == DType::bf16) return narrow_residual ? RowFrom<uint16_t, uint16_t>(a, t) : RowFrom<uint16_t, float>(a, t);
  return narrow_residual ? RowFrom<float, uint16_t>(a, t) : RowFrom<float, float>(a, t);
}

}  // namespace
}  // namespace krait::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace krait::cpu {

HWY_EXPORT(RmsNormRow);

Status rms_norm(const RmsNormArgs& a, const Cpu& cpu) {
  const int64_t rows = a.x.dim[0];
  const int64_t width = a.x.dim[1];
#pragma omp parallel for num_threads(threads_for(cpu, rows * width)) schedule(static)
  for (int64_t t = 0; t < rows; ++t) {
    HWY_DYNAMIC_DISPATCH(RmsNormRow)(a, t);
  }
  return {};
}

}  // namespace krait::cpu
#endif

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/layer_norm.cpp"
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

// The sum of of(h, count) over a row, `count` of the lanes of h being elements and the others zero. Its order depends on the width alone.
template <class H, class Of>
HWY_INLINE float RowSum(const H* HWY_RESTRICT h, int64_t width, const Of& of) {
  const hn::ScalableTag<float> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  auto a = hn::Zero(d);
  auto b = hn::Zero(d);
  int64_t i = 0;
  for (; i + 2 * lanes <= width; i += 2 * lanes) {
    a = hn::Add(a, of(LoadRow(d, h + i), lanes));
    b = hn::Add(b, of(LoadRow(d, h + i + lanes), lanes));
  }
  for (; i < width; i += lanes) {
    const int64_t n = std::min(lanes, width - i);
    a = hn::Add(a, of(LoadPart(d, h + i, n), n));
  }
  return hn::GetLane(hn::SumOfLanes(d, hn::Add(a, b)));
}

// y from h, whose mean is taken out before anything is squared: two passes over a row that the cache holds.
template <class H, class Y>
void Normalise(const H* HWY_RESTRICT h, const float* HWY_RESTRICT weight, const float* HWY_RESTRICT bias, Y* y, int64_t width, float eps) {
  const hn::ScalableTag<float> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const auto mean = hn::Set(d, RowSum(h, width, [](auto v, int64_t) HWY_ATTR { return v; }) / static_cast<float>(width));
  const float square = RowSum(h, width, [&](auto v, int64_t n) HWY_ATTR {
    const auto off = hn::IfThenElseZero(hn::FirstN(d, static_cast<size_t>(n)), hn::Sub(v, mean));
    return hn::Mul(off, off);
  });
  const auto scale = hn::Set(d, 1.0f / std::sqrt(square / static_cast<float>(width) + eps));
  for (int64_t i = 0; i < width; i += lanes) {
    const int64_t n = std::min(lanes, width - i);
    const auto normal = hn::Mul(hn::Sub(LoadPart(d, h + i, n), mean), scale);
    const auto shift = bias == nullptr ? hn::Zero(d) : LoadPart(d, bias + i, n);
    StorePart(hn::MulAdd(normal, LoadPart(d, weight + i, n), shift), d, y + i, n);
  }
}

// sum = x + residual, also to `kept` where that is given.
template <class X, class R>
void AddRows(const X* HWY_RESTRICT x, const R* residual, R* sum, float* kept, int64_t width) {
  const hn::ScalableTag<float> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  for (int64_t i = 0; i < width; i += lanes) {
    const int64_t n = std::min(lanes, width - i);
    const auto h = hn::Add(LoadPart(d, x + i, n), LoadPart(d, residual + i, n));
    StorePart(h, d, sum + i, n);
    if (kept != nullptr) StorePart(h, d, kept + i, n);
  }
}

template <class X, class R, class Y>
void RowOf(const LayerNormArgs& a, int64_t t) {
  const int64_t width = a.x.dim[1];
  const float eps = static_cast<float>(a.eps);
  const float* weight = a.weight.as<float>();
  const float* bias = a.bias ? a.bias.as<float>() : nullptr;
  const X* x = a.x.as<X>() + t * a.x.stride[0];
  Y* y = a.y.as<Y>() + t * a.y.stride[0];
  if (!a.residual) return Normalise(x, weight, bias, y, width, eps);
  const R* residual = a.residual.as<R>() + t * a.residual.stride[0];
  R* sum = a.sum.as<R>() + t * a.sum.stride[0];
  if constexpr (sizeof(R) == 2) {
    if (width <= kKeptRow) {
      float* kept = kept_row();
      AddRows(x, residual, sum, kept, width);
      return Normalise(kept, weight, bias, y, width, eps);
    }
  }
  AddRows(x, residual, sum, static_cast<float*>(nullptr), width);
  Normalise(sum, weight, bias, y, width, eps);
}

template <class X, class R>
void RowFrom(const LayerNormArgs& a, int64_t t) {
  return a.y.dtype == DType::bf16 ? RowOf<X, R, uint16_t>(a, t) : RowOf<X, R, float>(a, t);
}

void LayerNormRow(const LayerNormArgs& a, int64_t t) {
  const bool narrow_residual = a.residual && a.residual.dtype == DType::bf16;
  if (a.x.dtype == DType::bf16) return narrow_residual ? RowFrom<uint16_t, uint16_t>(a, t) : RowFrom<uint16_t, float>(a, t);
  return narrow_residual ? RowFrom<float, uint16_t>(a, t) : RowFrom<float, float>(a, t);
}

}  // namespace
}  // namespace krait::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace krait::cpu {

HWY_EXPORT(LayerNormRow);

Status layer_norm(const LayerNormArgs& a, const Cpu& cpu) {
  const int64_t rows = a.x.dim[0];
  const int64_t width = a.x.dim[1];
#pragma omp parallel for num_threads(threads_for(cpu, rows * width)) schedule(static)
  for (int64_t t = 0; t < rows; ++t) {
    HWY_DYNAMIC_DISPATCH(LayerNormRow)(a, t);
  }
  return {};
}

}  // namespace krait::cpu
#endif

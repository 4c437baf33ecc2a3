#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/rms_norm.cpp"
#include "hwy/foreach_target.h"
//
#include <cmath>

#include "cpu.h"
#include "hwy/highway.h"
#include "part-inl.h"
#include "rows.h"

HWY_BEFORE_NAMESPACE();
namespace krait::cpu::HWY_NAMESPACE {
namespace {

// The sum of squares of h = x or x + residual, which is kept in `sum`. The order of summation depends on the width alone.
template <bool kResidual>
float SquareSum(const float* HWY_RESTRICT x, const float* HWY_RESTRICT residual, float* HWY_RESTRICT sum, int64_t width) {
  const hn::ScalableTag<float> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  auto a = hn::Zero(d);
  auto b = hn::Zero(d);
  const auto load = [&](int64_t i) HWY_ATTR {
    auto h = hn::LoadU(d, x + i);
    if constexpr (kResidual) {
      h = hn::Add(h, hn::LoadU(d, residual + i));
      hn::StoreU(h, d, sum + i);
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
    }
    a = hn::MulAdd(h, h, a);
  }
  return hn::GetLane(hn::SumOfLanes(d, hn::Add(a, b)));
}

void RmsNormRow(const float* HWY_RESTRICT x, const float* HWY_RESTRICT residual, const float* HWY_RESTRICT weight, float* HWY_RESTRICT sum,
                float* HWY_RESTRICT y, int64_t width, float eps) {
  const hn::ScalableTag<float> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const float square = residual ? SquareSum<true>(x, residual, sum, width) : SquareSum<false>(x, nullptr, nullptr, width);
  const float* h = residual ? sum : x;
  const auto scale = hn::Set(d, 1.0f / std::sqrt(square / static_cast<float>(width) + eps));
  int64_t i = 0;
  for (; i + lanes <= width; i += lanes) {
    hn::StoreU(hn::Mul(hn::Mul(hn::LoadU(d, h + i), scale), hn::LoadU(d, weight + i)), d, y + i);
  }
  if (i == width) return;
  const int64_t n = width - i;
  StorePart(hn::Mul(hn::Mul(LoadPart(d, h + i, n), scale), LoadPart(d, weight + i, n)), d, y + i, n);
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
    HWY_DYNAMIC_DISPATCH(RmsNormRow)
    (a.x.as<float>() + t * a.x.stride[0], a.residual ? a.residual.as<float>() + t * a.residual.stride[0] : nullptr, a.weight.as<float>(),
     a.sum ? a.sum.as<float>() + t * a.sum.stride[0] : nullptr, a.y.as<float>() + t * a.y.stride[0], width, static_cast<float>(a.eps));
  }
  return {};
}

}  // namespace krait::cpu
#endif

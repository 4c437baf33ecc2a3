#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/gated_rms_norm.cpp"
#include "hwy/foreach_target.h"
//
#include <cmath>

#include "activations-inl.h"
#include "cpu.h"
#include "hwy/highway.h"
#include "part-inl.h"
#include "rows.h"

HWY_BEFORE_NAMESPACE();
namespace krait::cpu::HWY_NAMESPACE {
namespace {

// One group of one row. y first holds x · silu(gate): what is normalised and what the norm's scale multiplies differ only in the gate.
void GatedGroup(const float* HWY_RESTRICT x, const float* HWY_RESTRICT gate, const float* HWY_RESTRICT weight, float* HWY_RESTRICT y,
                int64_t width, float eps, bool norm_before_gate) {
  const hn::ScalableTag<float> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  auto squares = hn::Zero(d);
  const auto add = [&](auto v, auto gated) HWY_ATTR {
    const auto h = norm_before_gate ? v : gated;
    squares = hn::MulAdd(h, h, squares);
  };
  int64_t i = 0;
  for (; i + lanes <= width; i += lanes) {
    const auto v = hn::LoadU(d, x + i);
    const auto gated = hn::Mul(v, Silu::Of(d, hn::LoadU(d, gate + i)));
    add(v, gated);
    hn::StoreU(gated, d, y + i);
  }
  if (i < width) {
    const auto v = LoadPart(d, x + i, width - i);
    const auto gated = hn::Mul(v, Silu::Of(d, LoadPart(d, gate + i, width - i)));
    add(v, gated);
    StorePart(gated, d, y + i, width - i);
  }
  const float square = hn::GetLane(hn::SumOfLanes(d, squares));
  const auto scale = hn::Set(d, 1.0f / std::sqrt(square / static_cast<float>(width) + eps));
  for (i = 0; i + lanes <= width; i += lanes) {
    hn::StoreU(hn::Mul(hn::Mul(hn::LoadU(d, y + i), scale), hn::LoadU(d, weight + i)), d, y + i);
  }
  if (i == width) return;
  const int64_t n = width - i;
  StorePart(hn::Mul(hn::Mul(LoadPart(d, y + i, n), scale), LoadPart(d, weight + i, n)), d, y + i, n);
}

}  // namespace
}  // namespace krait::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace krait::cpu {

HWY_EXPORT(GatedGroup);

Status gated_rms_norm(const GatedRmsNormArgs& a, const Cpu& cpu) {
  const int64_t rows = a.x.dim[0];
  const int64_t groups = a.groups;
  const int64_t width = a.x.dim[1] / groups;
#pragma omp parallel for num_threads(threads_for(cpu, rows * a.x.dim[1])) schedule(static)
  for (int64_t i = 0; i < rows * groups; ++i) {
    const int64_t t = i / groups;
    const int64_t column = i % groups * width;
    HWY_DYNAMIC_DISPATCH(GatedGroup)
    (a.x.as<float>() + t * a.x.stride[0] + column, a.gate.as<float>() + t * a.gate.stride[0] + column, a.weight.as<float>() + column,
     a.y.as<float>() + t * a.y.stride[0] + column, width, static_cast<float>(a.eps), a.norm_before_gate);
  }
  return {};
}

}  // namespace krait::cpu
#endif

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

// One group of one row. `open` first holds x · silu(gate): what is normalised and what the norm's scale multiplies differ only in the gate.
template <class E, class Open>
void GateAndNorm(const E* HWY_RESTRICT x, const E* HWY_RESTRICT gate, const float* HWY_RESTRICT weight, Open* open, E* y, int64_t width, float eps,
                 bool norm_before_gate) {
  const hn::ScalableTag<float> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  auto squares = hn::Zero(d);
  const auto add = [&](auto v, auto gated) HWY_ATTR {
    const auto h = norm_before_gate ? v : gated;
    squares = hn::MulAdd(h, h, squares);
  };
  int64_t i = 0;
  for (; i + lanes <= width; i += lanes) {
    const auto v = LoadRow(d, x + i);
    const auto gated = hn::Mul(v, Silu::Of(d, LoadRow(d, gate + i)));
    add(v, gated);
    StoreRow(gated, d, open + i);
  }
  if (i < width) {
    const auto v = LoadPart(d, x + i, width - i);
    const auto gated = hn::Mul(v, Silu::Of(d, LoadPart(d, gate + i, width - i)));
    add(v, gated);
    StorePart(gated, d, open + i, width - i);
  }
  const float square = hn::GetLane(hn::SumOfLanes(d, squares));
  const auto scale = hn::Set(d, 1.0f / std::sqrt(square / static_cast<float>(width) + eps));
  for (i = 0; i + lanes <= width; i += lanes) {
    StoreRow(hn::Mul(hn::Mul(LoadRow(d, open + i), scale), hn::LoadU(d, weight + i)), d, y + i);
  }
  if (i == width) return;
  const int64_t n = width - i;
  StorePart(hn::Mul(hn::Mul(LoadPart(d, open + i, n), scale), LoadPart(d, weight + i, n)), d, y + i, n);
}

template <class E>
void GroupOf(const GatedRmsNormArgs& a, int64_t t, int64_t column, int64_t width) {
  const E* x = a.x.as<E>() + t * a.x.stride[0] + column;
  const E* gate = a.gate.as<E>() + t * a.gate.stride[0] + column;
  E* y = a.y.as<E>() + t * a.y.stride[0] + column;
  const float* weight = a.weight.as<float>() + column;
  const float eps = static_cast<float>(a.eps);
  if constexpr (sizeof(E) == 2) {
    if (width <= kKeptRow) return GateAndNorm(x, gate, weight, kept_row(), y, width, eps, a.norm_before_gate);
  }
  GateAndNorm(x, gate, weight, y, y, width, eps, a.norm_before_gate);
}

void GatedGroup(const GatedRmsNormArgs& a, int64_t t, int64_t column, int64_t width) {
  return a.x.dtype == DType::bf16 ? GroupOf<uint16_t>(a, t, column, width) : GroupOf<float>(a, t, column, width);
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
    HWY_DYNAMIC_DISPATCH(GatedGroup)(a, i / groups, i % groups * width, width);
  }
  return {};
}

}  // namespace krait::cpu
#endif

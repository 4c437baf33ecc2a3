// One token of selective_scan. Included once per SIMD target.
#if defined(KRAIT_CPU_SELECTIVE_STEP_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef KRAIT_CPU_SELECTIVE_STEP_INL_H_
#undef KRAIT_CPU_SELECTIVE_STEP_INL_H_
#else
#define KRAIT_CPU_SELECTIVE_STEP_INL_H_
#endif

#include <algorithm>
#include <cstdint>

#include "activations-inl.h"
#include "cpu.h"
#include "exp2-inl.h"
#include "hwy/highway.h"
#include "tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace krait::cpu::HWY_NAMESPACE {

// States beside each other, as they lie in memory, instead of channels: nothing is turned but the new states, for the sums, which run over
// the states in their order. So a step has the bits of a scan. `carried`: the state from channel `first` on, [channels, N]; null for none.
template <class E>
void SelectiveStep(const SelectiveScanArgs& a, int64_t token, int64_t first, int64_t channels, float* carried) {
  constexpr bool kNarrow = sizeof(E) == 2;
  const FloatTag d;
  const int64_t states = a.B.dim[1];
  const E* b = a.B.as<E>() + token * a.B.stride[0];
  const E* out = a.C.as<E>() + token * a.C.stride[0];
  const auto at = [&](const Tensor& t) { return t.as<E>() + token * t.stride[0] + first; };
  const auto channel_part = [&](const Tensor& t, int64_t c, int64_t rest) HWY_ATTR {
    return t ? LoadPart(d, t.as<float>() + first + c, rest) : hn::Zero(d);
  };
  alignas(64) float steps[kLanes];
  alignas(64) float inputs[kLanes];
  alignas(64) float weights[kLanes];
  alignas(64) float lying[kLanes * kLanes] = {0};
  alignas(64) float turned[kLanes * kLanes];
  for (int64_t c = 0; c < channels; c += kLanes) {
    const int64_t some = std::min(kLanes, channels - c);
    FloatVec step = hn::Add(LoadPart(d, at(a.dt) + c, some), channel_part(a.dt_bias, c, some));
    if (a.dt_softplus) step = Softplus::Of(d, step);
    const FloatVec x = LoadPart(d, at(a.x) + c, some);
    hn::Store(step, d, steps);
    hn::Store(hn::Mul(step, x), d, inputs);
    FloatVec sum = hn::Mul(channel_part(a.D, c, some), x);
    for (int64_t n = 0; n < states; n += kLanes) {
      const int64_t rest = std::min(kLanes, states - n);
      const FloatVec in = LoadPart(d, b + n, rest);
      hn::Store(LoadPart(d, out + n, rest), d, weights);
      for (int64_t i = 0; i < some; ++i) {
        const float* log_rate = a.a_log.as<float>() + (first + c + i) * a.a_log.stride[0] + n;
        float* kept = carried == nullptr ? nullptr : carried + (c + i) * states + n;
        FloatVec exponent = hn::Mul(hn::Set(d, steps[i]), ScanRate(d, LoadPart(d, log_rate, rest)));
        if (!a.dt_softplus) exponent = hn::Min(hn::Set(d, 128.0f), exponent);
        const FloatVec before = kept == nullptr ? hn::Zero(d) : LoadPart(d, kept, rest);
        const FloatVec after = hn::MulAdd(Exp2<kNarrow>(d, exponent), before, hn::Mul(hn::Set(d, inputs[i]), in));
        if (kept != nullptr) StorePart(after, d, kept, rest);
        hn::Store(after, d, lying + i * kLanes);
      }
      Transpose(lying, kLanes, kLanes, kLanes, turned, kLanes);
      for (int64_t i = 0; i < rest; ++i) sum = hn::MulAdd(hn::Load(d, turned + i * kLanes), hn::Set(d, weights[i]), sum);
    }
    if (a.z) sum = hn::Mul(sum, Silu::Of(d, LoadPart(d, at(a.z) + c, some)));
    StorePart(sum, d, at(a.y) + c, some);
  }
}

}  // namespace krait::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif

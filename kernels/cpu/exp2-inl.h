// Powers of two for decays. Included once per SIMD target.
#if defined(KRAIT_CPU_EXP2_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef KRAIT_CPU_EXP2_INL_H_
#undef KRAIT_CPU_EXP2_INL_H_
#else
#define KRAIT_CPU_EXP2_INL_H_
#endif

#include "activations-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace krait::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// 2^f − 1 over |f| ≤ 1/2, exactly 0 at 0. For float32 a fit of (2^f − 1) / f, within 1e-7 of 2^f. For bf16 one of third degree, within
// 1.3e-4, whose slope at 0 is exact: what decays slowly multiplies small errors the longest.
template <bool kShort, class D, class V = hn::Vec<D>>
HWY_INLINE V Exp2Less1(D d, V f) {
  V p;
  if constexpr (kShort) {
    p = hn::MulAdd(hn::Set(d, 0.05549126364f), f, hn::Set(d, 0.2421199846f));
  } else {
    p = hn::Set(d, 1.326472786e-3f);
    p = hn::MulAdd(p, f, hn::Set(d, 9.671513264e-3f));
    p = hn::MulAdd(p, f, hn::Set(d, 5.550733747e-2f));
    p = hn::MulAdd(p, f, hn::Set(d, 0.2402224208f));
  }
  return hn::MulAdd(p, f, hn::Set(d, kShort ? 0.6931471806f : 0.6931469776f));
}

// 2^x, nothing far below −127, NaN where x is. Not for x above 128.
template <bool kShort, class D, class V = hn::Vec<D>>
HWY_INLINE V Exp2(D d, V x) {
#if HWY_TARGET == HWY_AVX3
  // x less its nearest integer, which is nothing for −∞; the sum is that integer again and scales the result.
  const V f = V{_mm512_reduce_ps(x.raw, 0x08)};
  const V p = hn::MulAdd(Exp2Less1<kShort>(d, f), f, hn::Set(d, 1.0f));
  return V{_mm512_scalef_ps(p.raw, hn::Sub(x, f).raw)};
#else
  const hn::RebindToSigned<D> integers;
  x = hn::Max(hn::Set(d, -127.0f), x);
  // Adding 1.5 · 2²³ rounds to an integer and leaves it in the low bits.
  const V magic = hn::Set(d, 12582912.0f);
  const V rounded = hn::Add(x, magic);
  const V f = hn::Sub(x, hn::Sub(rounded, magic));
  const V p = hn::MulAdd(Exp2Less1<kShort>(d, f), f, hn::Set(d, 1.0f));
  return hn::BitCast(d, hn::Add(hn::BitCast(integers, p), hn::ShiftLeft<23>(hn::BitCast(integers, rounded))));
#endif
}

// −e^log · log₂e, which times Δ is the exponent of a decay. Bounded, because 0 · ∞ is a NaN.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V ScanRate(D d, V log) {
  return hn::Max(hn::Set(d, -3e38f), hn::Mul(SafeExp(d, log), hn::Set(d, -1.4426950408889634f)));
}

}  // namespace krait::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif

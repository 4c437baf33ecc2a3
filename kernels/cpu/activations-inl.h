// The element functions of unary and linear, on vectors of the target that is being compiled. All keep a NaN a NaN; relative errors
// are a few units in the last place.
#if defined(KRAIT_CPU_ACTIVATIONS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef KRAIT_CPU_ACTIVATIONS_INL_H_
#undef KRAIT_CPU_ACTIVATIONS_INL_H_
#else
#define KRAIT_CPU_ACTIVATIONS_INL_H_
#endif

#include <limits>

#include "hwy/contrib/math/math-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace krait::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// e^x within 2e-7, infinite from 89 on; NaN stays NaN.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V SafeExp(D d, V x) {
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX2
  // The second operand of Min and Max is the one that stays when it is a NaN.
  x = hn::Max(hn::Set(d, -150.0f), hn::Min(hn::Set(d, 100.0f), x));
#if HWY_TARGET == HWY_AVX3
  const V n = V{_mm512_roundscale_ps(hn::Mul(x, hn::Set(d, 1.4426950408889634f)).raw, 0x08)};
#else
  // Adding 1.5 · 2²³ rounds to an integer and leaves it in the low bits.
  const V magic = hn::Set(d, 12582912.0f);
  const V rounded = hn::MulAdd(x, hn::Set(d, 1.4426950408889634f), magic);
  const V n = hn::Sub(rounded, magic);
#endif
  // ln 2 in two parts, the first with so few digits that n times it is exact.
  const V r = hn::NegMulAdd(n, hn::Set(d, -2.12194440e-4f), hn::NegMulAdd(n, hn::Set(d, 0.693359375f), x));
  // A fit of (e^r − 1) / r over |r| ≤ ln 2 / 2 for the least relative error of e^r.
  V p = hn::Set(d, 0.00829031513f);
  p = hn::MulAdd(p, r, hn::Set(d, 0.041897932f));
  p = hn::MulAdd(p, r, hn::Set(d, 0.1666763621f));
  p = hn::MulAdd(p, r, hn::Set(d, 0.4999914952f));
  p = hn::MulAdd(p, r, hn::Set(d, 0.9999997072f));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0f));
#if HWY_TARGET == HWY_AVX3
  return V{_mm512_scalef_ps(p.raw, n.raw)};
#else
  // 2^n in two factors: alone it may lie outside of a float's exponents. n + 254 is halved, and each half is such an exponent.
  const hn::RebindToUnsigned<D> bits;
  const auto both = hn::Sub(hn::BitCast(bits, rounded), hn::Set(bits, 0x4b400000u - 254u));
  const auto half = hn::ShiftRight<1>(both);
  const V first = hn::BitCast(d, hn::ShiftLeft<23>(half));
  return hn::Mul(hn::Mul(p, first), hn::BitCast(d, hn::ShiftLeft<23>(hn::Sub(both, half))));
#endif
#else
  // Highway's own stops at 104 and makes a number of NaN.
  const V e = hn::Exp(d, hn::Min(x, hn::Set(d, 100.0f)));
  return hn::IfThenElse(hn::IsNaN(x), x, e);
#endif
}

template <class D, class V = hn::Vec<D>>
HWY_INLINE V Sigmoid(D d, V x) {
  const V one = hn::Set(d, 1.0f);
  return hn::Div(one, hn::Add(one, SafeExp(d, hn::Neg(x))));
}

struct Identity {
  template <class D, class V = hn::Vec<D>>
  static HWY_INLINE V Of(D, V x) {
    return x;
  }
};

struct Silu {
  template <class D, class V = hn::Vec<D>>
  static HWY_INLINE V Of(D d, V x) {
    return hn::Div(x, hn::Add(hn::Set(d, 1.0f), SafeExp(d, hn::Neg(x))));
  }
};

struct Sigmoidal {
  template <class D, class V = hn::Vec<D>>
  static HWY_INLINE V Of(D d, V x) {
    return Sigmoid(d, x);
  }
};

// x · Φ(x), with Φ(−|x|) = erfc(|x|/√2) / 2 and erfc(z) = exp(−z²) · t · P(t), t = 1 / (1 + z/2). P is a fit of degree 8 over
// 0 ≤ z ≤ 11, within 5e-8 of erfc; no difference of nearly equal numbers, so that the left tail keeps its digits.
struct Gelu {
  template <class D, class V = hn::Vec<D>>
  static HWY_INLINE V Of(D d, V x) {
    constexpr float kFit[] = {0.2820850214f,  0.2823998332f,  0.2429252481f, 0.2033932019f,  -0.02829446874f,
                              0.2804882169f, -0.4893145666f, 0.2855953955f, -0.05927792528f};
    const V one = hn::Set(d, 1.0f);
    const V half = hn::Set(d, 0.5f);
    const V z = hn::Mul(hn::Abs(x), hn::Set(d, 0.70710678118654752f));
    const V t = hn::Div(one, hn::MulAdd(z, half, one));
    V p = hn::Set(d, kFit[8]);
    for (int i = 7; i >= 0; --i) p = hn::MulAdd(p, t, hn::Set(d, kFit[i]));
    // What rounding took from x² would be the relative error of the exponential.
    const V square = hn::Mul(x, x);
    const V lost = hn::MulSub(x, x, square);
    const V e = SafeExp(d, hn::Mul(hn::Neg(half), square));
    const V tail = hn::Mul(hn::Mul(half, hn::Mul(p, t)), hn::NegMulAdd(hn::Mul(half, lost), e, e));
    const V phi = hn::IfThenElse(hn::Lt(x, hn::Zero(d)), tail, hn::Sub(one, tail));
    // Where x² overflows the tail has long been nothing.
    const V far = hn::IfThenElse(hn::Lt(x, hn::Zero(d)), hn::Zero(d), x);
    return hn::IfThenElse(hn::Gt(hn::Abs(x), hn::Set(d, 20.0f)), far, hn::Mul(x, phi));
  }
};

// 0.5 x (1 + tanh u) is x · sigmoid(2u).
struct GeluTanh {
  template <class D, class V = hn::Vec<D>>
  static HWY_INLINE V Of(D d, V x) {
    const V cubed = hn::Mul(hn::Mul(x, x), x);
    const V u = hn::Mul(hn::MulAdd(cubed, hn::Set(d, 0.044715f), x), hn::Set(d, -2 * 0.79788456080286536f));
    return hn::Div(x, hn::Add(hn::Set(d, 1.0f), SafeExp(d, u)));
  }
};

// log(1 + e^x) as max(x, 0) + log(1 + e^−|x|): nothing overflows, and above 20 it is x to the last bit. With s = e / (2 + e) the logarithm
// is 2·atanh(s), and atanh(s) / s a fit in s² over s ≤ 1/3 within 4e-9; no difference of nearly equal numbers.
struct Softplus {
  template <class D, class V = hn::Vec<D>>
  static HWY_INLINE V Of(D d, V x) {
    const V e = SafeExp(d, hn::Neg(hn::Abs(x)));
    const V s = hn::Div(e, hn::Add(e, hn::Set(d, 2.0f)));
    const V u = hn::Mul(s, s);
    V p = hn::Set(d, 0.14089166f);
    p = hn::MulAdd(p, u, hn::Set(d, 0.13980302f));
    p = hn::MulAdd(p, u, hn::Set(d, 0.20012455f));
    p = hn::MulAdd(p, u, hn::Set(d, 0.33333157f));
    p = hn::MulAdd(p, u, hn::Set(d, 1.0f));
    return hn::MulAdd(hn::Add(s, s), p, hn::Max(hn::Zero(d), x));
  }
};

struct Tanh {
  template <class D, class V = hn::Vec<D>>
  static HWY_INLINE V Of(D d, V x) {
    return hn::IfThenElse(hn::IsNaN(x), x, hn::Tanh(d, x));
  }
};

struct Relu {
  template <class D, class V = hn::Vec<D>>
  static HWY_INLINE V Of(D d, V x) {
    return hn::Max(hn::Zero(d), x);
  }
};

struct Relu2 {
  template <class D, class V = hn::Vec<D>>
  static HWY_INLINE V Of(D d, V x) {
    const V r = hn::Max(hn::Zero(d), x);
    return hn::Mul(r, r);
  }
};

struct Exponential {
  template <class D, class V = hn::Vec<D>>
  static HWY_INLINE V Of(D d, V x) {
    return SafeExp(d, x);
  }
};

// Highway's is defined for positive finite numbers only.
struct Logarithm {
  template <class D, class V = hn::Vec<D>>
  static HWY_INLINE V Of(D d, V x) {
    const V infinite = hn::Set(d, std::numeric_limits<float>::infinity());
    const V nan = hn::Set(d, std::numeric_limits<float>::quiet_NaN());
    V y = hn::IfThenElse(hn::Lt(x, infinite), hn::Log(d, x), x);
    y = hn::IfThenElse(hn::Eq(x, hn::Zero(d)), hn::Neg(infinite), y);
    return hn::IfThenElse(hn::Lt(x, hn::Zero(d)), nan, y);
  }
};

struct Square {
  template <class D, class V = hn::Vec<D>>
  static HWY_INLINE V Of(D, V x) {
    return hn::Mul(x, x);
  }
};

}  // namespace krait::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif

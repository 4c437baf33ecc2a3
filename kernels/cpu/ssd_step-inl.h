// The recurrence of ssd_scan, token by token. Included once per SIMD target.
#if defined(KRAIT_CPU_SSD_STEP_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef KRAIT_CPU_SSD_STEP_INL_H_
#undef KRAIT_CPU_SSD_STEP_INL_H_
#else
#define KRAIT_CPU_SSD_STEP_INL_H_
#endif

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "activations-inl.h"
#include "hwy/highway.h"
#include "part-inl.h"
#include "ssd.h"
#include "tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace krait::cpu::HWY_NAMESPACE {

// Δ and Δ·A of `count` tokens of one head. An exponent below −10⁴ is nothing in float, and bounded sums stay exact.
inline void SsdSteps(const Ssd& ssd, int64_t t, int64_t h, int64_t count, float* steps, double* exponents) {
  const SsdScanArgs& a = ssd.a;
  const FloatTag d;
  const float bias = a.dt_bias ? a.dt_bias.as<float>()[h] : 0.0f;
  const float* dt = a.dt.as<float>() + t * a.dt.stride[0] + h;
  for (int64_t i = 0; i < count; ++i) steps[i] = dt[i * a.dt.stride[0]] + bias;
  const FloatVec low = hn::Set(d, static_cast<float>(a.dt_min));
  const FloatVec high = hn::Set(d, static_cast<float>(a.dt_max));
  for (int64_t i = 0; i < count; i += kLanes) {
    FloatVec v = LoadPart(d, steps + i, std::min(kLanes, count - i));
    if (a.dt_softplus) v = Softplus::Of(d, v);
    // The second operand of Max and Min is the one that stays when it is a NaN.
    StorePart(hn::Min(high, hn::Max(low, v)), d, steps + i, std::min(kLanes, count - i));
  }
  const double rate = -std::exp(static_cast<double>(a.a_log.as<float>()[h]));
  for (int64_t i = 0; i < count; ++i) exponents[i] = std::max(steps[i] * rate, -1e4);
}

// The recurrence over kTokens tokens for R rows of a state [rows, N], which lie `apart` rows apart.
template <int R, int kTokens, bool kPartial>
HWY_INLINE void StepVector(float* state, int64_t n_all, int64_t apart, const float* const* b, const float* const* c, const float* decay, const float* input,
                           FloatVec (&dots)[R][kTokens], int64_t n, int64_t rest) {
  const FloatTag d;
  FloatVec s[R];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) s[r] = LoadVec<kPartial>(state + r * apart * n_all + n, rest);
#pragma GCC unroll 8
  for (int t = 0; t < kTokens; ++t) {
    const FloatVec bv = LoadVec<kPartial>(b[t] + n, rest);
    const FloatVec cv = LoadVec<kPartial>(c[t] + n, rest);
    const FloatVec keep = hn::Set(d, decay[t]);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      s[r] = hn::MulAdd(s[r], keep, hn::Mul(hn::Set(d, input[t * kSsdColumns + r * apart]), bv));
      dots[r][t] = hn::MulAdd(s[r], cv, dots[r][t]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) StoreVec<kPartial>(s[r], state + r * apart * n_all + n, rest);
}

template <int R, int kTokens>
HWY_INLINE void StepRows(float* state, int64_t n_all, int64_t apart, const float* const* b, const float* const* c, const float* decay, const float* input,
                         float* out) {
  const FloatTag d;
  FloatVec dots[R][kTokens];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int t = 0; t < kTokens; ++t) dots[r][t] = hn::Zero(d);
  }
  int64_t n = 0;
  for (; n + kLanes <= n_all; n += kLanes) StepVector<R, kTokens, false>(state, n_all, apart, b, c, decay, input, dots, n, 0);
  if (n < n_all) StepVector<R, kTokens, true>(state, n_all, apart, b, c, decay, input, dots, n, n_all - n);
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int t = 0; t < kTokens; ++t) out[t * kSsdColumns + r * apart] = hn::GetLane(hn::SumOfLanes(d, dots[r][t]));
  }
}

template <int kTokens, class E>
HWY_INLINE void StepTokens(const Ssd& ssd, int64_t t, int64_t h, int64_t p, const float* skip, float* state) {
  constexpr int kRows = HWY_TARGET <= HWY_AVX3 || kTokens == 1 ? 4 : 2;
  const FloatTag d;
  const int64_t columns = ssd.columns(p);
  const int64_t n_all = ssd.state_size;
  alignas(64) float steps[kLanes < 4 ? 4 : kLanes] = {0};
  alignas(64) float decay[kLanes < 4 ? 4 : kLanes] = {0};
  double exponents[kTokens];
  SsdSteps(ssd, t, h, kTokens, steps, exponents);
  for (int i = 0; i < kTokens; ++i) decay[i] = static_cast<float>(exponents[i]);
  for (int64_t i = 0; i < kTokens; i += kLanes) hn::Store(SafeExp(d, hn::Load(d, decay + i)), d, decay + i);

  alignas(64) float input[kTokens * kSsdColumns];
  alignas(64) float out[kTokens * kSsdColumns];
  const float* b[kTokens];
  const float* c[kTokens];
  for (int i = 0; i < kTokens; ++i) {
    b[i] = ssd.b(t + i, ssd.group(h));
    c[i] = ssd.c(t + i, ssd.group(h));
    const E* x = ssd.x<E>(t + i, h) + p;
    const FloatVec step = hn::Set(d, steps[i]);
    for (int64_t r = 0; r < columns; r += kLanes) {
      hn::Store(hn::Mul(step, LoadPart(d, x + r, std::min(kLanes, columns - r))), d, input + i * kSsdColumns + r);
    }
  }
  // Rows far apart, so that memory brings several streams at once.
  const int64_t each = columns / kRows;
  for (int64_t r = 0; r < each; ++r) StepRows<kRows, kTokens>(state + r * n_all, n_all, each, b, c, decay, input + r, out + r);
  for (int64_t r = each * kRows; r < columns; ++r) StepRows<1, kTokens>(state + r * n_all, n_all, 0, b, c, decay, input + r, out + r);
  for (int i = 0; i < kTokens; ++i) {
    const E* x = ssd.x<E>(t + i, h) + p;
    E* y = ssd.y<E>(t + i, h) + p;
    for (int64_t at = 0; at < columns; at += kLanes) {
      const int64_t rest = std::min(kLanes, columns - at);
      const FloatVec v = hn::MulAdd(hn::Load(d, skip + at), LoadPart(d, x + at, rest), hn::Load(d, out + i * kSsdColumns + at));
      StorePart(v, d, y + at, rest);
    }
  }
}

template <class E>
void SsdRecurOf(const Ssd& ssd, int64_t from, int64_t to, int64_t h, int64_t p, const float* skip, float* state) {
  int64_t t = from;
  for (; t + 4 <= to; t += 4) StepTokens<4, E>(ssd, t, h, p, skip, state);
  if (t + 2 <= to) {
    StepTokens<2, E>(ssd, t, h, p, skip, state);
    t += 2;
  }
  if (t < to) StepTokens<1, E>(ssd, t, h, p, skip, state);
}

// The recurrence over tokens [from, to) on a state [columns, N]. In what portions has no influence on the result.
inline void SsdRecur(const Ssd& ssd, int64_t from, int64_t to, int64_t h, int64_t p, const float* skip, float* state) {
  if (ssd.is_narrow()) {
    SsdRecurOf<uint16_t>(ssd, from, to, h, p, skip, state);
  } else {
    SsdRecurOf<float>(ssd, from, to, h, p, skip, state);
  }
}

}  // namespace krait::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif

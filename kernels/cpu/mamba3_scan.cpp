#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/mamba3_scan.cpp"
#include "hwy/foreach_target.h"
//
#include <algorithm>
#include <vector>

#include "activations-inl.h"
#include "borders.h"
#include "hwy/highway.h"
#include "mirror.h"
#include "part-inl.h"
#include "sequences.h"

#ifndef KRAIT_CPU_MAMBA3_SCAN_ONCE
#define KRAIT_CPU_MAMBA3_SCAN_ONCE
namespace krait::cpu {

inline constexpr int64_t kTurnStates = 256;  // of the record, at most

}  // namespace krait::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace krait::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using TurnTag = hn::ScalableTag<float>;
using TurnVec = hn::Vec<TurnTag>;
inline constexpr int64_t kTurnLanes = HWY_LANES(float);

// One head of one sequence, token after token. Rows of states are filled up to whole vectors with zeros.
struct TurnedHead {
  const Mamba3ScanArgs& a;
  int64_t head, P, N, K;
  int64_t row;           // N in whole vectors
  std::vector<float> S;  // [P, row]
  std::vector<float> value;
  alignas(64) float theta[kTurnStates] = {0};
  alignas(64) float cosine[kTurnStates] = {0};
  alignas(64) float sine[kTurnStates] = {0};
  alignas(64) float key[kTurnStates] = {0};
  alignas(64) float query[kTurnStates] = {0};
  alignas(64) float now[kTurnStates] = {0};     // λ·Δ·k
  alignas(64) float before[kTurnStates] = {0};  // (1 − λ)·Δ·α·k₋₁

  TurnedHead(const Mamba3ScanArgs& args, int64_t h)
      : a(args),
        head(h),
        P(args.x.dim[2]),
        N(args.B.dim[2]),
        K(args.angle.dim[1]),
        row((N + kTurnLanes - 1) / kTurnLanes * kTurnLanes),
        S(static_cast<size_t>(P * row)),
        value(static_cast<size_t>(P)) {}

  float* slot_of(const Tensor& pool, int64_t slot, int64_t width) const { return pool.as<float>() + slot * pool.stride[0] + head * width; }

  void Take(int64_t slot) {
    const float* from = slot_of(a.state, slot, P * N);
    for (int64_t p = 0; p < P; ++p) std::copy_n(from + p * N, N, S.data() + p * row);
    std::copy_n(slot_of(a.angle_state, slot, K), K, theta);
    std::copy_n(slot_of(a.key_state, slot, N), N, key);
    std::copy_n(slot_of(a.value_state, slot, P), P, value.data());
  }
  void Put(int64_t slot) const {
    float* to = slot_of(a.state, slot, P * N);
    for (int64_t p = 0; p < P; ++p) std::copy_n(S.data() + p * row, N, to + p * N);
    std::copy_n(theta, K, slot_of(a.angle_state, slot, K));
    std::copy_n(key, N, slot_of(a.key_state, slot, N));
    std::copy_n(value.data(), P, slot_of(a.value_state, slot, P));
  }

  // Θ += π·tanh(angle)·Δ less whole turns, 2π being subtracted in two parts of which the first has few digits.
  void Turn(int64_t t, float step) {
    const TurnTag d;
    const float* angle = a.angle.as<float>() + t * a.angle.stride[0];
    const TurnVec most = hn::Set(d, 3.14159265358979324f);
    for (int64_t i = 0; i < K; i += kTurnLanes) {
      const TurnVec speed = hn::Mul(most, Tanh::Of(d, LoadPart(d, angle + i, std::min(kTurnLanes, K - i))));
      TurnVec turned = hn::MulAdd(speed, hn::Set(d, step), hn::Load(d, theta + i));
      const TurnVec turns = hn::Round(hn::Mul(turned, hn::Set(d, 0.15915494309189534f)));
      turned = hn::NegMulAdd(turns, hn::Set(d, 6.28125f), turned);
      turned = hn::NegMulAdd(turns, hn::Set(d, 1.9353071795864769e-3f), turned);
      hn::Store(turned, d, theta + i);
      hn::Store(hn::Cos(d, turned), d, cosine + i);
      hn::Store(hn::Sin(d, turned), d, sine + i);
    }
  }

  void Rotate(const Tensor& from, const Tensor& bias, int64_t t, float* to) const {
    const float* v = from.as<float>() + t * from.stride[0] + head / (a.x.dim[1] / from.dim[1]) * N;
    const float* b = bias.as<float>() + head * bias.stride[0];
    for (int64_t i = 0; i < K; ++i) {
      const float even = v[2 * i] + b[2 * i], odd = v[2 * i + 1] + b[2 * i + 1];
      to[2 * i] = even * cosine[i] - odd * sine[i];
      to[2 * i + 1] = even * sine[i] + odd * cosine[i];
    }
    for (int64_t n = 2 * K; n < N; ++n) to[n] = v[n] + b[n];
  }

  // kRows rows of S through one token: their sums are y without D.
  template <int kRows>
  HWY_INLINE void Advance(const float* x, float decay, int64_t p, float* sums) {
    const TurnTag d;
    float* s = S.data() + p * row;
    TurnVec sum[kRows];
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) sum[r] = hn::Zero(d);
    const TurnVec fade = hn::Set(d, decay);
    for (int64_t n = 0; n < row; n += kTurnLanes) {
      const TurnVec old_key = hn::Load(d, before + n), new_key = hn::Load(d, now + n), out = hn::Load(d, query + n);
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) {
        TurnVec state = hn::Mul(fade, hn::LoadU(d, s + r * row + n));
        state = hn::MulAdd(hn::Set(d, value[static_cast<size_t>(p + r)]), old_key, state);
        state = hn::MulAdd(hn::Set(d, x[p + r]), new_key, state);
        hn::StoreU(state, d, s + r * row + n);
        sum[r] = hn::MulAdd(state, out, sum[r]);
      }
    }
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) sums[p + r] = hn::GetLane(hn::SumOfLanes(d, sum[r]));
  }

  void Run(int64_t from, int64_t to) {
    // The functions of whole vectors, of which one lane counts.
    const TurnTag one;
    const auto of = [&](const Tensor& t, int64_t token) HWY_ATTR { return hn::Set(one, t.as<float>()[token * t.stride[0] + head]); };
    const float skip = a.D ? a.D.as<float>()[head] : 0.0f;
    const auto bias = hn::Set(one, a.dt_bias ? a.dt_bias.as<float>()[head] : 0.0f);
    for (int64_t t = from; t < to; ++t) {
      const auto step_of = Softplus::Of(one, hn::Add(of(a.dt, t), bias));
      const auto raw = of(a.a, t);
      const auto unit = hn::Set(one, 1.0f);
      const auto size = hn::Abs(raw);
      const auto tail = hn::IfThenElse(hn::Lt(raw, hn::Zero(one)), hn::Div(unit, hn::Add(unit, size)), hn::Add(unit, raw));
      const bool is_soft = a.a_activation == Mamba3ScanArgs::AActivation::softplus;
      // The second operand of Max is the one that stays when it is a NaN.
      const auto rate = hn::Max(hn::Set(one, static_cast<float>(a.a_floor)), is_soft ? Softplus::Of(one, raw) : tail);
      const float step = hn::GetLane(step_of);
      const float decay = hn::GetLane(SafeExp(one, hn::Neg(hn::Mul(step_of, rate))));
      // 1 − λ as a sigmoid of its own keeps its digits.
      const auto trap = of(a.trap, t);
      const float current = hn::GetLane(Sigmoid(one, trap)) * step;
      const float last = hn::GetLane(Sigmoid(one, hn::Neg(trap))) * step * decay;

      Turn(t, step);
      for (int64_t n = 0; n < N; ++n) before[n] = last * key[n];
      Rotate(a.B, a.b_bias, t, key);
      for (int64_t n = 0; n < N; ++n) now[n] = current * key[n];
      Rotate(a.C, a.c_bias, t, query);

      const float* x = a.x.as<float>() + t * a.x.stride[0] + head * P;
      float* y = a.y.as<float>() + t * a.y.stride[0] + head * P;
      int64_t p = 0;
      for (; p + 4 <= P; p += 4) Advance<4>(x, decay, p, y);
      for (; p < P; ++p) Advance<1>(x, decay, p, y);
      for (p = 0; p < P; ++p) y[p] += skip * x[p];
      std::copy_n(x, P, value.data());
    }
  }
};

void ScanHead(const Mamba3ScanArgs& a, int64_t s, int64_t head) {
  const int32_t* borders = a.cu_seqlens.as<int32_t>();
  if (borders[s] == borders[s + 1]) return;
  const int32_t slot = a.state && a.state_index ? a.state_index.as<int32_t>()[s] : -1;
  TurnedHead turned(a, head);
  if (slot >= 0) turned.Take(slot);
  turned.Run(borders[s], borders[s + 1]);
  if (slot >= 0) turned.Put(slot);
}

}  // namespace krait::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace krait::cpu {
namespace {

HWY_EXPORT(ScanHead);

Status scan(const Mamba3ScanArgs& a, const Cpu& cpu) {
  if (!are_borders(a.cu_seqlens, a.x.dim[0])) return bad_borders("mamba3_scan", a.x.dim[0]);
  if (!are_slots(a.state_index, a.state)) return bad_slots("mamba3_scan", a.state);
  const int64_t heads = a.x.dim[1];
  const int64_t units = (a.cu_seqlens.dim[0] - 1) * heads;
  const auto work = HWY_DYNAMIC_DISPATCH(ScanHead);
#pragma omp parallel for num_threads(cpu.threads) schedule(dynamic) if (units > 1)
  for (int64_t u = 0; u < units; ++u) work(a, u / heads, u % heads);
  return {};
}

}  // namespace

Status mamba3_scan(const Mamba3ScanArgs& a, const Cpu& cpu) {
  using Args = Mamba3ScanArgs;
  if (!a.reverse) return scan(a, cpu);
  return with_mirror("mamba3_scan", a, {&Args::x, &Args::dt, &Args::a, &Args::trap, &Args::angle, &Args::B, &Args::C, &Args::y}, [&](const Args& mirror) { return scan(mirror, cpu); });
}

}  // namespace krait::cpu
#endif

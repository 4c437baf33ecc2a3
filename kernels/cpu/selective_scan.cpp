#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/selective_scan.cpp"
#include "hwy/foreach_target.h"
//
#include <algorithm>
#include <cstring>

#include "activations-inl.h"
#include "borders.h"
#include "hwy/highway.h"
#include "tile-inl.h"

// A block of channels at a time, a vector of them per register, with as many states in registers as there are: nearly all of the work is
// one exponential per channel and state. Channels never meet, so neither blocks nor threads can be seen in the bits.
#ifndef KRAIT_CPU_SELECTIVE_SCAN_ONCE
#define KRAIT_CPU_SELECTIVE_SCAN_ONCE
namespace krait::cpu {

inline constexpr int64_t kScanTokens = 16;     // staged at once
inline constexpr int64_t kScanChannels = 512;  // of a block, at most: every row of a token costs a page of address translation
inline constexpr int64_t kScanNarrowest = 16;  // and at least: what a cache line holds
inline constexpr int64_t kScanArea = 16384;    // channels × states of a block, at most; a narrow one has room for the 256 states of the record

}  // namespace krait::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace krait::cpu::HWY_NAMESPACE {

// 2^x within 1e-7, zero below −127, NaN where x is. Not for x above 128.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Exp2(D d, V x) {
  const hn::RebindToSigned<D> integers;
  x = hn::Max(hn::Set(d, -127.0f), x);
  // Adding 1.5 · 2²³ rounds to an integer and leaves it in the low bits.
  const V magic = hn::Set(d, 12582912.0f);
  const V rounded = hn::Add(x, magic);
  const V f = hn::Sub(x, hn::Sub(rounded, magic));
  // A fit of (2^f − 1) / f over |f| ≤ 1/2 for the least relative error of 2^f; exactly 1 at 0.
  V p = hn::Set(d, 1.326472786e-3f);
  p = hn::MulAdd(p, f, hn::Set(d, 9.671513264e-3f));
  p = hn::MulAdd(p, f, hn::Set(d, 5.550733747e-2f));
  p = hn::MulAdd(p, f, hn::Set(d, 0.2402224208f));
  p = hn::MulAdd(p, f, hn::Set(d, 0.6931469776f));
  p = hn::MulAdd(p, f, hn::Set(d, 1.0f));
  return hn::BitCast(d, hn::Add(hn::BitCast(integers, p), hn::ShiftLeft<23>(hn::BitCast(integers, rounded))));
}

// One block of channels of one sequence. Arrays hold one vector of channels after the other, [channels / lanes, rows, lanes], so that what
// a vector needs lies together; channels that fill up the last vector are zero.
struct ScanBlock {
  const SelectiveScanArgs& a;
  int64_t first;     // channel
  int64_t channels;  // of this block
  int64_t states;
  alignas(64) float rates[kScanArea];  // A · log₂e, N rows
  alignas(64) float h[kScanArea];      // N rows
  alignas(64) float bias[kScanChannels] = {0};
  alignas(64) float skip[kScanChannels] = {0};
  alignas(64) float steps[kScanTokens * kScanChannels];   // Δ, kScanTokens rows
  alignas(64) float inputs[kScanTokens * kScanChannels];  // Δ·x, as many
  alignas(64) float sums[kScanTokens * kScanChannels];    // y before the gate, as many

  ScanBlock(const SelectiveScanArgs& args, int64_t from, int64_t count)
      : a(args), first(from), channels(count), states(args.B.dim[1]) {
    const FloatTag d;
    std::memset(h, 0, sizeof(h));
    std::memset(rates, 0, sizeof(rates));
    ToRows(a.a_log.as<float>() + first * a.a_log.stride[0], a.a_log.stride[0], rates);
    for (int64_t i = 0; i < (channels + kLanes - 1) / kLanes * kLanes * states; i += kLanes) {
      const FloatVec rate = hn::Mul(SafeExp(d, hn::Load(d, rates + i)), hn::Set(d, -1.4426950408889634f));
      // Bounded, because 0 · ∞ is a NaN.
      hn::Store(hn::Max(hn::Set(d, -3e38f), rate), d, rates + i);
    }
    if (a.dt_bias) std::copy_n(a.dt_bias.as<float>() + first, channels, bias);
    if (a.D) std::copy_n(a.D.as<float>() + first, channels, skip);
  }

  float* row(const Tensor& t, int64_t token) const { return t.as<float>() + token * t.stride[0] + first; }

  // From [channels, N] and back.
  void ToRows(const float* from, int64_t step, float* to) const {
    for (int64_t c = 0; c < channels; c += kLanes) {
      Transpose(from + c * step, step, std::min(kLanes, channels - c), states, to + c * states, kLanes);
    }
  }
  void FromRows(const float* from, float* to) const {
    for (int64_t c = 0; c < channels; c += kLanes) {
      Transpose(from + c * states, kLanes, states, std::min(kLanes, channels - c), to + c * states, states);
    }
  }

  void Stage(int64_t token, int64_t count) {
    const FloatTag d;
    for (int64_t t = 0; t < count; ++t) {
      const float* dt = row(a.dt, token + t);
      const float* x = row(a.x, token + t);
      for (int64_t c = 0; c < channels; c += kLanes) {
        const int64_t rest = std::min(kLanes, channels - c);
        FloatVec step = hn::Add(LoadPart(d, dt + c, rest), hn::Load(d, bias + c));
        if (a.dt_softplus) step = Softplus::Of(d, step);
        const FloatVec input = LoadPart(d, x + c, rest);
        const int64_t at = c * kScanTokens + t * kLanes;
        hn::Store(step, d, steps + at);
        hn::Store(hn::Mul(step, input), d, inputs + at);
        hn::Store(hn::Mul(hn::Load(d, skip + c), input), d, sums + at);
      }
    }
  }

  // kStates states from n on, for one vector of channels over `count` tokens. kBounded: Δ may be negative.
  template <int kStates, bool kBounded>
  HWY_INLINE void Advance(int64_t token, int64_t count, int64_t c, int64_t n) {
    const FloatTag d;
    const float* rate = rates + c * states + n * kLanes;
    float* kept = h + c * states + n * kLanes;
    const float* step_at = steps + c * kScanTokens;
    const float* input_at = inputs + c * kScanTokens;
    float* sum_at = sums + c * kScanTokens;
    const float* b = a.B.as<float>() + token * a.B.stride[0] + n;
    const float* out = a.C.as<float>() + token * a.C.stride[0] + n;
    FloatVec s[kStates];
#pragma GCC unroll 16
    for (int i = 0; i < kStates; ++i) s[i] = hn::Load(d, kept + i * kLanes);
    for (int64_t t = 0; t < count; ++t) {
      const FloatVec step = hn::Load(d, step_at + t * kLanes);
      const FloatVec input = hn::Load(d, input_at + t * kLanes);
      FloatVec sum = hn::Load(d, sum_at + t * kLanes);
#pragma GCC unroll 16
      for (int i = 0; i < kStates; ++i) {
        FloatVec exponent = hn::Mul(step, hn::Load(d, rate + i * kLanes));
        if constexpr (kBounded) exponent = hn::Min(hn::Set(d, 128.0f), exponent);
        s[i] = hn::MulAdd(Exp2(d, exponent), s[i], hn::Mul(input, hn::Set(d, b[i])));
        sum = hn::MulAdd(s[i], hn::Set(d, out[i]), sum);
      }
      hn::Store(sum, d, sum_at + t * kLanes);
      b += a.B.stride[0];
      out += a.C.stride[0];
    }
#pragma GCC unroll 16
    for (int i = 0; i < kStates; ++i) hn::Store(s[i], d, kept + i * kLanes);
  }

  template <bool kBounded>
  void AdvanceAll(int64_t token, int64_t count) {
    constexpr int kMost = HWY_TARGET <= HWY_AVX3 ? 16 : 4;
    for (int64_t c = 0; c < channels; c += kLanes) {
      int64_t n = 0;
      for (; n + kMost <= states; n += kMost) Advance<kMost, kBounded>(token, count, c, n);
      if constexpr (kMost > 4) {
        for (; n + 4 <= states; n += 4) Advance<4, kBounded>(token, count, c, n);
      }
      for (; n < states; ++n) Advance<1, kBounded>(token, count, c, n);
    }
  }

  void Finish(int64_t token, int64_t count) {
    const FloatTag d;
    for (int64_t t = 0; t < count; ++t) {
      float* y = row(a.y, token + t);
      for (int64_t c = 0; c < channels; c += kLanes) {
        const int64_t rest = std::min(kLanes, channels - c);
        FloatVec sum = hn::Load(d, sums + c * kScanTokens + t * kLanes);
        if (a.z) sum = hn::Mul(sum, Silu::Of(d, LoadPart(d, row(a.z, token + t) + c, rest)));
        StorePart(sum, d, y + c, rest);
      }
    }
  }

  void Run(int64_t from, int64_t to, float* carried) {
    if (carried != nullptr) ToRows(carried, states, h);
    for (int64_t token = from; token < to; token += kScanTokens) {
      const int64_t count = std::min(kScanTokens, to - token);
      Stage(token, count);
      if (a.dt_softplus) {
        AdvanceAll<false>(token, count);
      } else {
        AdvanceAll<true>(token, count);
      }
      Finish(token, count);
    }
    if (carried != nullptr) FromRows(h, carried);
  }
};

void ScanChannels(const SelectiveScanArgs& a, int64_t s, int64_t first, int64_t channels) {
  const int32_t* borders = a.cu_seqlens.as<int32_t>();
  if (borders[s] == borders[s + 1]) return;
  const int32_t slot = a.state && a.state_index ? a.state_index.as<int32_t>()[s] : -1;
  float* carried = slot < 0 ? nullptr : a.state.as<float>() + slot * a.state.stride[0] + first * a.B.dim[1];
  ScanBlock block(a, first, channels);
  block.Run(borders[s], borders[s + 1], carried);
}

}  // namespace krait::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace krait::cpu {
namespace {

HWY_EXPORT(ScanChannels);

}  // namespace

Status selective_scan(const SelectiveScanArgs& a, const Cpu& cpu) {
  if (!are_borders(a.cu_seqlens, a.x.dim[0])) return bad_borders("selective_scan", a.x.dim[0]);
  const int64_t sequences = a.cu_seqlens.dim[0] - 1;
  const int64_t channels = a.x.dim[1];
  const auto blocks_of = [&](int64_t width) { return (channels + width - 1) / width; };
  int64_t width = kScanChannels;
  while (width > kScanNarrowest && (width * a.B.dim[1] > kScanArea || sequences * blocks_of(width) < 2 * cpu.threads)) width /= 2;
  const int64_t blocks = blocks_of(width);
  const int64_t units = sequences * blocks;
  const auto work = HWY_DYNAMIC_DISPATCH(ScanChannels);
#pragma omp parallel for num_threads(cpu.threads) schedule(dynamic) if (units > 1)
  for (int64_t u = 0; u < units; ++u) {
    const int64_t first = u % blocks * width;
    work(a, u / blocks, first, std::min(width, channels - first));
  }
  return {};
}

}  // namespace krait::cpu
#endif

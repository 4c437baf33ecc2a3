#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/selective_scan.cpp"
#include "hwy/foreach_target.h"
//
#include <algorithm>
#include <cstring>

#include "activations-inl.h"
#include "borders.h"
#include "exp2-inl.h"
#include "hwy/highway.h"
#include "mirror.h"
#include "selective_step-inl.h"
#include "tile-inl.h"

// A block of channels at a time, a vector of them per register, with as many states in registers as there are: nearly all of the work is
// one exponential per channel and state. Channels never meet, so neither blocks nor threads can be seen in the bits.
#ifndef KRAIT_CPU_SELECTIVE_SCAN_ONCE
#define KRAIT_CPU_SELECTIVE_SCAN_ONCE
namespace krait::cpu {

inline constexpr int64_t kScanTokens = 16;     // staged at once
inline constexpr int64_t kScanChannels = 512;  // of a block, at most: every row of a token costs a page of address translation
inline constexpr int64_t kScanNarrowest = 16;  // and at least: what a cache line holds
inline constexpr int64_t kScanStates = 256;    // of the record, at most
// The staged tokens of a vector of channels, and a row more: a power of two apart they would share a few sets of the first-level cache.
inline constexpr int64_t kScanRows = kScanTokens + 1;
inline constexpr int64_t kScanStaged = kScanRows * kScanChannels;
inline constexpr int64_t kScanArea = 16384;    // channels × states of a block, at most; a narrow one has room for the 256 states of the record

}  // namespace krait::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace krait::cpu::HWY_NAMESPACE {

// One block of channels of one sequence. Arrays hold one vector of channels after the other, [channels / lanes, rows, lanes], so that what
// a vector needs lies together; channels that fill up the last vector are zero.
template <class E>
struct ScanBlock {
  static constexpr bool kNarrow = sizeof(E) == 2;

  const SelectiveScanArgs& a;
  int64_t first;     // channel
  int64_t channels;  // of this block
  int64_t states;
  alignas(64) float rates[kScanArea];  // A · log₂e, N rows
  alignas(64) float h[kScanArea];      // N rows
  alignas(64) float bias[kScanChannels] = {0};
  alignas(64) float skip[kScanChannels] = {0};
  alignas(64) float steps[kScanStaged];   // Δ, kScanTokens rows
  alignas(64) float inputs[kScanStaged];  // Δ·x, as many
  alignas(64) float sums[kScanStaged];    // y before the gate, as many
  // B and C of the staged tokens where they have to be widened, else where they lie.
  float wide_b[kScanTokens * kScanStates];
  float wide_c[kScanTokens * kScanStates];
  const float* b_at;
  const float* c_at;
  int64_t b_step;
  int64_t c_step;

  ScanBlock(const SelectiveScanArgs& args, int64_t from, int64_t count)
      : a(args), first(from), channels(count), states(args.B.dim[1]) {
    const FloatTag d;
    std::memset(h, 0, sizeof(h));
    std::memset(rates, 0, sizeof(rates));
    ToRows(a.a_log.as<float>() + first * a.a_log.stride[0], a.a_log.stride[0], rates);
    for (int64_t i = 0; i < (channels + kLanes - 1) / kLanes * kLanes * states; i += kLanes) {
      hn::Store(ScanRate(d, hn::Load(d, rates + i)), d, rates + i);
    }
    if (a.dt_bias) std::copy_n(a.dt_bias.as<float>() + first, channels, bias);
    if (a.D) std::copy_n(a.D.as<float>() + first, channels, skip);
  }

  E* row(const Tensor& t, int64_t token) const { return t.as<E>() + token * t.stride[0] + first; }

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

  // The rows of B or C of the staged tokens as float32.
  void StageStates(const Tensor& from, int64_t token, int64_t count, float* wide, const float** at, int64_t* step) {
    if constexpr (kNarrow) {
      const FloatTag d;
      for (int64_t t = 0; t < count; ++t) {
        const E* source = from.as<E>() + (token + t) * from.stride[0];
        for (int64_t n = 0; n < states; n += kLanes) {
          const int64_t rest = std::min(kLanes, states - n);
          StorePart(LoadPart(d, source + n, rest), d, wide + t * states + n, rest);
        }
      }
      *at = wide;
      *step = states;
    } else {
      *at = from.as<float>() + token * from.stride[0];
      *step = from.stride[0];
    }
  }

  void Stage(int64_t token, int64_t count) {
    const FloatTag d;
    StageStates(a.B, token, count, wide_b, &b_at, &b_step);
    StageStates(a.C, token, count, wide_c, &c_at, &c_step);
    for (int64_t t = 0; t < count; ++t) {
      const E* dt = row(a.dt, token + t);
      const E* x = row(a.x, token + t);
      for (int64_t c = 0; c < channels; c += kLanes) {
        const int64_t rest = std::min(kLanes, channels - c);
        FloatVec step = hn::Add(LoadPart(d, dt + c, rest), hn::Load(d, bias + c));
        if (a.dt_softplus) step = Softplus::Of(d, step);
        const FloatVec input = LoadPart(d, x + c, rest);
        const int64_t at = c * kScanRows + t * kLanes;
        hn::Store(step, d, steps + at);
        hn::Store(hn::Mul(step, input), d, inputs + at);
        hn::Store(hn::Mul(hn::Load(d, skip + c), input), d, sums + at);
      }
    }
  }

  // kStates states from n on, for one vector of channels over `count` tokens. kBounded: Δ may be negative.
  template <int kStates, bool kBounded>
  HWY_INLINE void Advance(int64_t count, int64_t c, int64_t n) {
    const FloatTag d;
    const float* rate = rates + c * states + n * kLanes;
    float* kept = h + c * states + n * kLanes;
    const float* step_at = steps + c * kScanRows;
    const float* input_at = inputs + c * kScanRows;
    float* sum_at = sums + c * kScanRows;
    const float* b = b_at + n;
    const float* out = c_at + n;
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
        s[i] = hn::MulAdd(Exp2<kNarrow>(d, exponent), s[i], hn::Mul(input, hn::Set(d, b[i])));
        sum = hn::MulAdd(s[i], hn::Set(d, out[i]), sum);
      }
      hn::Store(sum, d, sum_at + t * kLanes);
      b += b_step;
      out += c_step;
    }
#pragma GCC unroll 16
    for (int i = 0; i < kStates; ++i) hn::Store(s[i], d, kept + i * kLanes);
  }

  // What comes next is fetched on the way: `ahead` tokens from `next` on.
  template <bool kBounded>
  void AdvanceAll(int64_t count, int64_t next, int64_t ahead) {
    constexpr int kMost = HWY_TARGET <= HWY_AVX3 ? 16 : 4;
    for (int64_t c = 0; c < channels; c += kLanes) {
      for (int64_t t = next; t < next + ahead; ++t) {
        __builtin_prefetch(row(a.dt, t) + c, 0, 2);
        __builtin_prefetch(row(a.x, t) + c, 0, 2);
        if (a.z) __builtin_prefetch(row(a.z, t - kScanTokens) + c, 0, 2);
      }
      int64_t n = 0;
      for (; n + kMost <= states; n += kMost) Advance<kMost, kBounded>(count, c, n);
      if constexpr (kMost > 4) {
        for (; n + 4 <= states; n += 4) Advance<4, kBounded>(count, c, n);
      }
      for (; n < states; ++n) Advance<1, kBounded>(count, c, n);
    }
  }

  void Finish(int64_t token, int64_t count) {
    const FloatTag d;
    for (int64_t t = 0; t < count; ++t) {
      E* y = row(a.y, token + t);
      for (int64_t c = 0; c < channels; c += kLanes) {
        const int64_t rest = std::min(kLanes, channels - c);
        FloatVec sum = hn::Load(d, sums + c * kScanRows + t * kLanes);
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
      const int64_t ahead = std::min(kScanTokens, to - token - count);
      if (a.dt_softplus) {
        AdvanceAll<false>(count, token + count, ahead);
      } else {
        AdvanceAll<true>(count, token + count, ahead);
      }
      Finish(token, count);
    }
    if (carried != nullptr) FromRows(h, carried);
  }
};

template <class E>
void ScanChannelsOf(const SelectiveScanArgs& a, int64_t from, int64_t to, int64_t first, int64_t channels, float* carried) {
  if (to - from == 1) return SelectiveStep<E>(a, from, first, channels, carried);
  ScanBlock<E>(a, first, channels).Run(from, to, carried);
}

void ScanChannels(const SelectiveScanArgs& a, int64_t s, int64_t first, int64_t channels) {
  const int32_t* borders = a.cu_seqlens.as<int32_t>();
  if (borders[s] == borders[s + 1]) return;
  const int32_t slot = a.state && a.state_index ? a.state_index.as<int32_t>()[s] : -1;
  float* carried = slot < 0 ? nullptr : a.state.as<float>() + slot * a.state.stride[0] + first * a.B.dim[1];
  if (a.x.dtype == DType::bf16) {
    ScanChannelsOf<uint16_t>(a, borders[s], borders[s + 1], first, channels, carried);
  } else {
    ScanChannelsOf<float>(a, borders[s], borders[s + 1], first, channels, carried);
  }
}

}  // namespace krait::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace krait::cpu {
namespace {

HWY_EXPORT(ScanChannels);

Status scan(const SelectiveScanArgs& a, const Cpu& cpu) {
  if (!are_borders(a.cu_seqlens, a.x.dim[0])) return bad_borders("selective_scan", a.x.dim[0]);
  const int64_t sequences = a.cu_seqlens.dim[0] - 1;
  const int64_t channels = a.x.dim[1];
  // As wide as it may be, so that rows are read in long pieces, with some blocks for each thread.
  const auto blocks_of = [&](int64_t most) { return (channels + most - 1) / most; };
  const int64_t most = std::max(kScanNarrowest, std::min(kScanChannels, kScanArea / std::max<int64_t>(1, a.B.dim[1]) / kScanNarrowest * kScanNarrowest));
  const int64_t wanted = sequences > 0 ? (2 * cpu.threads + sequences - 1) / sequences : 1;
  const int64_t pieces = std::max(blocks_of(most), std::min(wanted, blocks_of(kScanNarrowest)));
  const int64_t width = (blocks_of(pieces) + kScanNarrowest - 1) / kScanNarrowest * kScanNarrowest;
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

}  // namespace

Status selective_scan(const SelectiveScanArgs& a, const Cpu& cpu) {
  using Args = SelectiveScanArgs;
  if (!a.reverse) return scan(a, cpu);
  return with_mirror("selective_scan", a, {&Args::x, &Args::dt, &Args::B, &Args::C, &Args::z, &Args::y}, [&](const Args& mirror) { return scan(mirror, cpu); });
}

}  // namespace krait::cpu
#endif

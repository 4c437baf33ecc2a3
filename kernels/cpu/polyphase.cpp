#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/polyphase.cpp"
#include "hwy/foreach_target.h"
//
#include <algorithm>
#include <vector>

#include "hwy/highway.h"
#include "polyphase.h"

HWY_BEFORE_NAMESPACE();
namespace krait::cpu::HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

// Outputs that share a filter and the loads of it.
constexpr int64_t kShared = 4;

// Sums of `count` products for `Outputs` places of the signal, `apart` samples from each other. The order of one sum is always the same.
template <int64_t Outputs>
HWY_INLINE void Dots(const double* HWY_RESTRICT filter, const double* HWY_RESTRICT x, int64_t apart, int64_t count, double* HWY_RESTRICT sums) {
  const hn::CappedTag<double, 4> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const double* const x0 = x;
  const double* const x1 = x + (Outputs > 1 ? apart : 0);
  const double* const x2 = x + (Outputs > 1 ? 2 * apart : 0);
  const double* const x3 = x + (Outputs > 1 ? 3 * apart : 0);
  // Two sums of each: one alone waits for itself.
  auto a0 = hn::Zero(d), a1 = a0, a2 = a0, a3 = a0, b0 = a0, b1 = a0, b2 = a0, b3 = a0;
  int64_t k = 0;
  for (; k + 2 * lanes <= count; k += 2 * lanes) {
    const auto f = hn::LoadU(d, filter + k);
    const auto g = hn::LoadU(d, filter + k + lanes);
    a0 = hn::MulAdd(f, hn::LoadU(d, x0 + k), a0);
    b0 = hn::MulAdd(g, hn::LoadU(d, x0 + k + lanes), b0);
    if constexpr (Outputs > 1) {
      a1 = hn::MulAdd(f, hn::LoadU(d, x1 + k), a1);
      b1 = hn::MulAdd(g, hn::LoadU(d, x1 + k + lanes), b1);
      a2 = hn::MulAdd(f, hn::LoadU(d, x2 + k), a2);
      b2 = hn::MulAdd(g, hn::LoadU(d, x2 + k + lanes), b2);
      a3 = hn::MulAdd(f, hn::LoadU(d, x3 + k), a3);
      b3 = hn::MulAdd(g, hn::LoadU(d, x3 + k + lanes), b3);
    }
  }
  const auto finish = [&](auto a, auto b, const double* from) HWY_ATTR {
    double sum = hn::GetLane(hn::SumOfLanes(d, hn::Add(a, b)));
    for (int64_t i = k; i < count; ++i) sum += filter[i] * from[i];
    return sum;
  };
  sums[0] = finish(a0, b0, x0);
  if constexpr (Outputs > 1) {
    sums[1] = finish(a1, b1, x1);
    sums[2] = finish(a2, b2, x2);
    sums[3] = finish(a3, b3, x3);
  }
}

// `signal` begins where the first output's filter does, and reaches to where the last one's ends.
void Resample(const Polyphase& work, const double* signal) {
  double sums[kShared];
  const auto row = [&](int64_t m) { return work.phase + m * work.down; };
  const auto dots = [&](int64_t m, auto&& run) { run(work.filters + row(m) % work.up * work.taps, signal + row(m) / work.up); };
  int64_t m = 0;
  // A filter comes back after `up` outputs, `down` samples on.
  for (; m + kShared * work.up <= work.outputs; m += kShared * work.up) {
    for (int64_t j = m; j < m + work.up; ++j) {
      dots(j, [&](const double* filter, const double* x) HWY_ATTR { Dots<kShared>(filter, x, work.down, work.taps, sums); });
      for (int64_t i = 0; i < kShared; ++i) work.output[j + i * work.up] = static_cast<float>(sums[i]);
    }
  }
  for (; m < work.outputs; ++m) {
    dots(m, [&](const double* filter, const double* x) HWY_ATTR { Dots<1>(filter, x, 0, work.taps, sums); });
    work.output[m] = static_cast<float>(sums[0]);
  }
}

}  // namespace
}  // namespace krait::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace krait::cpu {

HWY_EXPORT(Resample);

Status polyphase(const Polyphase& work) {
  constexpr int64_t most = int64_t{1} << 40;
  const auto within = [](int64_t value, int64_t least) { return value >= least && value <= most; };
  if (!within(work.up, 1) || !within(work.taps, 1) || !within(work.down, 1) || work.down > (int64_t{1} << 62) / (work.outputs + 1) || work.phase < 0 ||
      work.phase >= work.up || !within(work.base, -most)) {
    return error(StatusCode::invalid_argument, "Expected filters of at least one tap and a phase among them for a resampler but received phase %lld of %lld",
                 static_cast<long long>(work.phase), static_cast<long long>(work.up));
  }
  if (work.outputs == 0) return {};
  const int64_t span = (work.phase + (work.outputs - 1) * work.down) / work.up + work.taps;
  // Twice what the outputs can need of a signal: a call that asks for more has its numbers wrong.
  if (span > 2 * (work.samples + work.taps + work.down)) {
    return error(StatusCode::invalid_argument, "Expected outputs within the signal for a resampler but received %lld", static_cast<long long>(work.outputs));
  }
  static thread_local std::vector<double> wide;
  wide.assign(static_cast<size_t>(span), 0.0);
  const int64_t from = std::max<int64_t>(0, work.base);
  const int64_t to = std::min(work.samples, work.base + span);
  for (int64_t i = from; i < to; ++i) wide[static_cast<size_t>(i - work.base)] = static_cast<double>(work.signal[i]);
  HWY_DYNAMIC_DISPATCH(Resample)(work, wide.data());
  return {};
}

}  // namespace krait::cpu
#endif

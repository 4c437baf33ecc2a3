#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/power_spectrum.cpp"
#include "hwy/foreach_target.h"
//
#include <algorithm>
#include <vector>

#include "cpu.h"
#include "fourier.h"
#include "hwy/highway.h"
#include "rows.h"

HWY_BEFORE_NAMESPACE();
namespace krait::cpu::HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

// One row of x per lane: the transform of one row is then plain arithmetic on vectors, without a shuffle. Eight are as many as two
// buffers of 512 samples leave room for in the first-level cache.
using D = hn::CappedTag<float, 8>;
using V = hn::Vec<D>;
constexpr D d;

// Element i of a buffer is one vector; complex numbers are two that follow each other.
HWY_INLINE V At(const float* buffer, int64_t i) { return hn::Load(d, buffer + i * static_cast<int64_t>(hn::Lanes(d))); }
HWY_INLINE void Put(V v, float* buffer, int64_t i) { hn::Store(v, d, buffer + i * static_cast<int64_t>(hn::Lanes(d))); }

struct Complex {
  V re, im;
};

HWY_INLINE Complex Read(const float* buffer, int64_t i) { return {At(buffer, 2 * i), At(buffer, 2 * i + 1)}; }
HWY_INLINE Complex operator+(Complex a, Complex b) { return {hn::Add(a.re, b.re), hn::Add(a.im, b.im)}; }
HWY_INLINE Complex operator-(Complex a, Complex b) { return {hn::Sub(a.re, b.re), hn::Sub(a.im, b.im)}; }
HWY_INLINE void Write(Complex z, float* buffer, int64_t i) {
  Put(z.re, buffer, 2 * i);
  Put(z.im, buffer, 2 * i + 1);
}
// a + c · b, and a + i · c · b, with a real c.
HWY_INLINE Complex Plus(Complex a, V c, Complex b) { return {hn::MulAdd(c, b.re, a.re), hn::MulAdd(c, b.im, a.im)}; }
HWY_INLINE Complex PlusTurned(Complex a, V c, Complex b) { return {hn::NegMulAdd(c, b.im, a.re), hn::MulAdd(c, b.re, a.im)}; }
HWY_INLINE Complex Times(Complex a, V re, V im) {
  return {hn::NegMulAdd(a.im, im, hn::Mul(a.re, re)), hn::MulAdd(a.im, re, hn::Mul(a.re, im))};
}

// Where one butterfly reads and writes; output k is multiplied with twiddle k.
struct Butterfly {
  const float* from;
  int64_t from_step;
  float* to;
  int64_t to_step;
  const float* twiddles;

  HWY_INLINE Complex in(int64_t j) const { return Read(from, j * from_step); }
  HWY_INLINE void out(int64_t k, Complex z) const {
    if (k > 0) z = Times(z, hn::Set(d, twiddles[2 * k]), hn::Set(d, twiddles[2 * k + 1]));
    Write(z, to, k * to_step);
  }
};

HWY_INLINE void Two(const Butterfly& b) {
  const Complex x0 = b.in(0), x1 = b.in(1);
  b.out(0, x0 + x1);
  b.out(1, x0 - x1);
}

HWY_INLINE void Three(const Butterfly& b) {
  const V half = hn::Set(d, -0.5f), sine = hn::Set(d, 0.86602540378443865f);
  const Complex x0 = b.in(0), x1 = b.in(1), x2 = b.in(2);
  const Complex sum = x1 + x2, difference = x1 - x2;
  const Complex middle = Plus(x0, half, sum);
  b.out(0, x0 + sum);
  b.out(1, PlusTurned(middle, hn::Neg(sine), difference));
  b.out(2, PlusTurned(middle, sine, difference));
}

HWY_INLINE void Four(const Butterfly& b) {
  const V one = hn::Set(d, 1.0f), minus = hn::Set(d, -1.0f);
  const Complex x0 = b.in(0), x1 = b.in(1), x2 = b.in(2), x3 = b.in(3);
  const Complex s02 = x0 + x2, d02 = x0 - x2, s13 = x1 + x3, d13 = x1 - x3;
  b.out(0, s02 + s13);
  b.out(1, PlusTurned(d02, minus, d13));
  b.out(2, s02 - s13);
  b.out(3, PlusTurned(d02, one, d13));
}

HWY_INLINE void Five(const Butterfly& b) {
  const V c1 = hn::Set(d, 0.30901699437494742f), c2 = hn::Set(d, -0.80901699437494742f);
  const V s1 = hn::Set(d, 0.95105651629515357f), s2 = hn::Set(d, 0.58778525229247313f);
  const Complex x0 = b.in(0), x1 = b.in(1), x2 = b.in(2), x3 = b.in(3), x4 = b.in(4);
  const Complex s14 = x1 + x4, d14 = x1 - x4, s23 = x2 + x3, d23 = x2 - x3;
  const Complex m1 = Plus(Plus(x0, c1, s14), c2, s23), m2 = Plus(Plus(x0, c2, s14), c1, s23);
  const Complex t1 = {hn::MulAdd(s2, d23.re, hn::Mul(s1, d14.re)), hn::MulAdd(s2, d23.im, hn::Mul(s1, d14.im))};
  const Complex t2 = {hn::NegMulAdd(s1, d23.re, hn::Mul(s2, d14.re)), hn::NegMulAdd(s1, d23.im, hn::Mul(s2, d14.im))};
  const V one = hn::Set(d, 1.0f), minus = hn::Set(d, -1.0f);
  b.out(0, x0 + s14 + s23);
  b.out(1, PlusTurned(m1, minus, t1));
  b.out(2, PlusTurned(m2, minus, t2));
  b.out(3, PlusTurned(m2, one, t2));
  b.out(4, PlusTurned(m1, one, t1));
}

// Any radix: the sums themselves. `roots` are the radix's own.
void Any(const Butterfly& b, int64_t radix, const float* roots) {
  for (int64_t k = 0; k < radix; ++k) {
    Complex sum = b.in(0);
    int64_t at = 0;
    for (int64_t j = 1; j < radix; ++j) {
      at = at + k < radix ? at + k : at + k - radix;
      sum = sum + Times(b.in(j), hn::Set(d, roots[2 * at]), hn::Set(d, roots[2 * at + 1]));
    }
    b.out(k, sum);
  }
}

template <class Body>
HWY_INLINE void EachButterfly(const Fourier::Stage& stage, const float* twiddles, const float* from, float* to, const Body& body) {
  const int64_t element = 2 * static_cast<int64_t>(hn::Lanes(d));
  const int64_t step = stage.stride;
  for (int64_t p = 0; p < stage.groups; ++p, twiddles += 2 * stage.radix) {
    const float* in = from + p * step * element;
    float* out = to + p * stage.radix * step * element;
    for (int64_t q = 0; q < step; ++q, in += element, out += element) body({in, step * stage.groups, out, step, twiddles});
  }
}

// Stockham's order: each stage reads one buffer and writes the other, and the last leaves frequencies in their order.
float* Transform(const Fourier& plan, float* from, float* to) {
  for (const Fourier::Stage& stage : plan.stages) {
    const float* twiddles = plan.twiddles.data() + stage.twiddles;
    switch (stage.radix) {
      case 2:
        EachButterfly(stage, twiddles, from, to, [](const Butterfly& b) HWY_ATTR { Two(b); });
        break;
      case 3:
        EachButterfly(stage, twiddles, from, to, [](const Butterfly& b) HWY_ATTR { Three(b); });
        break;
      case 4:
        EachButterfly(stage, twiddles, from, to, [](const Butterfly& b) HWY_ATTR { Four(b); });
        break;
      case 5:
        EachButterfly(stage, twiddles, from, to, [](const Butterfly& b) HWY_ATTR { Five(b); });
        break;
      default:
        const float* roots = plan.twiddles.data() + stage.roots;
        EachButterfly(stage, twiddles, from, to, [&](const Butterfly& b) HWY_ATTR { Any(b, stage.radix, roots); });
    }
    std::swap(from, to);
  }
  return from;
}

#if !HWY_HAVE_SCALABLE && HWY_TARGET != HWY_SCALAR
constexpr int64_t kLanes = static_cast<int64_t>(hn::MaxLanes(d));

// Four vectors of which every block of four lanes is turned as a matrix.
HWY_INLINE void Turn(V (&v)[4]) {
  const hn::Repartition<double, D> pairs;
  const V a = hn::InterleaveLower(d, v[0], v[1]), b = hn::InterleaveUpper(d, v[0], v[1]);
  const V c = hn::InterleaveLower(d, v[2], v[3]), e = hn::InterleaveUpper(d, v[2], v[3]);
  const auto lower = [&](V x, V y) HWY_ATTR { return hn::BitCast(d, hn::InterleaveLower(pairs, hn::BitCast(pairs, x), hn::BitCast(pairs, y))); };
  const auto upper = [&](V x, V y) HWY_ATTR { return hn::BitCast(d, hn::InterleaveUpper(pairs, hn::BitCast(pairs, x), hn::BitCast(pairs, y))); };
  v[0] = lower(a, c), v[1] = upper(a, c), v[2] = lower(b, e), v[3] = upper(b, e);
}

// Four neighbours of row r and, where vectors are of eight, of row r + 4.
template <class Tag = D>
HWY_INLINE hn::Vec<Tag> ReadFour(const float* const* rows, int64_t r, int64_t at) {
  constexpr Tag tag;
  if constexpr (kLanes == 8) {
    const hn::Half<Tag> half;
    return hn::Combine(tag, hn::LoadU(half, rows[r + 4] + at), hn::LoadU(half, rows[r] + at));
  } else {
    return hn::LoadU(tag, rows[r] + at);
  }
}

template <class Tag = D>
HWY_INLINE void WriteFour(hn::Vec<Tag> v, float* const* rows, int64_t r, int64_t at) {
  constexpr Tag tag;
  if constexpr (kLanes == 8) {
    const hn::Half<Tag> half;
    hn::StoreU(hn::UpperHalf(half, v), half, rows[r + 4] + at);
    hn::StoreU(hn::LowerHalf(half, v), half, rows[r] + at);
  } else {
    hn::StoreU(v, tag, rows[r] + at);
  }
}

int64_t GatherFours(const float* const* rows, int64_t count, float* buffer) {
  int64_t n = 0;
  for (; n + 4 <= count; n += 4) {
    V v[4] = {ReadFour(rows, 0, n), ReadFour(rows, 1, n), ReadFour(rows, 2, n), ReadFour(rows, 3, n)};
    Turn(v);
    for (int64_t i = 0; i < 4; ++i) Put(v[i], buffer, n + i);
  }
  return n;
}

int64_t ScatterFours(const float* buffer, int64_t count, float* const* rows) {
  int64_t n = 0;
  for (; n + 4 <= count; n += 4) {
    V v[4] = {At(buffer, n), At(buffer, n + 1), At(buffer, n + 2), At(buffer, n + 3)};
    Turn(v);
    for (int64_t r = 0; r < 4; ++r) WriteFour(v[r], rows, r, n);
  }
  return n;
}
#else
int64_t GatherFours(const float* const*, int64_t, float*) { return 0; }
int64_t ScatterFours(const float*, int64_t, float* const*) { return 0; }
#endif

// What happens to rows before their transform; in place.
void Shape(float* buffer, int64_t size, const Fourier& plan, const float* window, bool remove_mean, float emphasis) {
  V mean = hn::Zero(d);
  if (remove_mean) {
    // Four sums: one alone waits for itself, and gathers more rounding.
    V sums[4] = {hn::Zero(d), hn::Zero(d), hn::Zero(d), hn::Zero(d)};
    int64_t n = 0;
    for (; n + 4 <= size; n += 4) {
      for (int64_t i = 0; i < 4; ++i) sums[i] = hn::Add(sums[i], At(buffer, n + i));
    }
    for (; n < size; ++n) sums[0] = hn::Add(sums[0], At(buffer, n));
    mean = hn::Mul(hn::Add(hn::Add(sums[0], sums[1]), hn::Add(sums[2], sums[3])), hn::Set(d, 1.0f / static_cast<float>(size)));
  }
  const V c = hn::Set(d, emphasis);
  V before = hn::Sub(At(buffer, 0), mean);
  for (int64_t n = 0; n < size; ++n) {
    const V x = hn::Sub(At(buffer, n), mean);
    Put(hn::Mul(hn::NegMulAdd(c, before, x), hn::Set(d, window[n])), buffer, n);
    before = x;
  }
  for (int64_t n = size; n < plan.size; ++n) Put(hn::Zero(d), buffer, n);
}

HWY_INLINE V Power(V re, V im) { return hn::MulAdd(re, re, hn::Mul(im, im)); }

// Of the transform Z of even samples + i · odd ones: X[k] = E + w^k · O and X[n − k] = conj(E − w^k · O), 2E = Z[k] + conj Z[n − k],
// 2O = −i · (Z[k] − conj Z[n − k]). Powers [n + 1].
void HalvesToPowers(const Fourier& plan, const float* z, float* powers) {
  const int64_t n = plan.points;
  const V quarter = hn::Set(d, 0.25f);
  const Complex first = Read(z, 0);
  const V sum = hn::Add(first.re, first.im), difference = hn::Sub(first.re, first.im);
  Put(hn::Mul(sum, sum), powers, 0);
  Put(hn::Mul(difference, difference), powers, n);
  for (int64_t k = 1; k <= n / 2; ++k) {
    const Complex a = Read(z, k), b = Read(z, n - k);
    const V e_re = hn::Add(a.re, b.re), e_im = hn::Sub(a.im, b.im);
    const Complex o = Times({hn::Add(a.im, b.im), hn::Sub(b.re, a.re)}, hn::Set(d, plan.halves[2 * k]), hn::Set(d, plan.halves[2 * k + 1]));
    Put(hn::Mul(quarter, Power(hn::Add(e_re, o.re), hn::Add(e_im, o.im))), powers, k);
    Put(hn::Mul(quarter, Power(hn::Sub(e_re, o.re), hn::Sub(e_im, o.im))), powers, n - k);
  }
}

int64_t RowsAtOnce() { return static_cast<int64_t>(hn::Lanes(d)); }

// `count` rows, at most as many as lanes. `memory`: two buffers of 2 · size + 2 vectors, aligned.
void SpectrumOfRows(const Fourier& plan, const float* window, bool remove_mean, float emphasis, int64_t size, int64_t frequencies,
                    const float* x, int64_t x_stride, float* y, int64_t y_stride, int64_t count, float* memory) {
  const int64_t lanes = RowsAtOnce();
  float* buffer = memory;
  float* other = memory + (2 * plan.size + 2) * lanes;
  const float* from[8];
  // Lanes beyond the last row repeat it.
  for (int64_t r = 0; r < lanes; ++r) from[r] = x + std::min(r, count - 1) * x_stride;
  for (int64_t n = GatherFours(from, size, buffer); n < size; ++n) {
    for (int64_t r = 0; r < lanes; ++r) buffer[n * lanes + r] = from[r][n];
  }
  Shape(buffer, size, plan, window, remove_mean, emphasis);
  if (!plan.halved) {
    for (int64_t n = plan.size - 1; n >= 0; --n) Write({At(buffer, n), hn::Zero(d)}, buffer, n);
  }
  const float* z = Transform(plan, buffer, other);
  float* powers = z == buffer ? other : buffer;
  if (plan.halved) {
    HalvesToPowers(plan, z, powers);
  } else {
    for (int64_t k = 0; k < frequencies; ++k) Put(Power(At(z, 2 * k), At(z, 2 * k + 1)), powers, k);
  }
  float* to[8];
  for (int64_t r = 0; r < count; ++r) to[r] = y + r * y_stride;
  int64_t k = count == lanes ? ScatterFours(powers, frequencies, to) : 0;
  for (; k < frequencies; ++k) {
    for (int64_t r = 0; r < count; ++r) to[r][k] = powers[k * lanes + r];
  }
}

}  // namespace
}  // namespace krait::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace krait::cpu {

HWY_EXPORT(RowsAtOnce);
HWY_EXPORT(SpectrumOfRows);

namespace {
constexpr size_t kAlignment = 64;
}

Status power_spectrum(const PowerSpectrumArgs& a, const Cpu& cpu) {
  const std::shared_ptr<const Fourier> plan = Fourier::of(a.fft_size);
  const int64_t rows = a.x.dim[0];
  const int64_t size = a.x.dim[1];
  const int64_t frequencies = a.y.dim[1];
  const int64_t at_once = HWY_DYNAMIC_DISPATCH(RowsAtOnce)();
  const int64_t groups = (rows + at_once - 1) / at_once;
  const size_t floats = static_cast<size_t>(2 * (2 * plan->size + 2) * at_once) + kAlignment / sizeof(float);
#pragma omp parallel num_threads(threads_for(cpu, rows * size))
  {
    static thread_local std::vector<float> kept;
    if (kept.size() < floats) kept.resize(floats);
    float* memory = reinterpret_cast<float*>((reinterpret_cast<uintptr_t>(kept.data()) + kAlignment - 1) / kAlignment * kAlignment);
#pragma omp for schedule(static)
    for (int64_t g = 0; g < groups; ++g) {
      const int64_t row = g * at_once;
      HWY_DYNAMIC_DISPATCH(SpectrumOfRows)(*plan, a.window.as<float>(), a.remove_mean, static_cast<float>(a.pre_emphasis), size, frequencies,
             a.x.as<float>() + row * a.x.stride[0], a.x.stride[0], a.y.as<float>() + row * a.y.stride[0], a.y.stride[0],
             std::min(at_once, rows - row), memory);
    }
  }
  return {};
}

}  // namespace krait::cpu
#endif

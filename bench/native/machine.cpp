// Peak rates by the widest instructions the compiler knows for this machine, and the bandwidth of a copy larger than any cache.
#include <cstring>

#include "bench.h"
#if defined(__AVX512F__)
#include <immintrin.h>
#endif

namespace {

// Products per call of one chain of independent accumulators; kept alive through `sink`.
constexpr long kSteps = 2'000'000;
constexpr int kChains = 12;
volatile float sink;

#if defined(__AVX512F__)
constexpr int kLanes = 16;
double f32_work() {
  __m512 acc[kChains];
  for (auto& a : acc) a = _mm512_set1_ps(1);
  const __m512 x = _mm512_set1_ps(0.5f);
  const __m512 y = _mm512_set1_ps(sink * 0 + 0.25f);
  for (long i = 0; i < kSteps; ++i) {
#pragma GCC unroll 12
    for (auto& a : acc) a = _mm512_fmadd_ps(a, x, y);
  }
  float sum = 0;
  for (auto& a : acc) sum += _mm512_reduce_add_ps(a);
  sink = sum;
  return 2.0 * kSteps * kChains * kLanes;
}
#else
constexpr int kLanes = 8;
typedef float Vector __attribute__((vector_size(kLanes * sizeof(float))));
double f32_work() {
  // Chains that differ: a compiler computes equal ones once and the rate comes out too high.
  Vector acc[kChains];
  for (int c = 0; c < kChains; ++c) acc[c] = Vector{} + (sink * 0 + static_cast<float>(c));
  const Vector x = Vector{} + (sink * 0 + 0.5f);
  const Vector y = Vector{} + (sink * 0 + 0.25f);
  for (long i = 0; i < kSteps; ++i) {
#pragma GCC unroll 12
    for (auto& a : acc) a = a * x + y;
  }
  float sum = 0;
  for (auto& a : acc) sum += a[0];
  sink = sum;
  return 2.0 * kSteps * kChains * kLanes;
}
#endif

#if defined(__AVX512BF16__)
double bf16_work() {
  __m512 acc[kChains];
  for (auto& a : acc) a = _mm512_set1_ps(1);
  const __m512bh x = _mm512_cvtne2ps_pbh(_mm512_set1_ps(0.5f), _mm512_set1_ps(sink * 0 + 0.5f));
  for (long i = 0; i < kSteps; ++i) {
#pragma GCC unroll 12
    for (auto& a : acc) a = _mm512_dpbf16_ps(a, x, x);
  }
  float sum = 0;
  for (auto& a : acc) sum += _mm512_reduce_add_ps(a);
  sink = sum;
  return 4.0 * kSteps * kChains * kLanes;
}
#endif

template <typename F>
double gflops(const F& work) {
  double operations = 0;
  const double ms = median_ms(5, [&] {
    double all = 0;
#pragma omp parallel reduction(+ : all)
    all += work();
    operations = all;
  }).ms;
  return operations / ms / 1e6;
}

}  // namespace

void machine() {
  const size_t count = 64u << 20;  // bytes of each side
  std::vector<char> from(count, 1);
  std::vector<char> to(count, 2);
  constexpr size_t kPiece = 1u << 20;
  const double copy = median_ms(7, [&] {
#pragma omp parallel for schedule(static)
    for (size_t at = 0; at < count; at += kPiece) std::memcpy(&to[at], &from[at], kPiece);
  }).ms;
  long sum = 0;
  const double read = median_ms(7, [&] {
    long all = 0;
    const long* data = reinterpret_cast<const long*>(from.data());
#pragma omp parallel for schedule(static) reduction(+ : all)
    for (size_t i = 0; i < count / sizeof(long); ++i) all += data[i];
    sum += all;
  }).ms;
  sink = static_cast<float>(sum);
  std::printf("{\"copyGbs\":%.1f,\"readGbs\":%.1f,\"f32Gflops\":%.0f", 2.0 * count / copy / 1e6, count / read / 1e6, gflops(f32_work));
#if defined(__AVX512BF16__)
  std::printf(",\"bf16Gflops\":%.0f", gflops(bf16_work));
#endif
#if defined(__AMX_BF16__)
  std::printf(",\"amx\":true}\n");
#else
  std::printf(",\"amx\":false}\n");
#endif
}

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/linear.cpp"
#include "hwy/foreach_target.h"
//
#include <algorithm>

#include "activations-inl.h"
#include "cpu.h"
#include "gemm.h"
#include "hwy/highway.h"
#include "onednn.h"
#include "part-inl.h"

#ifndef KRAIT_CPU_LINEAR_ONCE_
#define KRAIT_CPU_LINEAR_ONCE_
namespace krait::cpu {
namespace {

// What is left to do when a piece of the product is there.
struct Rest {
  float* y;
  int64_t stride;
  const float* bias;  // may be null
  LinearArgs::Activation activation;
};

}  // namespace
}  // namespace krait::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace krait::cpu::HWY_NAMESPACE {
namespace {

template <typename F, bool kBias>
void FinishRow(const float* HWY_RESTRICT bias, int64_t count, float* HWY_RESTRICT y) {
  const hn::ScalableTag<float> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    auto v = hn::LoadU(d, y + i);
    if constexpr (kBias) v = hn::Add(v, hn::LoadU(d, bias + i));
    hn::StoreU(F::Of(d, v), d, y + i);
  }
  if (i == count) return;
  auto v = LoadPart(d, y + i, count - i);
  if constexpr (kBias) v = hn::Add(v, LoadPart(d, bias + i, count - i));
  StorePart(F::Of(d, v), d, y + i, count - i);
}

template <typename F>
void FinishWith(const Rest& rest, int64_t row, int64_t rows, int64_t column, int64_t columns) {
  for (int64_t t = row; t < row + rows; ++t) {
    float* y = rest.y + t * rest.stride + column;
    if (rest.bias != nullptr) {
      FinishRow<F, true>(rest.bias + column, columns, y);
    } else {
      FinishRow<F, false>(nullptr, columns, y);
    }
  }
}

void FinishRows(const Rest& rest, int64_t row, int64_t rows, int64_t column, int64_t columns) {
  using Activation = LinearArgs::Activation;
  switch (rest.activation) {
    case Activation::identity:
      return FinishWith<Identity>(rest, row, rows, column, columns);
    case Activation::silu:
      return FinishWith<Silu>(rest, row, rows, column, columns);
    case Activation::gelu:
      return FinishWith<Gelu>(rest, row, rows, column, columns);
    case Activation::gelu_tanh:
      return FinishWith<GeluTanh>(rest, row, rows, column, columns);
    case Activation::relu:
      return FinishWith<Relu>(rest, row, rows, column, columns);
    case Activation::relu2:
      return FinishWith<Relu2>(rest, row, rows, column, columns);
  }
}

}  // namespace
}  // namespace krait::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace krait::cpu {

HWY_EXPORT(FinishRows);

namespace {

void finish_rows(const void* rest, int64_t row, int64_t rows, int64_t column, int64_t columns) {
  HWY_DYNAMIC_DISPATCH(FinishRows)(*static_cast<const Rest*>(rest), row, rows, column, columns);
}

// oneDNN on one block per thread, so that each thread finishes what it has just computed. Smaller blocks of rows would keep more of
// it in L2 but pack the weights again for each: 512 rows cost 1 to 6 % more than they save.
bool onednn_linear(const LinearArgs& a, int threads, const GemmFinish& finish) {
  const int64_t m = a.x.dim[0];
  const int64_t k = a.x.dim[1];
  const int64_t n = a.weight.dim[0];
  const GemmGrid grid = gemm_grid(threads, m, n);
  bool good = true;
#pragma omp parallel for num_threads(threads) schedule(static, 1) reduction(&& : good)
  for (int block = 0; block < grid.rows * grid.columns; ++block) {
    const int64_t row = block / grid.columns * grid.block_rows;
    const int64_t column = block % grid.columns * grid.block_columns;
    const int64_t rows = std::min(grid.block_rows, m - row);
    const int64_t columns = std::min(grid.block_columns, n - column);
    if (rows <= 0 || columns <= 0) continue;
    good = good && onednn_gemm_nt(rows, columns, k, a.x.as<float>() + row * a.x.stride[0], a.x.stride[0],
                                  a.weight.as<float>() + column * a.weight.stride[0], a.weight.stride[0], 0.0f,
                                  a.y.as<float>() + row * a.y.stride[0] + column, a.y.stride[0]);
    if (good) finish(row, rows, column, columns);
  }
  return good;
}

}  // namespace

Status linear(const LinearArgs& a, const Cpu& cpu) {
  const int64_t m = a.x.dim[0];
  const int64_t k = a.x.dim[1];
  const int64_t n = a.weight.dim[0];
  if (m == 0 || n == 0) return {};
  const Rest rest{a.y.as<float>(), a.y.stride[0], a.bias.as<float>(), a.activation};
  GemmFinish finish;
  if (a.bias || a.activation != LinearArgs::Activation::identity) finish = {finish_rows, &rest};
  if (m > kFewRows && k > 0 && onednn_linear(a, gemm_threads(cpu, m, n, k), finish)) return {};
  return gemm_nt(cpu, m, n, k, a.x.as<float>(), a.x.stride[0], a.weight.as<float>(), a.weight.stride[0], 0.0f, a.y.as<float>(),
                 a.y.stride[0], finish);
}

}  // namespace krait::cpu
#endif

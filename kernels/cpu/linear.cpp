#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/linear.cpp"
#include "hwy/foreach_target.h"
//
#include <algorithm>
#include <cstring>
#include <vector>

#include "activations-inl.h"
#include "cpu.h"
#include "gemm.h"
#include "half.h"
#include "hwy/highway.h"
#include "onednn.h"
#include "part-inl.h"

#ifndef KRAIT_CPU_LINEAR_ONCE_
#define KRAIT_CPU_LINEAR_ONCE_
namespace krait::cpu {
namespace {

// What is left to do when a piece of the product is there.
struct Rest {
  const float* sums;  // of the whole product; y itself where that is float32
  int64_t step;
  const Tensor* y;
  const float* bias;  // may be null
  LinearArgs::Activation activation;
  // Of the part that is multiplied on its own, in the whole.
  int64_t row = 0;
  int64_t column = 0;
};

}  // namespace
}  // namespace krait::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace krait::cpu::HWY_NAMESPACE {
namespace {

template <typename F, bool kBias, typename To>
void FinishRow(const float* HWY_RESTRICT bias, int64_t count, const float* sums, To* y) {
  const hn::ScalableTag<float> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    auto v = hn::LoadU(d, sums + i);
    if constexpr (kBias) v = hn::Add(v, hn::LoadU(d, bias + i));
    StoreRow(F::Of(d, v), d, y + i);
  }
  if (i == count) return;
  auto v = LoadPart(d, sums + i, count - i);
  if constexpr (kBias) v = hn::Add(v, LoadPart(d, bias + i, count - i));
  StorePart(F::Of(d, v), d, y + i, count - i);
}

template <typename F, typename To>
void FinishTo(const Rest& rest, int64_t row, int64_t rows, int64_t column, int64_t columns) {
  for (int64_t t = row; t < row + rows; ++t) {
    const float* sums = rest.sums + t * rest.step + column;
    To* y = rest.y->as<To>() + t * rest.y->stride[0] + column;
    if (rest.bias != nullptr) {
      FinishRow<F, true>(rest.bias + column, columns, sums, y);
    } else {
      FinishRow<F, false>(nullptr, columns, sums, y);
    }
  }
}

template <typename F>
void FinishWith(const Rest& rest, int64_t row, int64_t rows, int64_t column, int64_t columns) {
  if (rest.y->dtype == DType::bf16) {
    FinishTo<F, uint16_t>(rest, row, rows, column, columns);
  } else {
    FinishTo<F, float>(rest, row, rows, column, columns);
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

// The weights of a row lie in pairs, one float's upper and lower half: x is laid out to match, in blocks of one vector of even and one
// of odd elements, zeros behind its end.
void SplitPairs(const uint16_t* x, int64_t k, float* to) {
  const hn::ScalableTag<float> d;
  const hn::RebindToUnsigned<decltype(d)> bits;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const auto split = [&](const uint16_t* from, int64_t i) HWY_ATTR {
    const auto pair = hn::LoadU(bits, reinterpret_cast<const uint32_t*>(from));
    hn::StoreU(hn::BitCast(d, hn::ShiftLeft<16>(pair)), d, to + i);
    hn::StoreU(hn::BitCast(d, hn::And(pair, hn::Set(bits, 0xffff0000u))), d, to + i + lanes);
  };
  int64_t i = 0;
  for (; i + 2 * lanes <= k; i += 2 * lanes) split(x + i, i);
  if (i == k) return;
  HWY_ALIGN uint16_t part[2 * hn::MaxLanes(d)] = {0};
  std::copy(x + i, x + k, part);
  split(part, i);
}

// kRows rows of x with kStreams rows of weights, which lie w_step apart and are read as they lie. How many there are of either cannot be
// seen in the bits.
template <int kRows, int kStreams>
HWY_INLINE void PairDots(const float* x, int64_t x_step, const uint16_t* weights, int64_t w_step, int64_t k, float* out, int64_t out_step,
                         int64_t stream_step) {
  const hn::ScalableTag<float> d;
  const hn::RebindToUnsigned<decltype(d)> bits;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  hn::Vec<decltype(d)> even[kRows][kStreams];
  hn::Vec<decltype(d)> odd[kRows][kStreams];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int s = 0; s < kStreams; ++s) even[r][s] = odd[r][s] = hn::Zero(d);
  }
  const auto add = [&](const uint16_t* from, int64_t step, int64_t i) HWY_ATTR {
#pragma GCC unroll 8
    for (int s = 0; s < kStreams; ++s) {
      const auto pair = hn::LoadU(bits, reinterpret_cast<const uint32_t*>(from + s * step));
      const auto low = hn::BitCast(d, hn::ShiftLeft<16>(pair));
      const auto high = hn::BitCast(d, hn::And(pair, hn::Set(bits, 0xffff0000u)));
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
        even[r][s] = hn::MulAdd(hn::LoadU(d, x + r * x_step + i), low, even[r][s]);
        odd[r][s] = hn::MulAdd(hn::LoadU(d, x + r * x_step + i + lanes), high, odd[r][s]);
      }
    }
  };
  int64_t i = 0;
  for (; i + 2 * lanes <= k; i += 2 * lanes) add(weights + i, w_step, i);
  if (i < k) {
    constexpr int64_t kPart = 2 * hn::MaxLanes(d);
    HWY_ALIGN uint16_t part[kStreams * kPart] = {0};
    for (int s = 0; s < kStreams; ++s) std::copy(weights + s * w_step + i, weights + s * w_step + k, part + s * kPart);
    add(part, kPart, i);
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int s = 0; s < kStreams; ++s) out[r * out_step + s * stream_step] = hn::GetLane(hn::SumOfLanes(d, hn::Add(even[r][s], odd[r][s])));
  }
}

// out[rows, from … to) of x [rows, x_step] and weights [·, k].
struct PairBlock {
  const float* x;
  int64_t x_step;
  int64_t rows;
  const uint16_t* weights;
  int64_t w_step;
  int64_t k;
  float* out;
  int64_t out_step;

  template <int kRows, int kStreams>
  HWY_INLINE void Dots(int64_t r, int64_t from, int64_t to, int64_t each) const {
    for (int64_t j = from; j < to; ++j) {
      PairDots<kRows, kStreams>(x + r * x_step, x_step, weights + j * w_step, each * w_step, k, out + r * out_step + j, out_step, each);
    }
  }

  // Streams are parts of the columns one after the other, each read in the order of its addresses: one stream keeps too few lines of memory
  // under way, and rows beside each other, which are no streams, come at less than half the speed.
  template <int kStreams>
  HWY_INLINE void Columns(int64_t from, int64_t to) const {
    // So few rows of weights that they stay in the first-level cache, beside those of x, while the rows of x go by.
    constexpr int64_t kGroup = kStreams == 1 ? 8 : 4;
    const int64_t each = (to - from) / kStreams;
    for (int64_t j = from; j < from + each; j += kGroup) {
      const int64_t end = std::min(from + each, j + kGroup);
      int64_t r = 0;
      if constexpr (kStreams <= 2) {
        for (; r + 2 <= rows && r + 3 != rows; r += 2) Dots<2, kStreams>(r, j, end, each);
        if (r + 3 == rows) {
          Dots<3, kStreams>(r, j, end, each);
          continue;
        }
      }
      for (; r < rows; ++r) Dots<1, kStreams>(r, j, end, each);
    }
    if constexpr (kStreams > 1) {
      if (from + each * kStreams < to) Columns<1>(from + each * kStreams, to);
    }
  }
};

void PairColumns(const float* x, int64_t x_step, int64_t rows, const uint16_t* weights, int64_t w_step, int64_t k, int64_t from, int64_t to,
                 float* out, int64_t out_step) {
  const PairBlock block = {x, x_step, rows, weights, w_step, k, out, out_step};
  if (rows == 1) {
    block.Columns<4>(from, to);
  } else {
    block.Columns<2>(from, to);
  }
}

}  // namespace
}  // namespace krait::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace krait::cpu {

HWY_EXPORT(FinishRows);
HWY_EXPORT(SplitPairs);
HWY_EXPORT(PairColumns);

namespace {

// Which product serves more than kFewRows rows.
bool own_leads() { return gemm_leads() && !onednn_is_wanted(); }

void finish_rows(const void* context, int64_t row, int64_t rows, int64_t column, int64_t columns) {
  const Rest& rest = *static_cast<const Rest*>(context);
  HWY_DYNAMIC_DISPATCH(FinishRows)(rest, rest.row + row, rows, rest.column + column, columns);
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

// Where the sums of a 16-bit product gather before they are narrowed: per thread, kept from call to call.
KeptMemory& kept_memory() {
  thread_local KeptMemory kept;
  return kept;
}

// Rows that are better done by dot products than by oneDNN, which packs the weights first.
constexpr int64_t kPairRows = 3;
constexpr int64_t kBlockRows = 512;
constexpr int64_t kLongBlockRows = 2048;  // where the product packs as it goes: the weights are packed again for each block
constexpr int64_t kBlockColumns = 1024;
constexpr int64_t kLeastColumns = 192;  // of a thread, so that cutting along them pays
constexpr int64_t kRowUnit = 8;
constexpr int64_t kColumnUnit = 48;
constexpr int64_t kPadding = 64;  // floats that a row of pairs may take more than its elements

Status starved(int64_t bytes) {
  return error(StatusCode::out_of_memory, "Expected %lld bytes per thread for a matrix product but the system gave none",
               static_cast<long long>(bytes));
}

// A few rows: the weights come once from memory.
Status pair_linear(const LinearArgs& a, const Cpu& cpu, Rest rest) {
  const int64_t m = a.x.dim[0];
  const int64_t k = a.x.dim[1];
  const int64_t n = a.weight.dim[0];
  const int64_t x_step = k + kPadding;
  const bool in_place = a.y.dtype == DType::f32;
  const int64_t bytes = (m * x_step + (in_place ? 0 : m * n)) * static_cast<int64_t>(sizeof(float));
  float* x = static_cast<float*>(kept_memory().reserve(bytes));
  if (x == nullptr) return starved(bytes);
  for (int64_t t = 0; t < m; ++t) HWY_DYNAMIC_DISPATCH(SplitPairs)(a.x.as<uint16_t>() + t * a.x.stride[0], k, x + t * x_step);
  float* sums = in_place ? a.y.as<float>() : x + m * x_step;
  rest.sums = sums;
  rest.step = in_place ? a.y.stride[0] : n;
  const int threads = few_rows_threads(cpu, n, k * static_cast<int64_t>(sizeof(uint16_t)));
  // Several pieces per thread: one that another process holds up does not hold up the others.
  const int64_t piece = threads == 1 ? n : (n + threads * 4 - 1) / (threads * 4);
#pragma omp parallel for num_threads(threads) schedule(dynamic)
  for (int64_t j = 0; j < n; j += piece) {
    const int64_t end = std::min(n, j + piece);
    HWY_DYNAMIC_DISPATCH(PairColumns)(x, x_step, m, a.weight.as<uint16_t>(), a.weight.stride[0], k, j, end, sums, rest.step);
    finish_rows(&rest, 0, m, j, end - j);
  }
  return {};
}

// A block of the whole from rest.row and rest.column on, multiplied and finished on this thread. `copies`: room for float32 copies of 16-bit
// operands, which oneDNN multiplies; may be null.
Status block_product(const LinearArgs& a, const Rest& rest, int64_t rows, int64_t columns, float* copies) {
  const int64_t k = a.x.dim[1];
  const int64_t x_step = a.x.stride[0];
  const int64_t w_step = a.weight.stride[0];
  float* sums = const_cast<float*>(rest.sums) + rest.row * rest.step + rest.column;
  const GemmFinish finish = {finish_rows, &rest};
  const auto by_onednn = [&](const auto* x, int64_t x_rows, const auto* weight, int64_t w_rows) {
    if (k == 0 || own_leads() || !onednn_gemm_nt(rows, columns, k, x, x_rows, weight, w_rows, 0.0f, sums, rest.step)) return false;
    finish(0, rows, 0, columns);
    return true;
  };
  if (a.x.dtype == DType::f32) {
    const float* x = a.x.as<float>() + rest.row * x_step;
    const float* weight = a.weight.as<float>() + rest.column * w_step;
    if (by_onednn(x, x_step, weight, w_step)) return {};
    return gemm_nt(Cpu{1}, rows, columns, k, x, x_step, weight, w_step, 0.0f, sums, rest.step, finish);
  }
  const uint16_t* x = a.x.as<uint16_t>() + rest.row * x_step;
  const uint16_t* weight = a.weight.as<uint16_t>() + rest.column * w_step;
  if (onednn_has_bf16() && by_onednn(x, x_step, weight, w_step)) return {};
  if (copies != nullptr) {
    float* wide_weight = copies + rows * k;
    widen_rows(1, rows, k, x, x_step, copies, k);
    widen_rows(1, columns, k, weight, w_step, wide_weight, k);
    if (by_onednn(copies, k, wide_weight, k)) return {};
  }
  return gemm_nt(Cpu{1}, rows, columns, k, x, x_step, weight, w_step, 0.0f, sums, rest.step, finish);
}

// Products with 16-bit operands or results, in blocks that each thread finishes while they are in its cache.
Status narrow_linear(const LinearArgs& a, const Cpu& cpu, const Rest& rest) {
  const int64_t m = a.x.dim[0];
  const int64_t k = a.x.dim[1];
  const int64_t n = a.weight.dim[0];
  const bool copies = a.x.dtype == DType::bf16 && !onednn_has_bf16() && !own_leads() && onednn_is_there();
  // Blocks that many threads share evenly, cut along the columns where there are enough: threads then share rows and read different
  // weights. Whole tiles of the products below, but for the last.
  const int threads = gemm_threads(cpu, m, n, k);
  const auto cut = [](int64_t size, int64_t most, int64_t times, int64_t unit) {
    const int64_t pieces = ((size + most - 1) / most + times - 1) / times * times;
    return ((size + pieces - 1) / pieces + unit - 1) / unit * unit;
  };
  const bool by_columns = n >= threads * kLeastColumns;
  const int64_t rows_each = cut(m, own_leads() ? kLongBlockRows : kBlockRows, by_columns ? 1 : threads, kRowUnit);
  const int64_t columns_each = cut(n, kBlockColumns, by_columns ? threads : 1, kColumnUnit);
  const int64_t row_blocks = (m + rows_each - 1) / rows_each;
  const int64_t column_blocks = (n + columns_each - 1) / columns_each;
  const int64_t bytes = (rows_each * columns_each + (copies ? (rows_each + columns_each) * k : 0)) * static_cast<int64_t>(sizeof(float));
  Status status;
#pragma omp parallel for num_threads(threads) schedule(dynamic)
  for (int64_t block = 0; block < row_blocks * column_blocks; ++block) {
    const int64_t row = block % row_blocks * rows_each;
    const int64_t column = block / row_blocks * columns_each;
    const int64_t rows = std::min(rows_each, m - row);
    const int64_t columns = std::min(columns_each, n - column);
    if (rows <= 0 || columns <= 0) continue;
    float* memory = static_cast<float*>(kept_memory().reserve(bytes));
    Rest here = rest;
    here.row = row;
    here.column = column;
    if (a.y.dtype != DType::f32) {
      here.sums = memory - row * columns - column;
      here.step = columns;
    }
    const Status done = memory == nullptr ? starved(bytes) : block_product(a, here, rows, columns, copies ? memory + rows_each * columns_each : nullptr);
    if (!done.ok()) {
#pragma omp critical(krait_linear)
      status = done;
    }
  }
  return status;
}

}  // namespace

Status linear(const LinearArgs& a, const Cpu& cpu) {
  const int64_t m = a.x.dim[0];
  const int64_t k = a.x.dim[1];
  const int64_t n = a.weight.dim[0];
  if (m == 0 || n == 0) return {};
  std::vector<float> wide_bias;
  const float* bias = a.bias.as<float>();
  if (a.bias && a.bias.dtype == DType::bf16) {
    wide_bias.resize(static_cast<size_t>(n));
    widen_rows(1, 1, n, a.bias.as<uint16_t>(), n, wide_bias.data(), n);
    bias = wide_bias.data();
  }
  const Rest rest{a.y.as<float>(), a.y.stride[0], &a.y, bias, a.activation};
  if (a.x.dtype == DType::bf16 && (m <= kPairRows || (m <= kFewRows && !onednn_has_bf16()))) return pair_linear(a, cpu, rest);
  if (a.x.dtype == DType::bf16 || a.y.dtype == DType::bf16) return narrow_linear(a, cpu, rest);
  GemmFinish finish;
  if (a.bias || a.activation != LinearArgs::Activation::identity) finish = {finish_rows, &rest};
  if (m > kFewRows && k > 0 && !own_leads() && onednn_linear(a, gemm_threads(cpu, m, n, k), finish)) return {};
  return gemm_nt(cpu, m, n, k, a.x.as<float>(), a.x.stride[0], a.weight.as<float>(), a.weight.stride[0], 0.0f, a.y.as<float>(),
                 a.y.stride[0], finish);
}

}  // namespace krait::cpu
#endif

// Products with a few rows: a warp per output column, whose weights are on their way before the inputs are there.
#include "few_rows.cuh"

namespace krait::cuda {
namespace {

// kRows rows at a time.
template <typename E, int kRows>
__global__ void __launch_bounds__(kFewRowsWarps * 32) few_rows_kernel(const FewRows p) {
  constexpr int N = 16 / static_cast<int>(sizeof(E));
  constexpr int kAhead = kRows == 1 ? 8 : 4;
  let_next_begin();
  const int32_t lane = static_cast<int32_t>(threadIdx.x) % 32;
  const int64_t column = static_cast<int64_t>(blockIdx.x) * kFewRowsWarps + threadIdx.x / 32;
  if (column >= p.width) return;
  const E* weight = static_cast<const E*>(p.weight) + column * p.weight_stride;
  Raw<E, N> ahead[kAhead];
#pragma unroll
  for (int i = 0; i < kAhead; ++i) {
    if (lane + 32 * i < p.packs) ahead[i].template fetch<true>(weight + (lane + 32 * i) * N, N);
  }
  const float bias = p.bias_at(column);
  wait_for_inputs();

  for (int32_t row = 0; row < p.rows; row += kRows) {
    const E* x = static_cast<const E*>(p.x) + row * p.x_stride;
    float sum[kRows] = {};
    const auto add = [&](const Raw<E, N>& w, int32_t pack) {
      Raw<E, N> values[kRows];
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        if (kRows == 1 || row + r < p.rows) values[r].template fetch<true>(x + r * p.x_stride + pack * N, N);
      }
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        if (kRows == 1 || row + r < p.rows) sum[r] = dot<E>(w, values[r], sum[r]);
      }
    };
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      if (lane + 32 * i < p.packs) add(ahead[i], lane + 32 * i);
    }
#pragma unroll 4
    for (int32_t pack = lane + 32 * kAhead; pack < p.packs; pack += 32) {
      Raw<E, N> w;
      w.template fetch<true>(weight + pack * N, N);
      add(w, pack);
    }
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
#pragma unroll
      for (int step = 16; step > 0; step /= 2) sum[r] += __shfl_xor_sync(0xffffffffu, sum[r], step);
      if (lane == 0 && row + r < p.rows) p.finish(row + r, column, sum[r] + bias);
    }
  }
}

}  // namespace

bool takes_few_rows(const Product& p) {
  const auto is_float = [](DType dtype) { return dtype == DType::f32 || dtype == DType::bf16; };
  if (!is_float(p.dtype) || !is_float(p.y_dtype) || (p.bias != nullptr && !is_float(p.bias_dtype))) return false;
  const int64_t size = dtype_size(p.dtype), longest = int64_t{1} << 20;
  return p.rows <= kFewRows && p.depth > 0 && p.depth <= longest && p.depth * size % 16 == 0 && is_aligned(p.x, 16) && is_aligned(p.weight, 16) &&
         (p.rows == 1 || p.x_stride * size % 16 == 0) && p.weight_stride * size % 16 == 0 && divide_up(p.width, kFewRowsWarps) <= INT32_MAX;
}

FewRows few_rows(const Product& p) {
  return {p.x,
          p.weight,
          p.bias,
          p.y,
          p.width,
          p.x_stride,
          p.weight_stride,
          p.y_stride,
          static_cast<int32_t>(p.rows),
          static_cast<int32_t>(p.depth * dtype_size(p.dtype) / 16),
          p.bias_dtype == DType::bf16,
          p.y_dtype == DType::bf16,
          p.activation};
}

Status few_rows_product(const Product& p, const Cuda& cuda) {
  const FewRows few = few_rows(p);
  const dim3 blocks(static_cast<unsigned>(divide_up(p.width, kFewRowsWarps))), threads(kFewRowsWarps * 32);
  return with_float(p.dtype, [&](auto* e) {
    using E = std::remove_pointer_t<decltype(e)>;
    if (p.rows == 1) return launch_early("linear", cuda, few_rows_kernel<E, 1>, blocks, threads, few);
    if (p.rows == 2) return launch_early("linear", cuda, few_rows_kernel<E, 2>, blocks, threads, few);
    return launch_early("linear", cuda, few_rows_kernel<E, 4>, blocks, threads, few);
  });
}

}  // namespace krait::cuda

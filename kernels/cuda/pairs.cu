// A norm and the product behind it, in steps of a few tokens. What a step spends is the way from kernel to kernel: here every warp
// normalises the row for itself, which costs it some reads from the second cache, while its weights are on their way.
#include "pairs.h"

#include "few_rows.cuh"
#include "functions.cuh"
#include "refuse.cuh"

namespace krait::cuda {
namespace {

constexpr int64_t kLinear = op_number("linear"), kRmsNorm = op_number("rms_norm"), kGatedRmsNorm = op_number("gated_rms_norm");
constexpr int64_t kSelectiveScan = op_number("selective_scan");

constexpr int kMostPacks = 8;  // of 16 bytes of a row, for a lane

// rms_norm: h = x + beside, kept in `sum`; gated_rms_norm: h = x · silu(beside). y = h normalised.
template <typename E, typename X, typename B>
struct Norm {
  Rows<const X> x;
  Rows<const B> beside;  // may be absent
  Rows<B> sum;
  Rows<E> y;
  const float* weight;
  int32_t width;
  float eps;
  bool gates;

  template <int N>
  __device__ __forceinline__ void fetch(int32_t row, int32_t at, Raw<X, N>& x_pack, Raw<B, N>& beside_pack) const {
    x_pack.template fetch<true>(x.row(row) + at, N);
    if (beside.data != nullptr) beside_pack.template fetch<true>(beside.row(row) + at, N);
  }
  template <int N>
  __device__ __forceinline__ void combine(float (&h)[N], const Raw<X, N>& x_pack, const Raw<B, N>& beside_pack) const {
#pragma unroll
    for (int e = 0; e < N; ++e) {
      h[e] = x_pack[e];
      if (beside.data == nullptr) continue;
      h[e] = gates ? h[e] * silu_fast(beside_pack[e]) : h[e] + beside_pack[e];
    }
  }
};

// A warp for each kColumns columns. The scale of the norm, which is one number, comes after the product of h · weight.
template <typename E, typename X, typename B, int kPacks, int kColumns>
__global__ void __launch_bounds__(kFewRowsWarps * 32, kPacks * (sizeof(E) + sizeof(X) + sizeof(B)) <= 36 ? 2 : 1)
    normed_product_kernel(const Norm<E, X, B> norm, const FewRows p) {
  constexpr int N = 16 / static_cast<int>(sizeof(E));
  let_next_begin();
  const int32_t lane = static_cast<int32_t>(threadIdx.x) % 32, warp = static_cast<int32_t>(threadIdx.x) / 32;
  const int64_t column = (static_cast<int64_t>(blockIdx.x) * kFewRowsWarps + warp) * kColumns;
  if (static_cast<int32_t>(threadIdx.x) * 32 < norm.width) touch(norm.weight + threadIdx.x * 32);
  Raw<E, N> weight[kColumns][kPacks];
  float bias[kColumns];
#pragma unroll
  for (int c = 0; c < kColumns; ++c) {
    const bool inside = column + c < p.width;
#pragma unroll
    for (int i = 0; i < kPacks; ++i) {
      const int32_t pack = lane + 32 * i;
      if (inside && pack < p.packs) weight[c][i].template fetch<true>(static_cast<const E*>(p.weight) + (column + c) * p.weight_stride + pack * N, N);
    }
    bias[c] = inside ? p.bias_at(column + c) : 0.0f;
  }
  wait_for_inputs();

  for (int32_t row = 0; row < p.rows; ++row) {
    Raw<X, N> x[kPacks];
    Raw<B, N> beside[kPacks];
#pragma unroll
    for (int i = 0; i < kPacks; ++i) {
      if (lane + 32 * i < p.packs) norm.fetch(row, (lane + 32 * i) * N, x[i], beside[i]);
    }
    float square = 0, sum[kColumns] = {};
#pragma unroll
    for (int i = 0; i < kPacks; ++i) {
      if (lane + 32 * i >= p.packs) continue;
      float h[N], scale_of[N];
      norm.combine(h, x[i], beside[i]);
      load(scale_of, norm.weight + (lane + 32 * i) * N, N, true);
#pragma unroll
      for (int e = 0; e < N; ++e) {
        square = fmaf(h[e], h[e], square);
#pragma unroll
        for (int c = 0; c < kColumns; ++c) sum[c] = fmaf(h[e] * scale_of[e], weight[c][i][e], sum[c]);
      }
    }
#pragma unroll
    for (int step = 16; step > 0; step /= 2) {
      square += __shfl_xor_sync(0xffffffffu, square, step);
#pragma unroll
      for (int c = 0; c < kColumns; ++c) sum[c] += __shfl_xor_sync(0xffffffffu, sum[c], step);
    }
    const float scale = 1.0f / sqrtf(square / static_cast<float>(norm.width) + norm.eps);
#pragma unroll
    for (int c = 0; c < kColumns; ++c) {
      if (lane == c && column + c < p.width) p.finish(row, column + c, fmaf(scale, sum[c], bias[c]));
    }
    if (blockIdx.x != 0) continue;
    // The first block leaves what the norm gives, a part by each warp, and reads it again: nobody keeps registers for it.
    asm volatile("" ::: "memory");
    for (int32_t pack = lane + 32 * warp; pack < p.packs; pack += 32 * kFewRowsWarps) {
      Raw<X, N> own_x;
      Raw<B, N> own_beside;
      float h[N], scale_of[N];
      norm.fetch(row, pack * N, own_x, own_beside);
      norm.combine(h, own_x, own_beside);
      if (norm.sum.data != nullptr) store(norm.sum.row(row) + pack * N, h, N, true);
      load(scale_of, norm.weight + pack * N, N, true);
#pragma unroll
      for (int e = 0; e < N; ++e) h[e] *= scale * scale_of[e];
      store(norm.y.row(row) + pack * N, h, N, true);
    }
  }
}

// The same where h is dear: the block forms it once, in shared memory and rounded to E. Rows have at most a pack for each thread.
template <typename E, typename X, typename B, int kPacks>
__global__ void __launch_bounds__(kFewRowsWarps * 32, 3) shared_norm_kernel(const Norm<E, X, B> norm, const FewRows p) {
  constexpr int N = 16 / static_cast<int>(sizeof(E));
  __shared__ Pack<E, N> normed[kPacks * 32];
  __shared__ float squares[kFewRowsWarps];
  let_next_begin();
  const int32_t thread = static_cast<int32_t>(threadIdx.x), lane = thread % 32, warp = thread / 32;
  const int64_t column = static_cast<int64_t>(blockIdx.x) * kFewRowsWarps + warp;
  const bool inside = column < p.width, has_pack = thread < p.packs;
  Raw<E, N> weight[kPacks];
#pragma unroll
  for (int i = 0; i < kPacks; ++i) {
    const int32_t pack = lane + 32 * i;
    if (inside && pack < p.packs) weight[i].template fetch<true>(static_cast<const E*>(p.weight) + column * p.weight_stride + pack * N, N);
  }
  const float bias = inside ? p.bias_at(column) : 0.0f;
  float scale_of[N];
  if (has_pack) load(scale_of, norm.weight + thread * N, N, true);
  wait_for_inputs();

  for (int32_t row = 0; row < p.rows; ++row) {
    float h[N], square = 0;
    Raw<X, N> x;
    Raw<B, N> beside;
    if (has_pack) {
      norm.fetch(row, thread * N, x, beside);
      norm.combine(h, x, beside);
#pragma unroll
      for (int e = 0; e < N; ++e) square = fmaf(h[e], h[e], square);
    }
#pragma unroll
    for (int step = 16; step > 0; step /= 2) square += __shfl_xor_sync(0xffffffffu, square, step);
    // All have read the row before.
    if (row > 0) __syncthreads();
    if (lane == 0) squares[warp] = square;
    if (has_pack) {
#pragma unroll
      for (int e = 0; e < N; ++e) normed[thread].at[e] = from_float<E>(h[e] * scale_of[e]);
    }
    __syncthreads();
    float sum = 0;
#pragma unroll
    for (int i = 0; i < kPacks; ++i) {
      const int32_t pack = lane + 32 * i;
      if (pack >= p.packs) continue;
      Raw<E, N> other;
      other.template fetch<true>(normed[pack].at, N);
      if (inside) sum = dot<E>(weight[i], other, sum);
    }
#pragma unroll
    for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, step);
    square = 0;
#pragma unroll
    for (int w = 0; w < kFewRowsWarps; ++w) square += squares[w];
    const float scale = 1.0f / sqrtf(square / static_cast<float>(norm.width) + norm.eps);
    if (lane == 0 && inside) p.finish(row, column, fmaf(scale, sum, bias));
    if (blockIdx.x != 0 || !has_pack) continue;
    if (norm.sum.data != nullptr) store(norm.sum.row(row) + thread * N, h, N, true);
#pragma unroll
    for (int e = 0; e < N; ++e) h[e] *= scale * scale_of[e];
    store(norm.y.row(row) + thread * N, h, N, true);
  }
}

bool is_float(const Tensor& t) { return t.dtype == DType::f32 || t.dtype == DType::bf16; }

template <typename E, typename X, typename B>
Status launch(const Tensor& x, const Tensor& beside, const Tensor& sum, const Tensor& y, const Tensor& weight, double eps, bool gates, const FewRows& few,
              const Cuda& cuda) {
  const Norm<E, X, B> norm = {rows_of<const X>(x), {beside.as<const B>(), beside ? row_stride(beside) : 0}, {sum.as<B>(), sum ? row_stride(sum) : 0},
                              rows_of<E>(y), weight.as<const float>(), static_cast<int32_t>(x.dim[1]), static_cast<float>(eps), gates};
  const auto run = [&](auto kernel, int columns) {
    const dim3 blocks(static_cast<unsigned>(divide_up(few.width, kFewRowsWarps * columns))), threads(kFewRowsWarps * 32);
    return launch_early("linear", cuda, kernel, blocks, threads, norm, few);
  };
  if (gates) {
    if (few.packs <= 3 * 32) return run(shared_norm_kernel<E, X, B, 3>, 1);
    if (few.packs <= 6 * 32) return run(shared_norm_kernel<E, X, B, 6>, 1);
    return run(shared_norm_kernel<E, X, B, kMostPacks>, 1);
  }
  // Two columns where registers allow: half as many warps read the row.
  if (few.packs <= 3 * 32 && few.width > cuda.multiprocessors * kFewRowsWarps) return run(normed_product_kernel<E, X, B, 3, 2>, 2);
  if (few.packs <= 3 * 32) return run(normed_product_kernel<E, X, B, 3, 1>, 1);
  if (few.packs <= 6 * 32) return run(normed_product_kernel<E, X, B, 6, 1>, 1);
  return run(normed_product_kernel<E, X, B, kMostPacks, 1>, 1);
}

// `beside` and `sum` may be absent. `groups` that each have a scale of their own are left to the ops.
bool normed_product(const Tensor& x, const Tensor& beside, const Tensor& sum, const Tensor& y, const Tensor& weight, double eps, bool gates,
                    const LinearArgs& a, const Cuda& cuda, Status* status) {
  if (a.x.data != y.data || a.x.dtype != y.dtype || a.x.dim[0] != y.dim[0] || a.x.dim[1] != y.dim[1] || row_stride(a.x) != row_stride(y)) return false;
  const Product p = product_of(a);
  if (!takes_few_rows(p) || p.rows == 0 || p.width == 0 || p.depth * dtype_size(p.dtype) > kMostPacks * 32 * 16) return false;
  if (!is_float(x) || (beside && !is_float(beside)) || !is_aligned(weight.data, 16)) return false;
  // As many elements as 16 bytes of the product's have.
  const auto fits = [&](const Tensor& t) { return p.dtype == DType::f32 ? is_wide<4>(t) && (!t || t.dtype == DType::f32 || is_wide<8>(t)) : is_wide<8>(t); };
  if (!fits(x) || !fits(beside) || !fits(sum) || !fits(y)) return false;
  // bfloat16 beside a product in float32 would be read by eight bytes.
  if (p.dtype == DType::f32 && (x.dtype != DType::f32 || (beside && beside.dtype != DType::f32))) return false;
  // The product is written while other blocks still read what the norm reads, and while the first one writes the sum: where nobody wants
  // the sum, the product may lie in its place.
  const Range written(a.y);
  if (written.meets(x) || written.meets(beside) || written.meets(sum)) return false;
  const FewRows few = few_rows(p);
  const auto with = [&](auto* e, auto* of_x, auto* of_beside) {
    using std::remove_pointer_t;
    return launch<remove_pointer_t<decltype(e)>, remove_pointer_t<decltype(of_x)>, remove_pointer_t<decltype(of_beside)>>(x, beside, sum, y, weight, eps, gates,
                                                                                                                    few, cuda);
  };
  if (p.dtype == DType::f32) {
    float* f32 = nullptr;
    *status = with(f32, f32, f32);
    return true;
  }
  __nv_bfloat16* bf16 = nullptr;
  *status = with_float(x.dtype, [&](auto* of_x) {
    return with_float(beside ? beside.dtype : x.dtype, [&](auto* of_beside) { return with(bf16, of_x, of_beside); });
  });
  return true;
}

}  // namespace

bool run_as_one(int64_t op, const Call& call, int64_t next_op, const Call& next, const Cuda& cuda, Status* status) {
  if (op == kLinear && next_op == kSelectiveScan) return scan_with_product(unpack_linear(call), unpack_selective_scan(next), cuda, status);
  if (next_op != kLinear) return false;
  if (op == kRmsNorm) {
    const RmsNormArgs a = unpack_rms_norm(call);
    return normed_product(a.x, a.residual, a.sum, a.y, a.weight, a.eps, false, unpack_linear(next), cuda, status);
  }
  if (op == kGatedRmsNorm) {
    const GatedRmsNormArgs a = unpack_gated_rms_norm(call);
    if (a.groups != 1 || a.norm_before_gate) return false;
    return normed_product(a.x, a.gate, {}, a.y, a.weight, a.eps, true, unpack_linear(next), cuda, status);
  }
  return false;
}

}  // namespace krait::cuda

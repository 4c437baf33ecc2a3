#include "rows.cuh"

namespace krait::cuda {
namespace {

struct Best {
  float value;
  int32_t index;
};

// The larger value, the lower index of equals; NaN gives way to whatever is comparable.
__device__ __forceinline__ Best better(Best a, Best b) {
  const bool a_is_nan = a.value != a.value, b_is_nan = b.value != b.value;
  if (a_is_nan != b_is_nan) return a_is_nan ? b : a;
  const bool takes = b.value > a.value || (b.value == a.value && b.index < a.index);
  return takes ? b : a;
}

__device__ __forceinline__ Best best_of_warp(Best mine) {
#pragma unroll
  for (int step = 16; step > 0; step /= 2) {
    mine = better(mine, {__shfl_xor_sync(0xffffffffu, mine.value, step), __shfl_xor_sync(0xffffffffu, mine.index, step)});
  }
  return mine;
}

// A block per row.
__global__ void __launch_bounds__(1024) arg_max_kernel(Rows<const float> x, int32_t width, bool wide, int32_t* index, int32_t* kept) {
  __shared__ Best shared[32];
  let_next_begin();
  wait_for_inputs();
  const float* row = x.row(blockIdx.x);
  Best mine = {__uint_as_float(0x7fffffffu), -1};
  // A vocabulary is read in a few rounds, all loads of one before the first use.
  constexpr int32_t N = 4, kAhead = 8;
  for (int32_t base = static_cast<int32_t>(threadIdx.x) * N; base < width; base += 1024 * N * kAhead) {
    Raw<float, N> four[kAhead];
#pragma unroll
    for (int32_t j = 0; j < kAhead; ++j) {
      const int32_t at = base + j * 1024 * N;
      if (at >= width) break;
      if (wide && at + N <= width) four[j].template fetch<true>(row + at, N);
      else four[j].template fetch<false>(row + at, width - at);
    }
#pragma unroll
    for (int32_t j = 0; j < kAhead; ++j) {
#pragma unroll
      for (int32_t i = 0; i < N; ++i) {
        const int32_t at = base + j * 1024 * N + i;
        if (at < width) mine = better(mine, {four[j][i], four[j][i] == four[j][i] ? at : -1});
      }
    }
  }
  mine = best_of_warp(mine);
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = mine;
  __syncthreads();
  if (threadIdx.x >= 32) return;
  mine = best_of_warp(shared[threadIdx.x]);
  if (threadIdx.x != 0) return;
  index[blockIdx.x] = mine.index;
  if (kept != nullptr) kept[blockIdx.x] = mine.index;
}

}  // namespace

Status arg_max(const ArgMaxArgs& a, const Cuda& cuda) {
  const int64_t rows = a.x.dim[0], width = a.x.dim[1];
  if (rows == 0) return {};
  if (rows > INT32_MAX / 2 || width > INT32_MAX / 2) {
    return error(StatusCode::unsupported, "Expected fewer than 2^30 rows and columns for arg_max but received %lld and %lld",
                 static_cast<long long>(rows), static_cast<long long>(width));
  }
  return launch_early("arg_max", cuda, arg_max_kernel, dim3(static_cast<unsigned>(rows)), dim3(1024), rows_of<const float>(a.x),
                      static_cast<int32_t>(width), is_wide<4>(a.x), a.index.as<int32_t>(), a.kept.as<int32_t>());
}

}  // namespace krait::cuda

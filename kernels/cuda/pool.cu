#include "functions.cuh"
#include "refuse.cuh"
#include "rows.cuh"

namespace krait::cuda {
namespace {

using Kind = PoolArgs::Kind;

constexpr int kLanes = 32;
constexpr int kStrips = 8;  // interleaved parts of a segment's rows, joined in order: the same sum however the device schedules
constexpr int N = 4;
constexpr int kColumns = kLanes * N;

template <bool kMax>
struct Accumulator {
  float value[N];
  float lost[N];  // what rounding took from a sum (Kahan), so that a segment may have millions of rows

  __device__ __forceinline__ void start() {
#pragma unroll
    for (int i = 0; i < N; ++i) {
      value[i] = kMax ? -INFINITY : 0.0f;
      lost[i] = 0;
    }
  }

  __device__ __forceinline__ void add(const float (&v)[N]) {
#pragma unroll
    for (int i = 0; i < N; ++i) {
      if constexpr (kMax) {
        value[i] = larger(value[i], v[i]);
      } else {
        const float part = v[i] - lost[i];
        const float next = value[i] + part;
        lost[i] = isfinite(next) ? (next - value[i]) - part : 0.0f;
        value[i] = next;
      }
    }
  }
};

template <typename E, typename O, bool kMax>
__global__ void __launch_bounds__(kLanes* kStrips)
    pool_kernel(const Rows<const E> x, const int32_t* borders, const Rows<O> y, int64_t total, int64_t segments, int64_t width, bool is_mean,
                bool wide, int32_t* error_word) {
  __shared__ float strips[kStrips][kColumns];
  for (int64_t s = blockIdx.x; s < segments; s += gridDim.x) {
    int64_t from = borders[s], to = borders[s + 1];
    if (from < 0 || to < from || to > total || (s == 0 && from != 0) || (s == segments - 1 && to != total)) {
      refuse<op_number("pool")>(error_word);
      from = to = 0;
    }
    for (int64_t first = static_cast<int64_t>(blockIdx.y) * kColumns; first < width; first += static_cast<int64_t>(gridDim.y) * kColumns) {
      const int64_t at = first + threadIdx.x * N;
      Accumulator<kMax> sum;
      sum.start();
      if (at < width) {
#pragma unroll 4
        for (int64_t t = from + threadIdx.y; t < to; t += kStrips) {
          float v[N];
          load(v, x.row(t) + at, width - at, wide);
          sum.add(v);
        }
      }
#pragma unroll
      for (int i = 0; i < N; ++i) strips[threadIdx.y][threadIdx.x * N + i] = sum.value[i];
      __syncthreads();
      if (threadIdx.y == 0 && at < width) {
        float v[N];
#pragma unroll
        for (int i = 0; i < N; ++i) {
          const int column = threadIdx.x * N + i;
          float value = strips[0][column];
          for (int strip = 1; strip < kStrips; ++strip) {
            value = kMax ? larger(value, strips[strip][column]) : value + strips[strip][column];
          }
          v[i] = from == to ? 0.0f : is_mean ? value / static_cast<float>(to - from) : value;
        }
        store(y.row(s) + at, v, width - at, wide);
      }
      __syncthreads();
    }
  }
}

template <typename E, typename O>
Status launch(const PoolArgs& a, const Cuda& cuda) {
  const int64_t segments = a.y.dim[0], width = a.y.dim[1];
  if (segments == 0 || width == 0) return {};
  const bool wide = is_wide<N>(a.x) && is_wide<N>(a.y);
  const int64_t most = static_cast<int64_t>(std::max(cuda.multiprocessors, 1)) * 32;
  const int64_t across = std::min(segments, most);
  const dim3 grid(static_cast<unsigned>(across), static_cast<unsigned>(std::min(divide_up(width, kColumns), std::max<int64_t>(1, most / across))));
  const auto kernel = a.kind == Kind::max ? pool_kernel<E, O, true> : pool_kernel<E, O, false>;
  kernel<<<grid, dim3(kLanes, kStrips), 0, cuda.stream>>>(rows_of<const E>(a.x), a.cu_seqlens.as<const int32_t>(), rows_of<O>(a.y), a.x.dim[0],
                                                          segments, width, a.kind == Kind::mean, wide, cuda.error_word);
  return launched("pool");
}

}  // namespace

Status pool(const PoolArgs& a, const Cuda& cuda) {
  return with_float(a.x.dtype, [&](auto* e) {
    return with_float(a.y.dtype, [&](auto* o) {
      return launch<std::remove_pointer_t<decltype(e)>, std::remove_pointer_t<decltype(o)>>(a, cuda);
    });
  });
}

}  // namespace krait::cuda

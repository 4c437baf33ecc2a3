#include "rows.cuh"

namespace krait::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kMostStages = 16;  // of a length up to 65536
// Complex points of a transform that fits the shared memory every device gives without being asked: two buffers and a table of roots.
constexpr int64_t kMostPoints = 2048;

struct Spectrum {
  Rows<const float> x;
  const float* window;
  Rows<float> y;
  int32_t size, fft_size, frequencies;
  float emphasis;
  bool remove_mean;
  // An even length is done as half as many complex points, even samples and i · odd ones.
  bool halved;
  int32_t points;
  int32_t stages;
  int32_t radix[kMostStages];
};

__device__ __forceinline__ float2 times(float2 a, float2 b) { return {a.x * b.x - a.y * b.y, a.x * b.y + a.y * b.x}; }

// e^(−2πi·numerator / denominator)
__device__ __forceinline__ float2 root(int32_t numerator, int32_t denominator) {
  float2 z;
  sincospif(-2.0f * static_cast<float>(numerator) / static_cast<float>(denominator), &z.y, &z.x);
  return z;
}

// The mean of a row, in every thread; one order of summing, whatever the row.
__device__ float mean_of(const float* row, int32_t size) {
  __shared__ float sums[kThreads];
  float sum = 0.0f;
  for (int32_t n = threadIdx.x; n < size; n += kThreads) sum += row[n];
  sums[threadIdx.x] = sum;
  __syncthreads();
  for (int step = kThreads / 2; step > 0; step /= 2) {
    if (threadIdx.x < step) sums[threadIdx.x] += sums[threadIdx.x + step];
    __syncthreads();
  }
  sum = sums[0];
  __syncthreads();
  return sum / static_cast<float>(size);
}

__device__ __forceinline__ float shaped(const Spectrum& a, const float* row, float mean, int32_t n) {
  const float before = row[max(n - 1, 0)] - mean;
  return (row[n] - mean - a.emphasis * before) * a.window[n];
}

// One block transforms row after row in shared memory, in Stockham's order: a thread makes one output of a butterfly at a time.
__global__ void __launch_bounds__(kThreads) transform_kernel(const Spectrum a, int64_t rows) {
  extern __shared__ float2 memory[];
  const int32_t points = a.points;
  float2* const roots = memory + 2 * points;
  for (int32_t t = threadIdx.x; t < points; t += kThreads) roots[t] = root(t, points);
  for (int64_t r = blockIdx.x; r < rows; r += gridDim.x) {
    float2* from = memory;
    float2* to = memory + points;
    const float* row = a.x.row(r);
    const float mean = a.remove_mean ? mean_of(row, a.size) : 0.0f;
    const auto sample = [&](int32_t n) { return n < a.size ? shaped(a, row, mean, n) : 0.0f; };
    for (int32_t i = threadIdx.x; i < points; i += kThreads) {
      from[i] = a.halved ? float2{sample(2 * i), sample(2 * i + 1)} : float2{sample(i), 0.0f};
    }
    __syncthreads();
    int32_t n = points, stride = 1;
    for (int32_t s = 0; s < a.stages; ++s) {
      const int32_t radix = a.radix[s], groups = n / radix;
      for (int32_t i = threadIdx.x; i < points; i += kThreads) {
        // i = q + stride · (radix · p + k)
        const int32_t q = i % stride, k = i / stride % radix, p = i / stride / radix;
        float2 sum{0.0f, 0.0f};
        for (int32_t j = 0; j < radix; ++j) {
          const int32_t at = static_cast<int32_t>(static_cast<int64_t>(k) * (j * groups + p) % n);
          const float2 term = times(from[q + stride * (p + groups * j)], roots[at * stride]);
          sum.x += term.x, sum.y += term.y;
        }
        to[i] = sum;
      }
      __syncthreads();
      float2* const other = from;
      from = to, to = other;
      stride *= radix;
      n = groups;
    }
    float* y = a.y.row(r);
    for (int32_t k = threadIdx.x; k < a.frequencies; k += kThreads) {
      float2 z = from[k % points];
      if (a.halved) {
        // X[k] = E + w^k · O of the even and the odd samples' transforms.
        const float2 b = from[(points - k) % points];
        const float2 odd = times({z.y + b.y, b.x - z.x}, root(k, a.fft_size));
        z = {0.5f * (z.x + b.x + odd.x), 0.5f * (z.y - b.y + odd.y)};
      }
      y[k] = z.x * z.x + z.y * z.y;
    }
    __syncthreads();
  }
}

// Longer ones: the sums themselves, one thread per frequency.
__global__ void __launch_bounds__(kThreads) sums_kernel(const Spectrum a, int64_t rows) {
  for (int64_t r = blockIdx.x; r < rows; r += gridDim.x) {
    const float* row = a.x.row(r);
    const float mean = a.remove_mean ? mean_of(row, a.size) : 0.0f;
    for (int32_t k = blockIdx.y * kThreads + threadIdx.x; k < a.frequencies; k += kThreads * gridDim.y) {
      float re = 0.0f, im = 0.0f;
      for (int32_t n = 0; n < a.size; ++n) {
        const float2 w = root(static_cast<int32_t>(static_cast<int64_t>(k) * n % a.fft_size), a.fft_size);
        const float value = shaped(a, row, mean, n);
        re += value * w.x, im += value * w.y;
      }
      a.y.row(r)[k] = re * re + im * im;
    }
  }
}

}  // namespace

Status power_spectrum(const PowerSpectrumArgs& a, const Cuda& cuda) {
  const int64_t rows = a.x.dim[0];
  if (rows <= 0) return {};
  Spectrum spectrum{};
  spectrum.x = rows_of<const float>(a.x), spectrum.y = rows_of<float>(a.y), spectrum.window = a.window.as<const float>();
  spectrum.size = static_cast<int32_t>(a.x.dim[1]), spectrum.fft_size = static_cast<int32_t>(a.fft_size);
  spectrum.frequencies = static_cast<int32_t>(a.y.dim[1]);
  spectrum.emphasis = static_cast<float>(a.pre_emphasis), spectrum.remove_mean = a.remove_mean;
  spectrum.halved = a.fft_size % 2 == 0;
  spectrum.points = spectrum.fft_size / (spectrum.halved ? 2 : 1);
  // Enough blocks to fill the device several times over; beyond that they loop.
  const int64_t most = static_cast<int64_t>(std::max(cuda.multiprocessors, 1)) * 32;
  const unsigned blocks = static_cast<unsigned>(std::min(rows, most));
  if (spectrum.points > kMostPoints) {
    const dim3 grid(blocks, static_cast<unsigned>(divide_up(spectrum.frequencies, kThreads)));
    sums_kernel<<<grid, kThreads, 0, cuda.stream>>>(spectrum, rows);
    return launched("power_spectrum");
  }
  int32_t rest = spectrum.points;
  for (int32_t radix = 4; rest > 1;) {
    if (rest % radix == 0) {
      spectrum.radix[spectrum.stages++] = radix;
      rest /= radix;
    } else {
      // 4, 2, 3, 5 and on: back at 4 from 3, a length with a factor of 5 would never end.
      radix = radix == 4 ? 2 : radix == 3 ? 5 : radix + 1;
    }
  }
  const size_t shared = sizeof(float2) * static_cast<size_t>(3 * spectrum.points);
  transform_kernel<<<blocks, kThreads, shared, cuda.stream>>>(spectrum, rows);
  return launched("power_spectrum");
}

}  // namespace krait::cuda

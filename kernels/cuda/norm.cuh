// The walk that the norms share: a warp or a few per row, the row held in registers between its two uses.
#pragma once

#include "early.cuh"
#include "reduce.cuh"
#include "rows.cuh"

namespace krait::cuda {

inline constexpr int kNormPack = 8;
// Packs one thread keeps at most; what a row has beyond blockDim.x times as many is read twice.
inline constexpr int kNormHeld = 4;

// Takes `centre` out of the `count` elements that exist; the sum of their squares.
__device__ __forceinline__ float centred_squares(float (&h)[kNormPack], float centre, int32_t count) {
  float square = 0;
#pragma unroll
  for (int i = 0; i < kNormPack; ++i) {
    h[i] = i < count ? h[i] - centre : 0.0f;
    square += h[i] * h[i];
  }
  return square;
}

// `body` has width, eps and, for elements [at, at + kNormPack) of a row, fetch() (loads only), read() (their values from what was fetched,
// zeros past the width; called once per use), seen() (called once) and write(); warm() touches the parameters for them. kPacks · blockDim.x packs are held; kWide: there are no
// more, none is cut short and each moves in 16-byte accesses. Neither changes the order of a sum. kCentred: the row's mean is taken out
// of its elements before they are squared and written.
template <int kPacks, bool kWide, bool kCentred, typename Body>
__global__ void __launch_bounds__(512) normalise_kernel(int64_t rows, const Body body) {
  __shared__ float shared[32];
  constexpr int N = kNormPack;
  const int32_t width = static_cast<int32_t>(body.width), step = static_cast<int32_t>(blockDim.x) * N;
  const int32_t begin = static_cast<int32_t>(threadIdx.x) * N;
  let_next_begin();
  if (rows <= kFewRows) {
    for (int32_t at = begin; at < width; at += step) body.warm(static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y, at);
  }
  wait_for_inputs();
  // The whole block goes round together, because row_sum waits for all of it.
  for (int64_t first = static_cast<int64_t>(blockIdx.x) * blockDim.y; first < rows; first += static_cast<int64_t>(gridDim.x) * blockDim.y) {
    const int64_t row = first + threadIdx.y;
    const int32_t end = row < rows ? width : 0;
    // All loads before the first use.
    typename Body::Fetched fetched[kPacks];
#pragma unroll
    for (int p = 0; p < kPacks; ++p) {
      if (begin + p * step < end) body.template fetch<kWide>(fetched[p], row, begin + p * step);
    }
    float held[kPacks][N];
    float square = 0;
#pragma unroll
    for (int p = 0; p < kPacks; ++p) {
      const int32_t at = begin + p * step;
      if (at < end) {
        body.read(held[p], fetched[p]);
        body.template seen<kWide>(held[p], row, at);
#pragma unroll
        for (int i = 0; i < N; ++i) square += kCentred ? held[p][i] : held[p][i] * held[p][i];
      }
    }
    if constexpr (!kWide) {
      for (int32_t at = begin + kPacks * step; at < end; at += step) {
        float h[N];
        body.template fetch<kWide>(fetched[0], row, at);
        body.read(h, fetched[0]);
        body.template seen<kWide>(h, row, at);
#pragma unroll
        for (int i = 0; i < N; ++i) square += kCentred ? h[i] : h[i] * h[i];
      }
    }
    float centre = 0;
    if constexpr (kCentred) {
      centre = row_sum(square, shared) / static_cast<float>(width);
      square = 0;
#pragma unroll
      for (int p = 0; p < kPacks; ++p) {
        const int32_t at = begin + p * step;
        if (at < end) square += centred_squares(held[p], centre, width - at);
      }
      if constexpr (!kWide) {
        for (int32_t at = begin + kPacks * step; at < end; at += step) {
          float h[N];
          body.template fetch<kWide>(fetched[0], row, at);
          body.read(h, fetched[0]);
          square += centred_squares(h, centre, width - at);
        }
      }
    }
    const float mean = row_sum(square, shared) / static_cast<float>(width);
    const float scale = 1.0f / sqrtf(mean + body.eps);
#pragma unroll
    for (int p = 0; p < kPacks; ++p) {
      const int32_t at = begin + p * step;
      if (at < end) body.template write<kWide>(held[p], row, at, scale);
    }
    if constexpr (!kWide) {
      for (int32_t at = begin + kPacks * step; at < end; at += step) {
        float h[N];
        body.template fetch<kWide>(fetched[0], row, at);
        body.read(h, fetched[0]);
        if constexpr (kCentred) static_cast<void>(centred_squares(h, centre, width - at));
        body.template write<kWide>(h, row, at, scale);
      }
    }
  }
}

template <bool kCentred = false, typename Body>
Status normalise(const char* op, const Cuda& cuda, int64_t rows, int64_t width, const Body& body) {
  if (rows <= 0 || width <= 0) return {};
  if (width > INT32_MAX / 2) {
    return error(StatusCode::unsupported, "Expected rows of fewer than 2^30 elements for %s but received %lld", op, static_cast<long long>(width));
  }
  const int64_t packs = divide_up(width, kNormPack);
  unsigned x = 32;
  while (x < 512 && x * kNormHeld < packs) x *= 2;
  const unsigned y = std::max(1u, 256 / x);
  const unsigned blocks = static_cast<unsigned>(std::min<int64_t>(divide_up(rows, y), INT32_MAX));
  Status status;
  const auto go = [&](auto kernel) {
    if (rows <= kFewRows) {
      status = launch_early(op, cuda, kernel, dim3(blocks), dim3(x, y), rows, body);
    } else {
      kernel<<<blocks, dim3(x, y), 0, cuda.stream>>>(rows, body);
      status = launched(op);
    }
  };
  const int64_t each = divide_up(packs, x);
  if (!body.wide || width % kNormPack != 0 || each > kNormHeld) go(normalise_kernel<kNormHeld, false, kCentred, Body>);
  else if (each <= 1) go(normalise_kernel<1, true, kCentred, Body>);
  else if (each <= 2) go(normalise_kernel<2, true, kCentred, Body>);
  else if (each <= 3) go(normalise_kernel<3, true, kCentred, Body>);
  else go(normalise_kernel<kNormHeld, true, kCentred, Body>);
  return status;
}

// `count` of the N elements exist.
template <bool kWide, int N, typename T>
__device__ __forceinline__ void store_pack(T* to, const float (&from)[N], int64_t count) {
  if constexpr (kWide) {
    Pack<T, N> pack;
#pragma unroll
    for (int i = 0; i < N; ++i) pack.at[i] = from_float<T>(from[i]);
    *reinterpret_cast<Pack<T, N>*>(to) = pack;
  } else {
#pragma unroll
    for (int i = 0; i < N; ++i) {
      if (i < count) to[i] = from_float<T>(from[i]);
    }
  }
}

}  // namespace krait::cuda

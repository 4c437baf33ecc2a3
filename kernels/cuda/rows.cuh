// Work on [rows, width] operands in packs: a few neighbouring elements of a row that one thread moves in 16-byte accesses where the
// alignment allows, one by one where it does not. Which elements a thread owns never depends on the alignment.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <type_traits>

#include "early.cuh"

namespace krait::cuda {

template <typename T, int N>
struct alignas(sizeof(T) * N < 16 ? sizeof(T) * N : 16) Pack {
  T at[N];
};

// Elements per pack: 16 bytes of the narrowest type.
template <typename... T>
inline constexpr int kPackOf = 16 / static_cast<int>(std::min({sizeof(T)...}));

template <typename T>
struct Rows {
  T* data;
  int64_t stride;

  __device__ __forceinline__ T* row(int64_t t) const { return data + t * stride; }
};

// A row that is alone, or absent, has no stride worth trusting.
inline int64_t row_stride(const Tensor& t) {
  if (t.dim[0] > 1) return t.stride[0];
  int64_t width = 1;
  for (int32_t a = 1; a < t.rank; ++a) width *= t.dim[a];
  return width;
}

template <typename T>
Rows<T> rows_of(const Tensor& t) {
  return {static_cast<T*>(t.data), row_stride(t)};
}

// Rows without gaps between them.
inline bool is_dense(const Tensor& t) { return t.dim[0] <= 1 || t.stride[0] == t.dim[1]; }

inline bool is_aligned(const void* data, int64_t bytes) { return reinterpret_cast<uintptr_t>(data) % static_cast<uint64_t>(bytes) == 0; }

// Whether every pack of N in every row (or, `flat`, in one row without gaps) starts where its access needs it. An absent operand is
// never in the way.
template <int N>
bool is_wide(const Tensor& t, bool flat = false) {
  const int64_t size = dtype_size(t.dtype);
  const int64_t access = std::min<int64_t>(16, size * N);
  return !t || (is_aligned(t.data, access) && (flat || row_stride(t) * size % access == 0));
}

struct Extent {
  int64_t rows;
  int64_t width;
  bool wide;
};

// How elementwise work walks over [rows, width] operands of one shape: without gaps they are one long row, whose packs are aligned
// however odd the width is.
template <int N>
Extent extent(std::initializer_list<const Tensor*> operands) {
  const Tensor& first = **operands.begin();
  const bool flat = std::all_of(operands.begin(), operands.end(), [](const Tensor* t) { return is_dense(*t); });
  const bool wide = std::all_of(operands.begin(), operands.end(), [&](const Tensor* t) { return is_wide<N>(*t, flat); });
  if (flat) return {1, first.dim[0] * first.dim[1], wide};
  return {first.dim[0], first.dim[1], wide};
}

// `count` of the N elements exist; the rest read as zero.
template <int N, typename T>
__device__ __forceinline__ void load(float (&to)[N], const T* from, int64_t count, bool wide) {
  if (wide && count >= N) {
    const Pack<T, N> pack = *reinterpret_cast<const Pack<T, N>*>(from);
#pragma unroll
    for (int i = 0; i < N; ++i) to[i] = to_float(pack.at[i]);
  } else {
#pragma unroll
    for (int i = 0; i < N; ++i) to[i] = i < count ? to_float(from[i]) : 0.0f;
  }
}

template <int N, typename T>
__device__ __forceinline__ void store(T* to, const float (&from)[N], int64_t count, bool wide) {
  if (wide && count >= N) {
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

// A pack as it lies in memory, in as few registers: loads of several come before the first use of one.
template <typename T, int N>
struct Raw {
  static constexpr int kWords = N * static_cast<int>(sizeof(T)) / 4;
  uint32_t words[kWords];

  // `count` of the N elements exist; the rest read as zero. kWide: all do, and 16-byte accesses may be used.
  template <bool kWide>
  __device__ __forceinline__ void fetch(const T* from, int64_t count) {
    if constexpr (kWide) {
      static_assert(kWords % 4 == 0);
#pragma unroll
      for (int i = 0; i < kWords; i += 4) {
        const uint4 value = *reinterpret_cast<const uint4*>(reinterpret_cast<const uint32_t*>(from) + i);
        words[i] = value.x, words[i + 1] = value.y, words[i + 2] = value.z, words[i + 3] = value.w;
      }
    } else {
      float values[N];
      load(values, from, count, false);
#pragma unroll
      for (int i = 0; i < kWords; ++i) {
        if constexpr (sizeof(T) == 4) words[i] = __float_as_uint(values[i]);
        else words[i] = __float_as_uint(values[2 * i]) >> 16 | (__float_as_uint(values[2 * i + 1]) & 0xffff0000u);
      }
    }
  }

  __device__ __forceinline__ float operator[](int i) const {
    if constexpr (sizeof(T) == 4) return __uint_as_float(words[i]);
    else return __uint_as_float(i % 2 == 0 ? words[i / 2] << 16 : words[i / 2] & 0xffff0000u);
  }
};

// Calls body(row, pack) for every pack of every row.
template <typename Body>
__global__ void __launch_bounds__(256) for_packs_kernel(int64_t rows, int64_t packs, const Body body) {
  let_next_begin();
  wait_for_inputs();
  const int64_t row_step = static_cast<int64_t>(gridDim.x) * blockDim.y;
  const int64_t pack_step = static_cast<int64_t>(gridDim.y) * blockDim.x;
  for (int64_t row = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y; row < rows; row += row_step) {
    for (int64_t pack = static_cast<int64_t>(blockIdx.y) * blockDim.x + threadIdx.x; pack < packs; pack += pack_step) body(row, pack);
  }
}

inline int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

template <typename Body>
Status for_packs(const char* op, const Cuda& cuda, int64_t rows, int64_t packs, const Body& body) {
  if (rows <= 0 || packs <= 0) return {};
  unsigned x = 1;
  while (x < 256 && x < packs) x *= 2;
  const unsigned y = 256 / x;
  // Enough blocks to fill the device several times over; beyond that threads loop.
  const int64_t most = static_cast<int64_t>(std::max(cuda.multiprocessors, 1)) * 32;
  const int64_t across = std::min(divide_up(rows, y), most);
  const int64_t along = std::min(divide_up(packs, x), std::max<int64_t>(1, most / across));
  const dim3 blocks(static_cast<unsigned>(across), static_cast<unsigned>(along)), threads(x, y);
  if (rows <= kFewRows) return launch_early(op, cuda, for_packs_kernel<Body>, blocks, threads, rows, packs, body);
  for_packs_kernel<<<blocks, threads, 0, cuda.stream>>>(rows, packs, body);
  return launched(op);
}

}  // namespace krait::cuda

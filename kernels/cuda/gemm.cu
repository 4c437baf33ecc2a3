#include "gemm.cuh"

#include "functions.cuh"
#include "mma.cuh"
#include "rows.cuh"

namespace krait::cuda {
namespace {

constexpr int kSide = 128;  // rows and columns of y per block
constexpr int kThreads = 256;
constexpr int kGroup = 8;  // tiles of rows whose blocks run near each other, so that they find the weights in L2

// The sums pass through shared memory in two halves of 64 rows to be finished and written in whole packs.
constexpr int kHalf = kSide / 2;
constexpr int kHalfStride = kSide + 8;  // in floats; keeps the writes of a half-warp off each other's banks
constexpr int kHalfBytes = kHalf * kHalfStride * 4;

struct Tile {
  int64_t row, column;
};

__device__ __forceinline__ Tile tile_of(const Product& p) {
  const int64_t down = (p.rows + kSide - 1) / kSide, across = (p.width + kSide - 1) / kSide;
  const int64_t group = blockIdx.x / (kGroup * across), within = blockIdx.x % (kGroup * across);
  const int64_t height = min(down - group * kGroup, static_cast<int64_t>(kGroup));
  return {(group * kGroup + within % height) * kSide, within / height * kSide};
}

template <typename O>
__device__ void finish(const Product& p, const float* half, Tile tile, bool wide) {
  constexpr int N = 8;
  for (int i = threadIdx.x; i < kHalf * kSide / N; i += kThreads) {
    const int r = i / (kSide / N), c = i % (kSide / N) * N;
    const int64_t row = tile.row + r, column = tile.column + c;
    if (row >= p.rows || column >= p.width) continue;
    float v[N], bias[N];
    load(v, half + r * kHalfStride + c, N, true);
    if (p.bias != nullptr) {
      if (p.bias_dtype == DType::f32) {
        load(bias, static_cast<const float*>(p.bias) + column, p.width - column, false);
      } else {
        load(bias, static_cast<const __nv_bfloat16*>(p.bias) + column, p.width - column, false);
      }
#pragma unroll
      for (int j = 0; j < N; ++j) v[j] += bias[j];
    }
    activate(p.activation, v);
    store(static_cast<O*>(p.y) + row * p.y_stride + column, v, p.width - column, wide);
  }
}

// bfloat16 on the tensor cores: eight warps of 64 × 32, three stages of 32 in depth filled by asynchronous copies.
constexpr int kDepth = 32;
constexpr int kStages = 3;
constexpr int kOperand = kSide * kDepth;  // elements of one operand in one stage

// Pieces of 16 bytes of a row are permuted, so that ldmatrix meets every bank once.
__device__ __forceinline__ int piece_at(int row, int piece) { return row * kDepth + (piece ^ (row >> 1 & 3)) * 8; }

// One operand's [128, 32] part at `depth` of its rows: 512 pieces by 256 threads, zeros outside.
template <bool kWide>
__device__ __forceinline__ void fetch(__nv_bfloat16* to, const __nv_bfloat16* from, int64_t stride, int64_t first, int64_t rows, int64_t begin,
                                      int64_t depth) {
#pragma unroll
  for (int i = 0; i < kSide * 4 / kThreads; ++i) {
    const int row = (threadIdx.x + i * kThreads) / 4, piece = threadIdx.x % 4;
    const int64_t k = begin + piece * 8;
    const int64_t left = first + row < rows ? min(max(depth - k, static_cast<int64_t>(0)), static_cast<int64_t>(8)) : 0;
    const __nv_bfloat16* source = left > 0 ? from + (first + row) * stride + k : from;
    __nv_bfloat16* place = to + piece_at(row, piece);
    if constexpr (kWide) {
      const uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(place));
      const int bytes = static_cast<int>(left) * 2;
      asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(source), "r"(bytes) : "memory");
    } else {
      Pack<__nv_bfloat16, 8> pack;
#pragma unroll
      for (int j = 0; j < 8; ++j) pack.at[j] = j < left ? source[j] : __float2bfloat16_rn(0.0f);
      *reinterpret_cast<Pack<__nv_bfloat16, 8>*>(place) = pack;
    }
  }
}

template <typename O, bool kWide>
__global__ void __launch_bounds__(kThreads, 2) bf16_kernel(const Product p, bool wide_y) {
  constexpr int kBytes = kStages * 2 * kOperand * 2;
  static_assert(kBytes >= kHalfBytes && kBytes <= 48 * 1024);
  __shared__ __align__(128) unsigned char shared[kBytes];
  auto* stages = reinterpret_cast<__nv_bfloat16*>(shared);
  const Tile tile = tile_of(p);
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int top = warp % 2 * 64, left = warp / 2 * 32;
  const int64_t steps = (p.depth + kDepth - 1) / kDepth;

  const auto fill = [&](int64_t step) {
    if (step < steps) {
      __nv_bfloat16* stage = stages + step % kStages * (2 * kOperand);
      fetch<kWide>(stage, static_cast<const __nv_bfloat16*>(p.x), p.x_stride, tile.row, p.rows, step * kDepth, p.depth);
      fetch<kWide>(stage + kOperand, static_cast<const __nv_bfloat16*>(p.weight), p.weight_stride, tile.column, p.width, step * kDepth, p.depth);
    }
    // An empty group too, so that the count of groups stays that of the steps.
    asm volatile("cp.async.commit_group;" ::: "memory");
  };
  for (int step = 0; step < kStages - 1; ++step) fill(step);

  float sum[4][4][4] = {};
  for (int64_t step = 0; step < steps; ++step) {
    asm volatile("cp.async.wait_group %0;" ::"n"(kStages - 2) : "memory");
    __syncthreads();
    // Into the stage that everyone left before this barrier.
    fill(step + kStages - 1);
    const __nv_bfloat16* x = stages + step % kStages * (2 * kOperand);
    const __nv_bfloat16* weight = x + kOperand;
#pragma unroll
    for (int k = 0; k < kDepth / 8; k += 2) {
      uint32_t a[4][4], b[2][4];
#pragma unroll
      for (int i = 0; i < 4; ++i) load_matrices(a[i], x + piece_at(top + i * 16 + lane % 16, k + lane / 16));
#pragma unroll
      for (int j = 0; j < 2; ++j) load_matrices(b[j], weight + piece_at(left + j * 16 + lane % 8 + lane / 16 * 8, k + lane / 8 % 2));
#pragma unroll
      for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int j = 0; j < 4; ++j) mma_bf16(sum[i][j], a[i], b[j / 2][j % 2 * 2], b[j / 2][j % 2 * 2 + 1]);
      }
    }
  }
  asm volatile("cp.async.wait_group 0;" ::: "memory");

  auto* half = reinterpret_cast<float*>(shared);
  for (int h = 0; h < 2; ++h) {
    __syncthreads();
    if (warp % 2 == h) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          float* to = half + (i * 16 + lane / 4) * kHalfStride + left + j * 8 + lane % 4 * 2;
          *reinterpret_cast<float2*>(to) = make_float2(sum[i][j][0], sum[i][j][1]);
          *reinterpret_cast<float2*>(to + 8 * kHalfStride) = make_float2(sum[i][j][2], sum[i][j][3]);
        }
      }
    }
    __syncthreads();
    finish<O>(p, half, {tile.row + h * kHalf, tile.column}, wide_y);
  }
}

// float32 without tensor cores: 16 × 16 threads of 8 × 8 sums, two stages of 8 in depth; operands lie transposed.
constexpr int kThin = 8;
constexpr int kThinStride = kSide + 4;

// Four neighbouring elements of a row of an operand, zeros outside.
template <bool kWide>
__device__ __forceinline__ float4 four_of(const float* from, int64_t stride, int64_t row, int64_t rows, int64_t k, int64_t depth) {
  float v[4] = {};
  if (row < rows && k < depth) load(v, from + row * stride + k, depth - k, kWide);
  return make_float4(v[0], v[1], v[2], v[3]);
}

__device__ __forceinline__ void put(float* stage, int row, int k, float4 v) {
  stage[k * kThinStride + row] = v.x;
  stage[(k + 1) * kThinStride + row] = v.y;
  stage[(k + 2) * kThinStride + row] = v.z;
  stage[(k + 3) * kThinStride + row] = v.w;
}

template <typename O, bool kWide>
__global__ void __launch_bounds__(kThreads, 2) f32_kernel(const Product p, bool wide_y) {
  constexpr int kStage = kThin * kThinStride;  // floats of one operand in one stage
  static_assert(kHalfBytes >= 4 * kStage * 4);
  __shared__ __align__(16) float shared[kHalfBytes / 4];
  const Tile tile = tile_of(p);
  const int y = threadIdx.x / 16 * 4, x = threadIdx.x % 16 * 4;
  const int row = threadIdx.x / 2, k = threadIdx.x % 2 * 4;
  const int64_t steps = (p.depth + kThin - 1) / kThin;
  const auto* from_x = static_cast<const float*>(p.x);
  const auto* from_weight = static_cast<const float*>(p.weight);

  float4 next_x = four_of<kWide>(from_x, p.x_stride, tile.row + row, p.rows, k, p.depth);
  float4 next_weight = four_of<kWide>(from_weight, p.weight_stride, tile.column + row, p.width, k, p.depth);
  put(shared, row, k, next_x);
  put(shared + kStage, row, k, next_weight);
  __syncthreads();
  float sum[8][8] = {};
  for (int64_t step = 0; step < steps; ++step) {
    const float* stage = shared + step % 2 * (2 * kStage);
    float* other = shared + (step + 1) % 2 * (2 * kStage);
    const bool more = step + 1 < steps;
    if (more) {
      next_x = four_of<kWide>(from_x, p.x_stride, tile.row + row, p.rows, (step + 1) * kThin + k, p.depth);
      next_weight = four_of<kWide>(from_weight, p.weight_stride, tile.column + row, p.width, (step + 1) * kThin + k, p.depth);
    }
#pragma unroll
    for (int d = 0; d < kThin; ++d) {
      const float* down = stage + d * kThinStride + y;
      const float* across = stage + kStage + d * kThinStride + x;
      alignas(16) float a[8], b[8];
      *reinterpret_cast<float4*>(a) = *reinterpret_cast<const float4*>(down);
      *reinterpret_cast<float4*>(a + 4) = *reinterpret_cast<const float4*>(down + kHalf);
      *reinterpret_cast<float4*>(b) = *reinterpret_cast<const float4*>(across);
      *reinterpret_cast<float4*>(b + 4) = *reinterpret_cast<const float4*>(across + kHalf);
#pragma unroll
      for (int i = 0; i < 8; ++i) {
#pragma unroll
        for (int j = 0; j < 8; ++j) sum[i][j] = fmaf(a[i], b[j], sum[i][j]);
      }
    }
    if (more) {
      put(other, row, k, next_x);
      put(other + kStage, row, k, next_weight);
    }
    __syncthreads();
  }

#pragma unroll
  for (int h = 0; h < 2; ++h) {
    __syncthreads();
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      float* to = shared + (y + i) * kHalfStride + x;
      const float* s = sum[h * 4 + i];
      *reinterpret_cast<float4*>(to) = make_float4(s[0], s[1], s[2], s[3]);
      *reinterpret_cast<float4*>(to + kHalf) = make_float4(s[4], s[5], s[6], s[7]);
    }
    __syncthreads();
    finish<O>(p, shared, {tile.row + h * kHalf, tile.column}, wide_y);
  }
}

template <typename E, typename O, bool kWide>
Status launch(const Product& p, const Cuda& cuda) {
  const int64_t tiles = divide_up(p.rows, kSide) * divide_up(p.width, kSide);
  if (tiles > INT32_MAX) {
    return error(StatusCode::unsupported, "Expected a product of fewer than 2^31 tiles of 128 x 128 but received [%lld, %lld]",
                 static_cast<long long>(p.rows), static_cast<long long>(p.width));
  }
  const bool wide_y = is_aligned(p.y, 16) && (p.rows == 1 || p.y_stride * static_cast<int64_t>(sizeof(O)) % 16 == 0);
  if constexpr (std::is_same_v<E, float>) {
    f32_kernel<O, kWide><<<static_cast<unsigned>(tiles), kThreads, 0, cuda.stream>>>(p, wide_y);
  } else {
    bf16_kernel<O, kWide><<<static_cast<unsigned>(tiles), kThreads, 0, cuda.stream>>>(p, wide_y);
  }
  return launched("linear");
}

template <typename O>
struct BiasActivation {
  static constexpr int N = kPackOf<O>;
  Product p;
  bool wide;

  __device__ __forceinline__ void operator()(int64_t row, int64_t pack) const {
    const int64_t at = pack * N;
    O* y = static_cast<O*>(p.y) + row * p.y_stride + at;
    float v[N], bias[N] = {};
    load(v, y, p.width - at, wide);
    if (p.bias != nullptr && p.bias_dtype == DType::f32) load(bias, static_cast<const float*>(p.bias) + at, p.width - at, false);
    if (p.bias != nullptr && p.bias_dtype == DType::bf16) load(bias, static_cast<const __nv_bfloat16*>(p.bias) + at, p.width - at, false);
#pragma unroll
    for (int i = 0; i < N; ++i) v[i] += bias[i];
    activate(p.activation, v);
    store(y, v, p.width - at, wide);
  }
};

}  // namespace

Status own_product(const Product& p, const Cuda& cuda) {
  const auto aligned = [&](const void* data, int64_t stride, int64_t rows) {
    return is_aligned(data, 16) && (rows == 1 || stride * dtype_size(p.dtype) % 16 == 0);
  };
  const bool wide = aligned(p.x, p.x_stride, p.rows) && aligned(p.weight, p.weight_stride, p.width);
  return with_float(p.dtype, [&](auto* e) {
    return with_float(p.y_dtype, [&](auto* o) {
      using E = std::remove_pointer_t<decltype(e)>;
      using O = std::remove_pointer_t<decltype(o)>;
      return wide ? launch<E, O, true>(p, cuda) : launch<E, O, false>(p, cuda);
    });
  });
}

Status bias_activation(const Product& p, const Cuda& cuda) {
  return with_float(p.y_dtype, [&](auto* o) {
    using Body = BiasActivation<std::remove_pointer_t<decltype(o)>>;
    const bool wide = is_aligned(p.y, 16) && (p.rows == 1 || p.y_stride * dtype_size(p.y_dtype) % 16 == 0);
    return for_packs("linear", cuda, p.rows, divide_up(p.width, Body::N), Body{p, wide});
  });
}

}  // namespace krait::cuda

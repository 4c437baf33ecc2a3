// Three steps: one block sorts the pairs (token, choice) by expert and lists tiles of 64 pairs; every tile multiplies its gathered
// rows with 64 rows of its expert's weight; with `combine` the products of a token are then added in the order of its choices.
// Where a pair comes to lie in a tile does not change its sums, so that the sort may use atomics.
#include "functions.cuh"
#include "refuse.cuh"
#include "rows.cuh"
#include "scratch.cuh"

namespace krait::cuda {
namespace {

constexpr int32_t kTile = 64;
constexpr int32_t kDepth = 16;
constexpr int32_t kMostExperts = 1024;

struct Tile {
  int32_t expert;  // −1 where the list ends
  int32_t first;   // in the order of pairs
};

__global__ void __launch_bounds__(1024)
    sort_kernel(const Rows<const int32_t> experts, int64_t tokens, int32_t choices, int32_t count, int32_t* order, int32_t* starts, Tile* tiles,
                int32_t most_tiles, int32_t* error_word) {
  __shared__ int32_t cursor[kMostExperts + 1];
  const int32_t thread = static_cast<int32_t>(threadIdx.x);
  const int64_t pairs = tokens * choices;
  for (int32_t e = thread; e <= count; e += 1024) cursor[e] = 0;
  __syncthreads();
  for (int64_t p = thread; p < pairs; p += 1024) {
    const int32_t e = experts.row(p / choices)[p % choices];
    if (e < 0 || e >= count) {
      refuse<op_number("expert_linear")>(error_word);
    } else {
      atomicAdd(&cursor[e], 1);
    }
  }
  __syncthreads();
  if (thread == 0) {
    int32_t start = 0, tile = 0;
    for (int32_t e = 0; e < count; ++e) {
      const int32_t rows = cursor[e];
      starts[e] = cursor[e] = start;
      for (int32_t r = 0; r < rows; r += kTile) tiles[tile++] = {e, start + r};
      start += rows;
    }
    starts[count] = start;
    for (; tile < most_tiles; ++tile) tiles[tile] = {-1, 0};
  }
  __syncthreads();
  for (int64_t p = thread; p < pairs; p += 1024) {
    const int32_t e = experts.row(p / choices)[p % choices];
    if (e >= 0 && e < count) order[atomicAdd(&cursor[e], 1)] = static_cast<int32_t>(p);
  }
}

template <typename E>
struct Products {
  Rows<const E> x;
  const E* weight;  // [N, M, C]
  const int32_t* order;
  const int32_t* starts;
  const Tile* tiles;
  Rows<E> y;
  float* partial;  // [pairs, M], with combine
  int32_t choices;
  int64_t m, c, width;
  LinearArgs::Activation activation;
  bool combine;
};

template <typename E, bool kGated>
__global__ void __launch_bounds__(256) product_kernel(const Products<E> a) {
  __shared__ float xs[kDepth][kTile + 4], ws[kDepth][kTile + 4], us[kGated ? kDepth : 1][kTile + 4];
  __shared__ int32_t pair_of[kTile];
  const Tile tile = a.tiles[blockIdx.x];
  if (tile.expert < 0) return;
  const int32_t rows = min(kTile, a.starts[tile.expert + 1] - tile.first);
  const int64_t column = static_cast<int64_t>(blockIdx.y) * kTile;
  const E* weight = a.weight + tile.expert * a.m * a.c;
  const int32_t thread = static_cast<int32_t>(threadIdx.x);
  if (thread < kTile) pair_of[thread] = thread < rows ? a.order[tile.first + thread] : -1;
  __syncthreads();

  const int32_t tx = thread % 16, ty = thread / 16;
  float sums[4][4] = {}, others[4][4] = {};
  for (int64_t depth = 0; depth < a.c; depth += kDepth) {
    for (int32_t i = thread; i < kTile * kDepth; i += 256) {
      const int32_t d = i % kDepth, r = i / kDepth;
      const bool in_depth = depth + d < a.c;
      const int32_t pair = pair_of[r];
      float x = 0, w = 0, u = 0;
      if (in_depth && pair >= 0) x = to_float(a.x.row(pair / a.choices)[(a.combine ? pair % a.choices * a.c : 0) + depth + d]);
      if (in_depth && column + r < a.width) {
        w = to_float(weight[(column + r) * a.c + depth + d]);
        if constexpr (kGated) u = to_float(weight[(a.width + column + r) * a.c + depth + d]);
      }
      xs[d][r] = x;
      ws[d][r] = w;
      if constexpr (kGated) us[d][r] = u;
    }
    __syncthreads();
#pragma unroll
    for (int32_t d = 0; d < kDepth; ++d) {
#pragma unroll
      for (int32_t i = 0; i < 4; ++i) {
        const float x = xs[d][ty * 4 + i];
#pragma unroll
        for (int32_t j = 0; j < 4; ++j) {
          sums[i][j] = fmaf(x, ws[d][tx * 4 + j], sums[i][j]);
          if constexpr (kGated) others[i][j] = fmaf(x, us[d][tx * 4 + j], others[i][j]);
        }
      }
    }
    __syncthreads();
  }
#pragma unroll
  for (int32_t i = 0; i < 4; ++i) {
    const int32_t pair = pair_of[ty * 4 + i];
    if (pair < 0) continue;
    activate(a.activation, sums[i]);
#pragma unroll
    for (int32_t j = 0; j < 4; ++j) {
      const int64_t at = column + tx * 4 + j;
      if (at >= a.width) continue;
      const float value = kGated ? sums[i][j] * others[i][j] : sums[i][j];
      if (a.combine) {
        a.partial[pair * a.m + at] = value;
      } else {
        a.y.row(pair / a.choices)[pair % a.choices * a.width + at] = from_float<E>(value);
      }
    }
  }
}

template <typename E>
struct Combine {
  const float* partial;
  Rows<const float> weights;
  Rows<E> y;
  int32_t choices;
  int64_t m;

  __device__ __forceinline__ void operator()(int64_t t, int64_t at) const {
    float sum = 0;
    for (int32_t k = 0; k < choices; ++k) {
      const float weight = weights.data != nullptr ? weights.row(t)[k] : 1.0f;
      sum = fmaf(weight, partial[(t * choices + k) * m + at], sum);
    }
    y.row(t)[at] = from_float<E>(sum);
  }
};

template <typename E>
Status launch(const ExpertLinearArgs& a, const Cuda& cuda) {
  const int64_t tokens = a.x.dim[0], choices = a.experts.dim[1], pairs = tokens * choices;
  const int64_t count = a.weight.dim[0], m = a.weight.dim[1], c = a.weight.dim[2];
  if (tokens == 0 || m == 0 || choices == 0) return {};
  if (count > kMostExperts || pairs > INT32_MAX)
    return error(StatusCode::unsupported, "Expected at most %d experts and 2^31 pairs for expert_linear", kMostExperts);
  const int64_t most_tiles = pairs / kTile + std::min(count, pairs);
  Scratch scratch(a.scratch, a.scratch_bytes);
  int32_t* order = scratch.take<int32_t>(pairs);
  int32_t* starts = scratch.take<int32_t>(count + 1);
  Tile* tiles = scratch.take<Tile>(most_tiles);
  float* partial = a.combine ? scratch.take<float>(pairs * m) : nullptr;
  if (Status status = scratch.check("expert_linear"); !status.ok()) return status;
  sort_kernel<<<1, 1024, 0, cuda.stream>>>(rows_of<const int32_t>(a.experts), tokens, static_cast<int32_t>(choices), static_cast<int32_t>(count),
                                           order, starts, tiles, static_cast<int32_t>(most_tiles), cuda.error_word);
  if (Status status = launched("expert_linear"); !status.ok()) return status;
  const int64_t width = a.gated ? m / 2 : m;
  const Products<E> products{rows_of<const E>(a.x),
                             a.weight.as<const E>(),
                             order,
                             starts,
                             tiles,
                             rows_of<E>(a.y),
                             partial,
                             static_cast<int32_t>(choices),
                             m,
                             c,
                             width,
                             static_cast<LinearArgs::Activation>(a.activation),
                             a.combine};
  const dim3 grid(static_cast<unsigned>(most_tiles), static_cast<unsigned>(divide_up(width, kTile)));
  const auto kernel = a.gated ? product_kernel<E, true> : product_kernel<E, false>;
  kernel<<<grid, 256, 0, cuda.stream>>>(products);
  if (Status status = launched("expert_linear"); !status.ok() || !a.combine) return status;
  const Combine<E> combine{partial, rows_of<const float>(a.weights), rows_of<E>(a.y), static_cast<int32_t>(choices), m};
  return for_packs("expert_linear", cuda, tokens, m, combine);
}

}  // namespace

Status expert_linear(const ExpertLinearArgs& a, const Cuda& cuda) {
  return with_float(a.x.dtype, [&](auto* e) { return launch<std::remove_pointer_t<decltype(e)>>(a, cuda); });
}

}  // namespace krait::cuda

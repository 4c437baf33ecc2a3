#include "functions.cuh"
#include "norm.cuh"

namespace krait::cuda {
namespace {

// A row here is one group of a token's row.
template <typename E>
struct GatedRmsNorm {
  Rows<const E> x;
  Rows<const E> gate;
  Rows<E> y;
  const float* weight;
  int64_t width;  // of a group
  int64_t groups;
  float eps;
  bool norm_before_gate;
  bool wide;

  __device__ __forceinline__ void read(float (&h)[kNormPack], int64_t row, int64_t at) const {
    const int64_t token = groups == 1 ? row : row / groups, from = (row - token * groups) * width + at;
    load(h, x.row(token) + from, width - at, wide);
    if (norm_before_gate) return;
    float g[kNormPack];
    load(g, gate.row(token) + from, width - at, wide);
#pragma unroll
    for (int i = 0; i < kNormPack; ++i) h[i] *= silu(g[i]);
  }

  __device__ __forceinline__ void seen(const float (&)[kNormPack], int64_t, int64_t) const {}

  __device__ __forceinline__ void write(float (&h)[kNormPack], int64_t row, int64_t at, float scale) const {
    const int64_t token = groups == 1 ? row : row / groups, from = (row - token * groups) * width + at;
    float w[kNormPack];
    load(w, weight + from, width - at, wide);
#pragma unroll
    for (int i = 0; i < kNormPack; ++i) h[i] = h[i] * scale * w[i];
    if (norm_before_gate) {
      float g[kNormPack];
      load(g, gate.row(token) + from, width - at, wide);
#pragma unroll
      for (int i = 0; i < kNormPack; ++i) h[i] *= silu(g[i]);
    }
    store(y.row(token) + from, h, width - at, wide);
  }
};

}  // namespace

Status gated_rms_norm(const GatedRmsNormArgs& a, const Cuda& cuda) {
  const int64_t rows = a.x.dim[0], width = a.x.dim[1];
  if (a.groups < 1 || width % a.groups != 0) {
    return error(StatusCode::invalid_program, "Expected groups of gated_rms_norm that divide %lld but received %lld",
                 static_cast<long long>(width), static_cast<long long>(a.groups));
  }
  constexpr int N = kNormPack;
  const bool wide = is_wide<N>(a.x) && is_wide<N>(a.gate) && is_wide<N>(a.y) && is_wide<N>(a.weight, true) &&
                    (a.groups == 1 || width / a.groups % N == 0);
  return with_float(a.x.dtype, [&](auto* e) {
    using E = std::remove_pointer_t<decltype(e)>;
    const GatedRmsNorm<E> body{rows_of<const E>(a.x), rows_of<const E>(a.gate),  rows_of<E>(a.y),    a.weight.as<const float>(), width / a.groups,
                               a.groups,              static_cast<float>(a.eps), a.norm_before_gate, wide};
    return normalise("gated_rms_norm", cuda, rows * a.groups, width / a.groups, body);
  });
}

}  // namespace krait::cuda

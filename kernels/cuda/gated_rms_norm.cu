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

  struct Fetched {
    Raw<E, kNormPack> x;
    Raw<E, kNormPack> gate;
  };

  // Element `at` of a row: its token, its place in the token's row.
  __device__ __forceinline__ int64_t token_of(int64_t row) const { return groups == 1 ? row : row / groups; }
  __device__ __forceinline__ int64_t place_of(int64_t row, int32_t at) const { return (groups == 1 ? 0 : row % groups * width) + at; }

  __device__ __forceinline__ void warm(int64_t row, int32_t at) const { touch(weight + place_of(row, at)); }

  template <bool kWide>
  __device__ __forceinline__ void fetch(Fetched& to, int64_t row, int32_t at) const {
    to.x.template fetch<kWide>(x.row(token_of(row)) + place_of(row, at), width - at);
    if (!norm_before_gate) to.gate.template fetch<kWide>(gate.row(token_of(row)) + place_of(row, at), width - at);
  }

  __device__ __forceinline__ void read(float (&h)[kNormPack], const Fetched& from) const {
#pragma unroll
    for (int i = 0; i < kNormPack; ++i) h[i] = from.x[i];
    if (norm_before_gate) return;
#pragma unroll
    for (int i = 0; i < kNormPack; ++i) h[i] *= silu_fast(from.gate[i]);
  }

  template <bool kWide>
  __device__ __forceinline__ void seen(const float (&)[kNormPack], int64_t, int32_t) const {}

  template <bool kWide>
  __device__ __forceinline__ void write(float (&h)[kNormPack], int64_t row, int32_t at, float scale) const {
    const int64_t from = place_of(row, at);
    Raw<float, kNormPack> w;
    w.template fetch<kWide>(weight + from, width - at);
#pragma unroll
    for (int i = 0; i < kNormPack; ++i) h[i] = h[i] * scale * w[i];
    if (norm_before_gate) {
      Raw<E, kNormPack> g;
      g.template fetch<kWide>(gate.row(token_of(row)) + from, width - at);
#pragma unroll
      for (int i = 0; i < kNormPack; ++i) h[i] *= silu_fast(g[i]);
    }
    store_pack<kWide>(y.row(token_of(row)) + from, h, width - at);
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

#include "norm.cuh"

namespace krait::cuda {
namespace {

template <typename E, typename R, typename O>
struct RmsNorm {
  Rows<const E> x;
  Rows<const R> residual;  // null: none
  Rows<R> sum;
  Rows<O> y;
  const float* weight;
  int64_t width;
  float eps;
  bool wide;

  struct Fetched {
    Raw<E, kNormPack> x;
    Raw<R, kNormPack> residual;
  };

  __device__ __forceinline__ void warm(int64_t, int32_t at) const { touch(weight + at); }

  template <bool kWide>
  __device__ __forceinline__ void fetch(Fetched& to, int64_t row, int32_t at) const {
    to.x.template fetch<kWide>(x.row(row) + at, width - at);
    if (residual.data != nullptr) to.residual.template fetch<kWide>(residual.row(row) + at, width - at);
  }

  // h = x + residual, which is also what `sum` receives.
  __device__ __forceinline__ void read(float (&h)[kNormPack], const Fetched& from) const {
#pragma unroll
    for (int i = 0; i < kNormPack; ++i) h[i] = from.x[i];
    if (residual.data == nullptr) return;
#pragma unroll
    for (int i = 0; i < kNormPack; ++i) h[i] += from.residual[i];
  }

  template <bool kWide>
  __device__ __forceinline__ void seen(const float (&h)[kNormPack], int64_t row, int32_t at) const {
    if (residual.data != nullptr) store_pack<kWide>(sum.row(row) + at, h, width - at);
  }

  template <bool kWide>
  __device__ __forceinline__ void write(float (&h)[kNormPack], int64_t row, int32_t at, float scale) const {
    Raw<float, kNormPack> w;
    w.template fetch<kWide>(weight + at, width - at);
#pragma unroll
    for (int i = 0; i < kNormPack; ++i) h[i] = h[i] * scale * w[i];
    store_pack<kWide>(y.row(row) + at, h, width - at);
  }
};

template <typename E, typename R, typename O>
Status launch(const RmsNormArgs& a, const Cuda& cuda) {
  constexpr int N = kNormPack;
  const bool wide = is_wide<N>(a.x) && is_wide<N>(a.residual) && is_wide<N>(a.sum) && is_wide<N>(a.y) && is_wide<N>(a.weight, true);
  const RmsNorm<E, R, O> body{rows_of<const E>(a.x), rows_of<const R>(a.residual), rows_of<R>(a.sum),
                              rows_of<O>(a.y),       a.weight.as<const float>(),   a.x.dim[1],
                              static_cast<float>(a.eps), wide};
  return normalise("rms_norm", cuda, a.x.dim[0], a.x.dim[1], body);
}

}  // namespace

Status rms_norm(const RmsNormArgs& a, const Cuda& cuda) {
  if (static_cast<bool>(a.residual) != static_cast<bool>(a.sum)) {
    return error(StatusCode::invalid_program, "Expected residual and sum of rms_norm together but received one of them");
  }
  // Without a residual its dtype does not matter: one instance serves.
  const DType residual = a.residual ? a.residual.dtype : DType::f32;
  return with_float(a.x.dtype, [&](auto* e) {
    return with_float(residual, [&](auto* r) {
      return with_float(a.y.dtype, [&](auto* o) {
        return launch<std::remove_pointer_t<decltype(e)>, std::remove_pointer_t<decltype(r)>, std::remove_pointer_t<decltype(o)>>(a, cuda);
      });
    });
  });
}

}  // namespace krait::cuda

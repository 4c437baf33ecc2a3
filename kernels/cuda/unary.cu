#include "functions.cuh"
#include "rows.cuh"

namespace krait::cuda {
namespace {

using Kind = UnaryArgs::Kind;

template <Kind kKind>
__device__ __forceinline__ float apply(float x) {
  if constexpr (kKind == Kind::silu) return silu(x);
  if constexpr (kKind == Kind::gelu) return gelu(x);
  if constexpr (kKind == Kind::gelu_tanh) return gelu_tanh(x);
  if constexpr (kKind == Kind::sigmoid) return sigmoid(x);
  if constexpr (kKind == Kind::softplus) return softplus(x);
  if constexpr (kKind == Kind::tanh) return tanhf(x);
  if constexpr (kKind == Kind::relu) return relu(x);
  if constexpr (kKind == Kind::relu2) return relu2(x);
  if constexpr (kKind == Kind::exp) return expf(x);
  if constexpr (kKind == Kind::log) return logf(x);
  if constexpr (kKind == Kind::square) return x * x;
  return x;
}

template <Kind kKind, typename E, typename O>
struct Unary {
  static constexpr int N = kPackOf<E, O>;
  Rows<const E> x;
  Rows<O> y;
  int64_t width;
  float low, scale, shift;
  bool wide;

  __device__ __forceinline__ void operator()(int64_t row, int64_t pack) const {
    const int64_t at = pack * N;
    float v[N];
    load(v, x.row(row) + at, width - at, wide);
#pragma unroll
    for (int i = 0; i < N; ++i) v[i] = scale * apply<kKind>(v[i] < low ? low : v[i]) + shift;
    store(y.row(row) + at, v, width - at, wide);
  }
};

template <Kind kKind, typename E, typename O>
Status launch(const UnaryArgs& a, const Cuda& cuda) {
  using Body = Unary<kKind, E, O>;
  const Extent e = extent<Body::N>({&a.x, &a.y});
  const Body body{rows_of<const E>(a.x),         rows_of<O>(a.y), e.width, static_cast<float>(a.low), static_cast<float>(a.scale),
                  static_cast<float>(a.shift), e.wide};
  return for_packs("unary", cuda, e.rows, divide_up(e.width, Body::N), body);
}

template <typename E, typename O>
Status choose(const UnaryArgs& a, const Cuda& cuda) {
  switch (a.kind) {
    case Kind::identity: return launch<Kind::identity, E, O>(a, cuda);
    case Kind::silu: return launch<Kind::silu, E, O>(a, cuda);
    case Kind::gelu: return launch<Kind::gelu, E, O>(a, cuda);
    case Kind::gelu_tanh: return launch<Kind::gelu_tanh, E, O>(a, cuda);
    case Kind::sigmoid: return launch<Kind::sigmoid, E, O>(a, cuda);
    case Kind::softplus: return launch<Kind::softplus, E, O>(a, cuda);
    case Kind::tanh: return launch<Kind::tanh, E, O>(a, cuda);
    case Kind::relu: return launch<Kind::relu, E, O>(a, cuda);
    case Kind::relu2: return launch<Kind::relu2, E, O>(a, cuda);
    case Kind::exp: return launch<Kind::exp, E, O>(a, cuda);
    case Kind::log: return launch<Kind::log, E, O>(a, cuda);
    case Kind::square: return launch<Kind::square, E, O>(a, cuda);
  }
  return error(StatusCode::invalid_program, "Expected a kind of unary but received %lld", static_cast<long long>(a.kind));
}

}  // namespace

Status unary(const UnaryArgs& a, const Cuda& cuda) {
  return with_float(a.x.dtype, [&](auto* e) {
    return with_float(a.y.dtype, [&](auto* o) {
      return choose<std::remove_pointer_t<decltype(e)>, std::remove_pointer_t<decltype(o)>>(a, cuda);
    });
  });
}

}  // namespace krait::cuda

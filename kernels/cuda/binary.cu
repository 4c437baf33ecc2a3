#include "functions.cuh"
#include "rows.cuh"

namespace krait::cuda {
namespace {

using Kind = BinaryArgs::Kind;

template <typename R, typename E>
struct Binary {
  static constexpr int N = kPackOf<R, E>;
  Rows<const R> a;
  Rows<const E> b;  // stride 0 when its one row is repeated
  Rows<R> y;
  int64_t width;
  Kind kind;
  bool repeat_column;
  bool wide;

  __device__ __forceinline__ void operator()(int64_t row, int64_t pack) const {
    const int64_t at = pack * N;
    const E* from = b.row(row);
    float v[N], w[N];
    load(v, a.row(row) + at, width - at, wide);
    if (repeat_column) {
      const float one = to_float(*from);
#pragma unroll
      for (int i = 0; i < N; ++i) w[i] = one;
    } else {
      load(w, from + at, width - at, wide);
    }
#pragma unroll
    for (int i = 0; i < N; ++i) {
      v[i] = kind == Kind::add ? v[i] + w[i] : kind == Kind::sub ? v[i] - w[i] : kind == Kind::mul ? v[i] * w[i] : larger(v[i], w[i]);
    }
    store(y.row(row) + at, v, width - at, wide);
  }
};

template <typename R, typename E>
Status launch(const BinaryArgs& a, const Cuda& cuda) {
  using Body = Binary<R, E>;
  const int64_t rows = a.a.dim[0], width = a.a.dim[1];
  const bool repeat_row = a.b.dim[0] == 1, repeat_column = a.b.dim[1] == 1;
  // A repeated b has its own walk; otherwise all three have one shape.
  const bool same = (!repeat_row || rows == 1) && (!repeat_column || width == 1);
  if (same) {
    const Extent e = extent<Body::N>({&a.a, &a.b, &a.y});
    const Body body{rows_of<const R>(a.a), rows_of<const E>(a.b), rows_of<R>(a.y), e.width, a.kind, false, e.wide};
    return for_packs("binary", cuda, e.rows, divide_up(e.width, Body::N), body);
  }
  const bool wide = is_wide<Body::N>(a.a) && is_wide<Body::N>(a.y) && (repeat_column || is_wide<Body::N>(a.b));
  Body body{rows_of<const R>(a.a), rows_of<const E>(a.b), rows_of<R>(a.y), width, a.kind, repeat_column, wide};
  if (repeat_row) body.b.stride = 0;
  return for_packs("binary", cuda, rows, divide_up(width, Body::N), body);
}

}  // namespace

Status binary(const BinaryArgs& a, const Cuda& cuda) {
  const bool rows_fit = a.b.dim[0] == a.a.dim[0] || a.b.dim[0] == 1;
  const bool columns_fit = a.b.dim[1] == a.a.dim[1] || a.b.dim[1] == 1;
  if (!rows_fit || !columns_fit) {
    return error(StatusCode::invalid_program, "Expected a b of binary that repeats to [%lld, %lld] but received [%lld, %lld]",
                 static_cast<long long>(a.a.dim[0]), static_cast<long long>(a.a.dim[1]), static_cast<long long>(a.b.dim[0]),
                 static_cast<long long>(a.b.dim[1]));
  }
  if (a.a.dim[0] == 0 || a.a.dim[1] == 0) return {};
  return with_float(a.a.dtype, [&](auto* r) {
    return with_float(a.b.dtype, [&](auto* e) {
      return launch<std::remove_pointer_t<decltype(r)>, std::remove_pointer_t<decltype(e)>>(a, cuda);
    });
  });
}

}  // namespace krait::cuda

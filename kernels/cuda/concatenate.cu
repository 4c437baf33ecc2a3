#include "rows.cuh"

namespace krait::cuda {
namespace {

template <typename E>
struct Copy {
  static constexpr int N = kPackOf<E>;
  Rows<const E> x;
  Rows<E> y;
  int64_t width;
  bool wide;

  __device__ __forceinline__ void operator()(int64_t row, int64_t pack) const {
    const int64_t at = pack * N;
    const E* from = x.row(row) + at;
    E* to = y.row(row) + at;
    if (wide && width - at >= N) {
      *reinterpret_cast<Pack<E, N>*>(to) = *reinterpret_cast<const Pack<E, N>*>(from);
    } else {
      for (int i = 0; i < N && at + i < width; ++i) to[i] = from[i];
    }
  }
};

template <typename E>
Status copy(const Tensor& x, const Tensor& y, const Cuda& cuda) {
  if (x.dim[0] == 0 || x.dim[1] == 0) return {};
  constexpr int N = Copy<E>::N;
  const Extent e = extent<N>({&x, &y});
  return for_packs("concatenate", cuda, e.rows, divide_up(e.width, N), Copy<E>{rows_of<const E>(x), rows_of<E>(y), e.width, e.wide});
}

// The rows or columns of y that begin at `from` and have x's shape.
Tensor part(const Tensor& y, const Tensor& x, int64_t axis, int64_t from) {
  Tensor t = y;
  const int64_t step = axis == 0 ? row_stride(y) : 1;
  t.data = y.as<char>() + from * step * dtype_size(y.dtype);
  t.dim[0] = x.dim[0];
  t.dim[1] = x.dim[1];
  return t;
}

}  // namespace

Status concatenate(const ConcatenateArgs& a, const Cuda& cuda) {
  const int64_t axis = a.axis;
  const int64_t other = 1 - axis;
  if (axis < 0 || axis > 1 || a.a.dim[axis] + a.b.dim[axis] != a.y.dim[axis] || a.a.dim[other] != a.y.dim[other] ||
      a.b.dim[other] != a.y.dim[other]) {
    return error(StatusCode::invalid_program, "Expected shapes that join along axis %lld for concatenate but received others",
                 static_cast<long long>(axis));
  }
  return with_float(a.y.dtype, [&](auto* e) {
    using E = std::remove_pointer_t<decltype(e)>;
    const Status first = copy<E>(a.a, part(a.y, a.a, axis, 0), cuda);
    return first.ok() ? copy<E>(a.b, part(a.y, a.b, axis, a.a.dim[axis]), cuda) : first;
  });
}

}  // namespace krait::cuda

#include "refuse.cuh"
#include "rows.cuh"

namespace krait::cuda {
namespace {

template <typename E, typename O>
struct Embedding {
  static constexpr int N = kPackOf<E, O>;
  Rows<const E> table;
  const int32_t* ids;
  Rows<O> y;
  int64_t entries;
  int64_t width;
  bool wide;
  int32_t* error_word;

  __device__ __forceinline__ void operator()(int64_t row, int64_t pack) const {
    const int64_t at = pack * N;
    const int64_t id = ids[row];
    float v[N] = {};
    if (id >= 0 && id < entries) {
      load(v, table.row(id) + at, width - at, wide);
    } else {
      refuse<op_number("embedding")>(error_word);
    }
    store(y.row(row) + at, v, width - at, wide);
  }
};

template <typename E, typename O>
Status launch(const EmbeddingArgs& a, const Cuda& cuda) {
  using Body = Embedding<E, O>;
  const int64_t width = a.table.dim[1];
  const Body body{rows_of<const E>(a.table), a.ids.as<const int32_t>(), rows_of<O>(a.y),  a.table.dim[0],
                  width,                     is_wide<Body::N>(a.table) && is_wide<Body::N>(a.y), cuda.error_word};
  return for_packs("embedding", cuda, a.ids.dim[0], divide_up(width, Body::N), body);
}

}  // namespace

Status embedding(const EmbeddingArgs& a, const Cuda& cuda) {
  return with_float(a.table.dtype, [&](auto* e) {
    return with_float(a.y.dtype, [&](auto* o) {
      return launch<std::remove_pointer_t<decltype(e)>, std::remove_pointer_t<decltype(o)>>(a, cuda);
    });
  });
}

}  // namespace krait::cuda

#include "cpu.h"
#include "rows.h"

namespace krait::cpu {
namespace {

struct Add {
  static float of(float a, float b) { return a + b; }
};
struct Sub {
  static float of(float a, float b) { return a - b; }
};
struct Mul {
  static float of(float a, float b) { return a * b; }
};
// A NaN on either side stays a NaN.
struct Max {
  static float of(float a, float b) { return a > b || a != a ? a : b; }
};

template <typename F>
void apply(const BinaryArgs& args, const Cpu& cpu) {
  const Tensor& a = args.a;
  const Tensor& b = args.b;
  const Tensor& y = args.y;
  const bool one_row = b.dim[0] == 1;
  const bool is_number = one_row && b.dim[1] == 1;
  const bool is_whole = b.dim[0] == a.dim[0] && b.dim[1] == a.dim[1];
  const bool one_column = is_number || (b.dim[1] == 1 && !is_whole);
  int64_t rows = a.dim[0];
  int64_t width = a.dim[1];
  if (is_dense(a) && is_dense(y) && (is_number || (is_whole && is_dense(b)))) {
    width *= rows;
    rows = 1;
  }
  for_pieces(cpu, rows, width, [&](int64_t row, int64_t from, int64_t to) {
    const float* left = a.as<float>() + row * a.stride[0];
    const float* right = b.as<float>() + (one_row ? 0 : row * b.stride[0]);
    float* out = y.as<float>() + row * y.stride[0];
    if (one_column) {
      const float value = right[0];
      for (int64_t d = from; d < to; ++d) out[d] = F::of(left[d], value);
    } else {
      for (int64_t d = from; d < to; ++d) out[d] = F::of(left[d], right[d]);
    }
  });
}

}  // namespace

Status binary(const BinaryArgs& a, const Cpu& cpu) {
  switch (a.kind) {
    case BinaryArgs::Kind::add:
      apply<Add>(a, cpu);
      break;
    case BinaryArgs::Kind::sub:
      apply<Sub>(a, cpu);
      break;
    case BinaryArgs::Kind::mul:
      apply<Mul>(a, cpu);
      break;
    case BinaryArgs::Kind::max:
      apply<Max>(a, cpu);
      break;
  }
  return {};
}

}  // namespace krait::cpu

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/unary.cpp"
#include "hwy/foreach_target.h"
//
#include "activations-inl.h"
#include "cpu.h"
#include "hwy/highway.h"
#include "part-inl.h"
#include "rows.h"

HWY_BEFORE_NAMESPACE();
namespace krait::cpu::HWY_NAMESPACE {
namespace {

struct Affine {
  float low;
  float scale;
  float shift;
};

template <typename F>
void Apply(const float* HWY_RESTRICT x, float* HWY_RESTRICT y, int64_t count, const Affine& affine) {
  const hn::ScalableTag<float> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const auto low = hn::Set(d, affine.low);
  const auto scale = hn::Set(d, affine.scale);
  const auto shift = hn::Set(d, affine.shift);
  // The second operand of Max is the one that stays when it is a NaN.
  const auto f = [&](auto v) HWY_ATTR { return hn::MulAdd(scale, F::Of(d, hn::Max(low, v)), shift); };
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) hn::StoreU(f(hn::LoadU(d, x + i)), d, y + i);
  // One way for all elements: a value does not depend on where in a row it lies.
  if (i < count) StorePart(f(LoadPart(d, x + i, count - i)), d, y + i, count - i);
}

void UnaryPiece(UnaryArgs::Kind kind, const float* x, float* y, int64_t count, float low, float scale, float shift) {
  using Kind = UnaryArgs::Kind;
  const Affine affine{low, scale, shift};
  switch (kind) {
    case Kind::identity:
      return Apply<Identity>(x, y, count, affine);
    case Kind::silu:
      return Apply<Silu>(x, y, count, affine);
    case Kind::gelu:
      return Apply<Gelu>(x, y, count, affine);
    case Kind::gelu_tanh:
      return Apply<GeluTanh>(x, y, count, affine);
    case Kind::sigmoid:
      return Apply<Sigmoidal>(x, y, count, affine);
    case Kind::softplus:
      return Apply<Softplus>(x, y, count, affine);
    case Kind::tanh:
      return Apply<Tanh>(x, y, count, affine);
    case Kind::relu:
      return Apply<Relu>(x, y, count, affine);
    case Kind::relu2:
      return Apply<Relu2>(x, y, count, affine);
    case Kind::exp:
      return Apply<Exponential>(x, y, count, affine);
    case Kind::log:
      return Apply<Logarithm>(x, y, count, affine);
    case Kind::square:
      return Apply<Square>(x, y, count, affine);
  }
}

}  // namespace
}  // namespace krait::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace krait::cpu {

HWY_EXPORT(UnaryPiece);

Status unary(const UnaryArgs& a, const Cpu& cpu) {
  const bool dense = is_dense(a.x) && is_dense(a.y);
  const int64_t rows = dense ? 1 : a.x.dim[0];
  const int64_t width = dense ? a.x.dim[0] * a.x.dim[1] : a.x.dim[1];
  for_pieces(cpu, rows, width, [&](int64_t row, int64_t from, int64_t to) {
    HWY_DYNAMIC_DISPATCH(UnaryPiece)(a.kind, a.x.as<float>() + row * a.x.stride[0] + from, a.y.as<float>() + row * a.y.stride[0] + from, to - from,
          static_cast<float>(a.low), static_cast<float>(a.scale), static_cast<float>(a.shift));
  });
  return {};
}

}  // namespace krait::cpu
#endif

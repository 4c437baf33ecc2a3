#include <cmath>

#include "cpu.h"
#include "rows.h"

namespace krait::cpu {
namespace {

float apply(UnaryArgs::Kind kind, float x) {
  using K = UnaryArgs::Kind;
  switch (kind) {
    case K::identity: return x;
    case K::silu: return x / (1 + std::exp(-x));
    case K::gelu: return 0.5f * x * std::erfc(-x * 0.70710678f);
    case K::gelu_tanh: return 0.5f * x * (1 + std::tanh(0.79788456f * (x + 0.044715f * x * x * x)));
    case K::sigmoid: return 1 / (1 + std::exp(-x));
    case K::softplus: return x > 20 ? x : std::log1p(std::exp(x));
    case K::tanh: return std::tanh(x);
    case K::relu: return x < 0 ? 0 : x;
    case K::relu2: return x < 0 ? 0 : x * x;
    case K::exp: return std::exp(x);
    case K::log: return std::log(x);
    case K::square: return x * x;
  }
  return x;
}

}  // namespace

Status unary(const UnaryArgs& a, const Cpu& cpu) {
  const float low = static_cast<float>(a.low), scale = static_cast<float>(a.scale), shift = static_cast<float>(a.shift);
  for_pieces(cpu, a.x.dim[0], a.x.dim[1], [&](int64_t row, int64_t from, int64_t to) {
    const float* x = a.x.as<float>() + row * a.x.stride[0];
    float* y = a.y.as<float>() + row * a.y.stride[0];
    for (int64_t d = from; d < to; ++d) y[d] = scale * apply(a.kind, x[d] < low ? low : x[d]) + shift;
  });
  return {};
}

}  // namespace krait::cpu

#include <cmath>

#include "cpu.h"
#include "onednn.h"

namespace krait::cpu {
namespace {

float activate(LinearArgs::Activation kind, float x) {
  using K = LinearArgs::Activation;
  switch (kind) {
    case K::identity: return x;
    case K::silu: return x / (1 + std::exp(-x));
    case K::gelu: return 0.5f * x * std::erfc(-x * 0.70710678f);
    case K::gelu_tanh: return 0.5f * x * (1 + std::tanh(0.79788456f * (x + 0.044715f * x * x * x)));
    case K::relu: return x < 0 ? 0 : x;
    case K::relu2: return x < 0 ? 0 : x * x;
  }
  return x;
}

}  // namespace

Status linear(const LinearArgs& a, const Cpu& cpu) {
  const int64_t rows = a.x.dim[0], depth = a.x.dim[1], width = a.weight.dim[0];
  if (rows == 0 || width == 0) return {};
  const bool done = depth > 0 && onednn_gemm_nt(rows, width, depth, a.x.as<float>(), a.x.stride[0], a.weight.as<float>(), a.weight.stride[0], 0,
                                                a.y.as<float>(), a.y.stride[0]);
#pragma omp parallel for num_threads(cpu.threads) schedule(static)
  for (int64_t t = 0; t < rows; ++t) {
    const float* x = a.x.as<float>() + t * a.x.stride[0];
    float* y = a.y.as<float>() + t * a.y.stride[0];
    for (int64_t n = 0; n < width; ++n) {
      if (!done) {
        const float* weight = a.weight.as<float>() + n * a.weight.stride[0];
        float sum = 0;
        for (int64_t k = 0; k < depth; ++k) sum += x[k] * weight[k];
        y[n] = sum;
      }
      y[n] = activate(a.activation, y[n] + (a.bias ? a.bias.as<float>()[n] : 0.0f));
    }
  }
  return {};
}

}  // namespace krait::cpu

#include <cmath>

#include "cpu.h"

namespace krait::cpu {

Status rms_norm(const RmsNormArgs& a, const Cpu& cpu) {
  const int64_t rows = a.x.dim[0];
  const int64_t width = a.x.dim[1];
  const float* weight = a.weight.as<float>();
#pragma omp parallel for num_threads(cpu.threads) schedule(static)
  for (int64_t t = 0; t < rows; ++t) {
    const float* x = a.x.as<float>() + t * a.x.stride[0];
    float* y = a.y.as<float>() + t * a.y.stride[0];
    if (a.residual) {
      const float* residual = a.residual.as<float>() + t * a.residual.stride[0];
      float* sum = a.sum.as<float>() + t * a.sum.stride[0];
#pragma omp simd
      for (int64_t d = 0; d < width; ++d) sum[d] = x[d] + residual[d];
      x = sum;
    }
    float square = 0;
#pragma omp simd reduction(+ : square)
    for (int64_t d = 0; d < width; ++d) square += x[d] * x[d];
    const float scale = 1.0f / std::sqrt(square / static_cast<float>(width) + static_cast<float>(a.eps));
#pragma omp simd
    for (int64_t d = 0; d < width; ++d) y[d] = x[d] * scale * weight[d];
  }
  return {};
}

}  // namespace krait::cpu

#include <cmath>

#include "cpu.h"
#include "rows.h"

namespace krait::cpu {

Status gated_rms_norm(const GatedRmsNormArgs& a, const Cpu& cpu) {
  const int64_t rows = a.x.dim[0];
  const int64_t groups = a.groups;
  if (groups < 1 || a.x.dim[1] % groups != 0) return error(StatusCode::invalid_program, "Expected groups that divide gated_rms_norm's width");
  const int64_t width = a.x.dim[1] / groups;
#pragma omp parallel for num_threads(threads_for(cpu, rows * a.x.dim[1])) schedule(static)
  for (int64_t row = 0; row < rows * groups; ++row) {
    const int64_t t = row / groups;
    const int64_t column = row % groups * width;
    const float* x = a.x.as<float>() + t * a.x.stride[0] + column;
    const float* gate = a.gate.as<float>() + t * a.gate.stride[0] + column;
    float* y = a.y.as<float>() + t * a.y.stride[0] + column;
    const float* weight = a.weight.as<float>() + column;
    float square = 0;
    for (int64_t d = 0; d < width; ++d) {
      const float silu = gate[d] / (1.0f + std::exp(-gate[d]));
      const float h = a.norm_before_gate ? x[d] : x[d] * silu;
      y[d] = x[d] * silu;
      square += h * h;
    }
    const float scale = 1.0f / std::sqrt(square / static_cast<float>(width) + static_cast<float>(a.eps));
    for (int64_t d = 0; d < width; ++d) y[d] *= scale * weight[d];
  }
  return {};
}

}  // namespace krait::cpu

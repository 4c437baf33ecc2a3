#include <cmath>

#include "cpu.h"
#include "rows.h"

namespace krait::cpu {

Status arg_max(const ArgMaxArgs& a, const Cpu& cpu) {
  const int64_t rows = a.x.dim[0], width = a.x.dim[1];
#pragma omp parallel for num_threads(threads_for(cpu, rows * width)) schedule(static)
  for (int64_t t = 0; t < rows; ++t) {
    const float* x = a.x.as<float>() + t * a.x.stride[0];
    int64_t best = 0;
    for (int64_t v = 1; v < width; ++v) {
      // What is not comparable gives way to whatever is.
      if (x[v] > x[best] || (std::isnan(x[best]) && !std::isnan(x[v]))) best = v;
    }
    const int32_t index = std::isnan(x[best]) ? -1 : static_cast<int32_t>(best);
    a.index.as<int32_t>()[t] = index;
    if (a.kept) a.kept.as<int32_t>()[t] = index;
  }
  return {};
}

}  // namespace krait::cpu

#include <cstring>

#include "borders.h"
#include "cpu.h"
#include "rows.h"

namespace krait::cpu {

Status frame(const FrameArgs& a, const Cpu& cpu) {
  const int64_t size = a.size;
  const int64_t hop = a.hop;
  const int64_t sequences = a.cu_seqlens.dim[0] - 1;
  if (!are_borders(a.cu_seqlens, a.x.dim[0])) return bad_borders("frame", a.x.dim[0]);
  const int32_t* from = a.cu_seqlens.as<int32_t>();
  int32_t* to = a.out_cu_seqlens.as<int32_t>();
  int64_t frames = 0;
  to[0] = 0;
  for (int64_t s = 0; s < sequences; ++s) {
    const int64_t length = from[s + 1] - from[s];
    if (length >= size) frames += (length - size) / hop + 1;
    to[s + 1] = static_cast<int32_t>(frames);
  }
  if (frames != a.y.dim[0]) {
    return error(StatusCode::invalid_argument, "Expected %lld frames from the borders but received a run for %lld",
                 static_cast<long long>(frames), static_cast<long long>(a.y.dim[0]));
  }
#pragma omp parallel num_threads(threads_for(cpu, frames * size))
  {
    int64_t s = 0;
#pragma omp for schedule(static)
    for (int64_t f = 0; f < frames; ++f) {
      while (to[s + 1] <= f) ++s;
      const float* x = a.x.as<float>() + from[s] + (f - to[s]) * hop;
      std::memcpy(a.y.as<float>() + f * a.y.stride[0], x, sizeof(float) * static_cast<size_t>(size));
    }
  }
  return {};
}

}  // namespace krait::cpu

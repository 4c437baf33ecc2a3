#include "cpu.h"
#include "rows.h"

namespace krait::cpu {
namespace {

template <typename Pixel>
void unfold(const UnfoldPatchesArgs& a, const Cpu& cpu) {
  const int64_t frames = a.frames.dim[1];
  const int64_t width = a.frames.dim[3];
  const int64_t patch = a.patch;
  const int64_t rows = a.frames.dim[2] / patch;
  const int64_t columns = width / patch;
  const int64_t area = patch * patch;
  const float* scale = a.scale.as<float>();
  const float* shift = a.shift.as<float>();
#pragma omp parallel for num_threads(threads_for(cpu, a.y.dim[0] * a.y.dim[1])) schedule(static)
  for (int64_t token = 0; token < a.y.dim[0]; ++token) {
    const int64_t tubelet = token / (rows * columns);
    const int64_t row = token / columns % rows;
    const int64_t column = token % columns;
    const Pixel* corner = a.frames.as<Pixel>() + tubelet * a.frames.stride[0] + (row * patch * width + column * patch) * 3;
    float* y = a.y.as<float>() + token * a.y.stride[0];
    for (int64_t f = 0; f < frames; ++f) {
      for (int64_t line = 0; line < patch; ++line) {
        const Pixel* from = corner + (f * a.frames.dim[2] + line) * width * 3;
        float* to = y + f * area + line * patch;
        for (int64_t c = 0; c < 3; ++c) {
          for (int64_t x = 0; x < patch; ++x) to[c * frames * area + x] = static_cast<float>(from[3 * x + c]) * scale[c] + shift[c];
        }
      }
    }
  }
}

}  // namespace

Status unfold_patches(const UnfoldPatchesArgs& a, const Cpu& cpu) {
  if (a.frames.dtype == DType::u8) {
    unfold<uint8_t>(a, cpu);
  } else {
    unfold<float>(a, cpu);
  }
  return {};
}

}  // namespace krait::cpu

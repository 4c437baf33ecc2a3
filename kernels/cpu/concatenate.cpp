#include <cstring>

#include "cpu.h"
#include "rows.h"

namespace krait::cpu {
namespace {

void copy_rows(const Cpu& cpu, const Tensor& from, float* to, int64_t to_stride) {
  for_pieces(cpu, from.dim[0], from.dim[1], [&](int64_t row, int64_t begin, int64_t end) {
    std::memcpy(to + row * to_stride + begin, from.as<float>() + row * from.stride[0] + begin, sizeof(float) * static_cast<size_t>(end - begin));
  });
}

}  // namespace

Status concatenate(const ConcatenateArgs& a, const Cpu& cpu) {
  float* y = a.y.as<float>();
  const int64_t stride = a.y.stride[0];
  copy_rows(cpu, a.a, y, stride);
  copy_rows(cpu, a.b, y + (a.axis == 0 ? a.a.dim[0] * stride : a.a.dim[1]), stride);
  return {};
}

}  // namespace krait::cpu

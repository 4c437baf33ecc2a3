#include <algorithm>

#include "borders.h"
#include "cpu.h"
#include "rows.h"

namespace krait::cpu {
namespace {

using Kind = PoolArgs::Kind;

// Columns [begin, end) of one segment's rows; rows in order, so that the sum does not depend on the threads.
void pool_columns(const float* x, int64_t stride, int64_t rows, int64_t begin, int64_t end, Kind kind, float* y) {
  if (rows == 0) {
    std::fill(y + begin, y + end, 0.0f);
    return;
  }
  std::copy(x + begin, x + end, y + begin);
  for (int64_t t = 1; t < rows; ++t) {
    const float* row = x + t * stride;
    if (kind == Kind::max) {
      // Written so that a NaN stays a NaN.
      for (int64_t d = begin; d < end; ++d) y[d] = row[d] <= y[d] ? y[d] : (y[d] != y[d] ? y[d] : row[d]);
    } else {
      for (int64_t d = begin; d < end; ++d) y[d] += row[d];
    }
  }
  if (kind != Kind::mean) return;
  const float scale = 1.0f / static_cast<float>(rows);
  for (int64_t d = begin; d < end; ++d) y[d] *= scale;
}

}  // namespace

Status pool(const PoolArgs& a, const Cpu& cpu) {
  const int64_t width = a.x.dim[1];
  const int64_t segments = a.y.dim[0];
  if (!are_borders(a.cu_seqlens, a.x.dim[0])) return bad_borders("pool", a.x.dim[0]);
  const int32_t* borders = a.cu_seqlens.as<int32_t>();
  // Also cut by columns, so that one long segment keeps every thread busy.
  constexpr int64_t kColumns = 256;
  const int64_t per_row = (width + kColumns - 1) / kColumns;
#pragma omp parallel for num_threads(threads_for(cpu, a.x.dim[0] * width)) schedule(dynamic, 4)
  for (int64_t piece = 0; piece < segments * per_row; ++piece) {
    const int64_t s = piece / per_row;
    const int64_t begin = piece % per_row * kColumns;
    const int64_t from = borders[s];
    const int64_t to = borders[s + 1];
    pool_columns(a.x.as<float>() + from * a.x.stride[0], a.x.stride[0], to - from, begin, std::min(width, begin + kColumns), a.kind,
                 a.y.as<float>() + s * a.y.stride[0]);
  }
  return {};
}

}  // namespace krait::cpu

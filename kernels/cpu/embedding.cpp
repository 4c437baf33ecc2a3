#include <atomic>
#include <cstring>

#include "cpu.h"
#include "half.h"
#include "rows.h"

namespace krait::cpu {

namespace {

void copy_row(const Tensor& from, int64_t row, const Tensor& to, int64_t to_row, int64_t width) {
  const int64_t at = row * from.stride[0];
  const int64_t to_at = to_row * to.stride[0];
  if (from.dtype == to.dtype) {
    const int64_t size = dtype_size(from.dtype);
    std::memcpy(to.as<char>() + to_at * size, from.as<char>() + at * size, static_cast<size_t>(width * size));
  } else if (from.dtype == DType::bf16) {
    widen_rows(1, 1, width, from.as<uint16_t>() + at, width, to.as<float>() + to_at, width);
  } else {
    narrow_rows(1, 1, width, from.as<float>() + at, width, to.as<uint16_t>() + to_at, width);
  }
}

}  // namespace

Status embedding(const EmbeddingArgs& a, const Cpu& cpu) {
  const int64_t vocabulary = a.table.dim[0];
  const int64_t width = a.table.dim[1];
  const int64_t rows = a.ids.dim[0];
  const int32_t* ids = a.ids.as<int32_t>();
  std::atomic<int64_t> wrong{-1};
#pragma omp parallel for num_threads(threads_for(cpu, rows * width)) schedule(static)
  for (int64_t t = 0; t < rows; ++t) {
    // Ids may come from another op, where no border has looked at them.
    const int64_t id = ids[t];
    if (id < 0 || id >= vocabulary) {
      wrong.store(t, std::memory_order_relaxed);
      continue;
    }
    copy_row(a.table, id, a.y, t, width);
  }
  const int64_t t = wrong.load();
  if (t < 0) return {};
  return error(StatusCode::invalid_argument, "Expected an id in [0, %lld) for embedding but received %d at place %lld",
               static_cast<long long>(vocabulary), ids[t], static_cast<long long>(t));
}

}  // namespace krait::cpu

#include <atomic>
#include <cstring>

#include "cpu.h"
#include "rows.h"

namespace krait::cpu {

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
    std::memcpy(a.y.as<float>() + t * a.y.stride[0], a.table.as<float>() + id * a.table.stride[0], sizeof(float) * static_cast<size_t>(width));
  }
  const int64_t t = wrong.load();
  if (t < 0) return {};
  return error(StatusCode::invalid_argument, "Expected an id in [0, %lld) for embedding but received %d at place %lld",
               static_cast<long long>(vocabulary), ids[t], static_cast<long long>(t));
}

}  // namespace krait::cpu

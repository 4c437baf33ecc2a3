// A pack walked from each sequence's last token to its first is its mirror image walked forwards: the last row comes first, rows lie a
// negative stride apart, and the last sequence is the first. So kernels know one direction, and both give the same bits.
#pragma once

#include <algorithm>
#include <cstdint>
#include <initializer_list>

#include "cpu.h"
#include "half.h"

namespace krait::cpu {

inline Tensor mirrored(Tensor t) {
  if (!t || t.dim[0] < 2) return t;
  t.data = static_cast<char*>(t.data) + (t.dim[0] - 1) * t.stride[0] * dtype_size(t.dtype);
  t.stride[0] = -t.stride[0];
  return t;
}

// kernel(mirror image of `a`), whose operands with a row per token are `rows`.
template <class Args, class Kernel>
Status with_mirror(const char* op, Args a, std::initializer_list<Tensor Args::*> rows, const Kernel& kernel) {
  thread_local KeptMemory kept;
  const int64_t borders = a.cu_seqlens.dim[0], slots = a.state_index ? a.state_index.dim[0] : 0;
  const int64_t bytes = (borders + slots) * static_cast<int64_t>(sizeof(int32_t));
  auto* memory = static_cast<int32_t*>(kept.reserve(std::max<int64_t>(bytes, 1)));
  if (memory == nullptr) {
    return error(StatusCode::out_of_memory, "Expected %lld bytes for the borders of %s but the system gave none", static_cast<long long>(bytes), op);
  }
  // Borders that the kernel must refuse stay wrong: as unsigned numbers the difference is one to one.
  const auto tokens = static_cast<uint32_t>(a.x.dim[0]);
  const int32_t* from = a.cu_seqlens.template as<int32_t>();
  for (int64_t i = 0; i < borders; ++i) memory[i] = static_cast<int32_t>(tokens - static_cast<uint32_t>(from[borders - 1 - i]));
  if (slots > 0) std::reverse_copy(a.state_index.template as<int32_t>(), a.state_index.template as<int32_t>() + slots, memory + borders);
  a.cu_seqlens.data = memory;
  if (slots > 0) a.state_index.data = memory + borders;
  for (const auto row : rows) a.*row = mirrored(a.*row);
  return kernel(a);
}

}  // namespace krait::cpu

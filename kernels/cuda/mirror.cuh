// A pack walked from each sequence's last token to its first is its mirror image walked forwards: the last row comes first, rows lie a
// negative stride apart, and the last sequence is the first. So kernels know one direction, and both give the same bits.
#pragma once

#include <initializer_list>

#include "rows.cuh"
#include "scratch.cuh"

namespace krait::cuda {

inline Tensor mirrored(Tensor t) {
  if (!t || t.dim[0] < 2) return t;
  t.data = static_cast<char*>(t.data) + (t.dim[0] - 1) * t.stride[0] * dtype_size(t.dtype);
  t.stride[0] = -t.stride[0];
  return t;
}

// Borders that kernels must refuse stay wrong: as unsigned numbers the difference is one to one. `count`: sequences.
static __global__ void __launch_bounds__(256) mirror_kernel(const int32_t* borders, const int32_t* slots, int32_t count, uint32_t tokens,
                                                            int32_t* mirrored_borders, int32_t* mirrored_slots) {
  const int32_t i = static_cast<int32_t>(blockIdx.x * 256 + threadIdx.x);
  if (i <= count) mirrored_borders[i] = static_cast<int32_t>(tokens - static_cast<uint32_t>(borders[count - i]));
  if (slots != nullptr && i < count) mirrored_slots[i] = slots[count - 1 - i];
}

// kernel(mirror image of `a`, device), whose operands with a row per token are `rows`. The borders' image takes the first part of the scratch memory.
template <typename Args, typename Kernel>
Status with_mirror(const char* op, Args a, std::initializer_list<Tensor Args::*> rows, const Cuda& cuda, const Kernel& kernel) {
  const int64_t count = a.cu_seqlens.dim[0] - 1;
  if (count < 0 || count >= INT32_MAX) {
    return error(StatusCode::invalid_argument, "Expected fewer sequences in one run of %s but received %lld", op, static_cast<long long>(count));
  }
  Scratch scratch(a.scratch, a.scratch_bytes);
  int32_t* borders = scratch.take<int32_t>(count + 1);
  int32_t* slots = scratch.take<int32_t>(count);
  if (Status status = scratch.check(op); !status.ok()) return status;
  const auto blocks = static_cast<unsigned>(divide_up(count + 1, 256));
  mirror_kernel<<<blocks, 256, 0, cuda.stream>>>(a.cu_seqlens.template as<int32_t>(), a.state_index.template as<int32_t>(),
                                                 static_cast<int32_t>(count), static_cast<uint32_t>(a.x.dim[0]), borders, slots);
  if (Status status = launched(op); !status.ok()) return status;
  a.cu_seqlens.data = borders;
  if (a.state_index) a.state_index.data = slots;
  a.scratch = static_cast<char*>(a.scratch) + scratch.used();
  a.scratch_bytes -= scratch.used();
  for (const auto row : rows) a.*row = mirrored(a.*row);
  // The borders come from a kernel now: none may begin before it has ended.
  Cuda in_turn = cuda;
  in_turn.waits_for_inputs = false;
  return kernel(a, in_turn);
}

}  // namespace krait::cuda

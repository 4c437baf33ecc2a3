// What must hold of every program that the decoder accepts, worked out once more in 128 bits.
#pragma once

#include <string>
#include <vector>

#include "check.h"
#include "executor/program.h"
#include "krait/ops.h"

namespace krait::test {

// Empty when every operand of every node lies inside its storage, and that inside the arena.
inline std::string outside(const Program& program, const Shapes& shapes) {
  for (size_t i = 0; i < program.values.size(); ++i) {
    const ValueInfo& value = program.values[i];
    const Tensor& t = shapes.tensors[i];
    const __int128 element = dtype_size(t.dtype);
    __int128 end = value.offset;
    bool empty = false;
    for (int32_t a = 0; a < t.rank; ++a) {
      if (t.dim[a] < 0 || t.stride[a] < 0) return text("value %zu has a negative dimension or stride", i);
      if (t.dim[a] == 0) empty = true;
      end += static_cast<__int128>(t.dim[a] - 1) * t.stride[a] * element;
    }
    if (!empty && end + element > value.storage_bytes) return text("value %zu reaches beyond its storage", i);
    if (value.buffer < 0 && (value.base < 0 || static_cast<__int128>(value.base) + value.storage_bytes > program.arena_bytes)) {
      return text("value %zu lies outside the arena", i);
    }
    if (value.buffer >= program.buffer_count) return text("value %zu lies in no buffer", i);
  }
  for (const NodeInfo& node : program.nodes) {
    if (node.op < 0 || node.op >= kOpCount) return "a node of no op";
    if (node.operands.size() > kMaxOperands) return "a node of too many operands";
    for (const int64_t id : node.operands) {
      if (id >= static_cast<int64_t>(program.values.size())) return "an operand that does not exist";
    }
    if (node.scratch_bytes < 0 || static_cast<__int128>(node.scratch_offset) + node.scratch_bytes > program.arena_bytes) {
      return "scratch memory outside the arena";
    }
  }
  return "";
}

}  // namespace krait::test

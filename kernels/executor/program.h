// A program as decoded from the flat buffer that packages/graph/src/encode.ts writes. Nothing in the buffer is trusted.
#pragma once

#include <cstdint>
#include <vector>

#include "krait/abi.h"

namespace krait {

// The first word; any change of layout changes it.
inline constexpr int64_t kProgramMagic = 0x3130304b49415254;

// constant + Σ coefficient · symbol
struct Dim {
  int64_t constant = 0;
  struct Term {
    int64_t coefficient;
    int64_t symbol;
  };
  std::vector<Term> terms;
};

struct SymbolInfo {
  int64_t capacity;
};

struct ValueInfo {
  DType dtype;
  int32_t buffer;         // bound buffer, or −1 for the arena
  int64_t base;           // byte offset of the storage in the arena
  int64_t offset;         // byte offset of the view in its storage
  int64_t storage_bytes;  // at capacity
  std::vector<Dim> dims;
  std::vector<int64_t> strides;
};

enum class BindingKind : int32_t { input = 0, output = 1, parameter = 2, state = 3 };
enum class IndexRole : int32_t { none = 0, cu_seqlens = 1, range = 2, slots = 3 };

struct BindingInfo {
  BindingKind kind;
  int64_t value;
  IndexRole role;
  int64_t low;
  Dim bound;  // the total of cu_seqlens, the exclusive upper end of a range
};

struct NodeInfo {
  int64_t op;
  std::vector<Attribute> attributes;
  std::vector<int64_t> operands;  // value ids, −1 for an absent operand
  int64_t scratch_offset;
  int64_t scratch_bytes;
};

struct Program {
  int64_t arena_bytes = 0;
  int64_t buffer_count = 0;
  std::vector<SymbolInfo> symbols;
  std::vector<ValueInfo> values;
  std::vector<BindingInfo> bindings;
  std::vector<NodeInfo> nodes;
  std::vector<bool> writes;  // of every bound buffer, whether it is a state or an op gives a result in it
};

// Reads and checks a program; at symbol capacities every operand must lie inside its storage and agree with its op's record.
Status decode_program(const void* bytes, int64_t size, Program* program);

// Shapes of all values for one run.
struct Shapes {
  std::vector<Tensor> tensors;  // data is null until an arena and buffers are bound
};

// Evaluates every dimension and checks bounds, symbol capacities and agreement with the op records.
Status resolve_shapes(const Program& program, const std::vector<int64_t>& symbols, Shapes* shapes);

// The value of a dimension; −1 when it overflows or is negative.
int64_t evaluate(const Dim& dim, const std::vector<int64_t>& symbols);

// Checks the integers of an index input against its role.
Status check_indices(const BindingInfo& binding, const std::vector<int64_t>& symbols, const int32_t* data, int64_t count);

}  // namespace krait

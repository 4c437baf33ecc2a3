// The types that programs, the executor and the kernels of every backend share.
#pragma once

#include <cstdarg>
#include <cstddef>
#include <cstdint>
#include <cstdio>

namespace krait {

// Codes as in packages/graph/src/abi.ts.
enum class DType : int32_t { f32 = 0, bf16 = 1, f16 = 2, u8 = 3, i32 = 4, i64 = 5 };
inline constexpr int32_t kDTypeCount = 6;

constexpr int64_t dtype_size(DType dtype) {
  switch (dtype) {
    case DType::f32:
    case DType::i32:
      return 4;
    case DType::bf16:
    case DType::f16:
      return 2;
    case DType::u8:
      return 1;
    case DType::i64:
      return 8;
  }
  return 0;
}

inline constexpr int32_t kMaxRank = 6;
inline constexpr int32_t kMaxOperands = 24;
inline constexpr int64_t kArenaAlignment = 256;

// One operand of a kernel call. The executor guarantees: the innermost stride is 1, every inner axis is contiguous (only stride[0]
// may be larger than the row), all elements lie inside the storage, dimensions agree with the op's record. `data` is null exactly
// when an optional operand is absent. Dimensions may be zero.
struct Tensor {
  void* data;
  DType dtype;
  int32_t rank;
  int64_t dim[kMaxRank];
  int64_t stride[kMaxRank];  // in elements

  explicit operator bool() const { return data != nullptr; }
  template <typename T>
  T* as() const {
    return static_cast<T*>(data);
  }
};

union Attribute {
  int64_t i;
  double f;
};

struct Call {
  const Tensor* operands;
  const Attribute* attributes;
  void* scratch;
  int64_t scratch_bytes;
};

enum class StatusCode : int32_t {
  ok = 0,
  invalid_program = 1,   // a buffer that no encoder of ours wrote
  invalid_argument = 2,  // a run that asks for what the program does not allow
  out_of_memory = 3,
  device = 4,
  cancelled = 5,
  unsupported = 6,
  file_changed = 7,  // a file that a run read where it is mapped
};

// A result with its sentence. Plain data, because it crosses the border between two shared libraries.
struct Status {
  StatusCode code = StatusCode::ok;
  char message[252] = {0};

  bool ok() const { return code == StatusCode::ok; }
};

[[gnu::format(printf, 2, 3)]] inline Status error(StatusCode code, const char* format, ...) {
  Status status;
  status.code = code;
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(status.message, sizeof(status.message), format, arguments);
  va_end(arguments);
  return status;
}

// What an op's record says of one operand: the C++ side of packages/graph/src/op.ts.
struct DimPattern {
  int32_t letter;  // index of the dimension's letter in the op, −1 for a plain number
  int32_t plus;
};

struct OperandSignature {
  const char* name;
  int32_t rank;
  DimPattern dims[kMaxRank];
  uint32_t dtype_mask;     // bit per DType
  int32_t dtype_variable;  // operands with the same variable share their dtype; −1 for none
  bool optional;
  bool is_output;
  bool is_inout;
};

enum class AttributeType : int32_t { i64, f64, bool_, enum_ };

struct AttributeSignature {
  const char* name;
  AttributeType type;
  int32_t choices;
};

struct OpSignature {
  const char* name;
  const OperandSignature* operands;
  int32_t operand_count;
  const AttributeSignature* attributes;
  int32_t attribute_count;
};

}  // namespace krait

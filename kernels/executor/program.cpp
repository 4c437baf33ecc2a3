#include "program.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "krait/ops.h"
#include "relations.h"

namespace krait {
namespace {

constexpr int64_t kMaxCount = 1 << 24;
constexpr int64_t kMaxExtent = int64_t{1} << 48;
constexpr int64_t kMaxEmptyExtent = int64_t{1} << 31;

// Reads words in order; past the end it yields zeros and remembers.
class Reader {
 public:
  Reader(const void* bytes, int64_t size) : at_(static_cast<const char*>(bytes)), left_(size / 8) {}

  int64_t word() {
    if (left_ <= 0) {
      overrun_ = true;
      return 0;
    }
    int64_t value;
    std::memcpy(&value, at_, 8);
    at_ += 8;
    --left_;
    return value;
  }

  // A count of things that each take at least one more word.
  int64_t count() {
    const int64_t n = word();
    if (n < 0 || n > kMaxCount || n > left_) {
      overrun_ = true;
      return 0;
    }
    return n;
  }

  bool overrun() const { return overrun_; }
  bool finished() const { return left_ == 0 && !overrun_; }

 private:
  const char* at_;
  int64_t left_;
  bool overrun_ = false;
};

Dim read_dim(Reader& in) {
  Dim dim;
  dim.constant = in.word();
  const int64_t n = in.count();
  for (int64_t i = 0; i < n; ++i) {
    const int64_t coefficient = in.word();
    dim.terms.push_back({coefficient, in.word()});
  }
  return dim;
}

Status bad(const char* what) { return error(StatusCode::invalid_program, "Expected a valid program but received one with %s", what); }

bool known_symbols(const Dim& dim, size_t count) {
  for (const auto& term : dim.terms) {
    if (term.symbol < 0 || term.symbol >= static_cast<int64_t>(count)) return false;
  }
  return true;
}

bool read_hash(Reader& in) {
  char text[17];
  bool same = true;
  for (int i = 0; i < 4; ++i) {
    std::snprintf(text, sizeof(text), "%016llx", static_cast<unsigned long long>(in.word()));
    same = same && std::memcmp(text, kAbiHash + 16 * i, 16) == 0;
  }
  return same;
}

Status read_node(Reader& in, Program* program) {
  NodeInfo node;
  node.op = in.word();
  if (node.op < 0 || node.op >= kOpCount) return bad("an unknown op");
  const OpSignature& op = kOps[node.op];
  if (in.count() != op.attribute_count) return bad("the wrong number of attributes");
  for (int32_t i = 0; i < op.attribute_count; ++i) {
    Attribute attribute;
    attribute.i = in.word();
    const AttributeSignature& signature = op.attributes[i];
    if (signature.type == AttributeType::enum_ && (attribute.i < 0 || attribute.i >= signature.choices)) {
      return bad("an attribute outside its choices");
    }
    node.attributes.push_back(attribute);
  }
  if (in.count() != op.operand_count) return bad("the wrong number of operands");
  for (int32_t i = 0; i < op.operand_count; ++i) {
    const int64_t id = in.word();
    if (id < -1 || id >= static_cast<int64_t>(program->values.size())) return bad("an operand that does not exist");
    if (id < 0 && !op.operands[i].optional) return bad("a missing operand");
    node.operands.push_back(id);
  }
  node.scratch_offset = in.word();
  node.scratch_bytes = in.word();
  if (node.scratch_offset < 0 || node.scratch_bytes < 0 || node.scratch_offset % kArenaAlignment != 0 ||
      node.scratch_offset > program->arena_bytes || node.scratch_bytes > program->arena_bytes - node.scratch_offset) {
    return bad("scratch memory outside the arena");
  }
  program->nodes.push_back(std::move(node));
  return {};
}

void find_writes(Program* program) {
  program->writes.assign(static_cast<size_t>(program->buffer_count), false);
  const auto mark = [&](int64_t value) {
    const int32_t buffer = program->values[static_cast<size_t>(value)].buffer;
    if (buffer >= 0) program->writes[static_cast<size_t>(buffer)] = true;
  };
  for (const BindingInfo& binding : program->bindings) {
    if (binding.kind == BindingKind::state) mark(binding.value);
  }
  for (const NodeInfo& node : program->nodes) {
    const OpSignature& op = kOps[node.op];
    for (int32_t i = 0; i < op.operand_count; ++i) {
      if (node.operands[static_cast<size_t>(i)] >= 0 && (op.operands[i].is_output || op.operands[i].is_inout)) mark(node.operands[static_cast<size_t>(i)]);
    }
  }
}

// Binds the letters of a node's operands to sizes and compares.
Status check_node(const NodeInfo& node, const std::vector<Tensor>& tensors) {
  const OpSignature& op = kOps[node.op];
  int64_t letters[64];
  for (auto& letter : letters) letter = -1;
  DType dtypes[16];
  bool bound[16] = {false};
  for (int32_t i = 0; i < op.operand_count; ++i) {
    if (node.operands[i] < 0) continue;
    const Tensor& t = tensors[node.operands[i]];
    const OperandSignature& s = op.operands[i];
    const auto mismatch = [&](const char* what) {
      return error(StatusCode::invalid_program, "Expected the record's %s for %s of %s but received another", what, s.name, op.name);
    };
    if (t.rank != s.rank) return mismatch("rank");
    if ((s.dtype_mask >> static_cast<int32_t>(t.dtype) & 1) == 0) return mismatch("dtype");
    if (s.dtype_variable >= 0) {
      if (bound[s.dtype_variable] && dtypes[s.dtype_variable] != t.dtype) return mismatch("dtype");
      bound[s.dtype_variable] = true;
      dtypes[s.dtype_variable] = t.dtype;
    }
    for (int32_t a = 0; a < t.rank; ++a) {
      const int64_t size = t.dim[a] - s.dims[a].plus;
      if (s.dims[a].letter < 0) {
        if (size != 0) return mismatch("shape");
      } else if (letters[s.dims[a].letter] < 0) {
        if (size < 0) return mismatch("shape");
        letters[s.dims[a].letter] = size;
      } else if (letters[s.dims[a].letter] != size) {
        return mismatch("shape");
      }
    }
    int64_t row = 1;
    for (int32_t a = t.rank - 1; a >= 1; --a) {
      if (t.stride[a] != row && t.dim[a] > 1) return mismatch("contiguous rows");
      row *= t.dim[a];
    }
    if (t.rank > 0 && t.stride[0] < row && t.dim[0] > 1) return mismatch("row stride");
  }
  return {};
}

}  // namespace

int64_t evaluate(const Dim& dim, const std::vector<int64_t>& symbols) {
  int64_t sum = dim.constant;
  for (const auto& term : dim.terms) {
    int64_t part;
    if (__builtin_mul_overflow(term.coefficient, symbols[term.symbol], &part)) return -1;
    if (__builtin_add_overflow(sum, part, &sum)) return -1;
  }
  return sum;
}

Status resolve_shapes(const Program& program, const std::vector<int64_t>& symbols, Shapes* shapes) {
  if (symbols.size() != program.symbols.size()) {
    return error(StatusCode::invalid_argument, "Expected %zu symbol values for the run but received %zu", program.symbols.size(),
                 symbols.size());
  }
  for (size_t i = 0; i < symbols.size(); ++i) {
    if (symbols[i] < 0 || symbols[i] > program.symbols[i].capacity) {
      return error(StatusCode::invalid_argument, "Expected at most %lld for symbol %zu but received %lld",
                   static_cast<long long>(program.symbols[i].capacity), i, static_cast<long long>(symbols[i]));
    }
  }
  shapes->tensors.resize(program.values.size());
  for (size_t i = 0; i < program.values.size(); ++i) {
    const ValueInfo& value = program.values[i];
    Tensor& t = shapes->tensors[i];
    t = Tensor{};
    t.dtype = value.dtype;
    t.rank = static_cast<int32_t>(value.dims.size());
    int64_t last = 0;
    int64_t extent = 1;
    bool empty = false;
    for (int32_t a = 0; a < t.rank; ++a) {
      t.dim[a] = evaluate(value.dims[a], symbols);
      t.stride[a] = value.strides[a];
      if (t.dim[a] < 0 || t.dim[a] > kMaxExtent) return bad("a dimension out of bounds");
      if (t.dim[a] == 0) empty = true;
      int64_t reach;
      if (__builtin_mul_overflow(t.dim[a] - 1, t.stride[a], &reach) || __builtin_add_overflow(last, reach, &last)) {
        return bad("a shape that overflows");
      }
      if (__builtin_mul_overflow(extent, std::max<int64_t>(1, t.dim[a]), &extent)) return bad("a shape that overflows");
    }
    // No storage bounds the other dimensions of an empty value, and kernels walk over them.
    if (extent > (empty ? kMaxEmptyExtent : kMaxExtent)) return bad("a dimension out of bounds");
    const int64_t room = (value.storage_bytes - value.offset) / dtype_size(value.dtype);
    if (!empty && last >= room) return bad("a value that reaches beyond its storage");
  }
  for (const NodeInfo& node : program.nodes) {
    Status status = check_node(node, shapes->tensors);
    if (status.ok()) status = check_relations(node, shapes->tensors);
    if (!status.ok()) return status;
  }
  return {};
}

Status check_indices(const BindingInfo& binding, const std::vector<int64_t>& symbols, const int32_t* data, int64_t count) {
  const int64_t bound = evaluate(binding.bound, symbols);
  if (binding.role == IndexRole::cu_seqlens) {
    bool good = count >= 1 && data[0] == 0 && data[count - 1] == bound;
    for (int64_t i = 1; good && i < count; ++i) good = data[i] >= data[i - 1];
    if (good) return {};
    return error(StatusCode::invalid_argument,
                 "Expected sequence borders that start at 0, never fall and end at %lld but received others", static_cast<long long>(bound));
  }
  for (int64_t i = 0; i < count; ++i) {
    if (data[i] < binding.low || data[i] >= bound) {
      return error(StatusCode::invalid_argument, "Expected an index in [%lld, %lld) but received %d at place %lld",
                   static_cast<long long>(binding.low), static_cast<long long>(bound), data[i], static_cast<long long>(i));
    }
  }
  if (binding.role == IndexRole::slots) {
    std::vector<int32_t> slots(data, data + count);
    std::sort(slots.begin(), slots.end());
    const auto first = std::lower_bound(slots.begin(), slots.end(), 0);
    const auto twice = std::adjacent_find(first, slots.end());
    if (twice != slots.end()) {
      return error(StatusCode::invalid_argument, "Expected a state slot of its own for every sequence but received slot %d twice", *twice);
    }
  }
  return {};
}

Status decode_program(const void* bytes, int64_t size, Program* program) {
  if (size % 8 != 0) return bad("a length that is no multiple of 8");
  Reader in(bytes, size);
  if (in.word() != kProgramMagic) return bad("another format");
  if (!read_hash(in)) {
    return error(StatusCode::invalid_program,
                 "Expected a program for the kernels' op records but received one for others: the TypeScript and native parts differ");
  }
  program->arena_bytes = in.word();
  if (program->arena_bytes < 0 || program->arena_bytes > kMaxExtent) return bad("an arena out of bounds");
  const int64_t symbol_count = in.count();
  program->buffer_count = in.word();
  const int64_t value_count = in.count();
  const int64_t binding_count = in.count();
  const int64_t node_count = in.count();
  if (in.overrun() || program->buffer_count < 0 || program->buffer_count > kMaxCount) return bad("counts out of bounds");

  for (int64_t i = 0; i < symbol_count; ++i) {
    const int64_t capacity = in.word();
    // The source and rule of a derived symbol are the host's business: it sends the value, kernels check it.
    for (int skip = 0; skip < 3; ++skip) in.word();
    if (capacity < 0 || capacity > kMaxExtent) return bad("a symbol capacity out of bounds");
    program->symbols.push_back({capacity});
  }
  for (int64_t i = 0; i < value_count; ++i) {
    ValueInfo value;
    const int64_t dtype = in.word();
    const int64_t rank = in.word();
    if (dtype < 0 || dtype >= kDTypeCount || rank < 0 || rank > kMaxRank) return bad("an unknown dtype or rank");
    value.dtype = static_cast<DType>(dtype);
    const int64_t buffer = in.word();
    value.base = in.word();
    value.offset = in.word();
    value.storage_bytes = in.word();
    if (buffer < -1 || buffer >= program->buffer_count) return bad("a buffer that does not exist");
    value.buffer = static_cast<int32_t>(buffer);
    if (value.offset < 0 || value.offset % dtype_size(value.dtype) != 0 || value.storage_bytes < 0 || value.storage_bytes > kMaxExtent ||
        value.offset > value.storage_bytes) {
      return bad("a view outside its storage");
    }
    if (value.buffer < 0 && (value.base < 0 || value.base % kArenaAlignment != 0 || value.base > program->arena_bytes ||
                             value.storage_bytes > program->arena_bytes - value.base)) {
      return bad("a value outside the arena");
    }
    for (int64_t a = 0; a < rank; ++a) {
      value.dims.push_back(read_dim(in));
      if (!known_symbols(value.dims.back(), program->symbols.size())) return bad("an unknown symbol");
    }
    for (int64_t a = 0; a < rank; ++a) {
      value.strides.push_back(in.word());
      if (value.strides.back() < 0 || value.strides.back() > kMaxExtent) return bad("a stride out of bounds");
    }
    program->values.push_back(std::move(value));
  }
  for (int64_t i = 0; i < binding_count; ++i) {
    BindingInfo binding;
    const int64_t kind = in.word();
    binding.value = in.word();
    const int64_t role = in.word();
    binding.low = in.word();
    binding.bound = read_dim(in);
    if (kind < 0 || kind > 3 || role < 0 || role > 3) return bad("an unknown binding");
    binding.kind = static_cast<BindingKind>(kind);
    binding.role = static_cast<IndexRole>(role);
    if (binding.value < 0 || binding.value >= value_count || !known_symbols(binding.bound, program->symbols.size())) {
      return bad("a binding of nothing");
    }
    const ValueInfo& value = program->values[binding.value];
    const bool in_arena = binding.kind == BindingKind::input || binding.kind == BindingKind::output;
    if (in_arena != (value.buffer < 0)) return bad("a binding in the wrong place");
    if (binding.role != IndexRole::none && (value.dtype != DType::i32 || value.dims.size() != 1 || binding.kind != BindingKind::input)) {
      return bad("an index role on something else");
    }
    program->bindings.push_back(std::move(binding));
  }
  for (int64_t i = 0; i < node_count; ++i) {
    const Status status = read_node(in, program);
    if (!status.ok()) return status;
  }
  if (!in.finished()) return bad("too few or too many words");
  find_writes(program);

  std::vector<int64_t> capacities;
  for (const SymbolInfo& symbol : program->symbols) capacities.push_back(symbol.capacity);
  Shapes shapes;
  return resolve_shapes(*program, capacities, &shapes);
}

}  // namespace krait

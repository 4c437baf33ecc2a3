// The decoder and the executor under valid, cut and damaged programs. Damage is seeded: the same programs are tried every time.
#include "executor/program.h"

#include <sanitizer/asan_interface.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>

#include "bounds.h"
#include "check.h"
#include "cpu/backend.h"
#include "executor/run.h"
#include "programs.h"
#include "random.h"

namespace krait::test {
namespace {

using Bytes = std::vector<char>;

constexpr int kDamages = 20000;

constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
constexpr int64_t kLeast = std::numeric_limits<int64_t>::min();
constexpr int64_t kNasty[] = {0,
                              1,
                              -1,
                              2,
                              3,
                              7,
                              255,
                              256,
                              257,
                              1 << 16,
                              int64_t{1} << 31,
                              int64_t{1} << 32,
                              int64_t{1} << 47,
                              int64_t{1} << 48,
                              int64_t{1} << 62,
                              kMost,
                              kMost - 7,
                              kLeast,
                              kLeast + 1};

Status decode(const Bytes& bytes, Program* program) {
  // In memory of exactly this size, so that a read beyond the end is seen.
  const std::vector<char> copy(bytes);
  return decode_program(copy.data(), static_cast<int64_t>(copy.size()), program);
}

std::vector<int64_t> capacities(const Program& program) {
  std::vector<int64_t> values;
  for (const SymbolInfo& symbol : program.symbols) values.push_back(symbol.capacity);
  return values;
}

void put(Bytes* bytes, size_t word, int64_t value) { std::memcpy(bytes->data() + 8 * word, &value, 8); }

int64_t get(const Bytes& bytes, size_t word) {
  int64_t value;
  std::memcpy(&value, bytes.data() + 8 * word, 8);
  return value;
}

// One to three wounds after the magic number and the hash, which would hide all else.
Bytes damaged(const Bytes& bytes, Random* random) {
  constexpr int64_t kHeader = 5;
  Bytes copy = bytes;
  const int64_t words = static_cast<int64_t>(copy.size()) / 8;
  for (int64_t wounds = 1 + random->below(3); wounds > 0; --wounds) {
    const size_t at = static_cast<size_t>(kHeader + random->below(words - kHeader));
    switch (random->below(5)) {
      case 0:
        put(&copy, at, get(copy, at) ^ (int64_t{1} << random->below(63)));
        break;
      case 1:
        put(&copy, at, kNasty[random->below(std::size(kNasty))]);
        break;
      case 2:
        put(&copy, at, static_cast<int64_t>(static_cast<uint64_t>(get(copy, at)) + random->next() % 9 - 4));
        break;
      case 3:
        put(&copy, at, get(copy, static_cast<size_t>(kHeader + random->below(words - kHeader))));
        break;
      case 4:
        put(&copy, at, static_cast<int64_t>(random->next()));
        break;
    }
  }
  return copy;
}

std::string survives(const Bytes& bytes, Random* random, int* accepted) {
  Program program;
  if (!decode(bytes, &program).ok()) return "";
  ++*accepted;
  Shapes shapes;
  std::vector<int64_t> symbols = capacities(program);
  if (!resolve_shapes(program, symbols, &shapes).ok()) return "accepted, but its own capacities are refused";
  std::string wrong = outside(program, shapes);
  if (!wrong.empty()) return wrong;
  for (int64_t& symbol : symbols) symbol = random->below(symbol == std::numeric_limits<int64_t>::max() ? symbol : symbol + 1);
  if (resolve_shapes(program, symbols, &shapes).ok()) wrong = outside(program, shapes);
  return wrong;
}

// The arena of the program that runs.
struct {
  char* data;
  size_t bytes;
} arena;

void allow(const void* data, int64_t bytes) { ASAN_UNPOISON_MEMORY_REGION(data, static_cast<size_t>(bytes)); }

// One op, which may touch its operands and its scratch memory and nothing else of the arena.
void run_fenced(void* device, int64_t op, const Call* call, Status* status) {
  ASAN_POISON_MEMORY_REGION(arena.data, arena.bytes);
  for (int32_t i = 0; i < kOps[op].operand_count; ++i) {
    const Tensor& t = call->operands[i];
    int64_t count = t ? 1 : 0;
    for (int32_t a = 0; a < t.rank; ++a) count = t.dim[a] == 0 || count == 0 ? 0 : count + (t.dim[a] - 1) * t.stride[a];
    if (count > 0) allow(t.data, count * dtype_size(t.dtype));
  }
  if (call->scratch != nullptr) allow(call->scratch, call->scratch_bytes);
  cpu::backend()->run(device, op, call, status);
  allow(arena.data, static_cast<int64_t>(arena.bytes));
}

// A CPU whose kernels run on the calling thread.
std::shared_ptr<Device> device() {
  static const std::shared_ptr<Device> opened = [] {
    static krait_backend_table table = *cpu::backend();
    table.run = run_fenced;
    Status status;
    return Device::open(&table, {.index = 0, .threads = 1, .urgent = false}, &status);
  }();
  return opened;
}

// Plausible data: borders and indices as their roles ask, the rest small.
void fill(const BindingInfo& binding, const std::vector<int64_t>& symbols, const Tensor& t, Staging* staging, Random* random) {
  auto* bytes = static_cast<unsigned char*>(staging->data());
  const int64_t count = staging->bytes() / dtype_size(t.dtype);
  const int64_t bound = std::min<int64_t>(evaluate(binding.bound, symbols), std::numeric_limits<int32_t>::max());
  for (int64_t i = 0; i < count; ++i) {
    const float real = random->real();
    const auto i32 = static_cast<int32_t>(binding.role == IndexRole::cu_seqlens ? (i + 1 == count ? bound : i * bound / count)
                                          : binding.role == IndexRole::slots    ? (i < bound ? i : -1)
                                          : binding.role == IndexRole::range    ? random->below(bound)
                                                                                : random->below(64) - 8);
    const int64_t i64 = random->below(100);
    switch (t.dtype) {
      case DType::f32:
        std::memcpy(bytes + 4 * i, &real, 4);
        break;
      case DType::i32:
        std::memcpy(bytes + 4 * i, &i32, 4);
        break;
      case DType::i64:
        std::memcpy(bytes + 8 * i, &i64, 8);
        break;
      default:
        bytes[i * dtype_size(t.dtype)] = static_cast<unsigned char>(random->below(256));
    }
  }
}

int64_t elements(const Tensor& t) {
  int64_t n = 1;
  for (int32_t a = 0; a < t.rank; ++a) n *= t.dim[a];
  return n;
}

// Runs a decoded program once with these symbols.
Status run(const Program& program, const std::vector<int64_t>& symbols, Random* random) {
  Status status;
  Shapes shapes;
  status = resolve_shapes(program, symbols, &shapes);
  if (!status.ok()) return status;
  LoadedProgram loaded;
  loaded.device = device();
  loaded.program = program;
  loaded.arena = device()->allocate(program.arena_bytes, &status);
  arena = {static_cast<char*>(loaded.arena->data()), static_cast<size_t>(program.arena_bytes)};
  std::memset(arena.data, 0xff, arena.bytes);
  RunRequest request;
  request.symbols = symbols;
  request.cancel = std::make_shared<std::atomic<bool>>(false);
  std::vector<int64_t> needed(static_cast<size_t>(program.buffer_count), 0);
  for (const ValueInfo& value : program.values) {
    if (value.buffer >= 0) needed[value.buffer] = std::max(needed[value.buffer], value.storage_bytes);
  }
  for (const int64_t bytes : needed) {
    request.buffers.push_back(device()->allocate(bytes, &status));
    auto* data = static_cast<float*>(request.buffers.back()->data());
    for (int64_t i = 0; i < bytes / 4; ++i) data[i] = random->real();
  }
  for (const BindingInfo& binding : program.bindings) {
    const Tensor& t = shapes.tensors[binding.value];
    if (binding.kind != BindingKind::input && binding.kind != BindingKind::output) continue;
    const int64_t bytes = elements(t) * dtype_size(t.dtype);
    auto staging = std::make_shared<Staging>(bytes);
    if (binding.kind == BindingKind::input) fill(binding, symbols, t, staging.get(), random);
    (binding.kind == BindingKind::input ? request.inputs : request.outputs).push_back(staging);
  }
  return run_program(loaded, request);
}

Bytes read(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return Bytes(std::istreambuf_iterator<char>(in), {});
}

std::string refuses_cuts(const Bytes& bytes) {
  for (size_t size = 0; size < bytes.size(); size += size < 128 ? 1 : 8) {
    Program program;
    if (decode(Bytes(bytes.begin(), bytes.begin() + static_cast<int64_t>(size)), &program).ok()) return text("accepted its first %zu bytes", size);
  }
  Bytes longer = bytes;
  longer.resize(bytes.size() + 8);
  Program program;
  return decode(longer, &program).ok() ? "accepted with a word too many" : "";
}

std::string survives_damage(const Bytes& bytes, uint64_t seed) {
  Random random(seed);
  int accepted = 0;
  for (int i = 0; i < kDamages; ++i) {
    const std::string wrong = survives(damaged(bytes, &random), &random, &accepted);
    if (!wrong.empty()) return text("damage %d: %s", i, wrong.c_str());
  }
  // Attributes and capacities may change without harm; if nothing passes, nothing was tried.
  return accepted > kDamages / 100 ? "" : text("only %d of %d damaged programs were accepted", accepted, kDamages);
}

std::string runs(const Bytes& bytes, const std::vector<int64_t>& symbols, uint64_t seed) {
  Random random(seed);
  Program program;
  Status status = decode(bytes, &program);
  if (status.ok()) status = run(program, symbols, &random);
  return status.message;
}

// Any number of tokens up to the capacity; counts that follow from the borders may not fit them, which is an error and no more.
std::string runs_at_any_size(const Bytes& bytes, uint64_t seed) {
  Random random(seed);
  Program program;
  if (!decode(bytes, &program).ok()) return "not decoded";
  for (int i = 0; i < 200; ++i) {
    std::vector<int64_t> symbols = capacities(program);
    for (int64_t& symbol : symbols) symbol = random.below(symbol + 1);
    run(program, symbols, &random);
  }
  return "";
}

// Whatever number an attribute is, and however little scratch memory there is, the program is refused or runs.
std::string runs_with_any_attribute(const Bytes& bytes, const std::vector<int64_t>& symbols, uint64_t seed) {
  constexpr double kReals[] = {0,     -0.0, 1,       -1,     0.5,     1e-300, 1e300,
                               -1e300, 1e38, std::numeric_limits<double>::infinity(), std::numeric_limits<double>::quiet_NaN()};
  Random random(seed);
  Program program;
  if (!decode(bytes, &program).ok()) return "not decoded";
  const std::vector<NodeInfo> nodes = program.nodes;
  for (size_t n = 0; n < nodes.size(); ++n) {
    const OpSignature& op = kOps[nodes[n].op];
    for (int i = 0; i < 40 * op.attribute_count + 4; ++i) {
      NodeInfo& node = program.nodes[n];
      node = nodes[n];
      node.scratch_bytes = random.below(4) > 0 ? node.scratch_bytes : random.below(node.scratch_bytes + 1);
      if (op.attribute_count > 0) {
        const int64_t a = random.below(op.attribute_count);
        Attribute& attribute = node.attributes[a];
        if (op.attributes[a].type == AttributeType::f64) {
          attribute.f = kReals[random.below(std::size(kReals))];
        } else if (op.attributes[a].type == AttributeType::enum_) {
          attribute.i = random.below(op.attributes[a].choices);
        } else {
          attribute.i = random.below(2) > 0 ? kNasty[random.below(std::size(kNasty))] : random.below(80) - 8;
        }
      }
      run(program, symbols, &random);
    }
    program.nodes[n] = nodes[n];
  }
  return "";
}

}  // namespace

void add_program_tests(const std::string& folder) {
  uint64_t seed = 1;
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() == ".program") paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  for (const auto& path : paths) {
    const Bytes bytes = read(path);
    // Beside each program lie the values of its symbols in a full run, for the borders that `fill` makes.
    std::ifstream values(std::filesystem::path(path).replace_extension(".symbols"));
    const std::vector<int64_t> symbols(std::istream_iterator<int64_t>(values), {});
    const std::string name = path.stem();
    ++seed;
    Adds(name + " runs", [=] { return runs(bytes, symbols, seed); });
    Adds(name + " is refused when cut", [=] { return refuses_cuts(bytes); });
    Adds(name + " survives damage", [=] { return survives_damage(bytes, seed); });
    Adds(name + " runs at any size", [=] { return runs_at_any_size(bytes, seed); });
    Adds(name + " runs with any attribute or is refused", [=] { return runs_with_any_attribute(bytes, symbols, seed); });
  }
  if (paths.empty()) Adds("programs", [=] { return "none in " + folder; });
}

}  // namespace krait::test

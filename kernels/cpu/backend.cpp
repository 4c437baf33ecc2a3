// The CPU as a backend: plain memory, one OpenMP team owned by the executor thread.
#include "backend.h"

#include <omp.h>
#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <new>
#include <vector>

#include "cpu.h"
#include "half.h"
#include "onednn.h"

namespace krait::cpu {
namespace {

struct Entry {
  Status (*kernel)(const Call&, const Cpu&);
  bool reads_bf16;
};

#define KRAIT_ENTRY(name, Args) {[](const Call& c, const Cpu& cpu) { return name(unpack_##name(c), cpu); }, kReadsBf16<Args>},
constexpr Entry kEntries[] = {KRAIT_OPS(KRAIT_ENTRY)};
#undef KRAIT_ENTRY

struct Device {
  Cpu cpu;
  KeptMemory workspace;  // of the executor thread
  std::vector<std::chrono::steady_clock::time_point> marks;
};

int32_t device_count(Status*) { return 1; }

void* open(const krait_device_options* options, Status*) {
  auto* device = new Device();
  device->cpu.threads = options->threads > 0 ? options->threads : omp_get_num_procs();
  // Also what oneDNN uses on this thread.
  omp_set_num_threads(device->cpu.threads);
  return device;
}

void close(void* device) { delete static_cast<Device*>(device); }

// Weights are streamed from memory whole: with pages of 2 MiB far fewer addresses have to be translated.
constexpr size_t kHugePage = 2u << 20;

void* allocate(void*, int64_t bytes, Status* status) {
  const bool huge = static_cast<size_t>(bytes) >= kHugePage;
  const size_t unit = huge ? kHugePage : static_cast<size_t>(kArenaAlignment);
  const size_t rounded = (static_cast<size_t>(bytes) / static_cast<size_t>(kArenaAlignment) + 1) * static_cast<size_t>(kArenaAlignment);
  void* data = nullptr;
  if (posix_memalign(&data, unit, rounded) != 0) {
    *status = error(StatusCode::out_of_memory, "Expected %lld bytes of memory but the system gave none", static_cast<long long>(bytes));
    return nullptr;
  }
#if defined(__linux__)
  // Whole huge pages alone, so that no memory is taken that was not asked for. A refusal changes nothing but the speed.
  if (huge) madvise(data, rounded / kHugePage * kHugePage, MADV_HUGEPAGE);
#endif
  return data;
}

void release(void*, void* memory) { std::free(memory); }

void copy(void*, void* to, const void* from, int64_t bytes, Status*) { std::memcpy(to, from, static_cast<size_t>(bytes)); }

void fill(void*, void* to, int32_t byte, int64_t bytes, Status*) { std::memset(to, byte, static_cast<size_t>(bytes)); }

void run(void* device, int64_t op, const Call* call, Status* status) {
  auto* at = static_cast<Device*>(device);
  bool is_narrow = false;
  for (int32_t i = 0; i < kOps[op].operand_count; ++i) {
    const Tensor& t = call->operands[i];
    if (!t) continue;
    if (t.dtype == DType::f16) {
      *status = error(StatusCode::unsupported, "Expected f32 or bf16 for %s of %s on the CPU but received f16", kOps[op].operands[i].name,
                      kOps[op].name);
      return;
    }
    is_narrow = is_narrow || t.dtype == DType::bf16;
  }
  const Entry& entry = kEntries[op];
  *status = is_narrow && !entry.reads_bf16 ? run_widened(kOps[op], *call, at->cpu, at->workspace, entry.kernel) : entry.kernel(*call, at->cpu);
}

void synchronize(void*, Status*) {}

void mark(void* device, int32_t slot, Status*) {
  auto& marks = static_cast<Device*>(device)->marks;
  if (marks.size() <= static_cast<size_t>(slot)) marks.resize(static_cast<size_t>(slot) + 1);
  marks[static_cast<size_t>(slot)] = std::chrono::steady_clock::now();
}

double elapsed(void* device, int32_t from, int32_t to, Status*) {
  const auto& marks = static_cast<const Device*>(device)->marks;
  return std::chrono::duration<double, std::milli>(marks.at(static_cast<size_t>(to)) - marks.at(static_cast<size_t>(from))).count();
}

void describe(void* device, char* json, int64_t capacity) {
  std::snprintf(json, static_cast<size_t>(capacity), "{\"kind\":\"cpu\",\"threads\":%d,\"gemm\":\"%s\"}",
                static_cast<const Device*>(device)->cpu.threads, onednn_version());
}

}  // namespace

const krait_backend_table* backend() {
  static const krait_backend_table table = {
      sizeof(krait_backend_table), kAbiHash, "cpu", device_count, open, close, allocate, release, copy, copy, fill, nullptr, nullptr, nullptr,
      nullptr, nullptr, nullptr, run, nullptr, synchronize, nullptr, nullptr, nullptr, nullptr, mark, elapsed, describe
  };
  return &table;
}

}  // namespace krait::cpu

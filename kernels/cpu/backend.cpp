// The CPU as a backend: plain memory, one OpenMP team owned by the executor thread.
#include "backend.h"

#include <omp.h>

#include <cstdlib>
#include <cstring>
#include <new>

#include "cpu.h"
#include "onednn.h"

namespace krait::cpu {
namespace {

using Kernel = Status (*)(const Call&, const Cpu&);

#define KRAIT_ENTRY(name, Args) [](const Call& c, const Cpu& cpu) { return name(unpack_##name(c), cpu); },
constexpr Kernel kKernels[] = {KRAIT_OPS(KRAIT_ENTRY)};
#undef KRAIT_ENTRY

int32_t device_count(Status*) { return 1; }

void* open(const krait_device_options* options, Status*) {
  auto* cpu = new Cpu();
  cpu->threads = options->threads > 0 ? options->threads : omp_get_num_procs();
  // Also what oneDNN uses on this thread.
  omp_set_num_threads(cpu->threads);
  return cpu;
}

void close(void* device) { delete static_cast<Cpu*>(device); }

void* allocate(void*, int64_t bytes, Status* status) {
  const size_t rounded = static_cast<size_t>((bytes + kArenaAlignment) / kArenaAlignment * kArenaAlignment);
  void* data = std::aligned_alloc(kArenaAlignment, rounded);
  if (data == nullptr) {
    *status = error(StatusCode::out_of_memory, "Expected %lld bytes of memory but the system gave none", static_cast<long long>(bytes));
  }
  return data;
}

void release(void*, void* memory) { std::free(memory); }

void copy(void*, void* to, const void* from, int64_t bytes, Status*) { std::memcpy(to, from, static_cast<size_t>(bytes)); }

void fill(void*, void* to, int32_t byte, int64_t bytes, Status*) { std::memset(to, byte, static_cast<size_t>(bytes)); }

void run(void* device, int64_t op, const Call* call, Status* status) {
  for (int32_t i = 0; i < kOps[op].operand_count; ++i) {
    const Tensor& t = call->operands[i];
    if (t && (t.dtype == DType::bf16 || t.dtype == DType::f16)) {
      *status = error(StatusCode::unsupported, "Expected f32 for %s of %s on the CPU but received a 16-bit float", kOps[op].operands[i].name,
                      kOps[op].name);
      return;
    }
  }
  *status = kKernels[op](*call, *static_cast<const Cpu*>(device));
}

void synchronize(void*, Status*) {}

void describe(void* device, char* json, int64_t capacity) {
  std::snprintf(json, static_cast<size_t>(capacity), "{\"kind\":\"cpu\",\"threads\":%d,\"gemm\":\"%s\"}",
                static_cast<const Cpu*>(device)->threads, onednn_version());
}

}  // namespace

const krait_backend_table* backend() {
  static const krait_backend_table table = {sizeof(krait_backend_table), kAbiHash, "cpu", device_count, open,        close,   allocate,
                                            release, copy, copy, fill, run,        synchronize, describe};
  return &table;
}

}  // namespace krait::cpu

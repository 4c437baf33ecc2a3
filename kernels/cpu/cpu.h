// What every CPU kernel may use.
#pragma once

#include "krait/abi.h"
#include "krait/ops.h"

namespace krait::cpu {

// The device a kernel runs on. Kernels open OpenMP regions with `num_threads(cpu.threads)`.
struct Cpu {
  int32_t threads = 1;
};

// Each is defined in kernels/cpu/<op>.cpp. A kernel returns an error for what shapes cannot say; it never throws.
#define KRAIT_DECLARE(name, Args) Status name(const Args& a, const Cpu& cpu);
KRAIT_OPS(KRAIT_DECLARE)
#undef KRAIT_DECLARE

}  // namespace krait::cpu

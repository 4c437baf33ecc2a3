// Kernels that may begin before the one in front of them has ended. In a step of one token most of a kernel's time is the start of the
// next: launched early, it has its weights in registers by the time its inputs are there. Several kernels may be under way so, each
// waiting for the one before; what they read early (parameters, states, borders and slots) was written in an earlier run. Therefore a
// kernel that writes borders, or copies what others take for an input of the run, neither begins early nor lets the next begin.
#pragma once

#include "cuda.h"

namespace krait::cuda {

// Rows up to which a run counts as a step.
inline constexpr int64_t kFewRows = 8;

// Until all kernels before this one have ended. Only what no kernel writes (parameters) may be read before, and nothing written.
__device__ __forceinline__ void wait_for_inputs() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// The next kernel's blocks may take the room that this one's leave; they wait for its end all the same. Called first of all: the kernels
// behind begin one after the other, each when all blocks of the one before have said so.
__device__ __forceinline__ void let_next_begin() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;");
#endif
}

// Brings what a kernel will need after its inputs into the first cache.
__device__ __forceinline__ void touch(const void* address) {
  asm volatile("{ .reg .b32 unused; ld.global.ca.b32 unused, [%0]; }" ::"l"(address));
}

// Launches a kernel that calls wait_for_inputs().
template <typename... Parameters, typename... Arguments>
Status launch_early(const char* op, const Cuda& cuda, void (*kernel)(Parameters...), dim3 blocks, dim3 threads, const Arguments&... arguments) {
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = blocks;
  config.blockDim = threads;
  config.stream = cuda.stream;
  config.attrs = &attribute;
  config.numAttrs = cuda.waits_for_inputs ? 1 : 0;
  cudaLaunchKernelEx(&config, kernel, arguments...);
  return launched(op);
}

}  // namespace krait::cuda

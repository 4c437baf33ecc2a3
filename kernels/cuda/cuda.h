// What every CUDA kernel may use.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include "krait/abi.h"
#include "krait/ops.h"

namespace krait::cuda {

// The device a kernel runs on. Kernels are launched on `stream` and never wait for it.
struct Cuda {
  cudaStream_t stream = nullptr;
  int32_t device = 0;
  int32_t multiprocessors = 0;
  int32_t shared_memory_limit = 0;  // bytes one block may ask for
  // A device word; a kernel that meets data it must refuse sets it to 1 + the op's number. Read at synchronize.
  int32_t* error_word = nullptr;
  // The machine code that runs here is compiled for Hopper, whose kernels may begin before others end and wait for their inputs.
  bool waits_for_inputs = false;
  // For whichever op runs: cuBLASLt's workspace, the segments of selective_scan.
  void* workspace = nullptr;
  int64_t workspace_bytes = 0;
};

// Each is defined in kernels/cuda/<op>.cu.
#define KRAIT_DECLARE(name, Args) Status name(const Args& a, const Cuda& cuda);
KRAIT_OPS(KRAIT_DECLARE)
#undef KRAIT_DECLARE

// After each launch.
inline Status launched(const char* op) {
  const cudaError_t result = cudaGetLastError();
  if (result == cudaSuccess) return {};
  return error(StatusCode::device, "Expected %s to launch but CUDA reported %s", op, cudaGetErrorString(result));
}

template <typename T>
__device__ __forceinline__ float to_float(T value) {
  return static_cast<float>(value);
}
template <>
__device__ __forceinline__ float to_float(__nv_bfloat16 value) {
  return __bfloat162float(value);
}

template <typename T>
__device__ __forceinline__ T from_float(float value) {
  return static_cast<T>(value);
}
template <>
__device__ __forceinline__ __nv_bfloat16 from_float(float value) {
  return __float2bfloat16_rn(value);
}

// Calls `body` with a null pointer of the element type of a float dtype: with_float(t.dtype, [&](auto* e) { using T = ...; }).
template <typename Body>
Status with_float(DType dtype, Body&& body) {
  if (dtype == DType::f32) return body(static_cast<float*>(nullptr));
  if (dtype == DType::bf16) return body(static_cast<__nv_bfloat16*>(nullptr));
  return error(StatusCode::unsupported, "Expected f32 or bf16 on CUDA but received dtype %d", static_cast<int>(dtype));
}

}  // namespace krait::cuda

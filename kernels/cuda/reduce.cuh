// Sums over the threads of one row, in an order that only the block's shape decides.
#pragma once

#include "cuda.h"

namespace krait::cuda {

// The sum of `value` over the threads with this threadIdx.y; blockDim.x is a multiple of 32 and the block has at most 1024 threads.
// Every thread of the block must call it; `shared` holds 32 floats.
__device__ __forceinline__ float row_sum(float value, float* shared) {
#pragma unroll
  for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(0xffffffffu, value, step);
  const unsigned warps = blockDim.x / 32;
  if (warps == 1) return value;
  float* row = shared + threadIdx.y * warps;
  __syncthreads();
  if (threadIdx.x % 32 == 0) row[threadIdx.x / 32] = value;
  __syncthreads();
  float sum = 0;
  for (unsigned w = 0; w < warps; ++w) sum += row[w];
  return sum;
}

}  // namespace krait::cuda

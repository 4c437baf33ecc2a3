// cuBLASLt, opened at run time: never needed to build or to load the plugin.
#pragma once

#include "gemm.cuh"

namespace krait::cuda {

// What a product left undone.
struct Leftover {
  bool product = true;
  bool bias_activation = true;
};

// Enqueues p on the device's stream as far as cuBLASLt serves. Never in TF32; sums are split only where the parts stay in float32.
Leftover cublaslt_product(const Product& p, const Cuda& cuda);

// `version`: "cublaslt 13.1.1", or "own" when it is not there. `detail`: the file it came from, or why and where it was not found.
void cublaslt_describe(const char** version, const char** detail);

}  // namespace krait::cuda

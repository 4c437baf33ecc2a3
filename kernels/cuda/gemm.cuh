// Our own matrix products, for where cuBLASLt is not there or refuses.
#pragma once

#include "cuda.h"

namespace krait::cuda {

// y[rows, width] = f(x[rows, depth] · weight[width, depth]ᵀ + bias[width]); float32 sums. x and weight share a dtype, f32 or bf16.
struct Product {
  const void* x;
  const void* weight;
  const void* bias;  // or null
  void* y;
  int64_t rows, width, depth;
  int64_t x_stride, weight_stride, y_stride;  // in elements
  DType dtype, bias_dtype, y_dtype;
  LinearArgs::Activation activation;
};

Product product_of(const LinearArgs& a);

// Every row of y is summed in the same order, whatever the number of rows.
Status own_product(const Product& p, const Cuda& cuda);

// The same for a step of a few tokens, which is bound by reading the weights once. Every row is summed in the same order here too.
bool takes_few_rows(const Product& p);
Status few_rows_product(const Product& p, const Cuda& cuda);

// y = f(y + bias) in place, for what a product left to do.
Status bias_activation(const Product& p, const Cuda& cuda);

}  // namespace krait::cuda

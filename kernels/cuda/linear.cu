#include "cublaslt.h"
#include "rows.cuh"

namespace krait::cuda {

Product product_of(const LinearArgs& a) {
  Product p{};
  p.x = a.x.data;
  p.weight = a.weight.data;
  p.bias = a.bias.data;
  p.y = a.y.data;
  p.rows = a.x.dim[0];
  p.width = a.weight.dim[0];
  p.depth = a.x.dim[1];
  p.x_stride = row_stride(a.x);
  p.weight_stride = row_stride(a.weight);
  p.y_stride = row_stride(a.y);
  p.dtype = a.x.dtype;
  p.bias_dtype = a.bias.dtype;
  p.y_dtype = a.y.dtype;
  p.activation = a.activation;
  return p;
}

Status linear(const LinearArgs& a, const Cuda& cuda) {
  const Product p = product_of(a);
  if (p.rows == 0 || p.width == 0) return {};
  const auto is_float = [](DType dtype) { return dtype == DType::f32 || dtype == DType::bf16; };
  if (a.weight.dtype != p.dtype || !is_float(p.dtype) || !is_float(p.y_dtype) || (a.bias && !is_float(p.bias_dtype))) {
    return error(StatusCode::unsupported, "Expected f32 or bf16 for linear, one for x and weight, but received dtypes %d and %d",
                 static_cast<int>(p.dtype), static_cast<int>(a.weight.dtype));
  }
  if (takes_few_rows(p)) return few_rows_product(p, cuda);
  const Leftover left = cublaslt_product(p, cuda);
  if (left.product) return own_product(p, cuda);
  return left.bias_activation ? bias_activation(p, cuda) : Status{};
}

}  // namespace krait::cuda

// Two ops that follow each other and run as one kernel.
#pragma once

#include "rows.cuh"

namespace krait::cuda {

// False where the two must run by themselves; nothing is enqueued then.
bool run_as_one(int64_t op, const Call& call, int64_t next_op, const Call& next, const Cuda& cuda, Status* status);

// A step of selective_scan whose dt is the product in front of it: each channel forms its own.
bool scan_with_product(const LinearArgs& product, const SelectiveScanArgs& scan, const Cuda& cuda, Status* status);

// The bytes that a tensor lies in.
struct Range {
  const char *begin, *end;

  explicit Range(const Tensor& t) : begin(t.as<const char>()), end(begin) {
    if (!t) return;
    int64_t last = 0;
    for (int32_t a = 0; a < t.rank; ++a) last += (t.dim[a] - 1) * (a == 0 ? row_stride(t) : t.stride[a]);
    end = begin + (last + 1) * dtype_size(t.dtype);
  }
  bool meets(const Tensor& t) const {
    const Range other(t);
    return begin < other.end && other.begin < end;
  }
};

}  // namespace krait::cuda

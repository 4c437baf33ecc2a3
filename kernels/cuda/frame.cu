#include "refuse.cuh"
#include "rows.cuh"

namespace krait::cuda {
namespace {

constexpr int kScanThreads = 1024;

// Whole frames of one sequence; 0 when its borders are none.
__device__ __forceinline__ int64_t frames_between(int64_t from, int64_t to, int64_t samples, int64_t size, int64_t hop, bool* bad) {
  if (from < 0 || to < from || to > samples) {
    *bad = true;
    return 0;
  }
  return to - from < size ? 0 : (to - from - size) / hop + 1;
}

// The borders of the frames, by one block: each thread sums a run of sequences, the runs are scanned, each thread writes its run.
__global__ void __launch_bounds__(kScanThreads) borders_kernel(const int32_t* cu_seqlens, int32_t* out, int64_t sequences, int64_t samples,
                                                               int64_t frames, int64_t size, int64_t hop, int32_t* error_word) {
  __shared__ int64_t sums[kScanThreads];
  const int64_t run = (sequences + kScanThreads - 1) / kScanThreads;
  const int64_t begin = min(sequences, threadIdx.x * run);
  const int64_t end = min(sequences, begin + run);
  bool bad = threadIdx.x == 0 && (cu_seqlens[0] != 0 || cu_seqlens[sequences] != samples);
  int64_t sum = 0;
  for (int64_t s = begin; s < end; ++s) sum += frames_between(cu_seqlens[s], cu_seqlens[s + 1], samples, size, hop, &bad);
  sums[threadIdx.x] = sum;
  __syncthreads();
  for (unsigned step = 1; step < kScanThreads; step *= 2) {
    const int64_t before = threadIdx.x >= step ? sums[threadIdx.x - step] : 0;
    __syncthreads();
    sums[threadIdx.x] += before;
    __syncthreads();
  }
  int64_t at = sums[threadIdx.x] - sum;
  if (threadIdx.x == 0) out[0] = 0;
  for (int64_t s = begin; s < end; ++s) {
    at += frames_between(cu_seqlens[s], cu_seqlens[s + 1], samples, size, hop, &bad);
    // Past `frames` nothing is read or written, so that wrong borders stay inside y.
    out[s + 1] = static_cast<int32_t>(min(at, frames));
  }
  bad = bad || (threadIdx.x == 0 && sums[kScanThreads - 1] != frames);
  if (bad) refuse<op_number("frame")>(error_word);
}

template <typename E>
struct Frame {
  const E* x;
  const int32_t* cu_seqlens;
  const int32_t* borders;
  Rows<E> y;
  int64_t sequences;
  int64_t hop;

  __device__ __forceinline__ void operator()(int64_t frame, int64_t i) const {
    E value = from_float<E>(0.0f);
    if (frame < borders[sequences]) {
      // The last sequence that begins at or before this frame; an empty one is passed over.
      int64_t low = 0, high = sequences - 1;
      while (low < high) {
        const int64_t middle = (low + high + 1) / 2;
        if (borders[middle] <= frame) {
          low = middle;
        } else {
          high = middle - 1;
        }
      }
      value = x[cu_seqlens[low] + (frame - borders[low]) * hop + i];
    }
    y.row(frame)[i] = value;
  }
};

}  // namespace

Status frame(const FrameArgs& a, const Cuda& cuda) {
  const int64_t frames = a.y.dim[0], sequences = a.cu_seqlens.dim[0] - 1;
  if (a.size < 1 || a.hop < 1 || a.y.dim[1] != a.size || sequences < 0) {
    return error(StatusCode::invalid_program, "Expected rows of frame's size %lld and a positive hop but received %lld and %lld",
                 static_cast<long long>(a.size), static_cast<long long>(a.y.dim[1]), static_cast<long long>(a.hop));
  }
  const auto* cu_seqlens = a.cu_seqlens.as<const int32_t>();
  auto* borders = a.out_cu_seqlens.as<int32_t>();
  borders_kernel<<<1, kScanThreads, 0, cuda.stream>>>(cu_seqlens, borders, sequences, a.x.dim[0], frames, a.size, a.hop, cuda.error_word);
  const Status status = launched("frame");
  if (!status.ok()) return status;
  return with_float(a.x.dtype, [&](auto* e) {
    using E = std::remove_pointer_t<decltype(e)>;
    return for_packs("frame", cuda, frames, a.size, Frame<E>{a.x.as<const E>(), cu_seqlens, borders, rows_of<E>(a.y), sequences, a.hop});
  });
}

}  // namespace krait::cuda

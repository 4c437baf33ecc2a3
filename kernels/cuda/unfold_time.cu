#include "borders.cuh"
#include "rows.cuh"

namespace krait::cuda {
namespace {

constexpr int32_t kUnfoldTime = op_number("unfold_time");

template <typename E>
struct Unfold {
  Sequences sequences;
  const int32_t* borders;  // of the rows of y
  const E* x;
  int64_t x_row;
  E* state;
  int64_t state_slot;
  E* y;
  int64_t y_row;
  int64_t channels, width, stride, before;
  int32_t* error_word;

  // Row r of sequence s, r < 0 being what was carried; null for zeros.
  __device__ const E* row(int32_t s, int64_t r) const {
    const int32_t from = sequences.borders[s];
    if (r >= sequences.borders[s + 1] - from || r < -before) return nullptr;
    if (r >= 0) return x + (from + r) * x_row;
    const int32_t slot = sequences.slot(s);
    return slot < 0 ? nullptr : state + slot * state_slot + (before + r) * channels;
  }
};

// The borders of the rows; refuses borders and slots that are none and runs that begin within a stride, which then have no rows.
template <typename E>
__global__ void __launch_bounds__(1024) unfold_borders_kernel(const Unfold<E> a, int32_t* out, int64_t rows) {
  __shared__ int64_t sums[1024];
  const int64_t run = (a.sequences.count + 1023) / 1024;
  const int64_t begin = min(static_cast<int64_t>(a.sequences.count), threadIdx.x * run);
  const int64_t end = min(static_cast<int64_t>(a.sequences.count), begin + run);
  bool bad = false;
  const auto rows_of_sequence = [&](int64_t s) -> int64_t {
    const int32_t i = static_cast<int32_t>(s);
    if (!a.sequences.is_valid(i) || (a.sequences.slot(i) >= 0 && a.sequences.start(i) % a.stride != 0)) {
      bad = true;
      return 0;
    }
    const int64_t length = a.sequences.borders[i + 1] - a.sequences.borders[i];
    return length == 0 ? 0 : (length - 1) / a.stride + 1;
  };
  int64_t sum = 0;
  for (int64_t s = begin; s < end; ++s) sum += rows_of_sequence(s);
  sums[threadIdx.x] = sum;
  __syncthreads();
  for (unsigned step = 1; step < 1024; step *= 2) {
    const int64_t earlier = threadIdx.x >= step ? sums[threadIdx.x - step] : 0;
    __syncthreads();
    sums[threadIdx.x] += earlier;
    __syncthreads();
  }
  int64_t at = sums[threadIdx.x] - sum;
  if (threadIdx.x == 0) out[0] = 0;
  for (int64_t s = begin; s < end; ++s) {
    at += rows_of_sequence(s);
    // Past `rows` nothing is read or written, so that wrong borders stay inside y.
    out[s + 1] = static_cast<int32_t>(min(at, rows));
  }
  if (bad || (threadIdx.x == 0 && sums[1023] != rows)) refuse<kUnfoldTime>(a.error_word);
}

template <typename E>
struct UnfoldRows {
  Unfold<E> a;

  __device__ __forceinline__ void operator()(int64_t f, int64_t i) const {
    E value = from_float<E>(0.0f);
    if (f < a.borders[a.sequences.count]) {
      // The last sequence whose rows begin at or before this one; an empty one is passed over.
      int32_t low = 0, high = a.sequences.count - 1;
      while (low < high) {
        const int32_t middle = (low + high + 1) / 2;
        if (a.borders[middle] <= f) low = middle;
        else high = middle - 1;
      }
      const E* x = a.row(low, (f - a.borders[low]) * a.stride - a.before + i % a.width);
      if (x != nullptr) value = x[i / a.width];
    }
    a.y[f * a.y_row + i] = value;
  }
};

// The last rows of each sequence become its tail. Blocks: sequences × channels in pieces.
template <typename E>
__global__ void __launch_bounds__(128) unfold_tail_kernel(const Unfold<E> a, int32_t parts) {
  const int32_t s = static_cast<int32_t>(blockIdx.x) / parts;
  const int64_t c = static_cast<int64_t>(static_cast<int32_t>(blockIdx.x) % parts) * 128 + threadIdx.x;
  if (!a.sequences.is_valid(s)) return;
  const int32_t slot = a.sequences.slot(s);
  const int64_t length = a.sequences.borders[s + 1] - a.sequences.borders[s];
  if (slot < 0 || length == 0 || c >= a.channels) return;
  // A short run moves the older rows up; each is read before it is replaced.
  for (int64_t r = 0; r < a.before; ++r) a.state[slot * a.state_slot + r * a.channels + c] = a.row(s, length - a.before + r)[c];
}

template <typename E>
Status run(const UnfoldTimeArgs& a, const Cuda& cuda) {
  const int64_t rows = a.y.dim[0], S = a.cu_seqlens.dim[0] - 1;
  Unfold<E> unfold{};
  if (Status status = sequences_of("unfold_time", a.cu_seqlens, a.x.dim[0], a.state, a.state_index, &unfold.sequences); !status.ok()) return status;
  if (a.position) unfold.sequences.position = a.position.as<int64_t>();
  unfold.borders = a.out_cu_seqlens.as<int32_t>();
  unfold.x = a.x.as<E>(), unfold.x_row = row_stride(a.x);
  if (a.state) unfold.state = a.state.as<E>(), unfold.state_slot = row_stride(a.state);
  unfold.y = a.y.as<E>(), unfold.y_row = row_stride(a.y);
  unfold.channels = a.x.dim[1], unfold.width = a.width, unfold.stride = a.stride, unfold.before = a.before;
  unfold.error_word = cuda.error_word;
  unfold_borders_kernel<<<1, 1024, 0, cuda.stream>>>(unfold, a.out_cu_seqlens.as<int32_t>(), rows);
  if (Status status = launched("unfold_time"); !status.ok()) return status;
  if (Status status = for_packs("unfold_time", cuda, rows, a.y.dim[1], UnfoldRows<E>{unfold}); !status.ok()) return status;
  const int64_t parts = divide_up(a.x.dim[1], 128);
  if (unfold.sequences.state_index == nullptr || S <= 0 || parts == 0) return {};
  if (S * parts > INT32_MAX) {
    return error(StatusCode::invalid_argument, "Expected fewer sequences in one run of unfold_time but received %lld", static_cast<long long>(S));
  }
  unfold_tail_kernel<<<static_cast<unsigned>(S * parts), 128, 0, cuda.stream>>>(unfold, static_cast<int32_t>(parts));
  return launched("unfold_time");
}

}  // namespace

Status unfold_time(const UnfoldTimeArgs& a, const Cuda& cuda) {
  return with_float(a.x.dtype, [&](auto* e) { return run<std::remove_pointer_t<decltype(e)>>(a, cuda); });
}

}  // namespace krait::cuda

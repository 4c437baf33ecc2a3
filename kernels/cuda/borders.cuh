// Borders of packed sequences as kernels meet them on the device.
#pragma once

#include "refuse.cuh"

namespace krait::cuda {

// What a kernel knows of the sequences of a run, still unchecked.
struct Sequences {
  const int32_t* borders;  // [count + 1]
  int32_t count;
  int32_t tokens;
  const int64_t* position;     // [count] or null
  const int32_t* state_index;  // [count] or null, which means no states
  int64_t slots;

  // The last sequence that starts at or before token t; never an empty one if the borders are right.
  __device__ int32_t of(int32_t t) const {
    int32_t low = 0, high = count;
    while (high - low > 1) {
      const int32_t middle = low + (high - low) / 2;
      if (borders[middle] <= t) low = middle;
      else high = middle;
    }
    return low;
  }
  __device__ int32_t slot(int32_t s) const { return state_index == nullptr ? -1 : state_index[s]; }
  __device__ int64_t start(int32_t s) const { return position == nullptr ? 0 : position[s]; }

  __device__ bool is_valid(int32_t s) const { return of_sequence(s).valid && start(s) >= 0; }

  // All that a step asks of its sequence, read at once.
  struct Own {
    int32_t from, to, slot;
    bool valid;
  };
  __device__ __forceinline__ Own of_sequence(int32_t s) const {
    const int32_t from = borders[s], to = borders[s + 1], own_slot = slot(s);
    const bool inside = from >= 0 && from <= to && to <= tokens && (s > 0 || from == 0) && (s + 1 < count || to == tokens);
    return {from, to, own_slot, inside && own_slot >= -1 && own_slot < slots};
  }
};

// `state` is the pool that stateIndex points into.
inline Status sequences_of(const char* op, const Tensor& borders, int64_t tokens, const Tensor& state, const Tensor& state_index,
                           Sequences* out) {
  if (tokens > INT32_MAX) {
    return error(StatusCode::invalid_argument, "Expected at most 2147483647 tokens for %s but received %lld", op,
                 static_cast<long long>(tokens));
  }
  out->borders = borders.as<int32_t>();
  out->count = static_cast<int32_t>(borders.dim[0] - 1);
  out->tokens = static_cast<int32_t>(tokens);
  out->position = nullptr;
  out->state_index = state && state_index ? state_index.as<int32_t>() : nullptr;
  out->slots = state ? state.dim[0] : 0;
  return {};
}

// Part `index` of a sequence; no part at all where sequence is −1.
struct Piece {
  int32_t sequence;
  int32_t index;
};

// Cuts each sequence of at least `shortest` tokens, of `rows` rows each, into pieces of `size` rows counted from its start.
// One block. first: [count + 1], the pieces before each sequence. The number of pieces is known on the device only: `capacity` bounds it.
// Data that must be refused leaves no pieces.
template <int32_t kOp>
__global__ void __launch_bounds__(1024) cut_sequences(Sequences sequences, int32_t shortest, int64_t rows, int64_t size, Piece* pieces,
                                                      int32_t capacity, int32_t* first, int32_t* error_word) {
  __shared__ int32_t warps[32];
  const int32_t thread = static_cast<int32_t>(threadIdx.x);
  const int32_t lane = thread % 32, warp = thread / 32;
  int32_t before = 0;
  int bad = 0;
  for (int32_t base = 0; base < sequences.count; base += 1024) {
    const int32_t s = base + thread;
    int32_t here = 0;
    if (s < sequences.count) {
      if (!sequences.is_valid(s)) {
        bad = 1;
      } else {
        const int64_t length = sequences.borders[s + 1] - sequences.borders[s];
        if (length >= shortest) here = static_cast<int32_t>((length * rows + size - 1) / size);
      }
    }
    int32_t sum = here;
#pragma unroll
    for (int32_t step = 1; step < 32; step *= 2) {
      const int32_t other = __shfl_up_sync(0xffffffffu, sum, step);
      if (lane >= step) sum += other;
    }
    if (lane == 31) warps[warp] = sum;
    __syncthreads();
    int32_t total = 0, offset = 0;
    for (int32_t w = 0; w < 32; ++w) {
      if (w == warp) offset = total;
      total += warps[w];
    }
    if (s < sequences.count) first[s] = before + offset + sum - here;
    before += total;
    __syncthreads();
  }
  bad = __syncthreads_or(bad);
  const int32_t count = bad != 0 ? 0 : before;
  if (bad != 0) {
    if (thread == 0) refuse<kOp>(error_word);
    for (int32_t s = thread; s < sequences.count; s += 1024) first[s] = 0;
  }
  if (thread == 0) first[sequences.count] = count;
  __syncthreads();
  for (int32_t p = thread; p < capacity; p += 1024) {
    Piece piece = {-1, 0};
    if (p < count) {
      int32_t low = 0, high = sequences.count;
      while (high - low > 1) {
        const int32_t middle = low + (high - low) / 2;
        if (first[middle] <= p) low = middle;
        else high = middle;
      }
      piece = {low, p - first[low]};
    }
    pieces[p] = piece;
  }
}

}  // namespace krait::cuda

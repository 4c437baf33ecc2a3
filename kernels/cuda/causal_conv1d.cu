// Depthwise causal convolution over packed tokens: a thread walks a run of tokens of a few channels with the last W inputs in registers.
// The carried tails are read by the outputs, then replaced by a second kernel.
#include "borders.cuh"
#include "functions.cuh"
#include "mirror.cuh"
#include "rows.cuh"

namespace krait::cuda {
namespace {

constexpr int32_t kConv = op_number("causal_conv1d");

// 16 bytes of neighbouring channels per thread.
template <typename E>
inline constexpr int kChannels = 16 / static_cast<int>(sizeof(E));
constexpr int32_t kLongestRun = 64;

template <typename E>
struct Conv {
  Sequences sequences;
  int32_t C, W;
  const E* x;
  int64_t x_row;
  const float* weight;
  int64_t weight_row;
  const float* bias;
  float* state;
  int64_t state_slot;
  E* y;
  int64_t y_row;
  bool silu;
  bool wide;
  int32_t* error_word;
};

// The sequence that a walk over tokens is in.
struct Place {
  int32_t sequence;
  int32_t from;  // its first token
  int32_t next;  // the first token of the next
  int32_t slot;
};

// Borders that are wrong must not lead out of bounds: a sequence never starts after token t.
template <typename E>
__device__ __forceinline__ Place place(const Conv<E>& a, int32_t sequence, int32_t t) {
  Place at = {sequence, min(max(a.sequences.borders[sequence], 0), t), a.sequences.borders[sequence + 1], a.sequences.slot(sequence)};
  if (at.slot >= a.sequences.slots) at.slot = -1;
  return at;
}

// Inputs of channels [c, c + N) at row r of the sequence's history; its tail is what lies before row 0.
template <int N, typename E>
__device__ __forceinline__ void history(const Conv<E>& a, const Place& at, int32_t t, int32_t c, float (&to)[N]) {
  if (t >= at.from) {
    load(to, a.x + t * a.x_row + c, a.C - c, a.wide);
    return;
  }
  const int32_t tail = a.W - 1;
  const float* row = at.slot < 0 ? nullptr : a.state + at.slot * a.state_slot + static_cast<int64_t>(tail + t - at.from) * a.C + c;
#pragma unroll
  for (int i = 0; i < N; ++i) to[i] = row != nullptr && c + i < a.C ? row[i] : 0.0f;
}

// Threads: runs of `run` tokens × packs of channels, neighbours side by side in a row. kW is W; 0 stands for any W, whose window is read
// from memory.
template <int kW, typename E>
__global__ void __launch_bounds__(128) conv_kernel(const Conv<E> a, int32_t run, int32_t packs, int32_t runs) {
  constexpr int N = kChannels<E>;
  constexpr int kKept = kW > 1 ? kW - 1 : 1;
  constexpr int kAhead = 4;
  const int64_t thread = static_cast<int64_t>(blockIdx.x) * 128 + threadIdx.x;
  const int32_t index = static_cast<int32_t>(thread / packs), c = static_cast<int32_t>(thread % packs) * N;
  if (index >= runs) return;
  const int32_t begin = index * run;
  const int32_t end = static_cast<int32_t>(min(static_cast<int64_t>(begin) + run, static_cast<int64_t>(a.sequences.tokens)));

  float weight[kW == 0 ? 1 : kW][N];
  float bias[N];
#pragma unroll
  for (int i = 0; i < N; ++i) {
    bias[i] = a.bias != nullptr && c + i < a.C ? a.bias[c + i] : 0.0f;
#pragma unroll
    for (int w = 0; w < kW; ++w) weight[w][i] = c + i < a.C ? a.weight[(c + i) * a.weight_row + w] : 0.0f;
  }

  Place at = place(a, a.sequences.of(begin), begin);
  float past[kKept][N];  // rows t − W + 1 … t − 1
  const auto fill = [&](int32_t t) {
#pragma unroll
    for (int w = 1; w < kW; ++w) history(a, at, t - kW + w, c, past[w - 1]);
  };
  const auto finish = [&](int32_t t, float (&sum)[N]) {
    if (a.silu) {
#pragma unroll
      for (int j = 0; j < N; ++j) sum[j] = silu_fast(sum[j]);
    }
    store(a.y + t * a.y_row + c, sum, a.C - c, a.wide);
  };
  // One token at a time, across borders.
  const auto walk = [&](int32_t from, int32_t to) {
#pragma unroll 1
    for (int32_t t = from; t < to; ++t) {
      if (t >= at.next) {
        int32_t s = at.sequence;
        while (s + 1 < a.sequences.count && a.sequences.borders[s + 1] <= t) ++s;
        at = place(a, s, t);
        fill(t);
      }
      float sum[N];
#pragma unroll
      for (int j = 0; j < N; ++j) sum[j] = bias[j];
      if constexpr (kW > 0) {
        float now[N];
        load(now, a.x + t * a.x_row + c, a.C - c, a.wide);
#pragma unroll
        for (int w = 0; w + 1 < kW; ++w) {
#pragma unroll
          for (int j = 0; j < N; ++j) sum[j] = fmaf(weight[w][j], past[w][j], sum[j]);
        }
#pragma unroll
        for (int j = 0; j < N; ++j) {
          sum[j] = fmaf(weight[kW - 1][j], now[j], sum[j]);
#pragma unroll
          for (int w = 0; w + 2 < kW; ++w) past[w][j] = past[w + 1][j];
          if (kW > 1) past[kKept - 1][j] = now[j];
        }
      } else {
        for (int32_t w = 0; w < a.W; ++w) {
          float value[N];
          history(a, at, t - a.W + 1 + w, c, value);
#pragma unroll
          for (int j = 0; j < N; ++j) {
            if (c + j < a.C) sum[j] = fmaf(a.weight[(c + j) * a.weight_row + w], value[j], sum[j]);
          }
        }
      }
      finish(t, sum);
    }
  };

  fill(begin);
  if (kW == 0 || !a.wide || c + N > a.C) {
    walk(begin, end);
    return;
  }
  if constexpr (kW > 0) {
    // Four tokens at a time, the next four on their way.
    Raw<E, N> next[kAhead];
    const auto fetch = [&](int32_t t) {
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        if (t + i < end) next[i].template fetch<true>(a.x + (t + i) * a.x_row + c, N);
      }
    };
    fetch(begin);
    for (int32_t t = begin; t < end; t += kAhead) {
      float row[kKept + kAhead][N];
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
#pragma unroll
        for (int j = 0; j < N; ++j) row[kKept + i][j] = next[i][j];
      }
      fetch(t + kAhead);
      if (t + kAhead > min(end, at.next)) {
        walk(t, min(t + kAhead, end));
        continue;
      }
#pragma unroll
      for (int w = 0; w < kKept; ++w) {
#pragma unroll
        for (int j = 0; j < N; ++j) row[w][j] = past[w][j];
      }
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        float sum[N];
#pragma unroll
        for (int j = 0; j < N; ++j) {
          sum[j] = bias[j];
#pragma unroll
          for (int w = 0; w < kW; ++w) sum[j] = fmaf(weight[w][j], row[kKept + i - (kW - 1) + w][j], sum[j]);
        }
        finish(t + i, sum);
      }
#pragma unroll
      for (int w = 0; w < kKept; ++w) {
#pragma unroll
        for (int j = 0; j < N; ++j) past[w][j] = row[kAhead + w][j];
      }
    }
  }
}

// The last W − 1 rows of each sequence's history. Blocks: S × parts of the channels.
template <typename E>
__global__ void __launch_bounds__(128) tail_kernel(const Conv<E> a, int32_t parts) {
  const int32_t sequence = static_cast<int32_t>(blockIdx.x) / parts;
  const int32_t c = static_cast<int32_t>(blockIdx.x) % parts * 128 + static_cast<int32_t>(threadIdx.x);
  if (!a.sequences.is_valid(sequence)) {
    if (threadIdx.x == 0) refuse<kConv>(a.error_word);
    return;
  }
  const int32_t slot = a.sequences.slot(sequence);
  if (slot < 0 || c >= a.C) return;
  const int64_t from = a.sequences.borders[sequence];
  const int32_t length = a.sequences.borders[sequence + 1] - static_cast<int32_t>(from);
  const int32_t tail = a.W - 1;
  float* state = a.state + slot * a.state_slot + c;
  // A short run moves the older rows up; each is read before it is replaced, since length > 0 where anything is written.
  for (int32_t r = 0; r < tail && length > 0; ++r) {
    const int32_t row = length - tail + r;
    state[static_cast<int64_t>(r) * a.C] = row < 0 ? state[static_cast<int64_t>(tail + row) * a.C] : to_float(a.x[(from + row) * a.x_row + c]);
  }
}

// Runs of a few tokens: a thread has a channel of a sequence, its outputs and its tail. Blocks: parts of the channels × S.
// Sums in the same order as above.
constexpr int32_t kWidest = 8;

template <typename E>
__global__ void __launch_bounds__(128) short_kernel(const Conv<E> a) {
  const int32_t sequence = static_cast<int32_t>(blockIdx.y), c = static_cast<int32_t>(blockIdx.x * 128 + threadIdx.x), tail = a.W - 1;
  float weight[kWidest], past[kWidest];
  let_next_begin();
  const bool inside = c < a.C;
#pragma unroll
  for (int32_t w = 0; w < kWidest; ++w) weight[w] = inside && w < a.W ? a.weight[c * a.weight_row + w] : 0.0f;
  const float bias = inside && a.bias != nullptr ? a.bias[c] : 0.0f;
  if (!a.sequences.is_valid(sequence)) {
    wait_for_inputs();
    if (threadIdx.x == 0) refuse<kConv>(a.error_word);
    return;
  }
  const int32_t from = a.sequences.borders[sequence], to = a.sequences.borders[sequence + 1];
  if (!inside || from == to) return;
  const int32_t slot = a.sequences.slot(sequence);
  float* state = slot < 0 ? nullptr : a.state + slot * a.state_slot + c;
#pragma unroll
  for (int32_t w = 0; w + 1 < kWidest; ++w) past[w] = state != nullptr && w < tail ? state[static_cast<int64_t>(w) * a.C] : 0.0f;
  wait_for_inputs();
  for (int32_t t = from; t < to; ++t) {
    const float now = to_float(a.x[t * a.x_row + c]);
    float sum = bias;
#pragma unroll
    for (int32_t w = 0; w + 1 < kWidest; ++w) {
      if (w < tail) sum = fmaf(weight[w], past[w], sum);
    }
    float last = weight[0];
#pragma unroll
    for (int32_t w = 1; w < kWidest; ++w) {
      if (w == tail) last = weight[w];
    }
    sum = fmaf(last, now, sum);
#pragma unroll
    for (int32_t w = 0; w + 1 < kWidest; ++w) {
      if (w + 1 < tail) past[w] = past[w + 1];
      else if (w + 1 == tail) past[w] = now;
    }
    a.y[t * a.y_row + c] = from_float<E>(a.silu ? silu_fast(sum) : sum);
  }
#pragma unroll
  for (int32_t w = 0; w + 1 < kWidest; ++w) {
    if (state != nullptr && w < tail) state[static_cast<int64_t>(w) * a.C] = past[w];
  }
}

template <int kW, typename E>
void launch(const Conv<E>& a, const Cuda& cuda) {
  // Shorter runs until the device is full; no sum depends on where a run begins.
  const int64_t packs = divide_up(a.C, kChannels<E>);
  int32_t run = kLongestRun;
  while (run > 1 && divide_up(a.sequences.tokens, run) * packs < static_cast<int64_t>(cuda.multiprocessors) * 2048) run /= 2;
  const int64_t runs = divide_up(a.sequences.tokens, run);
  conv_kernel<kW><<<static_cast<unsigned>(divide_up(runs * packs, 128)), 128, 0, cuda.stream>>>(a, run, static_cast<int32_t>(packs),
                                                                                                static_cast<int32_t>(runs));
}

template <typename E>
Status run(const CausalConv1dArgs& a, const Cuda& cuda) {
  const int64_t T = a.x.dim[0], S = a.cu_seqlens.dim[0] - 1;
  Conv<E> conv{};
  conv.C = static_cast<int32_t>(a.x.dim[1]);
  conv.W = static_cast<int32_t>(a.weight.dim[1]);
  if (T == 0 || S <= 0 || conv.C == 0) return {};
  if (Status status = sequences_of("causal_conv1d", a.cu_seqlens, T, a.state, a.state_index, &conv.sequences); !status.ok()) return status;
  conv.x = a.x.as<E>(), conv.x_row = row_stride(a.x);
  conv.weight = a.weight.as<float>(), conv.weight_row = row_stride(a.weight);
  conv.bias = a.bias.as<float>();
  if (a.state) conv.state = a.state.as<float>(), conv.state_slot = row_stride(a.state);
  conv.y = a.y.as<E>(), conv.y_row = row_stride(a.y);
  conv.silu = a.activation == CausalConv1dArgs::Activation::silu;
  conv.wide = is_wide<kChannels<E>>(a.x) && is_wide<kChannels<E>>(a.y);
  conv.error_word = cuda.error_word;

  const int64_t parts = divide_up(conv.C, 128);
  if (T <= kFewRows && S <= kFewRows && conv.W <= kWidest) {
    return launch_early("causal_conv1d", cuda, short_kernel<E>, dim3(static_cast<unsigned>(parts), static_cast<unsigned>(S)), dim3(128), conv);
  }
  // Runs of full length, or shorter ones that only fill the device.
  if (std::max(S * parts, divide_up(T, kLongestRun) * parts) > INT32_MAX) {
    return error(StatusCode::invalid_argument, "Expected fewer tokens or sequences in one run of causal_conv1d but received %lld and %lld",
                 static_cast<long long>(T), static_cast<long long>(S));
  }
  switch (conv.W) {
    case 1: launch<1>(conv, cuda); break;
    case 2: launch<2>(conv, cuda); break;
    case 3: launch<3>(conv, cuda); break;
    case 4: launch<4>(conv, cuda); break;
    case 5: launch<5>(conv, cuda); break;
    case 6: launch<6>(conv, cuda); break;
    case 7: launch<7>(conv, cuda); break;
    case 8: launch<8>(conv, cuda); break;
    default: launch<0>(conv, cuda); break;
  }
  if (Status status = launched("causal_conv1d"); !status.ok()) return status;
  // Also where there is no state: it checks the borders.
  tail_kernel<<<static_cast<unsigned>(S * parts), 128, 0, cuda.stream>>>(conv, static_cast<int32_t>(parts));
  return launched("causal_conv1d");
}

Status run_any(const CausalConv1dArgs& a, const Cuda& cuda) {
  return with_float(a.x.dtype, [&](auto* e) { return run<std::remove_pointer_t<decltype(e)>>(a, cuda); });
}

}  // namespace

Status causal_conv1d(const CausalConv1dArgs& a, const Cuda& cuda) {
  using Args = CausalConv1dArgs;
  if (!a.reverse) return run_any(a, cuda);
  return with_mirror("causal_conv1d", a, {&Args::x, &Args::y}, cuda, run_any);
}

}  // namespace krait::cuda

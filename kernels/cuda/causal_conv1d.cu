// Depthwise causal convolution over packed tokens: a thread walks a run of tokens of a few channels with the last W inputs in registers.
// The carried tails are read by the outputs, then replaced by a second kernel.
#include "borders.cuh"
#include "functions.cuh"
#include "rows.cuh"

namespace krait::cuda {
namespace {

constexpr int32_t kConv = op_number("causal_conv1d");

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

// Blocks: runs of `run` tokens × parts of the channels. kW is W; 0 stands for any W, whose window is read from memory.
template <int kW, typename E>
__global__ void __launch_bounds__(128) conv_kernel(const Conv<E> a, int32_t run, int32_t parts) {
  constexpr int kChannels = 4;
  constexpr int kKept = kW == 0 ? 1 : kW;
  constexpr int kAhead = 4;
  const int32_t part = static_cast<int32_t>(blockIdx.x) % parts;
  const int32_t c = (part * 128 + static_cast<int32_t>(threadIdx.x)) * kChannels;
  const int64_t begin = static_cast<int64_t>(static_cast<int32_t>(blockIdx.x) / parts) * run;
  if (c >= a.C) return;
  const int32_t end = static_cast<int32_t>(min(begin + run, static_cast<int64_t>(a.sequences.tokens)));

  float weight[kKept][kChannels];
  float bias[kChannels];
#pragma unroll
  for (int i = 0; i < kChannels; ++i) {
    bias[i] = a.bias != nullptr && c + i < a.C ? a.bias[c + i] : 0.0f;
#pragma unroll
    for (int w = 0; w < kW; ++w) weight[w][i] = c + i < a.C ? a.weight[(c + i) * a.weight_row + w] : 0.0f;
  }

  Place at = place(a, a.sequences.of(static_cast<int32_t>(begin)), static_cast<int32_t>(begin));
  float window[kKept][kChannels];  // rows t − W + 1 … t; all but the last hold before token t is read
  const auto fill = [&](int32_t t) {
#pragma unroll
    for (int w = 1; w < kW; ++w) history(a, at, t - kW + w, c, window[w]);
  };
  fill(static_cast<int32_t>(begin));
  for (int32_t base = static_cast<int32_t>(begin); base < end; base += kAhead) {
    float next[kAhead][kChannels];
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      if (base + i < end) load(next[i], a.x + (base + i) * a.x_row + c, a.C - c, a.wide);
    }
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const int32_t t = base + i;
      if (t >= end) break;
      if (t >= at.next) {
        int32_t s = at.sequence;
        while (s + 1 < a.sequences.count && a.sequences.borders[s + 1] <= t) ++s;
        at = place(a, s, t);
        fill(t);
      }
      float sum[kChannels];
#pragma unroll
      for (int j = 0; j < kChannels; ++j) sum[j] = bias[j];
      if constexpr (kW > 0) {
#pragma unroll
        for (int w = 0; w + 1 < kW; ++w) {
#pragma unroll
          for (int j = 0; j < kChannels; ++j) window[w][j] = window[w + 1][j];
        }
#pragma unroll
        for (int j = 0; j < kChannels; ++j) window[kW - 1][j] = next[i][j];
#pragma unroll
        for (int w = 0; w < kW; ++w) {
#pragma unroll
          for (int j = 0; j < kChannels; ++j) sum[j] = fmaf(weight[w][j], window[w][j], sum[j]);
        }
      } else {
        for (int32_t w = 0; w < a.W; ++w) {
          float value[kChannels];
          history(a, at, t - a.W + 1 + w, c, value);
#pragma unroll
          for (int j = 0; j < kChannels; ++j) {
            if (c + j < a.C) sum[j] = fmaf(a.weight[(c + j) * a.weight_row + w], value[j], sum[j]);
          }
        }
      }
      if (a.silu) {
#pragma unroll
        for (int j = 0; j < kChannels; ++j) sum[j] = silu(sum[j]);
      }
      store(a.y + t * a.y_row + c, sum, a.C - c, a.wide);
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

template <int kW, typename E>
void launch(const Conv<E>& a, const Cuda& cuda) {
  // Shorter runs until the device is full; no sum depends on where a run begins.
  const int64_t parts = divide_up(a.C, 128 * 4);
  int32_t run = 64;
  while (run > 1 && divide_up(a.sequences.tokens, run) * parts < static_cast<int64_t>(cuda.multiprocessors) * 16) run /= 2;
  const int64_t blocks = divide_up(a.sequences.tokens, run) * parts;
  conv_kernel<kW><<<static_cast<unsigned>(blocks), 128, 0, cuda.stream>>>(a, run, static_cast<int32_t>(parts));
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
  conv.wide = is_wide<4>(a.x) && is_wide<4>(a.y);
  conv.error_word = cuda.error_word;

  const int64_t parts = divide_up(conv.C, 128);
  // Runs of 64 tokens or shorter ones that only fill the device: as many blocks as T/64 parts or fewer than 32 per multiprocessor.
  if (std::max(S * parts, divide_up(T, 64) * parts) > INT32_MAX) {
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

}  // namespace

Status causal_conv1d(const CausalConv1dArgs& a, const Cuda& cuda) {
  return with_float(a.x.dtype, [&](auto* e) { return run<std::remove_pointer_t<decltype(e)>>(a, cuda); });
}

}  // namespace krait::cuda

// A few long sequences in segments that are scanned side by side.
//
// A segment needs the state before it. Scanning all segments twice would compute every exponential twice; but what a segment leaves behind
// depends on no more of it than its decays let through. So a block first walks back from the segment's end, adding up Δ alone, until nothing
// before could be seen in the state's float32, and only those tokens are scanned twice. Where they are too many, because channels forget more
// slowly than segments last, the sequences stay whole after all.
//
// What is not finite is forgotten with the rest: it reaches the end of its own segment, and the next ones only where the walk meets it.
#pragma once

#include "selective_scan.cuh"

namespace krait::cuda {
namespace {

// Powers of two by which all before the walk's end has decayed: half a unit in the last place of a float32 is 2⁻²⁴ of it.
constexpr float kForgotten = 36.0f;
constexpr int32_t kStride = 256;  // tokens of a step back
constexpr int32_t kSharing = 3;   // blocks that share a multiprocessor

// Cuts sequences where whole ones would leave much of the device idle, false elsewhere; what belongs to the segments lies in the workspace.
template <typename E>
bool cut(Scan<E>& scan, int64_t tokens, const Cuda& cuda) {
  constexpr int64_t kFewest = 4 * kStride, kMost = 16;
  // A token takes this much longer where kSharing blocks share a multiprocessor; measured.
  constexpr double kShared = 1.95;
  const int64_t parts = divide_up(scan.C, 16), room = cuda.multiprocessors, sequences = scan.sequences.count;
  if (sequences > 4 || sequences * parts > room) return false;
  // The time of `segments` side by side that are `total` in all, in that of a token of one block.
  const auto time = [&](int64_t segments, int64_t total) {
    const int64_t blocks = segments * parts;
    const double each = static_cast<double>(tokens) / static_cast<double>(total);
    return blocks <= room ? each : static_cast<double>(divide_up(blocks, kSharing * room)) * kShared * each;
  };
  // Each more costs a walk back.
  const auto cost = [&](int64_t segments) { return time(segments, segments) * (1 + 0.01 * static_cast<double>(segments)); };
  int64_t best = sequences;
  for (int64_t n = sequences + 1; n <= kMost && tokens / n >= kFewest; ++n) {
    if (cost(n) < cost(best)) best = n;
  }
  if (best == sequences) return false;
  Segments& segments = scan.segments;
  const int64_t length = divide_up(divide_up(tokens, best), kStride) * kStride, count = divide_up(tokens, length);
  const int64_t pieces = sequences * count, states = pieces * scan.C * scan.N;
  const int64_t words = 2 * states + pieces * (scan.C + parts) + 1;
  if (count < 2 || words * 4 > cuda.workspace_bytes) return false;
  segments.tokens = static_cast<int32_t>(length);
  segments.count = static_cast<int32_t>(count);
  segments.begins = static_cast<float*>(cuda.workspace);
  segments.decays = segments.begins + states;
  segments.totals = segments.decays + states;
  segments.seen = reinterpret_cast<int32_t*>(segments.totals + pieces * scan.C);
  segments.strides = reinterpret_cast<uint32_t*>(segments.seen + pieces * parts);
  // The share of the tokens that may be scanned twice before whole sequences are faster, and what it is in strides.
  const double share = (time(sequences, sequences) - time(best, best)) / (0.9 * time(best - sequences, best));
  segments.most = static_cast<uint32_t>(std::min(share, 1.0) * static_cast<double>((best - sequences) * (length / kStride) * parts));
  return true;
}

// Of the channels of a block, the sum of Δ over the last tokens of a segment.
template <int32_t kChannels, typename E>
class Walk {
 public:
  static constexpr int32_t kQuads = kChannels / 4, kThreads = 2 * kChannels * kLanes, kRows = kThreads / kQuads;

  struct Memory {
    float sums[kThreads / 32][kChannels];
    float total[kChannels];
  };

  __device__ Walk(const Scan<E>& a, const Share& share, Memory& memory) : a_(a), share_(share), memory_(memory) {}

  // How many tokens from the segment's end on matter. `total` then holds their Δ.
  __device__ int32_t run() {
    const int32_t quad = static_cast<int32_t>(threadIdx.x) % kQuads * 4, row = static_cast<int32_t>(threadIdx.x) / kQuads;
    const int32_t c = share_.first + quad;
    float bias[4], sum[4] = {};
#pragma unroll
    for (int32_t i = 0; i < 4; ++i) bias[i] = a_.dt_bias != nullptr && c + i < a_.C ? a_.dt_bias[c + i] : 0.0f;
    const float slowest = slowest_rate();
    int32_t seen = 0;
    for (;;) {
      // Each step half as long as all before, so that long walks take few.
      const int32_t end = share_.length - seen, begin = max(end - max(kStride, seen / 2 / kStride * kStride), 0);
#pragma unroll 4
      for (int32_t t = begin + row; t < end; t += kRows) {
        const Four<E> dt = fetch_four(a_.dt.data + (share_.from + t) * a_.dt.row + c, a_.C - c, a_.wide);
#pragma unroll
        for (int32_t i = 0; i < 4; ++i) {
          const float step = dt.at(i) + bias[i];
          sum[i] += a_.softplus ? softplus_fast(step) : step;
        }
      }
      seen = share_.length - begin;
      const bool is_forgotten = add_up(sum, quad) * slowest >= kForgotten;
      if (__syncthreads_and(static_cast<int>(threadIdx.x >= kChannels || share_.first + threadIdx.x >= a_.C || is_forgotten)) != 0) return seen;
      if (begin == 0) return seen;
    }
  }

 private:
  // Of channel threadIdx.x, in units of log₂ per Δ.
  __device__ float slowest_rate() const {
    float slowest = INFINITY;
    const int32_t c = share_.first + static_cast<int32_t>(threadIdx.x);
    if (threadIdx.x >= kChannels || c >= a_.C) return slowest;
    for (int32_t n = 0; n < a_.N; ++n) slowest = fminf(slowest, expf(a_.a_log[c * a_.a_log_row + n]) * kLog2E);
    return slowest;
  }

  // The sum of channel threadIdx.x, for the first threads.
  __device__ float add_up(const float (&sum)[4], int32_t quad) {
#pragma unroll
    for (int32_t i = 0; i < 4; ++i) {
      float s = sum[i];
#pragma unroll
      for (int32_t lanes = kQuads; lanes < 32; lanes *= 2) s += __shfl_xor_sync(0xffffffffu, s, lanes);
      if (threadIdx.x % 32 < kQuads) memory_.sums[threadIdx.x / 32][quad + i] = s;
    }
    __syncthreads();
    float total = 0;
    if (threadIdx.x < kChannels) {
#pragma unroll
      for (int32_t w = 0; w < kThreads / 32; ++w) total += memory_.sums[w][threadIdx.x];
      memory_.total[threadIdx.x] = total;
    }
    return total;
  }

  const Scan<E>& a_;
  const Share& share_;
  Memory& memory_;
};

// A segment with a next one, of the blocks of S × (segments − 1) × parts of the channels.
template <int32_t kChannels, typename E>
struct Piece {
  int32_t sequence, segment, part;
  Share share;

  // False where there is none.
  __device__ bool find(const Scan<E>& a, int32_t parts) {
    const int32_t pieces = (a.segments.count - 1) * parts;
    sequence = static_cast<int32_t>(blockIdx.x) / pieces;
    segment = static_cast<int32_t>(blockIdx.x) % pieces / parts;
    part = static_cast<int32_t>(blockIdx.x) % parts;
    if (!a.sequences.is_valid(sequence)) return false;
    const int64_t from = a.sequences.borders[sequence] + static_cast<int64_t>(segment) * a.segments.tokens;
    share = {from, a.segments.tokens, part * kChannels, nullptr, a.begins(sequence, segment + 1)};
    return from + a.segments.tokens < a.sequences.borders[sequence + 1];
  }
  __device__ int32_t& seen(const Scan<E>& a, int32_t parts) const { return a.segments.seen[(sequence * a.segments.count + segment) * parts + part]; }
  __device__ float* totals(const Scan<E>& a) const {
    return a.segments.totals + (static_cast<int64_t>(sequence) * a.segments.count + segment) * a.C + share.first;
  }
};

template <int32_t kChannels, typename E>
__global__ void __launch_bounds__(Walk<kChannels, E>::kThreads) walk_kernel(const Scan<E> a, int32_t parts) {
  __shared__ typename Walk<kChannels, E>::Memory memory;
  Piece<kChannels, E> piece;
  if (!piece.find(a, parts)) return;
  const int32_t seen = Walk<kChannels, E>(a, piece.share, memory).run();
  const int32_t c = static_cast<int32_t>(threadIdx.x);
  if (c < kChannels && piece.share.first + c < a.C) piece.totals(a)[c] = memory.total[c];
  if (c == 0) {
    piece.seen(a, parts) = seen;
    atomicAdd(a.segments.strides, static_cast<uint32_t>(seen / kStride));
  }
}

// What every segment but a sequence's last leaves behind when it begins with zeros, as the next one's `begins`, and what of the state before
// it, as its own `decays`.
template <int32_t kTokens, int32_t kChannels, typename E>
__global__ void __launch_bounds__(Layout<kChannels, kTokens>::kThreads, kSharing)
    summary_kernel(const Scan<E> a, int32_t parts) {
  extern __shared__ __align__(16) float shared[];
  Piece<kChannels, E> piece;
  if (!a.segments.are_due() || !piece.find(a, parts)) return;
  Share& share = piece.share;
  const int32_t seen = piece.seen(a, parts);
  const float* totals = piece.totals(a);
  for (int32_t i = static_cast<int32_t>(threadIdx.x); i < kChannels * a.N; i += static_cast<int32_t>(blockDim.x)) {
    const int32_t c = share.first + i / a.N, n = i % a.N;
    if (c >= a.C) break;
    const float rate = fmaxf(-expf(a.a_log[c * a.a_log_row + n]) * kLog2E, -3e38f);
    a.decays(piece.sequence, piece.segment)[static_cast<int64_t>(c) * a.N + n] = seen < share.length ? 0.0f : exp2_fast(rate * totals[i / a.N]);
  }
  share.from += share.length - seen;
  share.length = seen;
  const Layout<kChannels, kTokens> layout = {kStates};
  if (threadIdx.x < layout.kScanners) {
    Scanner<kTokens, kChannels, true, true, E>(a, share, layout, shared).run();
  } else {
    Helper<kTokens, kChannels, true, true, E>(a, share, layout, shared).run();
  }
}

// From segment to segment: what it began with, decayed, and what it leaves by itself. A thread per sequence, channel and state.
template <typename E>
__global__ void __launch_bounds__(128) chain_kernel(const Scan<E> a) {
  const int64_t states = static_cast<int64_t>(a.C) * a.N, thread = static_cast<int64_t>(blockIdx.x) * 128 + threadIdx.x;
  if (!a.segments.are_due() || thread >= a.sequences.count * states) return;
  const int32_t sequence = static_cast<int32_t>(thread / states);
  const int64_t at = thread % states;
  if (!a.sequences.is_valid(sequence)) return;
  const int32_t slot = a.sequences.slot(sequence);
  const int64_t length = a.sequences.borders[sequence + 1] - a.sequences.borders[sequence];
  float state = slot < 0 ? 0.0f : a.state[slot * a.state_slot + at];
  for (int32_t segment = 0; (segment + int64_t{1}) * a.segments.tokens < length; ++segment) {
    float* next = a.begins(sequence, segment + 1) + at;
    state = fmaf(a.decays(sequence, segment)[at], state, *next);
    *next = state;
  }
}

template <typename E>
Status summarise(Scan<E> a, const Cuda& cuda) {
  constexpr int32_t kTokens = 32, kChannels = 16;
  using Shared = Layout<kChannels, kTokens>;
  a.set_tiles(kTokens);
  const int32_t parts = static_cast<int32_t>(divide_up(a.C, kChannels));
  const unsigned blocks = static_cast<unsigned>(a.sequences.count * (a.segments.count - 1) * parts);
  const size_t bytes = static_cast<size_t>(Shared{kStates}.floats(false)) * sizeof(float);
  if (const cudaError_t result = cudaMemsetAsync(a.segments.strides, 0, sizeof(uint32_t), cuda.stream); result != cudaSuccess) {
    return launched("selective_scan");
  }
  walk_kernel<kChannels, E><<<blocks, Walk<kChannels, E>::kThreads, 0, cuda.stream>>>(a, parts);
  if (Status status = launched("selective_scan"); !status.ok()) return status;
  summary_kernel<kTokens, kChannels, E><<<blocks, Shared::kThreads, bytes, cuda.stream>>>(a, parts);
  if (Status status = launched("selective_scan"); !status.ok()) return status;
  const int64_t states = a.sequences.count * static_cast<int64_t>(a.C) * a.N;
  chain_kernel<<<static_cast<unsigned>(divide_up(states, 128)), 128, 0, cuda.stream>>>(a);
  return launched("selective_scan");
}

}  // namespace
}  // namespace krait::cuda

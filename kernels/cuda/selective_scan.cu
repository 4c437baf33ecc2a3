// Mamba-1's scan. Where whole sequences fill the device they are never cut along time, and no sum depends on the batch, on the block or on
// where a run was cut: streamed, packed and alone give the same bits. A few long ones may be scanned in segments; then they agree to
// rounding.
#include "few_rows.cuh"
#include "mirror.cuh"
#include "pairs.h"
#include "selective_scan.cuh"
#include "selective_scan_segments.cuh"

namespace krait::cuda {
namespace {

// Blocks: S × segments × parts of the channels. kFew: at most 16 states, which stay in registers. kResident: threads that a multiprocessor
// holds, in units of 256; fewer of them have more registers, which is faster where there are no more.
template <int32_t kTokens, int32_t kChannels, bool kFew, int32_t kResident, typename E>
__global__ void __launch_bounds__(Layout<kChannels, kTokens>::kThreads, kResident * 256 / Layout<kChannels, kTokens>::kThreads)
    scan_kernel(const Scan<E> a, int32_t parts) {
  extern __shared__ __align__(16) float shared[];
  const int32_t pieces = a.segments.count * parts;
  const int32_t sequence = static_cast<int32_t>(blockIdx.x) / pieces;
  if (!a.sequences.is_valid(sequence)) {
    if (threadIdx.x == 0) refuse<kScan>(a.error_word);
    return;
  }
  if (!a.segments.are_due()) return;
  const int32_t most = a.segments.tokens, segment = static_cast<int32_t>(blockIdx.x) % pieces / parts;
  const int32_t slot = a.sequences.slot(sequence);
  const int64_t from = a.sequences.borders[sequence] + static_cast<int64_t>(segment) * most, left = a.sequences.borders[sequence + 1] - from;
  if (left <= 0) return;
  const bool is_last = left <= most;
  float* state = slot < 0 ? nullptr : a.state + slot * a.state_slot;
  const Share share = {from, is_last ? static_cast<int32_t>(left) : most, static_cast<int32_t>(blockIdx.x) % parts * kChannels,
                       segment == 0 ? state : a.begins(sequence, segment), is_last ? state : nullptr};
  const Layout<kChannels, kTokens> layout = {kFew ? kStates : (a.N + kStates - 1) / kStates * kStates};
  if (threadIdx.x < layout.kScanners) {
    Scanner<kTokens, kChannels, kFew, false, E>(a, share, layout, shared).run();
  } else {
    Helper<kTokens, kChannels, kFew, false, E>(a, share, layout, shared).run();
  }
}

// Packs of 16 bytes that a lane holds of what its channel's Δ is formed of.
constexpr int32_t kLowPacks = 4;

// Steps: runs with no more tokens than sequences. Four lanes share a channel. Updates round as in the tiles, so the states have the same
// bits; the sums over the states are in float32 and in another order. Threads: S × channels × 4. kProduct: dt is formed here, of `product`.
template <typename E, bool kProduct>
__global__ void __launch_bounds__(128) step_kernel(const Scan<E> a, const FewRows product) {
  constexpr int32_t kEach = 4, kLanesEach = 4;
  let_next_begin();
  const int32_t parts = (a.C + 31) / 32;
  const int32_t sequence = static_cast<int32_t>(blockIdx.x) / parts;
  const int32_t c = static_cast<int32_t>(blockIdx.x) % parts * 32 + static_cast<int32_t>(threadIdx.x) / kLanesEach;
  const int32_t first = static_cast<int32_t>(threadIdx.x) % kLanesEach * kEach;
  const bool inside = c < a.C;
  const auto rate_of = [&](int32_t n) {
    const float size = inside && n < a.N ? expf(a.a_log[c * a.a_log_row + n]) * kLog2E : 0.0f;
    return size > 3e38f ? -3e38f : -size;
  };
  float rate[kEach];
#pragma unroll
  for (int32_t i = 0; i < kEach; ++i) rate[i] = rate_of(first + i);
  const float bias = inside && a.dt_bias != nullptr ? a.dt_bias[c] : 0.0f, skip = inside && a.D != nullptr ? a.D[c] : 0.0f;
  const auto [from, to, slot, valid] = a.sequences.of_sequence(sequence);
  if (!valid) {
    wait_for_inputs();
    if (threadIdx.x == 0) refuse<kScan>(a.error_word);
    return;
  }
  float* state = slot < 0 || !inside ? nullptr : a.state + slot * a.state_slot + static_cast<int64_t>(c) * a.N;
  float kept[kEach] = {};
#pragma unroll
  for (int32_t i = 0; i < kEach; ++i) {
    if (state != nullptr && first + i < a.N) kept[i] = state[first + i];
  }
  const int32_t part = static_cast<int32_t>(threadIdx.x) % kLanesEach;
  constexpr int32_t kPack = 16 / static_cast<int32_t>(sizeof(E));
  [[maybe_unused]] Raw<E, kPack> weight[kProduct ? kLowPacks : 1];
  if constexpr (kProduct) {
#pragma unroll
    for (int32_t i = 0; i < kLowPacks; ++i) {
      const int32_t pack = part + kLanesEach * i;
      if (inside && pack < product.packs) weight[i].template fetch<true>(static_cast<const E*>(product.weight) + c * product.weight_stride + pack * kPack, kPack);
    }
  }
  wait_for_inputs();
  for (int32_t t = from; t < to; ++t) {
    float x = 0, step = 0, gate = 1, b[kEach] = {}, out[kEach] = {};
#pragma unroll
    for (int32_t i = 0; i < kEach; ++i) {
      if (first + i >= a.N) break;
      b[i] = to_float(a.B.data[t * a.B.row + first + i]), out[i] = to_float(a.out.data[t * a.out.row + first + i]);
    }
    [[maybe_unused]] float formed = 0;
    if constexpr (kProduct) {
      Raw<E, kPack> low[kLowPacks];
#pragma unroll
      for (int32_t i = 0; i < kLowPacks; ++i) {
        const int32_t pack = part + kLanesEach * i;
        if (pack < product.packs) low[i].template fetch<true>(static_cast<const E*>(product.x) + t * product.x_stride + pack * kPack, kPack);
      }
#pragma unroll
      for (int32_t i = 0; i < kLowPacks; ++i) {
        if (inside && part + kLanesEach * i < product.packs) formed = dot<E>(weight[i], low[i], formed);
      }
      formed += __shfl_xor_sync(0xffffffffu, formed, 1);
      formed += __shfl_xor_sync(0xffffffffu, formed, 2);
      // Rounded as what the product would have left.
      const E rounded = from_float<E>(formed);
      formed = to_float(rounded);
      if (inside && part == 0) static_cast<E*>(product.y)[t * product.y_stride + c] = rounded;
    }
    if (inside) {
      x = to_float(a.x.data[t * a.x.row + c]);
      step = (kProduct ? formed : to_float(a.dt.data[t * a.dt.row + c])) + bias;
      if (a.softplus) step = softplus_fast(step);
      if (a.z.data != nullptr) gate = silu_fast(to_float(a.z.data[t * a.z.row + c]));
    }
    const float input = step * x;
    float sum = 0;
#pragma unroll
    for (int32_t i = 0; i < kEach; ++i) {
      if (first + i >= a.N) break;
      kept[i] = fmaf(exp2_fast(step * rate[i]), kept[i], __fmul_rn(input, b[i]));
      sum = fmaf(out[i], kept[i], sum);
    }
    sum += __shfl_xor_sync(0xffffffffu, sum, 1);
    sum += __shfl_xor_sync(0xffffffffu, sum, 2);
    if (inside && first == 0) a.y.data[t * a.y.row + c] = from_float<E>(fmaf(skip, x, sum) * gate);
  }
#pragma unroll
  for (int32_t i = 0; i < kEach; ++i) {
    if (state != nullptr && first + i < a.N) state[first + i] = kept[i];
  }
}

template <int32_t kTokens, int32_t kChannels, bool kFew, int32_t kResident, typename E>
Status launch(Scan<E> a, const Cuda& cuda) {
  a.set_tiles(kTokens);
  using Shared = Layout<kChannels, kTokens>;
  const Shared layout = {static_cast<int32_t>(divide_up(std::max(a.N, 1), kStates) * kStates)};
  const int32_t bytes = layout.floats(!kFew) * static_cast<int32_t>(sizeof(float));
  const int64_t parts = divide_up(a.C, kChannels);
  const int64_t blocks = a.sequences.count * a.segments.count * parts;
  if (blocks > INT32_MAX) {
    return error(StatusCode::invalid_argument, "Expected fewer sequences in one run of selective_scan but received %d", a.sequences.count);
  }
  const auto kernel = scan_kernel<kTokens, kChannels, kFew, kResident, E>;
  if (bytes > 48 * 1024) {
    if (bytes > cuda.shared_memory_limit) {
      return error(StatusCode::unsupported, "Expected %d bytes of shared memory for selective_scan with %d states but this GPU has %d", bytes, a.N,
                   cuda.shared_memory_limit);
    }
    cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
  }
  kernel<<<static_cast<unsigned>(blocks), Shared::kThreads, static_cast<size_t>(bytes), cuda.stream>>>(
      a, static_cast<int32_t>(parts));
  return launched("selective_scan");
}

// The op as the kernels take it.
template <typename E>
Status scan_of(const SelectiveScanArgs& a, const Cuda& cuda, Scan<E>* to) {
  Scan<E>& scan = *to;
  scan.C = static_cast<int32_t>(a.x.dim[1]);
  scan.N = static_cast<int32_t>(a.B.dim[1]);
  if (Status status = sequences_of("selective_scan", a.cu_seqlens, a.x.dim[0], a.state, a.state_index, &scan.sequences); !status.ok()) return status;
  const auto tokens = [](auto& to, const Tensor& from) { to.data = from.as<E>(), to.row = from ? row_stride(from) : 0; };
  tokens(scan.x, a.x), tokens(scan.dt, a.dt), tokens(scan.z, a.z), tokens(scan.B, a.B), tokens(scan.out, a.C), tokens(scan.y, a.y);
  scan.a_log = a.a_log.as<float>(), scan.a_log_row = row_stride(a.a_log);
  scan.D = a.D.as<float>(), scan.dt_bias = a.dt_bias.as<float>();
  if (a.state) scan.state = a.state.as<float>(), scan.state_slot = row_stride(a.state);
  scan.segments.tokens = INT32_MAX;
  scan.segments.count = 1;
  scan.softplus = a.dt_softplus;
  scan.wide = is_wide<4>(a.x) && is_wide<4>(a.dt) && is_wide<4>(a.z) && is_wide<4>(a.y);
  scan.wide_states = is_wide<4>(a.B) && is_wide<4>(a.C);
  scan.error_word = cuda.error_word;
  return {};
}

bool is_step(const SelectiveScanArgs& a) {
  const int64_t T = a.x.dim[0], S = a.cu_seqlens.dim[0] - 1;
  return T <= S && S * divide_up(a.x.dim[1], 32) <= INT32_MAX && a.B.dim[1] <= kStates;
}

template <typename E, bool kProduct>
Status launch_step(const Scan<E>& scan, const FewRows& product, const Cuda& cuda) {
  const int64_t blocks = scan.sequences.count * divide_up(scan.C, 32);
  return launch_early("selective_scan", cuda, step_kernel<E, kProduct>, dim3(static_cast<unsigned>(blocks)), dim3(128), scan, product);
}

template <typename E>
Status run(const SelectiveScanArgs& a, const Cuda& cuda) {
  const int64_t T = a.x.dim[0], S = a.cu_seqlens.dim[0] - 1;
  if (T == 0 || S <= 0 || a.x.dim[1] == 0) return {};
  Scan<E> scan{};
  if (Status status = scan_of(a, cuda, &scan); !status.ok()) return status;
  if (scan.N > kStates) return launch<16, 8, false, 2>(scan, cuda);
  if (is_step(a)) return launch_step<E, false>(scan, {}, cuda);
  if (Scan<E> pieces = scan; cut(pieces, T, cuda)) {
    if (Status status = summarise(pieces, cuda); !status.ok()) return status;
    // The device decides which of the two has work.
    if (Status status = launch<32, 16, true, kSharing>(pieces, cuda); !status.ok()) return status;
    scan.segments.strides = pieces.segments.strides;
    scan.segments.most = pieces.segments.most;
    return launch<32, 16, true, 2>(scan, cuda);
  }
  // Narrower blocks where there would be too few.
  if (S * divide_up(scan.C, 16) < static_cast<int64_t>(cuda.multiprocessors) * 3 / 4) return launch<32, 8, true, 2>(scan, cuda);
  if (S * divide_up(scan.C, 16) > static_cast<int64_t>(cuda.multiprocessors) * 2) return launch<32, 16, true, kSharing>(scan, cuda);
  return launch<32, 16, true, 2>(scan, cuda);
}

Status run_any(const SelectiveScanArgs& a, const Cuda& cuda) {
  return with_float(a.x.dtype, [&](auto* e) { return run<std::remove_pointer_t<decltype(e)>>(a, cuda); });
}

}  // namespace

bool scan_with_product(const LinearArgs& product, const SelectiveScanArgs& a, const Cuda& cuda, Status* status) {
  if (a.x.dim[0] == 0 || a.x.dim[1] == 0 || a.reverse || !is_step(a)) return false;
  if (product.y.data != a.dt.data || product.y.dtype != a.dt.dtype || product.y.dim[0] != a.dt.dim[0] || product.y.dim[1] != a.dt.dim[1]) return false;
  const Product p = product_of(product);
  if (!takes_few_rows(p) || p.dtype != a.dt.dtype || p.bias != nullptr || p.activation != LinearArgs::Activation::identity) return false;
  const FewRows few = few_rows(p);
  if (few.packs > kLowPacks * 4) return false;
  // y is written while other blocks still read what the product reads.
  if (Range(a.y).meets(product.x)) return false;
  *status = with_float(p.dtype, [&](auto* e) {
    using E = std::remove_pointer_t<decltype(e)>;
    Scan<E> scan{};
    if (Status bad = scan_of(a, cuda, &scan); !bad.ok()) return bad;
    return launch_step<E, true>(scan, few, cuda);
  });
  return true;
}

Status selective_scan(const SelectiveScanArgs& a, const Cuda& cuda) {
  using Args = SelectiveScanArgs;
  if (!a.reverse) return run_any(a, cuda);
  return with_mirror("selective_scan", a, {&Args::x, &Args::dt, &Args::B, &Args::C, &Args::z, &Args::y}, cuda, run_any);
}

}  // namespace krait::cuda

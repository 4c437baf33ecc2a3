// Attention, full or over a window, with sinks and global tokens: rotation, outputs, then the ring, whose old rows this run's queries
// still read.
#include "attention.cuh"

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "attention_bf16.cuh"
#include "attention_f32.cuh"
#include "attention_general.cuh"
#include "attention_wgmma.cuh"
#include "scratch.cuh"

namespace krait::cuda {
namespace {

constexpr int32_t kTurnTokens = 8;

// The angles of a few tokens, then their keys turned by them. Angles are reduced in float64: positions may be large.
template <typename E>
__global__ void __launch_bounds__(256) turn_kernel(const Attention<E> a, double rotary_base, const E* k, int64_t k_row, bool wide_keys,
                                                   float2* turns, E* turned_keys) {
  __shared__ double frequencies[kWidestHead / 2];
  __shared__ double positions[kTurnTokens];
  __shared__ __align__(16) float2 cached[kTurnTokens][kWidestHead / 2];
  const int32_t thread = static_cast<int32_t>(threadIdx.x);
  const int64_t begin = static_cast<int64_t>(blockIdx.x) * kTurnTokens;
  const int32_t tokens = static_cast<int32_t>(min(static_cast<int64_t>(kTurnTokens), a.sequences.tokens - begin));
  for (int32_t i = thread; i < a.half; i += 256) frequencies[i] = pow(rotary_base, -static_cast<double>(i) / a.half);
  if (thread < tokens) {
    const int32_t t = static_cast<int32_t>(begin) + thread;
    const int32_t s = a.sequences.of(t);
    positions[thread] = static_cast<double>(a.sequences.start(s) + t - a.sequences.borders[s]);
  }
  __syncthreads();
  for (int32_t i = thread; i < tokens * a.half; i += 256) {
    const int32_t u = i / a.half, pair = i % a.half;
    const double angle = positions[u] * frequencies[pair];
    const double whole = rint(angle * 0.15915494309189535);
    const double rest = fma(-whole, 2.4492935982947064e-16, fma(-whole, 6.283185307179586, angle));
    float2 turn;
    sincosf(static_cast<float>(rest), &turn.y, &turn.x);
    cached[u][pair] = turn;
    turns[(begin + u) * a.half + pair] = turn;
  }
  __syncthreads();
  const int32_t head_packs = (a.D + 7) / 8, packs = a.Hk * head_packs;
  const bool wide = a.D % 8 == 0 && wide_keys;
  for (int32_t i = thread; i < tokens * packs; i += 256) {
    const int32_t u = i / packs, h = i % packs / head_packs, d = i % packs % head_packs * 8;
    float values[8];
    turned_pack(values, k + (begin + u) * k_row + h * a.D, d, a.D, a.half, a.interleaved, cached[u], wide);
    store(turned_keys + ((begin + u) * a.Hk + h) * a.D + d, values, a.D - d, wide);
  }
}

// Keys and values that later runs see. Warps: tokens.
template <typename E>
__global__ void __launch_bounds__(128) ring_kernel(const Attention<E> a) {
  const int64_t t = static_cast<int64_t>(blockIdx.x) * 4 + threadIdx.x / 32;
  if (t >= a.sequences.tokens) return;
  const int32_t s = a.sequences.of(static_cast<int32_t>(t));
  if (!a.sequences.is_valid(s)) return;  // `cut_sequences` has refused
  const int32_t slot = a.sequences.slot(s), from = a.sequences.borders[s], to = a.sequences.borders[s + 1];
  if (slot < 0 || t < from || t >= to) return;
  const int64_t position = a.sequences.start(s) + t - from;
  if (a.window == kNoWindow && position >= a.ring) {
    refuse<kAttention>(a.error_word);  // nothing may be forgotten, and there is no room
    return;
  }
  if (position >= a.sinks && to - t > a.ring - a.sinks) return;
  const int64_t row = a.ring_row(position) * a.Hk * a.D;
  const E *key = a.k + t * a.k_row, *value = a.v + t * a.v_row;
  E *next_key = a.keys + slot * a.keys_slot + row, *next_value = a.values + slot * a.values_slot + row;
  constexpr int32_t kWide = 16 / static_cast<int32_t>(sizeof(E));
  const int32_t lane = static_cast<int32_t>(threadIdx.x) % 32, width = a.Hk * a.D;
  if (a.wide) {
    for (int32_t i = lane * kWide; i < width; i += 32 * kWide) {
      *reinterpret_cast<uint4*>(next_key + i) = *reinterpret_cast<const uint4*>(key + i);
      *reinterpret_cast<uint4*>(next_value + i) = *reinterpret_cast<const uint4*>(value + i);
    }
  } else {
    for (int32_t i = lane; i < width; i += 32) {
      next_key[i] = key[i];
      next_value[i] = value[i];
    }
  }
}

template <typename Kernel, typename E>
Status launch(Kernel kernel, int32_t threads, size_t shared_bytes, int64_t blocks, const Attention<E>& a, const Cuda& cuda) {
  if (static_cast<int64_t>(shared_bytes) > cuda.shared_memory_limit) {
    return error(StatusCode::unsupported, "Expected a device with %lld bytes of shared memory per block for attention heads of %d but this one has %d",
                 static_cast<long long>(shared_bytes), a.D, cuda.shared_memory_limit);
  }
  if (cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared_bytes)) != cudaSuccess) {
    return launched("attention");
  }
  kernel<<<static_cast<unsigned>(blocks), static_cast<unsigned>(threads), shared_bytes, cuda.stream>>>(a);
  return launched("attention");
}

// Two blocks of two warpgroups per multiprocessor, or one whose threads need more registers.
constexpr int32_t kGroups = 2;
template <int32_t kD>
inline constexpr int32_t kResident = kD == 64 ? 2 : 1;

// Whether the code that runs here was compiled with the warpgroup instructions: only then the kernel has barriers.
bool has_wgmma() {
  cudaFuncAttributes attributes{};
  if (cudaFuncGetAttributes(&attributes, attention_wgmma<64, kGroups, kResident<64>, true>) == cudaSuccess) return attributes.sharedSizeBytes > 0;
  static_cast<void>(cudaGetLastError());
  return false;
}

template <int32_t kD>
Status attend_wgmma(const Attention<__nv_bfloat16>& a, int64_t blocks, const Cuda& cuda) {
  using Layout = AttentionWgmma<kD, kGroups>;
  const auto go = [&](auto kernel) { return launch(kernel, Layout::kThreads, Layout::kSharedBytes, blocks, a, cuda); };
  if (a.D == kD && a.wide && a.wide_queries && a.paired) return go(attention_wgmma<kD, kGroups, kResident<kD>, true>);
  return go(attention_wgmma<kD, kGroups, kResident<kD>, false>);
}

template <int32_t kD, template <typename, int32_t, int32_t> class Walk>
Status attend(const Attention<float>& a, int64_t blocks, const Cuda& cuda) {
  using Layout = AttentionF32<kD>;
  return launch(attention_f32<kD, Walk>, Layout::kThreads, sizeof(typename Layout::Shared), blocks, a, cuda);
}

template <int32_t kD, template <typename, int32_t, int32_t> class Walk>
Status attend(const Attention<__nv_bfloat16>& a, int64_t blocks, const Cuda& cuda) {
  using Layout = AttentionBf16<kD>;
  return launch(attention_bf16<kD, Walk>, Layout::kThreads, sizeof(typename Layout::Shared), blocks, a, cuda);
}

template <template <typename, int32_t, int32_t> class Walk, typename E>
Status attend_heads(const Attention<E>& a, int64_t blocks, const Cuda& cuda) {
  if (a.D <= 64) return attend<64, Walk>(a, blocks, cuda);
  return a.D <= 128 ? attend<128, Walk>(a, blocks, cuda) : attend<256, Walk>(a, blocks, cuda);
}

// Ahead of the query, or to global tokens. `pieces` cut the sequences, `global_pieces` the global tokens.
template <typename E>
Status run_general(Attention<E> p, const AttentionArgs& a, int64_t pieces, Scratch& scratch, const Cuda& cuda) {
  const int32_t S = p.sequences.count;
  const int64_t G = a.globals ? a.globals.dim[0] : 0;
  Sequences globals{};
  if (Status status = sequences_of("attention", a.global_borders, G, Tensor{}, Tensor{}, &globals); a.globals && !status.ok()) return status;
  const bool both_ways = G > 0 && p.ahead != 0;
  const int64_t global_pieces = both_ways ? G * p.R / kTileRows + std::min<int64_t>(S, G) : 0;
  int2* marked = scratch.take<int2>(a.globals ? S : 0);
  Piece* lists = scratch.take<Piece>(global_pieces);
  int32_t* first = scratch.take<int32_t>(both_ways ? S + 1 : 0);
  if (Status status = scratch.check("attention"); !status.ok()) return status;
  if (global_pieces * p.Hk > INT32_MAX) {
    return error(StatusCode::invalid_argument, "Expected fewer global tokens in one run of attention but received %lld", static_cast<long long>(G));
  }
  if (a.globals) {
    p.globals = a.globals.as<int32_t>();
    p.global_borders = a.global_borders.as<int32_t>();
    p.marked = marked;
    mark_kernel<<<static_cast<unsigned>(divide_up(S, 4)), 128, 0, cuda.stream>>>(p, globals, marked);
    if (Status status = launched("attention"); !status.ok()) return status;
  }
  if (Status status = attend_heads<GeneralWalk>(p, pieces * p.Hk, cuda); !status.ok()) return status;
  if (both_ways) {
    // Behind the others: what those made of these rows is written over.
    cut_sequences<kAttention><<<1, 1024, 0, cuda.stream>>>(globals, 1, p.R, kTileRows, lists, static_cast<int32_t>(global_pieces), first,
                                                           cuda.error_word);
    p.pieces = lists;
    p.by_list = true;
    if (Status status = attend_heads<GeneralWalk>(p, global_pieces * p.Hk, cuda); !status.ok()) return status;
  }
  if (G == 0 || p.global_keys == nullptr || p.sequences.state_index == nullptr) return {};
  keep_globals_kernel<<<static_cast<unsigned>(divide_up(G, 4)), 128, 0, cuda.stream>>>(p, globals);
  return launched("attention");
}

template <typename E>
Status run(const AttentionArgs& a, const Cuda& cuda) {
  const int64_t T = a.q.dim[0], S = a.cu_seqlens.dim[0] - 1;
  Attention<E> p{};
  p.Hq = static_cast<int32_t>(a.q.dim[1]);
  p.Hk = static_cast<int32_t>(a.k.dim[1]);
  p.D = static_cast<int32_t>(a.q.dim[2]);
  if (T == 0 || S <= 0 || p.Hq == 0 || p.Hk == 0 || p.D == 0) return {};
  if (p.D > kWidestHead) {
    return error(StatusCode::unsupported, "Expected attention heads of at most %d on CUDA but received %d", kWidestHead, p.D);
  }
  p.R = p.Hq / p.Hk;
  const bool has_ring = a.keys && a.values;
  if (Status status = sequences_of("attention", a.cu_seqlens, T, has_ring ? a.keys : Tensor{}, a.state_index, &p.sequences); !status.ok()) {
    return status;
  }
  if (a.position) p.sequences.position = a.position.as<int64_t>();
  p.window = a.window > 0 ? a.window : kNoWindow;
  p.sinks = a.sinks;
  p.scale = static_cast<float>(a.scale > 0 ? a.scale : 1.0 / std::sqrt(static_cast<double>(p.D)));
  p.half = static_cast<int32_t>(a.rotary_dims / 2);
  p.interleaved = a.rotary_interleaved;
  p.q = a.q.as<E>(), p.q_row = row_stride(a.q);
  p.k = a.k.as<E>(), p.k_row = row_stride(a.k);
  p.v = a.v.as<E>(), p.v_row = row_stride(a.v);
  p.y = a.y.as<E>(), p.y_row = row_stride(a.y);
  if (has_ring) {
    p.keys = a.keys.as<E>(), p.keys_slot = row_stride(a.keys);
    p.values = a.values.as<E>(), p.values_slot = row_stride(a.values);
    p.ring = a.keys.dim[1];
  }
  p.ahead = a.ahead >= 0 ? a.ahead : kNoWindow;
  if (a.global_keys) {
    p.global_keys = a.global_keys.as<E>(), p.global_keys_slot = row_stride(a.global_keys);
    p.global_values = a.global_values.as<E>(), p.global_values_slot = row_stride(a.global_values);
    p.global_positions = a.global_positions.as<int64_t>(), p.global_positions_slot = row_stride(a.global_positions);
    p.kept = a.global_positions.dim[1];
  }
  const bool general = p.ahead != 0 || a.globals;
  constexpr int32_t kWide = 16 / static_cast<int32_t>(sizeof(E));
  p.wide = p.D % kWide == 0 && (p.half > 0 || is_wide<kWide>(a.k)) && is_wide<kWide>(a.v) &&
           (!has_ring || (is_wide<kWide>(a.keys) && is_wide<kWide>(a.values))) &&
           (!a.global_keys || (is_wide<kWide>(a.global_keys) && is_wide<kWide>(a.global_values)));
  p.wide_queries = p.D % kWide == 0 && is_wide<kWide>(a.q);
  p.paired = p.D % 2 == 0 && is_wide<2>(a.y);
  p.error_word = cuda.error_word;

  int32_t tile_rows = kTileRows;
  // Whatever the number of tokens: how a query's sums round must not depend on it.
  const bool by_warpgroups = !general && std::is_same_v<E, __nv_bfloat16> && p.D <= 128 && has_wgmma();
  if (by_warpgroups) tile_rows = AttentionWgmma<64, kGroups>::kRows;
  const int64_t pieces = T * p.R / tile_rows + std::min(S, T);
  if (pieces * p.Hk > INT32_MAX) {
    return error(StatusCode::invalid_argument, "Expected fewer tokens in one run of attention but received %lld", static_cast<long long>(T));
  }
  Scratch scratch(a.scratch, a.scratch_bytes);
  p.pieces = scratch.take<Piece>(pieces);
  int32_t* first = scratch.take<int32_t>(S + 1);
  float2* turns = scratch.take<float2>(T * p.half);
  E* turned_keys = scratch.take<E>(p.half > 0 ? T * p.Hk * p.D : 0);
  if (Status status = scratch.check("attention"); !status.ok()) return status;

  cut_sequences<kAttention><<<1, 1024, 0, cuda.stream>>>(p.sequences, 1, p.R, tile_rows, p.pieces, static_cast<int32_t>(pieces), first,
                                                         cuda.error_word);
  if (p.half > 0) {
    turn_kernel<<<static_cast<unsigned>(divide_up(T, kTurnTokens)), 256, 0, cuda.stream>>>(p, a.rotary_base, p.k, p.k_row, is_wide<kWide>(a.k),
                                                                                           turns, turned_keys);
    p.turns = turns;
    p.k = turned_keys;
    p.k_row = static_cast<int64_t>(p.Hk) * p.D;
  }
  if (Status status = launched("attention"); !status.ok()) return status;
  const int64_t blocks = pieces * p.Hk;
  Status status;
  if (general) status = run_general(p, a, pieces, scratch, cuda);
  if constexpr (std::is_same_v<E, __nv_bfloat16>) {
    if (by_warpgroups) status = p.D <= 64 ? attend_wgmma<64>(p, blocks, cuda) : attend_wgmma<128>(p, blocks, cuda);
  }
  if (!by_warpgroups && !general) status = attend_heads<CausalWalk>(p, blocks, cuda);
  if (!status.ok() || p.sequences.state_index == nullptr) return status;
  ring_kernel<<<static_cast<unsigned>(divide_up(T, 4)), 128, 0, cuda.stream>>>(p);
  return launched("attention");
}

}  // namespace

Status attention(const AttentionArgs& a, const Cuda& cuda) {
  return with_float(a.q.dtype, [&](auto* e) { return run<std::remove_pointer_t<decltype(e)>>(a, cuda); });
}

}  // namespace krait::cuda

// Mamba-2's scan in chunks: decays, C·Bᵀ, the state each chunk adds, the states passed from chunk to chunk, outputs. A chunk of one
// token (and a sequence of one: a step) is advanced by its recurrence, the same way everywhere, so that cuts at chunks keep the bits.
// In bfloat16, heads of 64 channels and states of 64 or 128 go through the one kernel of ssd_scan_bf16.cuh instead.
#include "ssd_scan.cuh"

#include <algorithm>

#include "mirror.cuh"
#include "rows.cuh"
#include "scratch.cuh"
#include "ssd_scan_bf16.cuh"
#include "tile.cuh"

namespace krait::cuda {
namespace {

constexpr int32_t kStepRows = 16;  // of P, a block of the step kernels
constexpr int32_t kHeldStates = 128;

// Sequences of one token. Blocks: S × H × parts of P. It also clears the counters of the fused kernel that follows.
template <typename E>
__global__ void __launch_bounds__(256) step_kernel(const SsdScan<E> s, int32_t* counters, int32_t count) {
  let_next_begin();
  const int32_t sequence = static_cast<int32_t>(blockIdx.x), h = static_cast<int32_t>(blockIdx.y), part = static_cast<int32_t>(blockIdx.z);
  const int32_t first = part * kStepRows + static_cast<int32_t>(threadIdx.x) / 32, to = min((part + 1) * kStepRows, s.P);
  const auto [t, end, slot, valid] = s.sequences.of_sequence(sequence);
  const double A = s.A(h);
  wait_for_inputs();
  const int32_t own = static_cast<int32_t>(((blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x) * 256 + threadIdx.x);
  if (own < count) counters[own] = 0;
  if (!valid) {
    if (threadIdx.x == 0) refuse<kSsdScan>(s.error_word);
    return;
  }
  if (end - t != 1) return;
  const float step = s.step(t, h);
  const float decay = decay_to(split(exponent(step, A)));
  if (slot < 0) {
    advance_rows(s, t, h, first, to, 8, PlainState<false>{nullptr, s.N}, step, decay);
    return;
  }
  float* state = s.state + slot * s.state_slot + static_cast<int64_t>(h) * s.P * s.N;
  advance_rows(s, t, h, first, to, 8, PlainState<true>{state, s.N}, step, decay);
}

// The same for up to kHeldStates states, in packs of four, whose states are on their way before the token is there. Their bits are the
// same; the sums over them are formed in another order.
template <typename E>
__global__ void __launch_bounds__(256) held_step_kernel(const SsdScan<E> s, int32_t* counters, int32_t count) {
  constexpr int32_t kRows = kStepRows / 8;
  let_next_begin();
  const int32_t sequence = static_cast<int32_t>(blockIdx.x), h = static_cast<int32_t>(blockIdx.y);
  const int32_t n = static_cast<int32_t>(threadIdx.x) % 32 * 4, first = static_cast<int32_t>(blockIdx.z) * kStepRows + static_cast<int32_t>(threadIdx.x) / 32;
  const auto [t, end, slot, valid] = s.sequences.of_sequence(sequence);
  const bool single = valid && end - t == 1, has_states = n < s.N;
  float* state = slot < 0 ? nullptr : s.state + slot * s.state_slot + static_cast<int64_t>(h) * s.P * s.N + n;
  float kept[kRows][4], skip[kRows];
#pragma unroll
  for (int32_t r = 0; r < kRows; ++r) {
    const int32_t p = first + 8 * r;
    const bool inside = single && p < s.P;
    const bool reads = inside && has_states && state != nullptr;
    const float4 four = reads ? *reinterpret_cast<const float4*>(state + static_cast<int64_t>(p) * s.N) : float4{};
    kept[r][0] = four.x, kept[r][1] = four.y, kept[r][2] = four.z, kept[r][3] = four.w;
    skip[r] = inside ? s.skip(h, p) : 0.0f;
  }
  if (s.dt_bias != nullptr) touch(s.dt_bias + h);
  const double A = s.A(h);
  const E *x_row = s.x_at(t, h), *b_row = s.B_at(t, s.group(h)) + n, *c_row = s.C_at(t, s.group(h)) + n;
  wait_for_inputs();
  const int32_t own = static_cast<int32_t>(((blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x) * 256 + threadIdx.x);
  if (own < count) counters[own] = 0;
  if (!valid) {
    if (threadIdx.x == 0) refuse<kSsdScan>(s.error_word);
    return;
  }
  if (!single) return;
  float x[kRows], b[4], c[4];
  load(b, b_row, has_states ? 4 : 0, true);
  load(c, c_row, has_states ? 4 : 0, true);
#pragma unroll
  for (int32_t r = 0; r < kRows; ++r) x[r] = first + 8 * r < s.P ? to_float(x_row[first + 8 * r]) : 0.0f;
  const float step = s.step(t, h);
  const float decay = decay_to(split(exponent(step, A)));
  float sum[kRows] = {};
#pragma unroll
  for (int32_t r = 0; r < kRows; ++r) {
    const float step_x = __fmul_rn(step, x[r]);
#pragma unroll
    for (int32_t i = 0; i < 4; ++i) {
      kept[r][i] = advance(decay, kept[r][i], step_x, b[i]);
      sum[r] = __fmaf_rn(kept[r][i], c[i], sum[r]);
    }
  }
#pragma unroll
  for (int32_t mask = 16; mask > 0; mask /= 2) {
#pragma unroll
    for (int32_t r = 0; r < kRows; ++r) sum[r] += __shfl_xor_sync(0xffffffffu, sum[r], mask);
  }
#pragma unroll
  for (int32_t r = 0; r < kRows; ++r) {
    const int32_t p = first + 8 * r;
    if (p >= s.P) break;
    if (n == 0) s.y_at(t, h)[p] = from_float<E>(__fmaf_rn(skip[r], x[r], sum[r]));
    if (state != nullptr && has_states) {
      *reinterpret_cast<float4*>(state + static_cast<int64_t>(p) * s.N) = make_float4(kept[r][0], kept[r][1], kept[r][2], kept[r][3]);
    }
  }
}

// Δ and the running sums of Δ·A. Blocks: chunks × parts of 8 heads, one warp per head.
template <typename E>
__global__ void __launch_bounds__(256) decay_kernel(const SsdScan<E> s) {
  const int32_t parts = (s.H + 7) / 8;
  const int32_t c = static_cast<int32_t>(blockIdx.x) / parts;
  const int32_t h = static_cast<int32_t>(blockIdx.x) % parts * 8 + static_cast<int32_t>(threadIdx.x) / 32;
  const int32_t lane = static_cast<int32_t>(threadIdx.x) % 32;
  const Chunk chunk = chunk_at(s, c);
  if (chunk.length == 0 || h >= s.H) return;
  const int64_t at = (static_cast<int64_t>(c) * s.H + h) * s.q;
  const double A = s.A(h);
  double before = 0.0;
  for (int32_t base = 0; base < chunk.length; base += 32) {
    const int32_t l = base + lane;
    const float step = l < chunk.length ? s.step(chunk.token + l, h) : 0.0f;
    double sum = l < chunk.length ? exponent(step, A) : 0.0;
#pragma unroll
    for (int32_t distance = 1; distance < 32; distance *= 2) {
      const double other = __shfl_up_sync(0xffffffffu, sum, distance);
      if (lane >= distance) sum += other;
    }
    sum += before;
    before = __shfl_sync(0xffffffffu, sum, 31);
    if (l < chunk.length) {
      s.steps[at + l] = step;
      s.sums[at + l] = split(sum);
    }
    if (l == chunk.length - 1) s.totals[static_cast<int64_t>(c) * s.H + h] = decay_to(split(sum));
  }
}

// C·Bᵀ at and below the diagonal. Blocks: chunks × G × tiles.
template <typename E>
__global__ void __launch_bounds__(kTileThreads) product_kernel(const SsdScan<E> s, int32_t tiles) {
  __shared__ typename Tile<E>::Shared shared;
  int32_t pair = static_cast<int32_t>(blockIdx.x) % tiles;
  const int32_t g = static_cast<int32_t>(blockIdx.x) / tiles % s.G;
  const int32_t c = static_cast<int32_t>(blockIdx.x) / tiles / s.G;
  int32_t down = 0;
  while (pair > down) pair -= ++down;
  const int32_t i0 = down * kTile, j0 = pair * kTile;
  const Chunk chunk = chunk_at(s, c);
  if (chunk.length <= 1 || i0 >= chunk.length) return;

  Tile<E> tile;
  tile.template multiply<Along::depth, Along::depth>(
      shared, s.N, [&](int32_t i, int32_t n) { return i0 + i < chunk.length ? to_float(s.C_at(chunk.token + i0 + i, g)[n]) : 0.0f; },
      [&](int32_t j, int32_t n) { return j0 + j < chunk.length ? to_float(s.B_at(chunk.token + j0 + j, g)[n]) : 0.0f; });
  float* products = s.products + (static_cast<int64_t>(c) * s.G + g) * s.q * s.q;
  tile.each([&](int32_t i, int32_t j, float sum) {
    if (i0 + i < chunk.length && j0 + j <= i0 + i) products[static_cast<int64_t>(i0 + i) * s.q + j0 + j] = sum;
  });
}

// What each chunk adds to the state: Σ_l exp(sum_last − sum_l) Δ_l x_l ⊗ B_l. Blocks: chunks × H × tiles of P and N.
template <typename E>
__global__ void __launch_bounds__(kTileThreads) state_kernel(const SsdScan<E> s, int32_t tiles_n, int32_t tiles) {
  __shared__ typename Tile<E>::Shared shared;
  __shared__ float weights[kLongestChunk];
  const int32_t part = static_cast<int32_t>(blockIdx.x) % tiles;
  const int32_t h = static_cast<int32_t>(blockIdx.x) / tiles % s.H;
  const int32_t c = static_cast<int32_t>(blockIdx.x) / tiles / s.H;
  const int32_t p0 = part / tiles_n * kTile, n0 = part % tiles_n * kTile;
  const Chunk chunk = chunk_at(s, c);
  if (chunk.length <= 1 || !chunk.needed) return;

  const int64_t at = (static_cast<int64_t>(c) * s.H + h) * s.q;
  const float2 last = s.sums[at + chunk.length - 1];
  for (int32_t l = static_cast<int32_t>(threadIdx.x); l < chunk.length; l += kTileThreads) {
    weights[l] = decay_between(last, s.sums[at + l]) * s.steps[at + l];
  }
  // The first barrier of `multiply` publishes the weights.
  const int32_t g = s.group(h);
  Tile<E> tile;
  tile.template multiply<Along::rows, Along::rows>(
      shared, chunk.length, [&](int32_t p, int32_t l) { return p0 + p < s.P ? weights[l] * to_float(s.x_at(chunk.token + l, h)[p0 + p]) : 0.0f; },
      [&](int32_t n, int32_t l) { return n0 + n < s.N ? to_float(s.B_at(chunk.token + l, g)[n0 + n]) : 0.0f; });
  float* states = s.states + (static_cast<int64_t>(c) * s.H + h) * s.P * s.N;
  tile.each([&](int32_t p, int32_t n, float sum) {
    if (p0 + p < s.P && n0 + n < s.N) states[static_cast<int64_t>(p0 + p) * s.N + n0 + n] = sum;
  });
}

// Passes states along each sequence: what chunk c adds gives way to the state it starts from. Blocks: S × parts of H·P·N.
template <typename E>
__global__ void __launch_bounds__(256) pass_kernel(const SsdScan<E> s, int32_t parts) {
  constexpr int32_t kAhead = 4;
  const int32_t sequence = static_cast<int32_t>(blockIdx.x) / parts;
  const int64_t size = static_cast<int64_t>(s.H) * s.P * s.N;
  const int64_t e = static_cast<int64_t>(static_cast<int32_t>(blockIdx.x) % parts) * 256 + threadIdx.x;
  const int32_t begin = s.first[sequence], end = s.first[sequence + 1];
  if (begin == end || e >= size) return;
  const int32_t n = static_cast<int32_t>(e % s.N), p = static_cast<int32_t>(e / s.N % s.P), h = static_cast<int32_t>(e / s.N / s.P);
  const int32_t slot = s.sequences.slot(sequence);
  float* kept = slot < 0 ? nullptr : s.state + slot * s.state_slot + e;
  float value = kept == nullptr ? 0.0f : *kept;
  for (int32_t base = begin; base < end; base += kAhead) {
    Chunk chunks[kAhead];
    float added[kAhead], totals[kAhead];
#pragma unroll
    for (int32_t i = 0; i < kAhead; ++i) {
      if (base + i >= end) {
        chunks[i] = {-1, 0, 0, false, false, false};
        continue;
      }
      const int32_t c = base + i;
      chunks[i] = chunk_at(s, c);
      totals[i] = s.totals[static_cast<int64_t>(c) * s.H + h];
      added[i] = 0.0f;
      if (chunks[i].needed && chunks[i].length > 1) added[i] = s.states[c * size + e];
    }
#pragma unroll
    for (int32_t i = 0; i < kAhead; ++i) {
      if (chunks[i].length == 0) continue;
      const int32_t c = base + i;
      s.states[c * size + e] = value;
      if (chunks[i].length > 1) {
        value = fmaf(totals[i], value, added[i]);
      } else {
        const int64_t t = chunks[i].token;
        const float step_x = __fmul_rn(s.steps[(static_cast<int64_t>(c) * s.H + h) * s.q], to_float(s.x_at(t, h)[p]));
        value = advance(totals[i], value, step_x, to_float(s.B_at(t, s.group(h))[n]));
      }
    }
  }
  if (kept != nullptr) *kept = value;
}

// y = exp(sum_i)·C_i·Sᵀ + Σ_{j ≤ i} (C_i·B_j) exp(sum_i − sum_j) Δ_j x_j + D·x_i. Blocks: chunks × H × tiles of q and P.
template <typename E>
__global__ void __launch_bounds__(kTileThreads) output_kernel(const SsdScan<E> s, int32_t tiles_p, int32_t tiles) {
  __shared__ typename Tile<E>::Shared shared;
  __shared__ float2 sums[kLongestChunk];
  __shared__ float steps[kLongestChunk];
  const int32_t part = static_cast<int32_t>(blockIdx.x) % tiles;
  const int32_t h = static_cast<int32_t>(blockIdx.x) / tiles % s.H;
  const int32_t c = static_cast<int32_t>(blockIdx.x) / tiles / s.H;
  const int32_t i0 = part / tiles_p * kTile, p0 = part % tiles_p * kTile;
  const Chunk chunk = chunk_at(s, c);
  if (i0 >= chunk.length) return;
  const int64_t at = (static_cast<int64_t>(c) * s.H + h) * s.q;
  float* entering = s.states + (static_cast<int64_t>(c) * s.H + h) * s.P * s.N;
  if (chunk.length == 1) {
    advance_rows(s, chunk.token, h, p0 + static_cast<int32_t>(threadIdx.x) / 32, min(p0 + kTile, s.P), 8,
                 PlainState<false>{chunk.zero ? nullptr : entering, s.N}, s.steps[at], s.totals[static_cast<int64_t>(c) * s.H + h]);
    return;
  }

  for (int32_t l = static_cast<int32_t>(threadIdx.x); l < chunk.length; l += kTileThreads) {
    sums[l] = s.sums[at + l];
    steps[l] = s.steps[at + l];
  }
  __syncthreads();
  const int32_t g = s.group(h);
  Tile<E> tile;
  if (!chunk.zero) {
    tile.template multiply<Along::depth, Along::depth>(
        shared, s.N, [&](int32_t i, int32_t n) { return i0 + i < chunk.length ? to_float(s.C_at(chunk.token + i0 + i, g)[n]) : 0.0f; },
        [&](int32_t p, int32_t n) { return p0 + p < s.P ? entering[static_cast<int64_t>(p0 + p) * s.N + n] : 0.0f; });
    tile.each([&](int32_t i, int32_t, float& sum) {
      if (i0 + i < chunk.length) sum *= decay_to(sums[i0 + i]);
    });
  }
  const float* products = s.products + (static_cast<int64_t>(c) * s.G + g) * s.q * s.q;
  tile.template multiply<Along::depth, Along::rows>(
      shared, min(i0 + kTile, chunk.length),
      [&](int32_t row, int32_t j) {
        const int32_t i = i0 + row;
        return i < chunk.length && j <= i ? products[static_cast<int64_t>(i) * s.q + j] * decay_between(sums[i], sums[j]) * steps[j] : 0.0f;
      },
      [&](int32_t p, int32_t j) { return p0 + p < s.P ? to_float(s.x_at(chunk.token + j, h)[p0 + p]) : 0.0f; });
  tile.each([&](int32_t row, int32_t column, float sum) {
    const int32_t i = i0 + row, p = p0 + column;
    if (i >= chunk.length || p >= s.P) return;
    const float x = to_float(s.x_at(chunk.token + i, h)[p]);
    s.y_at(chunk.token + i, h)[p] = from_float<E>(fmaf(s.skip(h, p), x, sum));
  });
}


// Blocks of the step kernel.
template <typename E>
int64_t step_blocks(const SsdScan<E>& s) {
  return static_cast<int64_t>(s.sequences.count) * s.H * divide_up(s.P, kStepRows);
}

// Pieces of `size` tokens that T tokens may have; only sequences of two tokens and more have any.
template <typename E>
int64_t most_pieces(const SsdScan<E>& s, int64_t size) {
  const int64_t T = s.sequences.tokens, S = s.sequences.count;
  return T < 2 ? 0 : std::min(T, T / size + std::min(S, T / 2));
}

template <typename E>
Status too_many(const SsdScan<E>& s) {
  return error(StatusCode::invalid_argument, "Expected fewer tokens or sequences in one run of ssd_scan but received %d and %d",
               s.sequences.tokens, s.sequences.count);
}

template <typename E>
Status launch_step(const SsdScan<E>& s, const SsdScanArgs& a, const Cuda& cuda, int32_t* counters, int32_t count) {
  const dim3 blocks(static_cast<unsigned>(s.sequences.count), static_cast<unsigned>(s.H), static_cast<unsigned>(divide_up(s.P, kStepRows)));
  if (blocks.y > UINT16_MAX || blocks.z > UINT16_MAX) return too_many(s);
  const bool packs = s.N % 4 == 0 && is_wide<4>(a.B) && is_wide<4>(a.C) && is_wide<4>(a.state);
  const auto kernel = packs && s.N <= kHeldStates ? held_step_kernel<E> : step_kernel<E>;
  return launch_early("ssd_scan", cuda, kernel, blocks, dim3(256), s, counters, count);
}

template <int32_t Q, int32_t N>
bool fits(const Cuda& cuda) {
  return static_cast<int64_t>(sizeof(typename Fused<Q, N>::Shared)) <= cuda.shared_memory_limit;
}

template <int32_t Q, int32_t N>
Status run_fused(const SsdScan<__nv_bfloat16>& s, const SsdScanArgs& a, const Cuda& cuda) {
  using F = Fused<Q, N>;
  const int64_t S = s.sequences.count, H = s.H, per_group = s.H / s.G;
  const int64_t most = most_pieces(s, Q);
  // Fewer heads per block where that gives every multiprocessor some.
  int64_t heads = F::kMostHeads;
  while (heads > F::kTeams && most * s.G * divide_up(per_group, heads) < cuda.multiprocessors) heads /= 2;
  const int64_t blocks = s.G * divide_up(per_group, heads), chains = std::min(S, divide_up(most, 2)), counters = 1 + chains * H * 8;
  if (std::max({step_blocks(s), most * blocks, counters}) > INT32_MAX) return too_many(s);

  Scratch scratch(a.scratch, a.scratch_bytes);
  Chain chain{};
  chain.heads = static_cast<int32_t>(heads), chain.blocks = static_cast<int32_t>(blocks);
  chain.by_sequence = chains == S;
  chain.wide_x = is_wide<8>(a.x), chain.wide_B = is_wide<8>(a.B), chain.wide_C = is_wide<8>(a.C);
  chain.wide_y = is_wide<4>(a.y), chain.wide_state = is_wide<2>(a.state);
  Piece* pieces = scratch.take<Piece>(most);
  int32_t* first = scratch.take<int32_t>(S + 1);
  chain.pieces = pieces, chain.first = first;
  chain.ticket = scratch.take<int32_t>(counters), chain.begun = chain.ticket + 1;
  chain.links = scratch.take<float4>(chains * H * 8 * F::kVectors * 32);
  if (Status status = most == 0 ? Status{} : scratch.check("ssd_scan"); !status.ok()) return status;

  const cudaStream_t stream = cuda.stream;
  const Status stepped = launch_step(s, a, cuda, chain.ticket, most == 0 ? 0 : static_cast<int32_t>(counters));
  if (!stepped.ok() || most == 0) return stepped;
  cut_sequences<kSsdScan><<<1, 1024, 0, stream>>>(s.sequences, 2, 1, Q, pieces, static_cast<int32_t>(most), first, cuda.error_word);
  constexpr int32_t kBytes = static_cast<int32_t>(sizeof(typename F::Shared));
  if (cudaFuncSetAttribute(fused_kernel<Q, N>, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes) != cudaSuccess) return launched("ssd_scan");
  fused_kernel<Q, N><<<static_cast<unsigned>(most * blocks), F::kTeams * F::kTeamThreads, kBytes, stream>>>(s, chain);
  return launched("ssd_scan");
}

template <typename E>
Status run_tiled(SsdScan<E> s, const SsdScanArgs& a, const Cuda& cuda) {
  const int64_t S = s.sequences.count, chunks = most_pieces(s, s.q);
  const int64_t H = s.H, P = s.P, N = s.N, G = s.G, q = s.q;
  const int64_t edge = divide_up(q, kTile), tiles_p = divide_up(P, kTile), tiles_n = divide_up(N, kTile);
  const int64_t pairs = edge * (edge + 1) / 2;
  const int64_t passes = divide_up(H * P * N, 256);
  if (std::max({step_blocks(s), passes * S, chunks * G * pairs, chunks * H * tiles_p * std::max(tiles_n, edge)}) > INT32_MAX) {
    return too_many(s);
  }
  const auto grid = [](int64_t blocks) { return static_cast<unsigned>(blocks); };
  const cudaStream_t stream = cuda.stream;
  const Status stepped = launch_step(s, a, cuda, nullptr, 0);
  if (!stepped.ok() || chunks == 0) return stepped;

  Scratch scratch(a.scratch, a.scratch_bytes);
  s.chunks = static_cast<int32_t>(chunks);
  s.pieces = scratch.take<Piece>(chunks);
  s.first = scratch.take<int32_t>(S + 1);
  s.steps = scratch.take<float>(chunks * H * q);
  s.sums = scratch.take<float2>(chunks * H * q);
  s.totals = scratch.take<float>(chunks * H);
  s.products = scratch.take<float>(chunks * G * q * q);
  s.states = scratch.take<float>(chunks * H * P * N);
  if (Status status = scratch.check("ssd_scan"); !status.ok()) return status;

  cut_sequences<kSsdScan><<<1, 1024, 0, stream>>>(s.sequences, 2, 1, q, s.pieces, s.chunks, s.first, cuda.error_word);
  decay_kernel<<<grid(chunks * divide_up(H, 8)), 256, 0, stream>>>(s);
  if (G > 0) product_kernel<<<grid(chunks * G * pairs), kTileThreads, 0, stream>>>(s, static_cast<int32_t>(pairs));
  if (N > 0) {
    const int64_t tiles = tiles_p * tiles_n;
    state_kernel<<<grid(chunks * H * tiles), kTileThreads, 0, stream>>>(s, static_cast<int32_t>(tiles_n), static_cast<int32_t>(tiles));
    pass_kernel<<<grid(S * passes), 256, 0, stream>>>(s, static_cast<int32_t>(passes));
  }
  output_kernel<<<grid(chunks * H * edge * tiles_p), kTileThreads, 0, stream>>>(s, static_cast<int32_t>(tiles_p),
                                                                                static_cast<int32_t>(edge * tiles_p));
  return launched("ssd_scan");
}

template <typename E>
Status run(const SsdScanArgs& a, const Cuda& cuda) {
  const int64_t T = a.x.dim[0], S = a.cu_seqlens.dim[0] - 1;
  SsdScan<E> s{};
  s.H = static_cast<int32_t>(a.x.dim[1]);
  s.P = static_cast<int32_t>(a.x.dim[2]);
  s.G = static_cast<int32_t>(a.B.dim[1]);
  s.N = static_cast<int32_t>(a.B.dim[2]);
  s.q = static_cast<int32_t>(a.chunk_size);
  if (T == 0 || S <= 0 || s.H == 0 || s.P == 0) return {};
  if (s.q < 1 || s.q > kLongestChunk) {
    return error(StatusCode::invalid_argument, "Expected an ssd_scan chunkSize from 1 to %d but received %d", kLongestChunk, s.q);
  }
  if (Status status = sequences_of("ssd_scan", a.cu_seqlens, T, a.state, a.state_index, &s.sequences); !status.ok()) return status;
  s.x = a.x.as<E>(), s.x_row = row_stride(a.x);
  s.dt = a.dt.as<E>(), s.dt_row = row_stride(a.dt);
  s.B = a.B.as<E>(), s.B_row = row_stride(a.B);
  s.C = a.C.as<E>(), s.C_row = row_stride(a.C);
  s.y = a.y.as<E>(), s.y_row = row_stride(a.y);
  s.a_log = a.a_log.as<float>(), s.dt_bias = a.dt_bias.as<float>();
  if (a.D) s.D = a.D.as<float>(), s.D_row = row_stride(a.D), s.D_per_channel = a.D.dim[1] > 1;
  if (a.state) s.state = a.state.as<float>(), s.state_slot = row_stride(a.state);
  s.softplus = a.dt_softplus;
  s.step_low = static_cast<float>(a.dt_min), s.step_high = static_cast<float>(a.dt_max);
  s.error_word = cuda.error_word;

  if constexpr (std::is_same_v<E, __nv_bfloat16>) {
    // Dimensions and attributes choose the kernels, never tokens: how a stream is cut must not change its bits.
    if (s.P == 64 && s.N == 128 && s.q % 128 == 0 && fits<128, 128>(cuda)) return run_fused<128, 128>(s, a, cuda);
    if (s.P == 64 && s.N == 128 && s.q % 64 == 0 && fits<64, 128>(cuda)) return run_fused<64, 128>(s, a, cuda);
    if (s.P == 64 && s.N == 64 && s.q % 128 == 0 && fits<128, 64>(cuda)) return run_fused<128, 64>(s, a, cuda);
    if (s.P == 64 && s.N == 64 && s.q % 64 == 0 && fits<64, 64>(cuda)) return run_fused<64, 64>(s, a, cuda);
  }
  return run_tiled(s, a, cuda);
}

Status run_any(const SsdScanArgs& a, const Cuda& cuda) {
  return with_float(a.x.dtype, [&](auto* e) { return run<std::remove_pointer_t<decltype(e)>>(a, cuda); });
}

}  // namespace

Status ssd_scan(const SsdScanArgs& a, const Cuda& cuda) {
  using Args = SsdScanArgs;
  if (!a.reverse) return run_any(a, cuda);
  return with_mirror("ssd_scan", a, {&Args::x, &Args::dt, &Args::B, &Args::C, &Args::y}, cuda, run_any);
}

}  // namespace krait::cuda

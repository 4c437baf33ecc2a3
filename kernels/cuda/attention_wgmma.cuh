// Attention in bfloat16 on the warpgroup instructions of sm_90a: tiles of 64 rows per warpgroup, blocks of 64 keys that all warpgroups
// load together, a few blocks ahead. While a warpgroup makes the weights of one block, the tensor cores sum the values of the block before.
#pragma once

#include "attention.cuh"
#include "mma.cuh"
#include "wgmma.cuh"

namespace krait::cuda {

// kD: 64 or 128, the head size rounded up.
template <int32_t kD, int32_t kGroups>
struct AttentionWgmma {
  static constexpr int32_t kKeys = 64;
  static constexpr int32_t kThreads = 128 * kGroups;
  static constexpr int32_t kRows = 64 * kGroups;
  static constexpr int32_t kHalves = kD / 64;
  static constexpr int32_t kStages = 4;
  static constexpr int32_t kAhead = 2;
  static constexpr int32_t kTileBytes = kKeys * 128;
  static constexpr int32_t kOperandBytes = kHalves * kTileBytes;  // one block of keys or of values
  static constexpr int32_t kStageBytes = 2 * kOperandBytes;
  static constexpr int32_t kGroupQueryBytes = kHalves * 64 * 128;
  static constexpr int32_t kSharedBytes = kStages * kStageBytes + kGroups * kGroupQueryBytes;
};

#ifdef KRAIT_HAS_WGMMA
__device__ __forceinline__ float power_of_two(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

__device__ __forceinline__ void store_shared(uint32_t to, uint4 value) {
  asm volatile("st.shared.v4.b32 [%0], {%1, %2, %3, %4};" ::"r"(to), "r"(value.x), "r"(value.y), "r"(value.z), "r"(value.w) : "memory");
}

// Eight elements from `at` on, or zeros, by plain accesses.
__device__ __forceinline__ void store_row_bf16(uint32_t to, const __nv_bfloat16* from, int32_t at, int32_t D) {
  float values[8];
  load(values, from + at, from == nullptr ? 0 : D - at, false);
  store_shared(to, make_uint4(pack_bf16(values[0], values[1]), pack_bf16(values[2], values[3]), pack_bf16(values[4], values[5]),
                              pack_bf16(values[6], values[7])));
}
#endif

// Blocks: pieces × Hk, the last tiles first because they may see the most keys. kPlain: heads of exactly kD, all rows `wide` and `paired`.
template <int32_t kD, int32_t kGroups, int32_t kResident, bool kPlain>
__global__ void __launch_bounds__(128 * kGroups, kResident) attention_wgmma(const Attention<__nv_bfloat16> a) {
#ifdef KRAIT_HAS_WGMMA
  using Layout = AttentionWgmma<kD, kGroups>;
  constexpr int32_t kKeys = Layout::kKeys, kStages = Layout::kStages, kAhead = Layout::kAhead, kHalves = Layout::kHalves;
  extern __shared__ __align__(1024) unsigned char swizzled_memory[];
  __shared__ uint64_t full[kStages], empty[kStages];
  __shared__ TileSpan span;  // there it takes no registers
  const uint32_t stages = shared_address(swizzled_memory);
  const bool wide = kPlain || a.wide;
  const int32_t D = kPlain ? kD : a.D;
  const int32_t thread = static_cast<int32_t>(threadIdx.x);
  const int32_t lane = thread % 32, g = lane / 4, t4 = lane % 4;
  const int32_t group = __shfl_sync(0xffffffffu, thread / 128, 0);
  const int32_t block = static_cast<int32_t>(gridDim.x - 1 - blockIdx.x);
  const int32_t head = block % a.Hk;
  const Piece piece = a.pieces[block / a.Hk];
  if (piece.sequence < 0) return;
  if (thread == 0) {
    span = tile_span(a, piece, Layout::kRows);
    for (int32_t s = 0; s < kStages; ++s) {
      barrier_init(&full[s], Layout::kThreads);
      barrier_init(&empty[s], 4 * kGroups);
    }
  }
  __syncthreads();
  const TileSpan& tile = span;
  const int32_t top_row = 64 * group;

  // Blocks of keys that some row sees are counted through: those with sinks, then those with windows, the first of which begins at `origin`.
  const int64_t origin = tile.window_start / kKeys * kKeys;
  const int64_t sinks_end = a.sinks > tile.oldest ? min(a.sinks, tile.high + 1) : 0;
  const int64_t sinks_from = tile.oldest / kKeys * kKeys;
  const int32_t sink_blocks = static_cast<int32_t>(max((min(sinks_end + kKeys - 1, origin) - sinks_from) / kKeys, static_cast<int64_t>(0)));
  const auto base_of = [&](int32_t i) {
    return i < sink_blocks ? tile.oldest / kKeys * kKeys + i * static_cast<int64_t>(kKeys) : origin + (i - sink_blocks) * static_cast<int64_t>(kKeys);
  };
  // Of the first block that begins at a position from `origin` on or later, and of the first that ends after it.
  const auto from_block = [&](int64_t position) { return sink_blocks + static_cast<int32_t>((max(position, origin) - origin + kKeys - 1) / kKeys); };
  const auto past_block = [&](int64_t position) { return sink_blocks + static_cast<int32_t>((max(position + 1, origin) - origin) / kKeys); };
  const int32_t count = from_block(tile.high + 1);
  // Blocks that can be loaded without looking for their keys.
  const int32_t inner = from_block(max(tile.start, tile.window_start));
  const int32_t inner_end = wide && D == kD ? past_block(tile.high) : 0;
  // The rows of this warpgroup see something of blocks [0, sinks_seen) and [seen, seen_end), and all see all of [open, open_end).
  // Without any rows it only loads.
  const int32_t rows = min(tile.rows - top_row, 64);
  int32_t sinks_seen = 0, seen = 0, seen_end = 0, open = 0, open_end = 0;
  if (rows > 0) {
    const int64_t low = tile.start + tile.token_of(top_row, a.R), high = tile.start + tile.token_of(top_row + rows - 1, a.R);
    sinks_seen = sink_blocks;
    seen = sinks_end > origin ? sink_blocks : past_block(low - a.window);
    seen_end = from_block(high + 1);
    open = from_block(max(high - a.window + 1, tile.oldest));
    open_end = past_block(low);
  }
  const auto is_seen = [&](int32_t i) { return i < sinks_seen || (i >= seen && i < seen_end); };

  // This thread copies piece `load_piece` of every few rows; of blocks that lie in this run and are seen as a whole, from here on.
  const int32_t load_row = thread / 8, load_piece = thread % 8;
  const uint32_t load_to = stages + swizzled(load_row, load_piece);
  const int64_t first_token = tile.from + (origin - tile.start) - kKeys * static_cast<int64_t>(sink_blocks) + load_row;
  const __nv_bfloat16* next_key = a.k + first_token * a.k_row + head * D + 8 * load_piece;
  const __nv_bfloat16* next_value = a.v + first_token * a.v_row + head * D + 8 * load_piece;
  const auto load = [&](int32_t i) {
    const int32_t stage = i & (kStages - 1);
    if (i >= kStages) barrier_wait(&empty[stage], (i / kStages - 1) & 1);
    const uint32_t to = load_to + static_cast<uint32_t>(stage * Layout::kStageBytes);
    if (i >= inner && i < inner_end) {
#pragma unroll
      for (int32_t first = 0; first < kKeys; first += Layout::kThreads / 8) {
        if (kKeys % (Layout::kThreads / 8) != 0 && first + load_row >= kKeys) break;
#pragma unroll
        for (int32_t half = 0; half < kHalves; ++half) {
          // Rows eight apart swizzle alike.
          const uint32_t at = to + static_cast<uint32_t>(half * Layout::kTileBytes + first * 128);
          copy_async(at, next_key + first * a.k_row + 64 * half, true);
          copy_async(at + Layout::kOperandBytes, next_value + first * a.v_row + 64 * half, true);
        }
      }
    } else {
#pragma unroll 1
      for (int32_t r = load_row; r < kKeys; r += Layout::kThreads / 8) {
        const __nv_bfloat16 *key, *value;
        find_key(a, tile, base_of(i) + r, head, key, value);
#pragma unroll 1
        for (int32_t half = 0; half < kHalves; ++half) {
          const int32_t d = 64 * half + 8 * load_piece;
          const uint32_t at = to + static_cast<uint32_t>(half * Layout::kTileBytes + (r - load_row) * 128);
          if (wide) {
            const bool exists = key != nullptr && d < D;
            copy_async(at, exists ? key + d : a.k, exists);
            copy_async(at + Layout::kOperandBytes, exists ? value + d : a.v, exists);
          } else {
            store_row_bf16(at, key, d, D);
            store_row_bf16(at + Layout::kOperandBytes, value, d, D);
          }
        }
      }
      if (!wide) shared_for_products();
    }
    next_key += kKeys * a.k_row;
    next_value += kKeys * a.v_row;
    barrier_arrive_after_copies(&full[stage]);
  };
  for (int32_t i = 0; i < kAhead && i < count; ++i) load(i);

  const uint32_t queries = stages + static_cast<uint32_t>(kStages * Layout::kStageBytes + group * Layout::kGroupQueryBytes);
  const auto place_query = [&](int32_t i, auto put) {
    const int32_t r = i / (kD / 8), d = i % (kD / 8) * 8;
    const uint32_t to = queries + static_cast<uint32_t>(d / 64 * 64 * 128) + swizzled(r, d / 8 % 8);
    put(to, top_row + r < tile.rows ? query_row(a, tile, a.q, a.q_row, head, top_row + r) : nullptr, r, d);
  };
  if (a.half == 0 && (kPlain || a.wide_queries)) {
#pragma unroll
    for (int32_t i = 0; i < 8 * kD; i += 128) {
      place_query(i + thread % 128, [&](uint32_t to, const __nv_bfloat16* row, int32_t, int32_t d) {
        const bool exists = row != nullptr && d < D;
        copy_async(to, exists ? row + d : a.q, exists);
      });
    }
  } else {
#pragma unroll 1
    for (int32_t i = thread % 128; i < 8 * kD; i += 128) {
      place_query(i, [&](uint32_t to, const __nv_bfloat16* row, int32_t r, int32_t d) {
        float values[8] = {};
        if (row != nullptr) {
          const float2* turns = a.turns + (static_cast<int64_t>(tile.from) + tile.token_of(top_row + r, a.R)) * a.half;
          turned_pack(values, row, d, D, a.half, a.interleaved, turns, kPlain || a.wide_queries);
        }
        store_shared(to, make_uint4(pack_bf16(values[0], values[1]), pack_bf16(values[2], values[3]), pack_bf16(values[4], values[5]),
                                    pack_bf16(values[6], values[7])));
      });
    }
  }
  asm volatile("cp.async.wait_all;" ::: "memory");
  shared_for_products();
  __syncthreads();

  // This thread's rows are g and g + 8 of its warp's.
  const int32_t my_row = top_row + thread % 128 / 32 * 16 + g;
  const float scale = a.scale * 1.44269504f;  // powers of two instead of e
  float top[2] = {-INFINITY, -INFINITY};
  float total[2] = {0.0f, 0.0f};  // of this thread's columns only
  float sum[kHalves][32];
#pragma unroll
  for (int32_t half = 0; half < kHalves; ++half) {
#pragma unroll
    for (int32_t c = 0; c < 32; ++c) sum[half][c] = 0.0f;
  }
  uint32_t weights[kKeys / 16][4];
  float score[32];
  float rescale[2];

  const auto enter = [&](int32_t i) {
    barrier_wait(&full[i & (kStages - 1)], i / kStages & 1);
    shared_for_products();
  };
  const auto leave = [&](int32_t i) {
    if (lane == 0) barrier_arrive(&empty[i & (kStages - 1)]);
  };
  const auto multiply_keys = [&](int32_t i) {
    const uint64_t keys = tile_descriptor(stages + static_cast<uint32_t>((i & (kStages - 1)) * Layout::kStageBytes));
#pragma unroll
    for (int32_t c = 0; c < kD / 16; ++c) {
      const auto further = static_cast<uint64_t>((c / 4 * Layout::kTileBytes + c % 4 * 32) >> 4);
      product_64(score, tile_descriptor(queries) + further, keys + further, c > 0);
    }
    products_commit();
  };
  const auto add_values = [&](int32_t i) {
    const uint64_t values = tile_descriptor(stages + static_cast<uint32_t>((i & (kStages - 1)) * Layout::kStageBytes + Layout::kOperandBytes));
#pragma unroll
    for (int32_t half = 0; half < kHalves; ++half) {
#pragma unroll
      for (int32_t j = 0; j < kKeys / 16; ++j) {
        product_64<true>(sum[half], weights[j], values + static_cast<uint64_t>((half * Layout::kTileBytes + j * 2048) >> 4), true);
      }
    }
    products_commit();
  };
  // Scores of block i become weights, still in float32.
  const auto weigh = [&](int32_t i) {
    if (i < open || i >= open_end) {
      const int64_t base = base_of(i);
#pragma unroll
      for (int32_t e = 0; e < 2; ++e) {
        const int32_t r = my_row + 8 * e;
        const Mask mask(a, tile, r < tile.rows ? tile.start + tile.token_of(r, a.R) : -1, base, kKeys);
        const uint64_t bits = mask.bits() >> (2 * t4);
#pragma unroll
        for (int32_t c = 0; c < kKeys / 8; ++c) {
#pragma unroll
          for (int32_t j = 0; j < 2; ++j) {
            if ((static_cast<uint32_t>(bits >> (c / 4 * 32)) >> (c % 4 * 8 + j) & 1) == 0) score[4 * c + 2 * e + j] = -INFINITY;
          }
        }
      }
    }
#pragma unroll
    for (int32_t e = 0; e < 2; ++e) {
      float highest = top[e];
#pragma unroll
      for (int32_t c = 0; c < kKeys / 8; ++c) highest = fmaxf(highest, fmaxf(score[4 * c + 2 * e], score[4 * c + 2 * e + 1]));
      highest = fmaxf(highest, __shfl_xor_sync(0xffffffffu, highest, 1));
      highest = fmaxf(highest, __shfl_xor_sync(0xffffffffu, highest, 2));
      // Zero where no key has been seen yet. Products rounded alike, so that a block without news rescales by exactly one.
      const float level = highest == -INFINITY ? 0.0f : __fmul_rn(highest, scale);
      rescale[e] = power_of_two(__fsub_rn(__fmul_rn(top[e], scale), level));
      top[e] = highest;
      float part[2] = {0.0f, 0.0f};
#pragma unroll
      for (int32_t c = 0; c < kKeys / 8; ++c) {
#pragma unroll
        for (int32_t j = 0; j < 2; ++j) {
          float& s = score[4 * c + 2 * e + j];
          s = power_of_two(fmaf(s, scale, -level));
          part[j] += s;
        }
      }
      total[e] = fmaf(total[e], rescale[e], part[0] + part[1]);
    }
  };
  const auto settle_sums = [&] {
    products_wait<0>();
#pragma unroll
    for (int32_t half = 0; half < kHalves; ++half) settled(sum[half]);
  };
  // The weights meet the sums, once the values before are in them.
  const auto hand_over = [&] {
    // The waits stand in branches: before one they would be moved up, before the weights.
    if (__any_sync(0xffffffffu, rescale[0] != 1.0f || rescale[1] != 1.0f)) {
      settle_sums();
#pragma unroll
      for (int32_t half = 0; half < kHalves; ++half) {
#pragma unroll
        for (int32_t c = 0; c < 32; ++c) sum[half][c] *= rescale[c / 2 % 2];
      }
    } else {
      settle_sums();
    }
#pragma unroll
    for (int32_t j = 0; j < kKeys / 16; ++j) {
#pragma unroll
      for (int32_t e = 0; e < 4; ++e) weights[j][e] = pack_bf16(score[8 * j + 2 * e], score[8 * j + 2 * e + 1]);
    }
  };

  for (int32_t i = 0; i < count;) {
    if (i + kAhead < count) load(i + kAhead);
    if (!is_seen(i)) {
      leave(i++);
      continue;
    }
    enter(i);
    products_begin();
    multiply_keys(i);
    products_wait<0>();
    settled(score);
    weigh(i);
    hand_over();
    while (++i < count && is_seen(i)) {
      enter(i);
      products_begin();
      multiply_keys(i);
      add_values(i - 1);
      if (i + kAhead < count) load(i + kAhead);
      products_wait<1>();
      settled(score);
      weigh(i);
      settled(score);
      hand_over();
      leave(i - 1);
    }
    products_begin();
    add_values(i - 1);
    settle_sums();
    leave(i - 1);
  }
  asm volatile("cp.async.wait_all;" ::: "memory");

#pragma unroll
  for (int32_t e = 0; e < 2; ++e) {
    total[e] += __shfl_xor_sync(0xffffffffu, total[e], 1);
    total[e] += __shfl_xor_sync(0xffffffffu, total[e], 2);
    const int32_t r = my_row + 8 * e;
    if (r >= tile.rows) continue;
    const float share = 1.0f / total[e];
    __nv_bfloat16* to = query_row(a, tile, a.y, a.y_row, head, r) + 2 * t4;
    const int32_t left = D - 2 * t4;
#pragma unroll
    for (int32_t c = 0; c < kD / 8; ++c) {
      const float first = sum[c / 8][c % 8 * 4 + 2 * e] * share, second = sum[c / 8][c % 8 * 4 + 2 * e + 1] * share;
      if (kPlain || (a.paired && 8 * c < left)) {
        *reinterpret_cast<uint32_t*>(to + 8 * c) = pack_bf16(first, second);
      } else {
        if (8 * c < left) to[8 * c] = __float2bfloat16_rn(first);
        if (8 * c + 1 < left) to[8 * c + 1] = __float2bfloat16_rn(second);
      }
    }
  }
#endif
}

}  // namespace krait::cuda

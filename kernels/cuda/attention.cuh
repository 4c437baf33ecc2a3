// What the kernels of attention share. Tiles are some rows of one key head: row r of a sequence is token r / R, query head r % R of the
// R = Hq / Hk that read the key head. Keys come in blocks that start at multiples of their size in absolute positions, so that the
// order of a query's sums depends on its position alone, not on where runs were cut or whether a key lies in the run or in the ring.
#pragma once

#include "borders.cuh"
#include "functions.cuh"
#include "rows.cuh"

namespace krait::cuda {

inline constexpr int32_t kAttention = op_number("attention");
inline constexpr int32_t kTileRows = 64;
inline constexpr int32_t kWidestHead = 256;
inline constexpr int64_t kNoWindow = int64_t{1} << 54;  // a window that every position is in

template <typename E>
struct Attention {
  Sequences sequences;
  int32_t Hq, Hk, D, R;
  int64_t window, sinks;
  float scale;
  int32_t half;  // rotaryDims / 2
  bool interleaved;
  const E *q, *k, *v;  // k is rotated
  int64_t q_row, k_row, v_row;
  E *keys, *values;
  int64_t keys_slot, values_slot;  // elements from slot to slot
  int64_t ring;
  E* y;
  int64_t y_row;
  const float2* turns;  // [T, half], cosine and sine
  Piece* pieces;
  bool wide;          // rows of k, v, keys and values may be read 16 bytes at a time
  bool wide_queries;  // so may rows of q
  bool paired;        // rows of y may be written 4 bytes at a time
  int32_t* error_word;
  // What only the general kernels look at: keys ahead of a query, and global tokens, whose keys and values in a slot are `kept` many.
  int64_t ahead;
  const int32_t *globals, *global_borders;
  E *global_keys, *global_values;
  int64_t* global_positions;
  int64_t kept;
  int64_t global_keys_slot, global_values_slot, global_positions_slot;
  const int2* marked;  // per sequence, how many global tokens were carried and how many this run brings
  bool by_list;        // rows are global tokens, which see all keys

  __device__ int64_t ring_row(int64_t position) const {
    return position < sinks ? position : sinks + (position - sinks) % (ring - sinks);
  }
};

// One of a pair, `sine` negated for the first of them. Rounded alike wherever it is inlined.
__device__ __forceinline__ float turned(float own, float other, float cosine, float sine) { return fmaf(own, cosine, __fmul_rn(other, sine)); }

// Element d of a head's row after the rotation of its token.
template <typename E>
__device__ __forceinline__ float turned(const E* row, int32_t d, int32_t half, bool interleaved, const float2* turns) {
  if (d >= 2 * half) return to_float(row[d]);
  const int32_t pair = interleaved ? d / 2 : d % half;
  const bool is_first = interleaved ? d % 2 == 0 : d < half;
  const float a = to_float(row[interleaved ? 2 * pair : pair]), b = to_float(row[interleaved ? 2 * pair + 1 : pair + half]);
  const float2 turn = turns[pair];
  return is_first ? turned(a, b, turn.x, -turn.y) : turned(b, a, turn.x, turn.y);
}

// Elements [d, d + 8) of a row, d a multiple of 8. `wide`: the row may be read 16 bytes at a time, and so may `turns`.
template <typename E>
__device__ __forceinline__ void turned_pack(float (&to)[8], const E* row, int32_t d, int32_t D, int32_t half, bool interleaved, const float2* turns,
                                            bool wide) {
  if (wide && half % 8 == 0 && d + 8 <= D) {
    Raw<E, 8> own;
    own.template fetch<true>(row + d, 8);
    if (d >= 2 * half) {
#pragma unroll
      for (int32_t i = 0; i < 8; ++i) to[i] = own[i];
    } else if (interleaved) {
      Raw<float, 8> turn;
      turn.template fetch<true>(reinterpret_cast<const float*>(turns + d / 2), 8);
#pragma unroll
      for (int32_t i = 0; i < 8; i += 2) {
        to[i] = turned(own[i], own[i + 1], turn[i], -turn[i + 1]);
        to[i + 1] = turned(own[i + 1], own[i], turn[i], turn[i + 1]);
      }
    } else {
      const bool is_first = d < half;
      const int32_t pair = is_first ? d : d - half;
      Raw<E, 8> other;
      other.template fetch<true>(row + (is_first ? d + half : pair), 8);
      Raw<float, 16> turn;
      turn.template fetch<true>(reinterpret_cast<const float*>(turns + pair), 16);
#pragma unroll
      for (int32_t i = 0; i < 8; ++i) to[i] = turned(own[i], other[i], turn[2 * i], is_first ? -turn[2 * i + 1] : turn[2 * i + 1]);
    }
  } else {
#pragma unroll
    for (int32_t i = 0; i < 8; ++i) to[i] = d + i < D ? turned(row, d + i, half, interleaved, turns) : 0.0f;
  }
}

// The rows of one tile and the keys they see.
struct TileSpan {
  int32_t sequence;
  int32_t from;          // the sequence's first token in this run
  int32_t slot;          // −1: nothing was carried
  int64_t start;         // position of `from`
  int32_t token, group;  // the tile's first row: token since `from`, query head of the group
  int32_t rows;          // of the tile
  int64_t low, high;     // positions of its first and last token
  int64_t oldest;        // the first position that exists
  int64_t window_start;  // the first position in some row's window

  // Of row r of the tile: its token since `from`, its query head of the group.
  __device__ int32_t token_of(int32_t r, int32_t R) const { return R == 1 ? token + r : token + (group + r) / R; }
  __device__ int32_t head_of(int32_t r, int32_t R) const { return R == 1 ? 0 : (group + r) % R; }
};

template <typename E>
__device__ __forceinline__ TileSpan tile_span(const Attention<E>& a, Piece piece, int32_t tile_rows = kTileRows) {
  TileSpan tile;
  tile.sequence = piece.sequence;
  tile.from = a.sequences.borders[piece.sequence];
  tile.slot = a.sequences.slot(piece.sequence);
  tile.start = a.sequences.start(piece.sequence);
  const int64_t row = static_cast<int64_t>(piece.index) * tile_rows;
  const int64_t left = static_cast<int64_t>(a.sequences.borders[piece.sequence + 1] - tile.from) * a.R - row;
  tile.token = static_cast<int32_t>(a.R == 1 ? row : row / a.R);
  tile.group = static_cast<int32_t>(a.R == 1 ? 0 : row % a.R);
  tile.rows = static_cast<int32_t>(left < tile_rows ? left : tile_rows);
  tile.low = tile.start + tile.token;
  tile.high = tile.start + tile.token_of(tile.rows - 1, a.R);
  tile.oldest = tile.slot < 0 ? tile.start : 0;
  tile.window_start = max(tile.low - a.window + 1, tile.oldest);
  return tile;
}

// The row of q, or of y, that row r of a tile stands for.
template <typename E, typename Span, typename T>
__device__ __forceinline__ T* query_row(const Attention<E>& a, const Span& tile, T* base, int64_t stride, int32_t head, int32_t r) {
  const int64_t t = static_cast<int64_t>(tile.from) + tile.token_of(r, a.R);
  return base + t * stride + (static_cast<int64_t>(head) * a.R + tile.head_of(r, a.R)) * a.D;
}

template <typename E, typename Span>
__device__ __forceinline__ float turned_query(const Attention<E>& a, const Span& tile, int32_t head, int32_t r, int32_t d) {
  if (r >= tile.rows || d >= a.D) return 0.0f;
  const int64_t t = static_cast<int64_t>(tile.from) + tile.token_of(r, a.R);
  return turned(query_row(a, tile, a.q, a.q_row, head, r), d, a.half, a.interleaved, a.turns + t * a.half);
}

// Walks the blocks of kSize keys that some row of a tile sees: those with sinks, then those with windows.
template <int32_t kSize>
struct BlockWalk {
  int64_t block, last, sinks_end, window_begin;

  __device__ BlockWalk(const TileSpan& tile, int64_t sinks) {
    last = tile.high / kSize;
    window_begin = tile.window_start / kSize;
    block = window_begin;
    sinks_end = 0;
    if (sinks > tile.oldest) {
      block = tile.oldest / kSize;
      sinks_end = (min(sinks, tile.high + 1) - 1) / kSize + 1;
      skip();
    }
  }
  __device__ bool done() const { return block > last; }
  __device__ void next() {
    ++block;
    skip();
  }
  __device__ void skip() {
    if (block >= sinks_end && block < window_begin) block = window_begin;
  }
};

// Where the key and the value of a position lie; null where no row of the tile sees it.
template <typename E>
__device__ __forceinline__ void find_key(const Attention<E>& a, const TileSpan& tile, int64_t position, int32_t head, const E*& key,
                                         const E*& value) {
  key = value = nullptr;
  if (position < tile.oldest || position > tile.high || (position >= a.sinks && position < tile.window_start)) return;
  if (position >= tile.start) {
    const int64_t t = tile.from + (position - tile.start);
    key = a.k + t * a.k_row + static_cast<int64_t>(head) * a.D;
    value = a.v + t * a.v_row + static_cast<int64_t>(head) * a.D;
  } else {
    const int64_t row = (a.ring_row(position) * a.Hk + head) * a.D;
    key = a.keys + tile.slot * a.keys_slot + row;
    value = a.values + tile.slot * a.values_slot + row;
  }
}

// Which keys of the block at `base` a query sees, as offsets into the block: those in [oldest, newest] that are in [window, …) or in
// [0, sinks).
struct Mask {
  int32_t oldest, newest, window, sinks;

  template <typename E>
  __device__ Mask(const Attention<E>& a, const TileSpan& tile, int64_t position, int64_t base, int32_t size)
      : oldest(clamp(tile.oldest - base, size)),
        newest(clamp(position + 1 - base, size) - 1),
        window(clamp(position - a.window + 1 - base, size)),
        sinks(clamp(a.sinks - base, size)) {}

  __device__ bool sees(int32_t key) const { return key >= oldest && key <= newest && (key >= window || key < sinks); }
  // One bit per key, for blocks of 64.
  __device__ uint64_t bits() const { return below(newest + 1) & ~below(oldest) & (~below(window) | below(sinks)); }

 private:
  __device__ static uint64_t below(int32_t key) { return key >= 64 ? ~0ull : (1ull << key) - 1; }
  __device__ static int32_t clamp(int64_t value, int32_t size) { return static_cast<int32_t>(value < 0 ? 0 : value > size ? size : value); }
};

// The blocks of keys of a tile, and what kRows of its rows see of them, for kernels that serve several patterns.
template <typename E, int32_t kSize, int32_t kRows>
class CausalWalk {
 public:
  using Span = TileSpan;
  __device__ static Span span(const Attention<E>& a, Piece piece) { return tile_span(a, piece); }

  __device__ CausalWalk(const Attention<E>& a, const Span& tile, const int64_t (&)[kRows]) : walk_(tile, a.sinks) {}
  __device__ bool done() const { return walk_.done(); }
  __device__ void next(const Attention<E>&, const Span&, const int64_t (&)[kRows]) { walk_.next(); }
  __device__ void find(const Attention<E>& a, const Span& tile, int32_t i, int32_t head, const E*& key, const E*& value) const {
    find_key(a, tile, walk_.block * kSize + i, head, key, value);
  }
  __device__ Mask mask(const Attention<E>& a, const Span& tile, const int64_t (&position)[kRows], int32_t r) const {
    return Mask(a, tile, position[r], walk_.block * kSize, kSize);
  }

 private:
  BlockWalk<kSize> walk_;
};

}  // namespace krait::cuda

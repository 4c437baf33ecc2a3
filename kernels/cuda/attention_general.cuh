// Attention that looks ahead or knows global tokens: four ranges of keys per tile, one after the other: sinks, window, the global tokens
// before the window and, where they are seen from both sides, those behind it. Each row sees one stretch of each. Tiles of global tokens
// that see all keys have one range.
#pragma once

#include "attention.cuh"

namespace krait::cuda {

// The rows of one tile, as TileSpan, and the global tokens of its sequence.
struct GeneralSpan {
  int32_t sequence, from, slot;
  int64_t start, end;  // positions of the sequence's tokens in this run
  int64_t oldest;
  int32_t token, group, rows;
  const int32_t* list;  // not null: the tile's rows are these tokens of the run
  // Global tokens: `carried` of them with their positions + 1, then `fresh` of this run.
  int32_t carried, fresh;
  const int64_t* positions;
  const int32_t* tokens;

  __device__ int32_t token_of(int32_t r, int32_t R) const {
    const int32_t n = R == 1 ? token + r : token + (group + r) / R;
    return list == nullptr ? n : list[n] - from;
  }
  __device__ int32_t head_of(int32_t r, int32_t R) const { return R == 1 ? 0 : (group + r) % R; }

  __device__ int64_t global_position(int32_t g) const { return g < carried ? positions[g] - 1 : start + (tokens[g - carried] - from); }
  // How many global tokens lie before a position.
  __device__ int32_t globals_below(int64_t position) const {
    int32_t low = 0, high = carried + fresh;
    while (low < high) {
      const int32_t middle = (low + high) / 2;
      if (global_position(middle) < position) low = middle + 1;
      else high = middle;
    }
    return low;
  }
};

// Which keys of a block a row sees, as offsets into the block: one stretch.
struct StretchMask {
  int32_t from, to;
  __device__ bool sees(int32_t key) const { return key >= from && key < to; }
};

template <typename E, int32_t kSize, int32_t kRows>
class GeneralWalk {
 public:
  using Span = GeneralSpan;

  __device__ static Span span(const Attention<E>& a, Piece piece) {
    Span tile;
    tile.sequence = piece.sequence;
    tile.from = a.sequences.borders[piece.sequence];
    tile.slot = a.sequences.slot(piece.sequence);
    tile.start = a.sequences.start(piece.sequence);
    const int32_t length = a.sequences.borders[piece.sequence + 1] - tile.from;
    tile.end = tile.start + length;
    tile.oldest = tile.slot < 0 ? tile.start : 0;
    tile.carried = tile.fresh = 0;
    tile.positions = nullptr;
    tile.tokens = nullptr;
    if (a.globals != nullptr) {
      const int2 marked = a.marked[piece.sequence];
      tile.carried = marked.x;
      tile.fresh = marked.y;
      tile.tokens = a.globals + a.global_borders[piece.sequence];
      if (marked.x > 0) tile.positions = a.global_positions + tile.slot * a.global_positions_slot;
    }
    tile.list = a.by_list ? tile.tokens : nullptr;
    const int64_t row = static_cast<int64_t>(piece.index) * kTileRows;
    const int64_t left = static_cast<int64_t>(a.by_list ? tile.fresh : length) * a.R - row;
    tile.token = static_cast<int32_t>(row / a.R);
    tile.group = static_cast<int32_t>(row % a.R);
    tile.rows = static_cast<int32_t>(left < 0 ? 0 : left < kTileRows ? left : kTileRows);
    return tile;
  }

  __device__ GeneralWalk(const Attention<E>& a, const Span& tile, const int64_t (&position)[kRows]) {
    range_ = -1;
    open(a, tile, position);
  }
  __device__ bool done() const { return range_ >= ranges_; }
  __device__ void next(const Attention<E>& a, const Span& tile, const int64_t (&position)[kRows]) {
    if (++block_ * kSize >= to_) open(a, tile, position);
  }

  // Where key i of the block lies; null where no row of the tile sees it.
  __device__ void find(const Attention<E>& a, const Span& tile, int32_t i, int32_t head, const E*& key, const E*& value) const {
    key = value = nullptr;
    const int64_t at = block_ * kSize + i;
    if (at < from_ || at >= to_) return;
    int64_t token = tile.from + (at - tile.start);
    if (range_ >= 2) {
      if (at < tile.carried) {
        const int64_t row = (at * a.Hk + head) * a.D;
        key = a.global_keys + tile.slot * a.global_keys_slot + row;
        value = a.global_values + tile.slot * a.global_values_slot + row;
        return;
      }
      token = tile.tokens[at - tile.carried];
    } else if (at < tile.start) {
      const int64_t row = (a.ring_row(at) * a.Hk + head) * a.D;
      key = a.keys + tile.slot * a.keys_slot + row;
      value = a.values + tile.slot * a.values_slot + row;
      return;
    }
    key = a.k + token * a.k_row + static_cast<int64_t>(head) * a.D;
    value = a.v + token * a.v_row + static_cast<int64_t>(head) * a.D;
  }

  __device__ StretchMask mask(const Attention<E>&, const Span&, const int64_t (&)[kRows], int32_t r) const {
    const int64_t base = block_ * kSize;
    return {clamp(low_[r] - base), clamp(high_[r] - base)};
  }

 private:
  __device__ static int32_t clamp(int64_t value) { return static_cast<int32_t>(value < 0 ? 0 : value > kSize ? kSize : value); }

  // What the query at a position sees of a range: positions of the first two, places of global tokens in the others. Both ends rise with
  // the position.
  __device__ static int64_t low(const Attention<E>& a, const Span& tile, int32_t range, int64_t position) {
    if (a.by_list || range == 0) return tile.oldest;
    if (range == 1) return max(max(tile.oldest, a.sinks), position - a.window + 1);
    return tile.globals_below(range == 2 ? a.sinks : high(a, tile, 1, position));
  }
  __device__ static int64_t high(const Attention<E>& a, const Span& tile, int32_t range, int64_t position) {
    if (a.by_list) return tile.end;
    const int64_t past = min(tile.end, position + a.ahead + 1);
    if (range == 0) return min(a.sinks, past);
    if (range == 1) return past;
    return range == 2 ? tile.globals_below(max(a.sinks, position - a.window + 1)) : tile.carried + tile.fresh;
  }

  // The next range that some row of the tile sees.
  __device__ void open(const Attention<E>& a, const Span& tile, const int64_t (&position)[kRows]) {
    ranges_ = a.by_list ? 1 : tile.carried + tile.fresh == 0 ? 2 : a.ahead != 0 ? 4 : 3;
    const int64_t first = tile.start + tile.token_of(0, a.R);
    const int64_t last = tile.start + tile.token_of(tile.rows - 1, a.R);
    while (++range_ < ranges_) {
      from_ = low(a, tile, range_, first);
      to_ = high(a, tile, range_, last);
      if (from_ < to_) break;
    }
    if (range_ >= ranges_) return;
    block_ = from_ / kSize;
#pragma unroll
    for (int32_t r = 0; r < kRows; ++r) {
      low_[r] = position[r] < 0 ? 0 : low(a, tile, range_, position[r]);
      high_[r] = position[r] < 0 ? 0 : high(a, tile, range_, position[r]);
    }
  }

  int32_t range_, ranges_;
  int64_t block_, from_, to_;
  int64_t low_[kRows], high_[kRows];
};

// Counts the global tokens of each sequence, carried and fresh. Those that must be refused count as none. Warps: sequences.
template <typename E>
__global__ void __launch_bounds__(128) mark_kernel(const Attention<E> a, Sequences globals, int2* marked) {
  const int32_t s = static_cast<int32_t>(blockIdx.x) * 4 + static_cast<int32_t>(threadIdx.x) / 32;
  const int32_t lane = static_cast<int32_t>(threadIdx.x) % 32;
  if (s >= a.sequences.count) return;
  int2 counts = make_int2(0, 0);
  if (!globals.is_valid(s)) {
    if (lane == 0) refuse<kAttention>(a.error_word);
  } else if (a.sequences.is_valid(s)) {  // others `cut_sequences` refuses
    const int32_t begin = a.sequences.borders[s], end = a.sequences.borders[s + 1];
    const int32_t first = globals.borders[s], fresh = globals.borders[s + 1] - first;
    bool bad = false;
    for (int32_t g = lane; g < fresh; g += 32) {
      const int32_t t = a.globals[first + g];
      bad = bad || t < begin || t >= end || (g > 0 && a.globals[first + g - 1] >= t);
    }
    const int32_t slot = a.sequences.slot(s);
    int32_t carried = 0;
    if (slot >= 0 && a.global_positions != nullptr) {
      // Those that are there come first.
      const int64_t* positions = a.global_positions + slot * a.global_positions_slot;
      int32_t low = 0, high = static_cast<int32_t>(a.kept);
      while (low < high) {
        const int32_t middle = (low + high) / 2;
        if (positions[middle] != 0) low = middle + 1;
        else high = middle;
      }
      carried = low;
      bad = bad || carried + static_cast<int64_t>(fresh) > a.kept;
    }
    if (__any_sync(0xffffffffu, bad)) {
      if (lane == 0) refuse<kAttention>(a.error_word);
    } else {
      counts = make_int2(carried, fresh);
    }
  }
  if (lane == 0) marked[s] = counts;
}

// Keys, values and positions of this run's global tokens, behind those carried. Warps: global tokens.
template <typename E>
__global__ void __launch_bounds__(128) keep_globals_kernel(const Attention<E> a, Sequences globals) {
  const int32_t g = static_cast<int32_t>(blockIdx.x) * 4 + static_cast<int32_t>(threadIdx.x) / 32;
  if (g >= globals.tokens) return;
  const int32_t s = globals.of(g);
  const int2 marked = a.marked[s];
  const int32_t slot = a.sequences.slot(s), n = g - globals.borders[s];
  if (n < 0 || n >= marked.y || slot < 0) return;
  const int32_t t = a.globals[g], lane = static_cast<int32_t>(threadIdx.x) % 32;
  const int64_t place = marked.x + n, width = static_cast<int64_t>(a.Hk) * a.D;
  const E *key = a.k + t * a.k_row, *value = a.v + t * a.v_row;
  E *next_key = a.global_keys + slot * a.global_keys_slot + place * width, *next_value = a.global_values + slot * a.global_values_slot + place * width;
  for (int64_t i = lane; i < width; i += 32) {
    next_key[i] = key[i];
    next_value[i] = value[i];
  }
  if (lane == 0) a.global_positions[slot * a.global_positions_slot + place] = a.sequences.start(s) + (t - a.sequences.borders[s]) + 1;
}

}  // namespace krait::cuda

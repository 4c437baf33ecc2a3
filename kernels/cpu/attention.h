// How attention divides its work, and where its keys and values are.
//
// Softmax over blocks of keys, with a running maximum and sum per query. A query meets its keys in blocks of kAttentionKeys absolute
// positions, first those among the sinks, then those of its window, wherever they lie: in the ring or in this run. Global tokens outside
// its window come last, in blocks of as many of them, counted from the sequence's first. So a result depends neither on how a stream is
// cut into runs nor on which queries are worked on together. Blocks that no query at hand sees are never looked at.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "cpu.h"
#include "sequences.h"

namespace krait::cpu {

inline constexpr int64_t kAttentionKeys = 64;
inline constexpr int64_t kAttentionRows = 64;  // queries × heads of one piece of work
inline constexpr int64_t kAttentionMaxHead = 256;
inline constexpr int64_t kMaxPosition = int64_t{1} << 53;  // up to which a double holds every position
inline constexpr int64_t kNoWindow = int64_t{1} << 54;      // a window that every position is in

struct Attention {
  const AttentionArgs& a;
  int64_t heads, key_heads, head_dim;
  int64_t group;       // query heads that share a key head
  int64_t group_rows;  // of them in one piece of work
  int64_t ring;
  int64_t window;
  int64_t ahead;
  float scale;
  Pieces queries;
  Pieces global_queries;  // of those that see all keys of their sequence, in places of the list of global tokens

  explicit Attention(const AttentionArgs& args)
      : a(args),
        heads(args.q.dim[1]),
        key_heads(args.k.dim[1]),
        head_dim(args.q.dim[2]),
        group(heads / key_heads),
        group_rows(std::min(group, kAttentionRows)),
        ring(args.keys ? args.keys.dim[1] : 0),
        window(args.window > 0 ? args.window : kNoWindow),
        ahead(args.ahead >= 0 ? std::min(args.ahead, kNoWindow) : kNoWindow),
        scale(static_cast<float>(args.scale > 0 ? args.scale : 1 / std::sqrt(static_cast<double>(args.q.dim[2])))),
        queries{args.cu_seqlens.as<int32_t>(), args.cu_seqlens.dim[0] - 1, kAttentionRows / group_rows},
        global_queries{args.global_borders.as<int32_t>(), sees_both_ways() ? queries.sequences : 0, kAttentionRows / group_rows} {}

  // Whether global tokens see, and are seen from, both sides.
  bool sees_both_ways() const { return a.globals && a.ahead != 0; }

  int64_t group_blocks() const { return (group + group_rows - 1) / group_rows; }
  int64_t slot(int64_t s) const { return a.keys && a.values && a.state_index ? a.state_index.as<int32_t>()[s] : -1; }
  // Whether the carried keys of sequence s have room for those of this run; a window forgets as much as it needs to.
  bool has_room(int64_t s) const { return a.window > 0 || slot(s) < 0 || position(s) <= ring - queries.length(s); }
  int64_t position(int64_t s) const { return a.position ? a.position.as<int64_t>()[s] : 0; }
  int64_t ring_slot(int64_t p) const { return p < a.sinks ? p : a.sinks + (p - a.sinks) % (ring - a.sinks); }

  // Keys and queries after the rotation: where they were put, or the operands themselves.
  const float* key(int64_t t) const {
    return a.rotary_dims > 0 ? static_cast<const float*>(a.scratch) + t * key_heads * head_dim : a.k.as<float>() + t * a.k.stride[0];
  }
  int64_t key_step() const { return a.rotary_dims > 0 ? key_heads * head_dim : a.k.stride[0]; }
  const float* query(int64_t t) const {
    return a.rotary_dims > 0 ? a.y.as<float>() + t * a.y.stride[0] : a.q.as<float>() + t * a.q.stride[0];
  }
};

// Consecutive positions whose keys and values lie at a constant distance from each other.
struct Stretch {
  const float* keys;
  const float* values;
  int64_t key_step;
  int64_t value_step;
  int64_t count;
};

// The stretch of sequence s that begins at position p and ends before `end`. `start` is the position of the run's first token.
inline Stretch stretch(const Attention& at, int64_t s, int64_t start, int64_t key_head, int64_t p, int64_t end) {
  const AttentionArgs& a = at.a;
  const int64_t offset = key_head * at.head_dim;
  if (p >= start) {
    const int64_t t = at.queries.borders[s] + p - start;
    return {at.key(t) + offset, a.v.as<float>() + t * a.v.stride[0] + offset, at.key_step(), a.v.stride[0], end - p};
  }
  const int64_t slot = at.ring_slot(p);
  const int64_t step = at.key_heads * at.head_dim;
  const int64_t until = std::min(std::min(end, start), p < a.sinks ? a.sinks : p + at.ring - slot);
  return {a.keys.as<float>() + at.slot(s) * a.keys.stride[0] + slot * step + offset,
          a.values.as<float>() + at.slot(s) * a.values.stride[0] + slot * step + offset, step, step, until - p};
}

// The global tokens of a sequence in their order: those carried, then those of this run.
struct GlobalTokens {
  const Attention& at;
  int64_t sequence;
  int64_t offset;              // the position of token t of the run is offset + t
  const int64_t* kept = nullptr;  // their positions + 1
  int64_t carried = 0;
  const int32_t* fresh = nullptr;
  int64_t count = 0;

  GlobalTokens(const Attention& attention, int64_t s)
      : at(attention), sequence(s), offset(attention.position(s) - attention.queries.borders[s]) {
    const AttentionArgs& a = at.a;
    if (!a.globals) return;
    const int32_t* borders = a.global_borders.as<int32_t>();
    fresh = a.globals.as<int32_t>() + borders[s];
    if (a.global_keys && at.slot(s) >= 0) {
      kept = a.global_positions.as<int64_t>() + at.slot(s) * a.global_positions.stride[0];
      carried = std::find(kept, kept + a.global_positions.dim[1], 0) - kept;
    }
    count = carried + borders[s + 1] - borders[s];
  }

  int64_t position(int64_t g) const { return g < carried ? kept[g] - 1 : offset + fresh[g - carried]; }

  // How many lie before a position.
  int64_t below(int64_t p) const {
    int64_t low = 0;
    int64_t high = count;
    while (low < high) {
      const int64_t middle = (low + high) / 2;
      if (position(middle) < p) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  // Those from g on, before `end`, whose keys and values lie at a constant distance.
  Stretch stretch(int64_t key_head, int64_t g, int64_t end) const {
    const AttentionArgs& a = at.a;
    const int64_t part = key_head * at.head_dim;
    if (g < carried) {
      const int64_t step = at.key_heads * at.head_dim;
      const int64_t place = at.slot(sequence) * a.global_keys.stride[0] + g * step + part;
      return {a.global_keys.as<float>() + place, a.global_values.as<float>() + place, step, step, std::min(end, carried) - g};
    }
    const int64_t t = fresh[g - carried];
    return {at.key(t) + part, a.v.as<float>() + t * a.v.stride[0] + part, at.key_step(), a.v.stride[0], 1};
  }
};

}  // namespace krait::cpu

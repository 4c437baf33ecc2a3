#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/attention.cpp"
#include "hwy/foreach_target.h"
//
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "activations-inl.h"
#include "attention.h"
#include "borders.h"
#include "hwy/highway.h"
#include "sequences.h"
#include "tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace krait::cpu::HWY_NAMESPACE {

// to = from, its first 2 · half dimensions turned.
void RotateHead(const float* from, float* to, const float* cosine, const float* sine, int64_t half, int64_t width, bool interleaved) {
  const FloatTag d;
  if (interleaved) {
    for (int64_t i = 0; i < half; ++i) {
      const float x = from[2 * i];
      const float y = from[2 * i + 1];
      to[2 * i] = x * cosine[i] - y * sine[i];
      to[2 * i + 1] = y * cosine[i] + x * sine[i];
    }
  } else {
    for (int64_t i = 0; i < half; i += kLanes) {
      const int64_t rest = std::min(kLanes, half - i);
      const FloatVec x = LoadPart(d, from + i, rest);
      const FloatVec y = LoadPart(d, from + half + i, rest);
      const FloatVec c = LoadPart(d, cosine + i, rest);
      const FloatVec s = LoadPart(d, sine + i, rest);
      StorePart(hn::MulSub(x, c, hn::Mul(y, s)), d, to + i, rest);
      StorePart(hn::MulAdd(y, c, hn::Mul(x, s)), d, to + half + i, rest);
    }
  }
  std::memcpy(to + 2 * half, from + 2 * half, static_cast<size_t>(width - 2 * half) * sizeof(float));
}

// Keys go to scratch; queries to y, where the piece of work that needs them reads them before it writes.
void RotateToken(const Attention& at, int64_t t, int64_t position, const double* frequencies) {
  const AttentionArgs& a = at.a;
  const int64_t half = a.rotary_dims / 2;
  float cosine[kAttentionMaxHead / 2];
  float sine[kAttentionMaxHead / 2];
  for (int64_t i = 0; i < half; ++i) {
    const double angle = static_cast<double>(position) * frequencies[i];
    cosine[i] = static_cast<float>(std::cos(angle));
    sine[i] = static_cast<float>(std::sin(angle));
  }
  float* keys = static_cast<float*>(a.scratch) + t * at.key_heads * at.head_dim;
  for (int64_t h = 0; h < at.key_heads; ++h) {
    const int64_t offset = h * at.head_dim;
    RotateHead(a.k.as<float>() + t * a.k.stride[0] + offset, keys + offset, cosine, sine, half, at.head_dim, a.rotary_interleaved);
  }
  float* queries = a.y.as<float>() + t * a.y.stride[0];
  for (int64_t h = 0; h < at.heads; ++h) {
    const int64_t offset = h * at.head_dim;
    RotateHead(a.q.as<float>() + t * a.q.stride[0] + offset, queries + offset, cosine, sine, half, at.head_dim, a.rotary_interleaved);
  }
}

// Queries · keys of one block.
struct ScoreTiles {
  const float* queries;  // [rows, head_dim], scaled
  const float* keys;     // [head_dim, kAttentionKeys]
  int64_t head_dim;
  float* scores;  // [rows, kAttentionKeys]

  template <int R>
  void Rows(int64_t) {}

  template <int R, int N, bool kPartial>
  HWY_INLINE void Tile(int64_t r0, int64_t k, int64_t rest) {
    const FloatTag d;
    FloatVec acc[R][N];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
      for (int n = 0; n < N; ++n) acc[r][n] = hn::Zero(d);
    }
    MulAddRows<kPartial>(acc, queries + r0 * head_dim, head_dim, 1, keys + k, kAttentionKeys, rest, static_cast<int>(head_dim));
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
      for (int n = 0; n < N; ++n) StoreVec<kPartial>(acc[r][n], scores + (r0 + r) * kAttentionKeys + k + n * kLanes, rest);
    }
  }
};

// The keys of a block that each row sees, [from, to) counted from the block's start; empty when to ≤ from.
struct Seen {
  int from[kAttentionRows];
  int to[kAttentionRows];
};

// out += weights · values of one block. No key outside a row's own range enters, not even with weight 0.
struct ValueTiles {
  const float* weights;  // [rows, kAttentionKeys]
  const float* values;   // [kAttentionKeys, head_dim]
  int64_t head_dim;
  const Seen& seen;
  float* out;  // [rows, head_dim]
  // Keys that all rows at hand see.
  int dense_from = 0;
  int dense_to = 0;

  template <int R>
  void Rows(int64_t r0) {
    dense_from = seen.from[r0];
    dense_to = seen.to[r0];
    for (int r = 1; r < R; ++r) {
      dense_from = std::max(dense_from, seen.from[r0 + r]);
      dense_to = std::min(dense_to, seen.to[r0 + r]);
    }
    if (dense_to <= dense_from) dense_from = dense_to = kAttentionKeys;
  }

  template <int R, int N, bool kPartial>
  HWY_INLINE void Tile(int64_t r0, int64_t c, int64_t rest) {
    FloatVec acc[R][N];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
      for (int n = 0; n < N; ++n) acc[r][n] = LoadVec<kPartial>(out + (r0 + r) * head_dim + c + n * kLanes, rest);
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) AddRow<kPartial>(acc[r], r0 + r, c, rest, seen.from[r0 + r], std::min(seen.to[r0 + r], dense_from));
    MulAddRows<kPartial>(acc, weights + r0 * kAttentionKeys + dense_from, kAttentionKeys, 1, values + dense_from * head_dim + c, head_dim,
                         rest, dense_to - dense_from);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) AddRow<kPartial>(acc[r], r0 + r, c, rest, dense_to, seen.to[r0 + r]);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
      for (int n = 0; n < N; ++n) StoreVec<kPartial>(acc[r][n], out + (r0 + r) * head_dim + c + n * kLanes, rest);
    }
  }

  template <bool kPartial, int N>
  HWY_INLINE void AddRow(FloatVec (&acc)[N], int64_t row, int64_t c, int64_t rest, int from, int to) {
    MulAddRow<kPartial>(acc, weights + row * kAttentionKeys + from, values + from * head_dim + c, head_dim, rest, to - from);
  }
};

// Queries [from, to) of a sequence, or as many of its global tokens, for some heads that share a key head.
struct AttentionPiece {
  const Attention& at;
  const Pieces::Piece& piece;
  const int32_t* list;     // null: the tokens themselves are counted
  int64_t key_head, head;  // head: the first query head
  int64_t group;
  int64_t rows = 0;
  bool left_out[kAttentionRows];  // tokens that another piece works on
  alignas(64) float queries[kAttentionRows * kAttentionMaxHead];
  alignas(64) float out[kAttentionRows * kAttentionMaxHead];
  alignas(64) float keys[kAttentionMaxHead * kAttentionKeys];
  alignas(64) float values[kAttentionKeys * kAttentionMaxHead];
  alignas(64) float scores[kAttentionRows * kAttentionKeys];
  float top[kAttentionRows];
  float sum[kAttentionRows];
  Seen seen;

  AttentionPiece(const Attention& attention, const Pieces::Piece& tokens, const int32_t* globals, int64_t kh, int64_t block)
      : at(attention),
        piece(tokens),
        list(globals),
        key_head(kh),
        head(kh * attention.group + block * attention.group_rows),
        group(std::min(attention.group_rows, attention.group - block * attention.group_rows)) {}

  int64_t count() const { return piece.to - piece.from; }
  // Of the u-th token of the piece.
  int64_t token(int64_t u) const { return list == nullptr ? piece.from + u : list[piece.from + u]; }

  void Open() {
    const FloatTag d;
    const int64_t width = at.head_dim;
    const FloatVec scale = hn::Set(d, at.scale);
    rows = count() * group;
    std::fill(left_out, left_out + count(), false);
    if (list == nullptr && at.sees_both_ways()) {
      const int32_t* globals = at.a.globals.as<int32_t>();
      const int32_t* borders = at.global_queries.borders + piece.sequence;
      const int32_t* end = globals + borders[1];
      for (const int32_t* g = std::lower_bound(globals + borders[0], end, piece.from); g < end && *g < piece.to; ++g) left_out[*g - piece.from] = true;
    }
    for (int64_t r = 0; r < rows; ++r) {
      top[r] = -std::numeric_limits<float>::infinity();
      sum[r] = 0;
      if (left_out[r / group]) {
        std::memset(queries + r * width, 0, static_cast<size_t>(width) * sizeof(float));
        continue;
      }
      const float* from = at.query(token(r / group)) + (head + r % group) * width;
      for (int64_t i = 0; i < width; i += kLanes) {
        const int64_t rest = std::min(kLanes, width - i);
        StorePart(hn::Mul(LoadPart(d, from + i, rest), scale), d, queries + r * width + i, rest);
      }
    }
    std::memset(out, 0, static_cast<size_t>(rows * width) * sizeof(float));
    // Places of a block that no key fills are computed on and then left out.
    std::memset(keys, 0, static_cast<size_t>(width * kAttentionKeys) * sizeof(float));
  }

  // One block of keys, of which those from `from` to `to` are seen by some row; where(p, end) gives the stretch from p on.
  template <typename Where>
  void Block(int64_t block, int64_t from, int64_t to, const Where& where) {
    const int64_t width = at.head_dim;
    for (int64_t p = from; p < to;) {
      const Stretch part = where(p, to);
      const int64_t place = p - block * kAttentionKeys;
      Transpose(part.keys, part.key_step, part.count, width, keys + place, kAttentionKeys);
      for (int64_t i = 0; i < part.count; ++i) {
        std::memcpy(values + (place + i) * width, part.values + i * part.value_step, static_cast<size_t>(width) * sizeof(float));
      }
      p += part.count;
    }
    ScoreTiles score{queries, keys, width, scores};
    ForTiles(score, rows, kAttentionKeys);
    for (int64_t r = 0; r < rows; ++r) Weigh(r);
    ValueTiles value{scores, values, width, seen, out};
    ForTiles(value, rows, width);
  }

  // Turns a row's scores into weights and brings what it has gathered to the new maximum.
  HWY_NOINLINE void Weigh(int64_t r) {
    const FloatTag d;
    const hn::RebindToSigned<FloatTag> di;
    if (seen.to[r] <= seen.from[r]) return;
    float* row = scores + r * kAttentionKeys;
    const FloatVec nothing = hn::Set(d, -std::numeric_limits<float>::infinity());
    const auto from = hn::Set(di, seen.from[r]);
    const auto to = hn::Set(di, seen.to[r]);
    FloatVec most = nothing;
    for (int i = 0; i < kAttentionKeys; i += static_cast<int>(kLanes)) {
      const auto place = hn::Iota(di, i);
      const auto visible = hn::MaskFromVec(hn::BitCast(d, hn::VecFromMask(di, hn::AndNot(hn::Lt(place, from), hn::Lt(place, to)))));
      const FloatVec v = hn::IfThenElse(visible, hn::Load(d, row + i), nothing);
      hn::Store(v, d, row + i);
      most = hn::Max(most, v);
    }
    const float before = top[r];
    const float now = std::max(before, hn::GetLane(hn::MaxOfLanes(d, most)));
    if (now == -std::numeric_limits<float>::infinity()) {
      // All scores are −∞ so far, which weighs nothing, or NaN, which the maximum passes over and the sum must not.
      if (std::any_of(row, row + kAttentionKeys, [](float v) { return v != v; })) sum[r] = std::numeric_limits<float>::quiet_NaN();
      seen.to[r] = seen.from[r];
      return;
    }
    const FloatVec high = hn::Set(d, now);
    FloatVec total = hn::Zero(d);
    for (int64_t i = 0; i < kAttentionKeys; i += kLanes) {
      const FloatVec weight = SafeExp(d, hn::Sub(hn::Load(d, row + i), high));
      hn::Store(weight, d, row + i);
      total = hn::Add(total, weight);
    }
    const float keep = now == before ? 1.0f : hn::GetLane(SafeExp(d, hn::Set(d, before - now)));
    sum[r] = hn::GetLane(hn::MulAdd(hn::Set(d, sum[r]), hn::Set(d, keep), hn::SumOfLanes(d, total)));
    top[r] = now;
    if (keep == 1.0f) return;
    float* gathered = out + r * at.head_dim;
    const FloatVec factor = hn::Set(d, keep);
    for (int64_t i = 0; i < at.head_dim; i += kLanes) {
      const int64_t rest = std::min(kLanes, at.head_dim - i);
      StorePart(hn::Mul(LoadPart(d, gathered + i, rest), factor), d, gathered + i, rest);
    }
  }

  // Keys in blocks over [low(i), high(i)) for each query's position i; both rise with i.
  template <typename Low, typename High, typename Where>
  HWY_INLINE void Range(const Low& low, const High& high, const Where& where) {
    const int64_t offset = at.position(piece.sequence) - at.queries.borders[piece.sequence];
    const int64_t from = low(offset + token(0));
    const int64_t to = high(offset + token(count() - 1));
    if (from >= to) return;
    int64_t lows[kAttentionRows];
    int64_t highs[kAttentionRows];
    for (int64_t u = 0; u < count(); ++u) {
      lows[u] = left_out[u] ? 0 : low(offset + token(u));
      highs[u] = left_out[u] ? 0 : high(offset + token(u));
    }
    for (int64_t b = from / kAttentionKeys; b * kAttentionKeys < to; ++b) {
      const int64_t base = b * kAttentionKeys;
      for (int64_t r = 0; r < rows; ++r) {
        seen.from[r] = static_cast<int>(std::clamp<int64_t>(lows[r / group] - base, 0, kAttentionKeys));
        seen.to[r] = static_cast<int>(std::clamp<int64_t>(highs[r / group] - base, 0, kAttentionKeys));
      }
      Block(b, std::max(from, base), std::min(to, base + kAttentionKeys), where);
    }
  }

  void Close() {
    const FloatTag d;
    const int64_t width = at.head_dim;
    for (int64_t r = 0; r < rows; ++r) {
      if (left_out[r / group]) continue;
      float* to = at.a.y.as<float>() + token(r / group) * at.a.y.stride[0] + (head + r % group) * width;
      const FloatVec total = hn::Set(d, sum[r]);
      for (int64_t i = 0; i < width; i += kLanes) {
        const int64_t rest = std::min(kLanes, width - i);
        StorePart(hn::Div(LoadPart(d, out + r * width + i, rest), total), d, to + i, rest);
      }
    }
  }
};

// `list`: the global tokens that the piece counts, or null for a piece of a sequence.
void AttendPiece(const Attention& at, const Pieces::Piece& piece, const int32_t* list, int64_t key_head, int64_t block) {
  const int64_t s = piece.sequence;
  const int64_t sinks = at.a.sinks;
  const int64_t window = at.window;
  const int64_t start = at.position(s);
  const int64_t end = start + at.queries.length(s);
  // What came before is in the ring, or was never seen.
  const int64_t oldest = at.slot(s) >= 0 ? 0 : start;
  const auto high = [=, &at](int64_t i) { return std::min(end, i + at.ahead + 1); };
  const auto where = [=, &at](int64_t p, int64_t to) { return stretch(at, s, start, key_head, p, to); };
  AttentionPiece work(at, piece, list, key_head, block);
  work.Open();
  if (list != nullptr) {
    work.Range([=](int64_t) { return oldest; }, [=](int64_t) { return end; }, where);
  } else {
    work.Range([=](int64_t) { return oldest; }, [=](int64_t i) { return std::min(sinks, high(i)); }, where);
    work.Range([=](int64_t i) { return std::max(std::max(oldest, sinks), i - window + 1); }, high, where);
    const GlobalTokens globals(at, s);
    if (globals.count > 0) {
      const auto where_global = [&](int64_t g, int64_t to) { return globals.stretch(key_head, g, to); };
      const int64_t first = globals.below(sinks);
      work.Range([=](int64_t) { return first; }, [&](int64_t i) { return globals.below(std::max(sinks, i - window + 1)); }, where_global);
      if (at.sees_both_ways()) {
        work.Range([&](int64_t i) { return globals.below(high(i)); }, [&](int64_t) { return globals.count; }, where_global);
      }
    }
  }
  work.Close();
}

}  // namespace krait::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace krait::cpu {
namespace {

HWY_EXPORT(RotateToken);
HWY_EXPORT(AttendPiece);

void rotate(const Attention& at, const Cpu& cpu) {
  const AttentionArgs& a = at.a;
  const int64_t half = a.rotary_dims / 2;
  const int64_t tokens = a.q.dim[0];
  double frequencies[kAttentionMaxHead / 2];
  for (int64_t i = 0; i < half; ++i) frequencies[i] = std::pow(a.rotary_base, static_cast<double>(-i) / static_cast<double>(half));
  const int32_t* borders = at.queries.borders;
  const auto turn = HWY_DYNAMIC_DISPATCH(RotateToken);
#pragma omp parallel for num_threads(cpu.threads) schedule(static) if (tokens > 1)
  for (int64_t t = 0; t < tokens; ++t) {
    const int64_t s = std::upper_bound(borders, borders + at.queries.sequences, t) - borders - 1;
    turn(at, t, at.position(s) + t - borders[s], frequencies);
  }
}

// Puts the keys and values that later runs may need into the ring. No two tokens of a run that are kept share a place.
void keep(const Attention& at, const Cpu& cpu) {
  const AttentionArgs& a = at.a;
  const int64_t width = at.key_heads * at.head_dim;
  const size_t bytes = static_cast<size_t>(width) * sizeof(float);
  const int32_t* borders = at.queries.borders;
  const int64_t tokens = a.q.dim[0];
#pragma omp parallel for num_threads(cpu.threads) schedule(static) if (tokens > kAttentionKeys)
  for (int64_t t = 0; t < tokens; ++t) {
    const int64_t s = std::upper_bound(borders, borders + at.queries.sequences, t) - borders - 1;
    const int64_t slot = at.slot(s);
    const int64_t p = at.position(s) + t - borders[s];
    if (slot < 0 || (p >= a.sinks && borders[s + 1] - t > at.ring - a.sinks)) continue;
    const int64_t place = at.ring_slot(p) * width;
    std::memcpy(a.keys.as<float>() + slot * a.keys.stride[0] + place, at.key(t), bytes);
    std::memcpy(a.values.as<float>() + slot * a.values.stride[0] + place, a.v.as<float>() + t * a.v.stride[0], bytes);
  }
}

// The same for global tokens, behind those that are there.
void keep_globals(const Attention& at) {
  const AttentionArgs& a = at.a;
  if (!a.global_keys) return;
  const int64_t width = at.key_heads * at.head_dim;
  const size_t bytes = static_cast<size_t>(width) * sizeof(float);
  for (int64_t s = 0; s < at.queries.sequences; ++s) {
    const int64_t slot = at.slot(s);
    if (slot < 0) continue;
    const GlobalTokens globals(at, s);
    for (int64_t g = globals.carried; g < globals.count; ++g) {
      const int64_t t = globals.fresh[g - globals.carried];
      std::memcpy(a.global_keys.as<float>() + slot * a.global_keys.stride[0] + g * width, at.key(t), bytes);
      std::memcpy(a.global_values.as<float>() + slot * a.global_values.stride[0] + g * width, a.v.as<float>() + t * a.v.stride[0], bytes);
    }
    // Last: the positions say how many are there.
    int64_t* kept = a.global_positions.as<int64_t>() + slot * a.global_positions.stride[0];
    for (int64_t g = globals.carried; g < globals.count; ++g) kept[g] = globals.offset + globals.fresh[g - globals.carried] + 1;
  }
}

// Global tokens must ascend within their sequences, and those that are kept must find room.
Status check_globals(const Attention& at) {
  const AttentionArgs& a = at.a;
  if (!a.globals) return {};
  if (!are_borders(a.global_borders, a.globals.dim[0])) return bad_borders("global tokens of attention", a.globals.dim[0]);
  for (int64_t s = 0; s < at.queries.sequences; ++s) {
    int64_t least = at.queries.borders[s];
    for (int32_t g = a.global_borders.as<int32_t>()[s]; g < a.global_borders.as<int32_t>()[s + 1]; ++g) {
      const int32_t t = a.globals.as<int32_t>()[g];
      if (t < least || t >= at.queries.borders[s + 1]) {
        return error(StatusCode::invalid_argument, "Expected ascending global tokens from %lld to %d for sequence %lld of attention but received %d",
                     static_cast<long long>(least), at.queries.borders[s + 1] - 1, static_cast<long long>(s), t);
      }
      least = t + 1;
    }
    const GlobalTokens globals(at, s);
    if (globals.kept != nullptr && globals.count > a.global_positions.dim[1]) {
      return error(StatusCode::invalid_argument, "Expected at most %lld global tokens for sequence %lld of attention but received %lld",
                   static_cast<long long>(a.global_positions.dim[1]), static_cast<long long>(s), static_cast<long long>(globals.count));
    }
  }
  return {};
}

}  // namespace

Status attention(const AttentionArgs& a, const Cpu& cpu) {
  const int64_t tokens = a.q.dim[0];
  if (!are_borders(a.cu_seqlens, tokens)) return bad_borders("attention", tokens);
  if (!are_slots(a.state_index, a.keys)) return bad_slots("attention", a.keys);
  const Attention at(a);
  if (at.head_dim > kAttentionMaxHead) {
    return error(StatusCode::unsupported, "Expected heads of at most %lld dimensions for attention on the CPU but received %lld",
                 static_cast<long long>(kAttentionMaxHead), static_cast<long long>(at.head_dim));
  }
  const int64_t scratch = a.rotary_dims > 0 ? static_cast<int64_t>(sizeof(float)) * tokens * at.key_heads * at.head_dim : 0;
  if (scratch > a.scratch_bytes) {
    return error(StatusCode::invalid_program, "Expected %lld bytes of scratch memory for attention but received %lld",
                 static_cast<long long>(scratch), static_cast<long long>(a.scratch_bytes));
  }
  for (int64_t s = 0; s < at.queries.sequences; ++s) {
    const int64_t p = at.position(s);
    if (p < 0 || p > kMaxPosition - at.queries.length(s)) {
      return error(StatusCode::invalid_argument, "Expected positions from 0 to 2^53 for attention but received %lld for sequence %lld",
                   static_cast<long long>(p), static_cast<long long>(s));
    }
    if (!at.has_room(s)) {
      return error(StatusCode::invalid_argument, "Expected at most %lld positions for attention without a window but received %lld for sequence %lld",
                   static_cast<long long>(at.ring), static_cast<long long>(p + at.queries.length(s)), static_cast<long long>(s));
    }
  }
  if (Status status = check_globals(at); !status.ok()) return status;
  if (a.rotary_dims > 0) rotate(at, cpu);
  const int64_t blocks = at.group_blocks();
  const int64_t inner = at.key_heads * blocks;
  const int64_t ordinary = at.queries.count() * inner;
  const int64_t units = ordinary + at.global_queries.count() * inner;
  const int32_t* globals = a.globals.as<int32_t>();
  const auto attend = HWY_DYNAMIC_DISPATCH(AttendPiece);
#pragma omp parallel for num_threads(cpu.threads) schedule(dynamic) if (units > 1)
  for (int64_t u = 0; u < units; ++u) {
    const bool is_global = u >= ordinary;
    const Pieces::Piece piece = is_global ? at.global_queries[(u - ordinary) / inner] : at.queries[u / inner];
    if (piece.index >= 0) attend(at, piece, is_global ? globals : nullptr, u % inner / blocks, u % blocks);
  }
  keep(at, cpu);
  keep_globals(at);
  return {};
}

}  // namespace krait::cpu
#endif

// How ssd_scan divides its work and its memory.
//
// Inside a chunk of q tokens, with a = the cumulated Δ·A:
//   y_i = exp(a_i) · C_i·S + Σ_{j≤i} (C_i·B_j) exp(a_i − a_j) Δ_j x_j + D x_i,   S ← exp(a_last) S + Σ_j exp(a_last − a_j) Δ_j x_j ⊗ B_j.
// The first sum over the groups is shared by their heads. A chunk of few tokens runs the recurrence itself. Which of the two depends on
// the chunk's length alone, so that a run cut between chunks gives the same bits.
#pragma once

#include <algorithm>
#include <cstdint>

#include "cpu.h"
#include "sequences.h"

namespace krait::cpu {

inline constexpr int64_t kSsdMaxChunk = 256;
inline constexpr int64_t kSsdColumns = 64;  // channels of a head that one piece of work takes
inline constexpr int64_t kSsdShort = 8;     // tokens up to which a chunk runs the recurrence
inline constexpr int64_t kSsdDepth = 128;   // of B turned at once

struct Ssd {
  const SsdScanArgs& a;
  Pieces chunks;
  int64_t heads, head_dim, groups, state_size;
  float* products;  // C·Bᵀ: [chunks, groups, q · q]
  float* states;    // [chunks, heads, P · N]; within a head blocks of columns, each [N, columns]
  float* decays;    // [chunks, heads]: of a whole chunk

  explicit Ssd(const SsdScanArgs& args)
      : a(args),
        chunks{args.cu_seqlens.as<int32_t>(), args.cu_seqlens.dim[0] - 1, args.chunk_size},
        heads(args.x.dim[1]),
        head_dim(args.x.dim[2]),
        groups(args.B.dim[1]),
        state_size(args.B.dim[2]),
        products(static_cast<float*>(args.scratch)),
        states(products + chunks.count() * groups * chunks.size * chunks.size),
        decays(states + chunks.count() * heads * head_dim * state_size) {}

  int64_t bytes() const { return (decays + chunks.count() * heads - products) * static_cast<int64_t>(sizeof(float)); }
  int64_t column_blocks() const { return (head_dim + kSsdColumns - 1) / kSsdColumns; }
  int64_t columns(int64_t p) const { return std::min(kSsdColumns, head_dim - p); }

  // x and y may be bf16; B, C and Δ are float32 here, widened before if need be.
  bool is_narrow() const { return a.x.dtype == DType::bf16; }
  template <class E>
  const E* x(int64_t t, int64_t h) const {
    return a.x.as<E>() + t * a.x.stride[0] + h * head_dim;
  }
  template <class E>
  E* y(int64_t t, int64_t h) const {
    return a.y.as<E>() + t * a.y.stride[0] + h * head_dim;
  }
  const float* b(int64_t t, int64_t g) const { return a.B.as<float>() + t * a.B.stride[0] + g * state_size; }
  const float* c(int64_t t, int64_t g) const { return a.C.as<float>() + t * a.C.stride[0] + g * state_size; }
  int64_t group(int64_t h) const { return h / (heads / groups); }

  float* product(int64_t chunk, int64_t g) const { return products + (chunk * groups + g) * chunks.size * chunks.size; }
  float* state(int64_t chunk, int64_t h, int64_t p) const {
    return states + ((chunk * heads + h) * head_dim + p) * state_size;
  }
  // The carried state of a head from channel p on, [P, N]; null for none.
  float* carried(int64_t s, int64_t h, int64_t p) const {
    const int32_t slot = a.state && a.state_index ? a.state_index.as<int32_t>()[s] : -1;
    return slot < 0 ? nullptr : a.state.as<float>() + slot * a.state.stride[0] + (h * head_dim + p) * state_size;
  }
  // Chunks of a sequence that are not short; they come first.
  int64_t long_chunks(int64_t s) const {
    const int64_t length = chunks.length(s);
    return chunks.size <= kSsdShort ? 0 : length / chunks.size + (length % chunks.size > kSsdShort ? 1 : 0);
  }
  Pieces::Piece chunk(int64_t s, int64_t index) const {
    const int64_t from = chunks.borders[s] + index * chunks.size;
    return {s, index, from, std::min<int64_t>(from + chunks.size, chunks.borders[s + 1])};
  }
};

}  // namespace krait::cpu

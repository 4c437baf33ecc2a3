// How the fused ssd_scan kernel passes states from tile to tile along a sequence, and how its blocks find their work.
#pragma once

#include "ssd_scan.cuh"

namespace krait::cuda {

// Of three floats each: what one thread holds of a [64, N] state that 256 threads share.
template <int32_t N>
inline constexpr int32_t kLinkVectors = (N / 4 + 2) / 3;

// How states pass from tile to tile: 16 bytes at a time, three floats and the number of the tile that they enter. A reader that finds
// the number has the floats too: no fence, no second look. Numbers left in the memory by others mean nothing until the first tile of the
// sequence has written over them and said so in `begun`.
struct Chain {
  const Piece* pieces;
  const int32_t* first;  // pieces before each sequence
  int32_t heads;         // per block
  int32_t blocks;        // per piece
  bool by_sequence;
  int32_t* ticket;  // blocks take work in the order in which they start, so that nobody waits for a block that has not started
  int32_t* begun;   // [chains, H, 8 warps]
  float4* links;    // [chains, H, 8 warps, vectors, 32 lanes]
  bool wide_x, wide_B, wide_C, wide_y, wide_state;  // rows that 16-byte (y, state: 8-byte) accesses can take

  // Sequences of one tile need none. The first tiles of any two others are at least two apart.
  __device__ int64_t of(int32_t sequence) const { return by_sequence ? sequence : first[sequence] / 2; }
};

__device__ __forceinline__ int32_t acquire(const int32_t* from) {
  int32_t value;
  asm volatile("ld.acquire.gpu.global.b32 %0, [%1];" : "=r"(value) : "l"(from) : "memory");
  return value;
}

__device__ __forceinline__ void release(int32_t* to, int32_t value) {
  asm volatile("st.release.gpu.global.b32 [%0], %1;" ::"l"(to), "r"(value) : "memory");
}

// One access of 16 bytes each: the whole link or none of it (PTX 8.3).
__device__ __forceinline__ float4 take_link(const float4* from) {
  uint64_t low, high;
  asm volatile("{\n .reg .b128 link;\n ld.relaxed.gpu.global.b128 link, [%2];\n mov.b128 {%0, %1}, link;\n}"
               : "=l"(low), "=l"(high)
               : "l"(from)
               : "memory");
  return make_float4(__uint_as_float(static_cast<uint32_t>(low)), __uint_as_float(static_cast<uint32_t>(low >> 32)),
                     __uint_as_float(static_cast<uint32_t>(high)), __uint_as_float(static_cast<uint32_t>(high >> 32)));
}

__device__ __forceinline__ void pass_link(float4* to, float a, float b, float c, int32_t number) {
  const uint64_t low = __float_as_uint(a) | static_cast<uint64_t>(__float_as_uint(b)) << 32;
  const uint64_t high = __float_as_uint(c) | static_cast<uint64_t>(static_cast<uint32_t>(number)) << 32;
  asm volatile("{\n .reg .b128 link;\n mov.b128 link, {%1, %2};\n st.relaxed.gpu.global.b128 [%0], link;\n}" ::"l"(to), "l"(low), "l"(high)
               : "memory");
}

__device__ __forceinline__ int32_t number_of(const float4& link) { return __float_as_int(link.w); }

// The state of a head in its chain, by row and column.
template <int32_t N>
struct LinkedState {
  const float4* links;
  int32_t number;
  float* kept;  // [P, N], or null

  __device__ float load(int32_t p, int32_t n) const {
    const int32_t warp = n / (N / 2) * 4 + p / 16, part = n % (N / 2) / 8, lane = p % 8 * 4 + n % 8 / 2;
    const int32_t at = part * 4 + p % 16 / 8 * 2 + n % 2;
    float4 link;
    do {
      link = take_link(links + (warp * kLinkVectors<N> + at / 3) * 32 + lane);
    } while (number_of(link) != number);
    return at % 3 == 0 ? link.x : at % 3 == 1 ? link.y : link.z;
  }
  __device__ void store(int32_t p, int32_t n, float value) const {
    if (kept != nullptr) kept[p * N + n] = value;
  }
};

// What a block works on; in shared memory, for registers are short.
struct Job {
  Chunk chunk;
  int32_t index;        // of the tile in its sequence
  int32_t slot;
  int32_t group, h0, heads;
  int64_t first_chain;  // of head h0
};

// Where a head's state is kept after the run; null where it is not.
template <typename E>
__device__ __forceinline__ float* kept_state(const SsdScan<E>& s, const Job& job, int32_t h, int32_t size) {
  return job.slot < 0 ? nullptr : s.state + job.slot * s.state_slot + static_cast<int64_t>(h) * size;
}

template <typename E>
__device__ void take_job(const SsdScan<E>& s, const Chain& chain, int32_t size, Job& job) {
  const int32_t ticket = atomicAdd(chain.ticket, 1);
  const Piece piece = chain.pieces[ticket / chain.blocks];
  job.chunk = chunk_of(s, piece, size);
  if (job.chunk.length == 0) return;
  const int32_t per_group = s.H / s.G, blocks_per_group = chain.blocks / s.G, block = ticket % chain.blocks;
  const int32_t offset = block % blocks_per_group * chain.heads;
  job.index = piece.index;
  job.slot = s.sequences.slot(piece.sequence);
  job.group = block / blocks_per_group;
  job.h0 = job.group * per_group + offset;
  job.heads = min(chain.heads, per_group - offset);
  job.first_chain = chain.of(piece.sequence) * s.H + job.h0;
}

}  // namespace krait::cuda

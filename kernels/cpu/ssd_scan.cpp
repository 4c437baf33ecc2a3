#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/ssd_scan.cpp"
#include "hwy/foreach_target.h"
//
#include <algorithm>
#include <cstring>

#include "borders.h"
#include "half.h"
#include "hwy/highway.h"
#include "mirror.h"
#include "sequences.h"
#include "ssd.h"
#include "ssd_chunk-inl.h"
#include "ssd_step-inl.h"
#include "tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace krait::cpu::HWY_NAMESPACE {

// After the long chunks of a sequence: what is left, on the state in its outer form.
void Finish(const Ssd& ssd, int64_t s, ChunkWork& work, float* state) {
  const int64_t done = ssd.long_chunks(s);
  SsdRecur(ssd, ssd.chunk(s, done).from, ssd.chunks.borders[s + 1], work.h, work.p, work.skip, state);
}

// A whole sequence for one head's block of columns, chunk after chunk.
void SsdSequence(const Ssd& ssd, int64_t s, int64_t h, int64_t p) {
  if (ssd.chunks.length(s) == 0) return;
  const int64_t long_chunks = ssd.long_chunks(s);
  const int64_t all_chunks = ssd.chunks.pieces(s);
  const int64_t first = ssd.chunks.first(s);
  const int64_t n_all = ssd.state_size;
  ChunkWork work(ssd, h, p);
  float* outer = ssd.carried(s, h, p);
  const size_t bytes = static_cast<size_t>(work.columns * n_all) * sizeof(float);
  if (long_chunks > 0) {
    float* state = ssd.state(first, h, p);
    if (outer != nullptr) {
      Transpose(outer, n_all, work.columns, n_all, state, work.columns);
    } else {
      std::memset(state, 0, bytes);
    }
    for (int64_t c = 0; c < long_chunks; ++c) {
      const Pieces::Piece chunk = ssd.chunk(s, c);
      work.Open(chunk);
      work.Output(chunk, state);
      work.Advance(chunk, state, true);
    }
    if (outer == nullptr && long_chunks < all_chunks) outer = ssd.state(first + all_chunks - 1, h, p);
    if (outer != nullptr) Transpose(state, work.columns, n_all, work.columns, outer, n_all);
  } else if (outer == nullptr) {
    outer = ssd.state(first, h, p);
    std::memset(outer, 0, bytes);
  }
  if (long_chunks < all_chunks) Finish(ssd, s, work, outer);
}

// The same in three passes that share chunks among threads: what each chunk adds, the state before each, the outputs.
void SsdChunkState(const Ssd& ssd, const Pieces::Piece& chunk, int64_t h, int64_t p) {
  ChunkWork work(ssd, h, p);
  work.Open(chunk);
  const int64_t number = ssd.chunks.first(chunk.sequence) + chunk.index;
  work.Advance(chunk, ssd.state(number, h, p), false);
  if (p == 0) ssd.decays[number * ssd.heads + h] = work.decays.total;
}

void SsdPassStates(const Ssd& ssd, int64_t s, int64_t h, int64_t p) {
  if (ssd.chunks.length(s) == 0) return;
  constexpr int64_t kRows = 16;
  const FloatTag d;
  const int64_t long_chunks = ssd.long_chunks(s);
  const int64_t all_chunks = ssd.chunks.pieces(s);
  const int64_t first = ssd.chunks.first(s);
  const int64_t n_all = ssd.state_size;
  ChunkWork work(ssd, h, p);
  const float* start = ssd.carried(s, h, p);
  float* outer = ssd.carried(s, h, p);
  if (outer == nullptr && long_chunks < all_chunks) outer = ssd.state(first + all_chunks - 1, h, p);
  alignas(64) float running[kRows * kSsdColumns];
  for (int64_t n = 0; n < n_all; n += kRows) {
    const int64_t rows = std::min(kRows, n_all - n);
    const int64_t count = rows * work.columns;
    std::memset(running, 0, sizeof(running));
    if (start != nullptr) Transpose(start + n, n_all, work.columns, rows, running, work.columns);
    for (int64_t c = 0; c < long_chunks; ++c) {
      float* added = ssd.state(first + c, h, p) + n * work.columns;
      const FloatVec decay = hn::Set(d, ssd.decays[(first + c) * ssd.heads + h]);
      for (int64_t i = 0; i < count; i += kLanes) {
        const int64_t rest = std::min(kLanes, count - i);
        const FloatVec before = hn::Load(d, running + i);
        hn::Store(hn::MulAdd(before, decay, LoadPart(d, added + i, rest)), d, running + i);
        StorePart(before, d, added + i, rest);
      }
    }
    if (outer != nullptr) Transpose(running, work.columns, rows, work.columns, outer + n, n_all);
  }
  if (long_chunks < all_chunks) Finish(ssd, s, work, outer);
}

void SsdChunkOutput(const Ssd& ssd, const Pieces::Piece& chunk, int64_t h, int64_t p) {
  ChunkWork work(ssd, h, p);
  work.Open(chunk);
  work.Output(chunk, ssd.state(ssd.chunks.first(chunk.sequence) + chunk.index, h, p));
}

}  // namespace krait::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace krait::cpu {
namespace {

HWY_EXPORT(SsdProduct);
HWY_EXPORT(SsdSequence);
HWY_EXPORT(SsdChunkState);
HWY_EXPORT(SsdPassStates);
HWY_EXPORT(SsdChunkOutput);

// Calls work(ssd, chunk, …) for every long chunk × `inner`.
template <typename Work>
void for_chunks(const Ssd& ssd, const Cpu& cpu, int64_t inner, const Work& work) {
  const int64_t units = ssd.chunks.count() * inner;
#pragma omp parallel for num_threads(cpu.threads) schedule(dynamic) if (units > 1)
  for (int64_t u = 0; u < units; ++u) {
    const Pieces::Piece chunk = ssd.chunks[u / inner];
    if (chunk.index >= 0 && chunk.index < ssd.long_chunks(chunk.sequence)) work(chunk, u / inner, u % inner);
  }
}

// Calls work(ssd, sequence, head, channel) for all blocks of columns.
template <typename Work>
void for_sequences(const Ssd& ssd, const Cpu& cpu, const Work& work) {
  const int64_t blocks = ssd.column_blocks();
  const int64_t units = ssd.chunks.sequences * ssd.heads * blocks;
#pragma omp parallel for num_threads(cpu.threads) schedule(dynamic) if (units > 1)
  for (int64_t u = 0; u < units; ++u) work(ssd, u / blocks / ssd.heads, u / blocks % ssd.heads, u % blocks * kSsdColumns);
}

// A float32 copy of a packed tensor, written to `memory`, which moves on.
Tensor widened(const Tensor& from, const Cpu& cpu, float** memory) {
  Tensor to = from;
  int64_t width = 1;
  for (int32_t axis = 1; axis < from.rank; ++axis) width *= from.dim[axis];
  to.data = *memory;
  to.dtype = DType::f32;
  to.stride[0] = width;
  widen_rows(cpu.threads, from.dim[0], width, from.as<uint16_t>(), from.stride[0], *memory, width);
  *memory += from.dim[0] * width;
  return to;
}

Status scan(const SsdScanArgs& a, const Cpu& cpu);

Status scan_any(const SsdScanArgs& a, const Cpu& cpu) {
  if (a.x.dtype != DType::bf16) return scan(a, cpu);
  // All heads of a group read B and C again and again, and together they are a small part of x.
  thread_local KeptMemory kept;
  const int64_t bytes = a.x.dim[0] * (2 * a.B.dim[1] * a.B.dim[2] + a.dt.dim[1]) * static_cast<int64_t>(sizeof(float));
  auto* memory = static_cast<float*>(kept.reserve(std::max<int64_t>(bytes, 1)));
  if (memory == nullptr) {
    return error(StatusCode::out_of_memory, "Expected %lld bytes for ssd_scan but the system gave none", static_cast<long long>(bytes));
  }
  SsdScanArgs wide = a;
  wide.B = widened(a.B, cpu, &memory);
  wide.C = widened(a.C, cpu, &memory);
  wide.dt = widened(a.dt, cpu, &memory);
  return scan(wide, cpu);
}

Status scan(const SsdScanArgs& a, const Cpu& cpu) {
  const int64_t tokens = a.x.dim[0];
  if (!are_borders(a.cu_seqlens, tokens)) return bad_borders("ssd_scan", tokens);
  if (!are_slots(a.state_index, a.state)) return bad_slots("ssd_scan", a.state);
  const Ssd ssd(a);
  if (tokens > 0 && ssd.bytes() > a.scratch_bytes) {
    return error(StatusCode::invalid_program, "Expected %lld bytes of scratch memory for ssd_scan but received %lld",
                 static_cast<long long>(ssd.bytes()), static_cast<long long>(a.scratch_bytes));
  }
  const auto product = HWY_DYNAMIC_DISPATCH(SsdProduct);
  for_chunks(ssd, cpu, ssd.groups, [&](const Pieces::Piece& chunk, int64_t number, int64_t g) { product(ssd, chunk, number, g); });

  int64_t busy = 0;
  for (int64_t s = 0; s < ssd.chunks.sequences; ++s) busy += ssd.chunks.length(s) > 0 ? 1 : 0;
  const int64_t blocks = ssd.column_blocks();
  if (busy * ssd.heads * blocks >= cpu.threads) {
    for_sequences(ssd, cpu, HWY_DYNAMIC_DISPATCH(SsdSequence));
    return {};
  }
  const auto state = HWY_DYNAMIC_DISPATCH(SsdChunkState);
  const auto output = HWY_DYNAMIC_DISPATCH(SsdChunkOutput);
  for_chunks(ssd, cpu, ssd.heads * blocks, [&](const Pieces::Piece& chunk, int64_t, int64_t unit) {
    state(ssd, chunk, unit / blocks, unit % blocks * kSsdColumns);
  });
  for_sequences(ssd, cpu, HWY_DYNAMIC_DISPATCH(SsdPassStates));
  for_chunks(ssd, cpu, ssd.heads * blocks, [&](const Pieces::Piece& chunk, int64_t, int64_t unit) {
    output(ssd, chunk, unit / blocks, unit % blocks * kSsdColumns);
  });
  return {};
}

}  // namespace

Status ssd_scan(const SsdScanArgs& a, const Cpu& cpu) {
  using Args = SsdScanArgs;
  if (!a.reverse) return scan_any(a, cpu);
  return with_mirror("ssd_scan", a, {&Args::x, &Args::dt, &Args::B, &Args::C, &Args::y}, [&](const Args& mirror) { return scan_any(mirror, cpu); });
}

}  // namespace krait::cpu
#endif

#include <algorithm>
#include <cstring>

#include "borders.h"
#include "cpu.h"
#include "rows.h"
#include "sequences.h"

namespace krait::cpu {
namespace {

// Rows are copied: E is as wide as an element, whatever it stands for.
template <class E>
struct Unfold {
  const UnfoldTimeArgs& a;
  const int32_t* from;  // borders of x
  int64_t channels, tail;

  explicit Unfold(const UnfoldTimeArgs& args)
      : a(args), from(args.cu_seqlens.as<int32_t>()), channels(args.x.dim[1]), tail(args.before) {}

  E* state(int64_t s) const {
    const int64_t slot = a.state && a.state_index ? a.state_index.as<int32_t>()[s] : -1;
    return slot < 0 ? nullptr : a.state.as<E>() + slot * a.state.stride[0];
  }
  // Row r of sequence s, r < 0 being what was carried; null for zeros.
  const E* row(int64_t s, int64_t r) const {
    if (r >= from[s + 1] - from[s] || r < -tail) return nullptr;
    if (r >= 0) return a.x.as<E>() + (from[s] + r) * a.x.stride[0];
    const E* kept = state(s);
    return kept == nullptr ? nullptr : kept + (tail + r) * channels;
  }

  void Write(int64_t s, int64_t index, E* y) const {
    for (int64_t w = 0; w < a.width; ++w) {
      const E* x = row(s, index * a.stride - a.before + w);
      for (int64_t c = 0; c < channels; ++c) y[c * a.width + w] = x == nullptr ? E{} : x[c];
    }
  }

  // The last rows become the tail, the oldest first; a short run moves what was there.
  void Carry(int64_t s) const {
    E* kept = state(s);
    const int64_t length = from[s + 1] - from[s];
    if (kept == nullptr || length == 0) return;
    for (int64_t r = 0; r < tail; ++r) {
      // Only later rows are moved to earlier places, so nothing is overwritten before it moved.
      std::memcpy(kept + r * channels, row(s, length - tail + r), static_cast<size_t>(channels) * sizeof(E));
    }
  }
};

template <class E>
void unfold(const UnfoldTimeArgs& a, const Cpu& cpu) {
  const Unfold<E> work(a);
  const int32_t* to = a.out_cu_seqlens.as<int32_t>();
  const int64_t rows = a.y.dim[0];
#pragma omp parallel num_threads(threads_for(cpu, rows * a.y.dim[1]))
  {
    int64_t s = 0;
#pragma omp for schedule(static)
    for (int64_t f = 0; f < rows; ++f) {
      while (to[s + 1] <= f) ++s;
      work.Write(s, f - to[s], a.y.as<E>() + f * a.y.stride[0]);
    }
  }
  for (int64_t s = 0; s + 1 < a.cu_seqlens.dim[0]; ++s) work.Carry(s);
}

}  // namespace

Status unfold_time(const UnfoldTimeArgs& a, const Cpu& cpu) {
  const int64_t sequences = a.cu_seqlens.dim[0] - 1;
  if (!are_borders(a.cu_seqlens, a.x.dim[0])) return bad_borders("unfold_time", a.x.dim[0]);
  if (!are_slots(a.state_index, a.state)) return bad_slots("unfold_time", a.state);
  const int32_t* from = a.cu_seqlens.as<int32_t>();
  int32_t* to = a.out_cu_seqlens.as<int32_t>();
  int64_t rows = 0;
  to[0] = 0;
  for (int64_t s = 0; s < sequences; ++s) {
    if (from[s + 1] > from[s]) rows += (from[s + 1] - from[s] - 1) / a.stride + 1;
    to[s + 1] = static_cast<int32_t>(rows);
    if (!a.state || !a.state_index || a.state_index.as<int32_t>()[s] < 0) continue;
    const int64_t position = a.position.as<int64_t>()[s];
    if (position < 0 || position % a.stride != 0) {
      return error(StatusCode::invalid_argument, "Expected runs of unfold_time that begin at multiples of %lld but received position %lld for sequence %lld",
                   static_cast<long long>(a.stride), static_cast<long long>(position), static_cast<long long>(s));
    }
  }
  if (rows != a.y.dim[0]) {
    return error(StatusCode::invalid_argument, "Expected %lld rows from the borders but received a run for %lld", static_cast<long long>(rows),
                 static_cast<long long>(a.y.dim[0]));
  }
  if (a.x.dtype == DType::bf16) unfold<uint16_t>(a, cpu);
  else unfold<float>(a, cpu);
  return {};
}

}  // namespace krait::cpu

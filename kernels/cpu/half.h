// bf16 on the CPU: kernels that read and write it themselves say so here; for the others the backend widens what they get to float32
// and narrows what they give, so that every op takes every dtype of its record.
#pragma once

#include <cstdint>

#include "cpu.h"

namespace krait::cpu {

template <class Args>
inline constexpr bool kReadsBf16 = false;
template <>
inline constexpr bool kReadsBf16<CausalConv1dArgs> = true;
template <>
inline constexpr bool kReadsBf16<EmbeddingArgs> = true;
template <>
inline constexpr bool kReadsBf16<GatedRmsNormArgs> = true;
template <>
inline constexpr bool kReadsBf16<LayerNormArgs> = true;
template <>
inline constexpr bool kReadsBf16<RmsNormArgs> = true;
template <>
inline constexpr bool kReadsBf16<LinearArgs> = true;
template <>
inline constexpr bool kReadsBf16<SelectiveScanArgs> = true;
template <>
inline constexpr bool kReadsBf16<SsdScanArgs> = true;
template <>
inline constexpr bool kReadsBf16<UnfoldTimeArgs> = true;

// Rows of `width` elements, `step` apart, to and from bf16 patterns; rounded to the nearest, ties to even.
void widen_rows(int threads, int64_t rows, int64_t width, const uint16_t* from, int64_t from_step, float* to, int64_t to_step);
void narrow_rows(int threads, int64_t rows, int64_t width, const float* from, int64_t from_step, uint16_t* to, int64_t to_step);

// Memory that grows to the largest need and stays. One thread uses it.
class KeptMemory {
 public:
  KeptMemory() = default;
  ~KeptMemory();
  KeptMemory(const KeptMemory&) = delete;
  KeptMemory& operator=(const KeptMemory&) = delete;
  // Aligned like an arena; null when the system gives none. What was there before is gone.
  void* reserve(int64_t bytes);

 private:
  void* data_ = nullptr;
  int64_t bytes_ = 0;
};

// The kernel on float32 copies of its bf16 operands.
Status run_widened(const OpSignature& op, const Call& call, const Cpu& cpu, KeptMemory& workspace, Status (*kernel)(const Call&, const Cpu&));

}  // namespace krait::cpu

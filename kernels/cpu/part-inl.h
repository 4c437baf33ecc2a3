// Loads and stores of the last few elements of a row, which never touch what lies beyond them.
#if defined(KRAIT_CPU_PART_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef KRAIT_CPU_PART_INL_H_
#undef KRAIT_CPU_PART_INL_H_
#else
#define KRAIT_CPU_PART_INL_H_
#endif

#include <algorithm>
#include <cstdint>

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace krait::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// The first `count` lanes, the others zero. 0 ≤ count ≤ lanes.
template <class D>
HWY_INLINE hn::Vec<D> LoadPart(D d, const float* from, int64_t count) {
#if HWY_MEM_OPS_MIGHT_FAULT
  HWY_ALIGN float lanes[hn::MaxLanes(d)] = {0};
  std::copy(from, from + count, lanes);
  return hn::Load(d, lanes);
#else
  return hn::MaskedLoad(hn::FirstN(d, static_cast<size_t>(count)), d, from);
#endif
}

template <class D>
HWY_INLINE void StorePart(hn::Vec<D> v, D d, float* to, int64_t count) {
#if HWY_MEM_OPS_MIGHT_FAULT
  HWY_ALIGN float lanes[hn::MaxLanes(d)];
  hn::Store(v, d, lanes);
  std::copy(lanes, lanes + count, to);
#else
  hn::BlendedStore(v, hn::FirstN(d, static_cast<size_t>(count)), d, to);
#endif
}

}  // namespace krait::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif

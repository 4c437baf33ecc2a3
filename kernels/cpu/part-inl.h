// Loads and stores of rows of float or bf16 as vectors of float, and of the last few elements of a row without touching what lies
// beyond them. In kernels a uint16_t is always the pattern of a bf16.
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

template <class D>
HWY_INLINE hn::Vec<D> LoadRow(D d, const float* from) {
  return hn::LoadU(d, from);
}

template <class D>
HWY_INLINE void StoreRow(hn::Vec<D> v, D d, float* to) {
  hn::StoreU(v, d, to);
}

// A bf16 is the upper half of a float.
template <class D>
HWY_INLINE hn::Vec<D> LoadRow(D d, const uint16_t* from) {
  const hn::Rebind<uint16_t, D> narrow;
  const hn::RebindToUnsigned<D> bits;
  return hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(bits, hn::LoadU(narrow, from))));
}

// Rounded to the nearest, ties to even; a NaN stays one.
template <class D>
HWY_INLINE hn::Vec<hn::Rebind<uint16_t, D>> ToBf16(D, hn::Vec<D> v) {
  const hn::Rebind<uint16_t, D> narrow;
  const hn::RebindToUnsigned<D> unsigned_bits;
  const hn::RebindToSigned<D> signed_bits;
  const auto bits = hn::BitCast(unsigned_bits, v);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(unsigned_bits, 1u));
  const auto rounded = hn::Add(hn::Add(bits, hn::Set(unsigned_bits, 0x7fffu)), odd);
  const auto quiet = hn::Or(bits, hn::Set(unsigned_bits, 0x400000u));
  const auto chosen = hn::IfThenElse(hn::RebindMask(unsigned_bits, hn::IsNaN(v)), quiet, rounded);
  return hn::DemoteTo(narrow, hn::BitCast(signed_bits, hn::ShiftRight<16>(chosen)));
}

template <class D>
HWY_INLINE void StoreRow(hn::Vec<D> v, D d, uint16_t* to) {
  hn::StoreU(ToBf16(d, v), hn::Rebind<uint16_t, D>(), to);
}

// The first `count` lanes, the others zero. 0 ≤ count ≤ lanes.
template <class D>
HWY_INLINE hn::Vec<D> LoadPart(D d, const float* from, int64_t count) {
  if (count == static_cast<int64_t>(hn::Lanes(d))) return hn::LoadU(d, from);
#if HWY_MEM_OPS_MIGHT_FAULT
  HWY_ALIGN float lanes[hn::MaxLanes(d)] = {0};
  std::copy(from, from + count, lanes);
  return hn::Load(d, lanes);
#else
  return hn::MaskedLoad(hn::FirstN(d, static_cast<size_t>(count)), d, from);
#endif
}

template <class D>
HWY_INLINE hn::Vec<D> LoadPart(D d, const uint16_t* from, int64_t count) {
  if (count == static_cast<int64_t>(hn::Lanes(d))) return LoadRow(d, from);
  HWY_ALIGN uint16_t lanes[hn::MaxLanes(d)] = {0};
  std::copy(from, from + count, lanes);
  return LoadRow(d, lanes);
}

template <class D>
HWY_INLINE void StorePart(hn::Vec<D> v, D d, float* to, int64_t count) {
  // Masked stores take many times as long as whole ones on some processors.
  if (count == static_cast<int64_t>(hn::Lanes(d))) return hn::StoreU(v, d, to);
#if HWY_MEM_OPS_MIGHT_FAULT
  HWY_ALIGN float lanes[hn::MaxLanes(d)];
  hn::Store(v, d, lanes);
  std::copy(lanes, lanes + count, to);
#else
  hn::BlendedStore(v, hn::FirstN(d, static_cast<size_t>(count)), d, to);
#endif
}

template <class D>
HWY_INLINE void StorePart(hn::Vec<D> v, D d, uint16_t* to, int64_t count) {
  if (count == static_cast<int64_t>(hn::Lanes(d))) return StoreRow(v, d, to);
  HWY_ALIGN uint16_t lanes[hn::MaxLanes(d)];
  StoreRow(v, d, lanes);
  std::copy(lanes, lanes + count, to);
}

}  // namespace krait::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif

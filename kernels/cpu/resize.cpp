#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/resize.cpp"
#include "hwy/foreach_target.h"
//
#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "hwy/highway.h"
#include "resize.h"
#include "rows.h"

#ifndef KRAIT_CPU_RESIZE_CONSTANTS_
#define KRAIT_CPU_RESIZE_CONSTANTS_
namespace krait::cpu {
inline constexpr int kCoefficientBits = 22;
inline constexpr int kLowerBits = 12;
inline constexpr int32_t kHalf = 1 << (kCoefficientBits - 1);
// Rows that share one pass over the coefficients.
inline constexpr int64_t kRowsAtOnce = 4;
}  // namespace krait::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace krait::cpu::HWY_NAMESPACE {
namespace {
#if HWY_HAVE_SCALABLE || HWY_TARGET == HWY_SCALAR
// Blocks of 16 bytes are laid out by hand below, which takes vectors of a known size.
uint8_t ToByte(int32_t sum) { return static_cast<uint8_t>(std::clamp(sum >> kCoefficientBits, 0, 255)); }

int32_t Product(int32_t byte, int32_t upper, int32_t lower) { return byte * (upper * (1 << kLowerBits) + lower); }

void MixColumns(const Resize::Axis<Resize::Group>& columns, int64_t rows, const uint8_t* from, int64_t from_stride, uint8_t* to,
                int64_t to_stride) {
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t x = 0; x < static_cast<int64_t>(columns.at.size()); ++x) {
      int32_t sums[3] = {kHalf, kHalf, kHalf};
      const uint8_t* pixel = from + row * from_stride + columns.at[x];
      for (int64_t g = columns.begin[x]; g < columns.begin[x + 1]; ++g, pixel += 12) {
        for (int64_t tap = 0; tap < 4; ++tap) {
          const int64_t i = tap / 2 * 8 + tap % 2;
          for (int64_t c = 0; c < 3; ++c) sums[c] += Product(pixel[3 * tap + c], columns.items[g].upper[i], columns.items[g].lower[i]);
        }
      }
      for (int64_t c = 0; c < 3; ++c) to[row * to_stride + 3 * x + c] = ToByte(sums[c]);
    }
  }
}

void MixDown(const Resize::Pair* pairs, int64_t count, const uint8_t* from, int64_t stride, int64_t row_bytes, uint8_t* to) {
  for (int64_t x = 0; x < row_bytes; ++x) {
    int32_t sum = kHalf;
    for (int64_t i = 0; i < count; ++i) {
      const int32_t upper = pairs[i].upper;
      const int32_t lower = pairs[i].lower;
      sum += Product(from[x + 2 * i * stride], static_cast<int16_t>(upper & 0xffff), static_cast<int16_t>(lower & 0xffff));
      sum += Product(from[x + (2 * i + 1) * stride], upper >> 16, lower >> 16);
    }
    to[x] = ToByte(sum);
  }
}
#else
namespace hn = hwy::HWY_NAMESPACE;

// Two blocks of 16 bytes where the machine has them: wider vectors would have to take blocks from two rows.
using Bytes = hn::CappedTag<uint8_t, 32>;
using Words = hn::Repartition<int16_t, Bytes>;
using Sums = hn::Repartition<int32_t, Bytes>;
constexpr Bytes kBytes;
constexpr Words kWords;
constexpr Sums kSums;
constexpr int64_t kBlocks = hn::MaxLanes(kBytes) / 16;

// Products of neighbouring 16-bit numbers, added in pairs to 32 bits: exact, as one of two factors is a byte.
HWY_INLINE hn::Vec<Sums> MultiplyPairs(hn::Vec<Words> a, hn::Vec<Words> b, hn::Vec<Sums> sum) {
  auto rest = hn::Zero(kSums);
  sum = hn::ReorderWidenMulAccumulate(kSums, a, b, sum, rest);
  return hn::RearrangeToOddPlusEven(sum, rest);
}

// Of 16 bytes from pixel 0 on: (r0 r1) (g0 g1) (b0 b1) (nothing), in the second block the same of pixels 2 and 3; 16 bits each.
alignas(32) constexpr uint8_t kSpread[32] = {
    0, 0x80, 3, 0x80, 1, 0x80, 4,  0x80, 2, 0x80, 5, 0x80, 0x80, 0x80, 0x80, 0x80,
    6, 0x80, 9, 0x80, 7, 0x80, 10, 0x80, 8, 0x80, 11, 0x80, 0x80, 0x80, 0x80, 0x80};

// The four sums of one pixel (red, green, blue, nothing), to bytes. Writes four.
template <class V>
HWY_INLINE void StorePixel(V upper, V lower, uint8_t* to) {
  const hn::CappedTag<int32_t, 4> four;
  const hn::CappedTag<uint8_t, 4> bytes;
  const auto blocks = hn::Add(hn::ShiftLeft<kLowerBits>(upper), lower);
  if constexpr (kBlocks == 2) {
    const auto sum = hn::Add(hn::LowerHalf(four, blocks), hn::UpperHalf(four, blocks));
    hn::StoreU(hn::DemoteTo(bytes, hn::ShiftRight<kCoefficientBits>(hn::Add(sum, hn::Set(four, kHalf)))), bytes, to);
  } else {
    hn::StoreU(hn::DemoteTo(bytes, hn::ShiftRight<kCoefficientBits>(hn::Add(blocks, hn::Set(four, kHalf)))), bytes, to);
  }
}

// `Rows` rows of the part, mixed along their pixels.
template <int64_t Rows>
HWY_INLINE void MixRows(const Resize::Axis<Resize::Group>& columns, const uint8_t* HWY_RESTRICT from, int64_t from_stride,
                        uint8_t* HWY_RESTRICT to, int64_t to_stride) {
  const int64_t width = static_cast<int64_t>(columns.at.size());
  for (int64_t x = 0; x < width; ++x) {
    const uint8_t* pixel = from + columns.at[x];
    hn::Vec<Sums> upper[Rows], lower[Rows];
    for (int64_t r = 0; r < Rows; ++r) upper[r] = lower[r] = hn::Zero(kSums);
    for (int64_t g = columns.begin[x]; g < columns.begin[x + 1]; ++g, pixel += 12) {
      const Resize::Group& group = columns.items[g];
      for (int64_t block = 0; block < 2; block += kBlocks) {
        const auto spread = hn::LoadU(kBytes, kSpread + 16 * block);
        const auto c_upper = hn::LoadU(kWords, group.upper + 8 * block);
        const auto c_lower = hn::LoadU(kWords, group.lower + 8 * block);
        for (int64_t r = 0; r < Rows; ++r) {
          const auto bytes = hn::LoadDup128(kBytes, pixel + r * from_stride);
          const auto words = hn::BitCast(kWords, hn::TableLookupBytesOr0(bytes, spread));
          upper[r] = MultiplyPairs(words, c_upper, upper[r]);
          lower[r] = MultiplyPairs(words, c_lower, lower[r]);
        }
      }
    }
    for (int64_t r = 0; r < Rows; ++r) StorePixel(upper[r], lower[r], to + r * to_stride + 3 * x);
  }
}

void MixColumns(const Resize::Axis<Resize::Group>& columns, int64_t rows, const uint8_t* from, int64_t from_stride, uint8_t* to,
                int64_t to_stride) {
  if (rows == kRowsAtOnce) return MixRows<kRowsAtOnce>(columns, from, from_stride, to, to_stride);
  for (int64_t row = 0; row < rows; ++row) MixRows<1>(columns, from + row * from_stride, 0, to + row * to_stride, 0);
}

// Sums as 16-bit numbers, to bytes in the order of the pixels: interleaving and packing both work within blocks of 16 bytes, so only
// the halves of blocks are out of place.
template <class V>
HWY_INLINE void StoreWords(V first, V second, uint8_t* to) {
  const hn::Half<Bytes> half;
  const auto left = hn::DemoteTo(half, first);
  const auto right = hn::DemoteTo(half, second);
  if constexpr (kBlocks == 2) {
    const hn::Repartition<uint64_t, hn::Half<Bytes>> eights;
    const auto l = hn::BitCast(eights, left);
    const auto r = hn::BitCast(eights, right);
    hn::StoreU(hn::BitCast(half, hn::InterleaveLower(eights, l, r)), half, to);
    hn::StoreU(hn::BitCast(half, hn::InterleaveUpper(eights, l, r)), half, to + 16);
  } else {
    hn::StoreU(left, half, to);
    hn::StoreU(right, half, to + 8);
  }
}

// One row of the result out of rows in between; whole vectors are read and written.
void MixDown(const Resize::Pair* pairs, int64_t count, const uint8_t* HWY_RESTRICT from, int64_t stride, int64_t row_bytes,
             uint8_t* HWY_RESTRICT to) {
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(kBytes));
  const auto zero = hn::Zero(kBytes);
  for (int64_t x = 0; x < row_bytes; x += lanes) {
    auto upper0 = hn::Zero(kSums), upper1 = upper0, upper2 = upper0, upper3 = upper0;
    auto lower0 = hn::Set(kSums, kHalf), lower1 = lower0, lower2 = lower0, lower3 = lower0;
    const uint8_t* row = from + x;
    for (int64_t i = 0; i < count; ++i, row += 2 * stride) {
      const auto a = hn::LoadU(kBytes, row);
      const auto b = hn::LoadU(kBytes, row + stride);
      const auto c_upper = hn::BitCast(kWords, hn::Set(kSums, pairs[i].upper));
      const auto c_lower = hn::BitCast(kWords, hn::Set(kSums, pairs[i].lower));
      const auto front = hn::InterleaveLower(kBytes, a, b);
      const auto back = hn::InterleaveUpper(kBytes, a, b);
      const auto w0 = hn::BitCast(kWords, hn::InterleaveLower(kBytes, front, zero));
      const auto w1 = hn::BitCast(kWords, hn::InterleaveUpper(kBytes, front, zero));
      const auto w2 = hn::BitCast(kWords, hn::InterleaveLower(kBytes, back, zero));
      const auto w3 = hn::BitCast(kWords, hn::InterleaveUpper(kBytes, back, zero));
      upper0 = MultiplyPairs(w0, c_upper, upper0);
      lower0 = MultiplyPairs(w0, c_lower, lower0);
      upper1 = MultiplyPairs(w1, c_upper, upper1);
      lower1 = MultiplyPairs(w1, c_lower, lower1);
      upper2 = MultiplyPairs(w2, c_upper, upper2);
      lower2 = MultiplyPairs(w2, c_lower, lower2);
      upper3 = MultiplyPairs(w3, c_upper, upper3);
      lower3 = MultiplyPairs(w3, c_lower, lower3);
    }
    const auto finish = [](auto upper, auto lower) {
      return hn::ShiftRight<kCoefficientBits>(hn::Add(hn::ShiftLeft<kLowerBits>(upper), lower));
    };
    const auto first = hn::ReorderDemote2To(kWords, finish(upper0, lower0), finish(upper1, lower1));
    const auto second = hn::ReorderDemote2To(kWords, finish(upper2, lower2), finish(upper3, lower3));
    StoreWords(first, second, to + x);
  }
}
#endif

}  // namespace
}  // namespace krait::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace krait::cpu {

HWY_EXPORT(MixColumns);
HWY_EXPORT(MixDown);

namespace {

// The most bytes of a vector; rows in memory are this much apart at least, so that whole vectors may be read and written.
constexpr int64_t kVectorBytes = 64;
// Sides of a picture, as the front ends bound them; products of two fit an int64 many times over.
constexpr int64_t kMaxSide = 65535;
constexpr int64_t kMaxTaps = 1 << 20;

int64_t padded(int64_t bytes) { return (bytes + kVectorBytes - 1) / kVectorBytes * kVectorBytes; }

struct Parts {
  int16_t upper;
  int16_t lower;
};

// c = upper · 2^12 + lower with both in 16 bits.
Parts split(int32_t c) {
  constexpr int32_t step = 1 << kLowerBits;
  const int32_t upper = (c + step / 2) >> kLowerBits;
  return {static_cast<int16_t>(upper), static_cast<int16_t>(c - upper * step)};
}

Status check_axis(const ResizeTaps& taps, const char* name, int64_t* low, int64_t* high) {
  const auto refuse = [name](const char* wanted, int64_t received) {
    return error(StatusCode::invalid_argument, "Expected %s for the %s of a resize but received %lld", wanted, name,
                 static_cast<long long>(received));
  };
  if (taps.size < 1 || taps.size > kMaxSide) return refuse("1 to 65535 pixels", taps.size);
  if (taps.outputs < 1 || taps.outputs > kMaxSide) return refuse("1 to 65535 outputs", taps.outputs);
  if (taps.values != nullptr && (taps.width < 1 || taps.width > kMaxTaps)) return refuse("a row of coefficients", taps.width);
  *low = taps.size;
  *high = 0;
  for (int64_t i = 0; i < taps.outputs; ++i) {
    const int64_t count = taps.values == nullptr ? 1 : taps.count[i];
    if (count < 1 || (taps.values != nullptr && count > taps.width)) return refuse("a number of taps in the table", count);
    const int64_t first = taps.first[i];
    if (first < 0 || first > taps.size - count) return refuse("taps inside the picture", first);
    *low = std::min(*low, first);
    *high = std::max(*high, first + count);
    if (taps.values == nullptr) {
      if (first != taps.first[0] + i) return refuse("pixels in their order", first);
      continue;
    }
    // Σ |c| · 255 + 1/2 in 32 bits: then no partial sum overflows either.
    int64_t sum = 0;
    for (int64_t k = 0; k < count; ++k) sum += std::abs(static_cast<int64_t>(taps.values[i * taps.width + k]));
    if (sum > (INT32_MAX - kHalf) / 255) return refuse("coefficients whose sums fit 32 bits", sum);
  }
  return {};
}

}  // namespace

Status Resize::make(const ResizeTaps& columns, const ResizeTaps& rows, Resize* resize) {
  Resize& r = *resize;
  int64_t last_column = 0;
  int64_t last_row = 0;
  Status status = check_axis(columns, "columns", &r.first_column_, &last_column);
  if (status.ok()) status = check_axis(rows, "rows", &r.first_row_, &last_row);
  if (!status.ok()) return status;
  r.source_width_ = columns.size;
  r.source_height_ = rows.size;
  r.part_columns_ = last_column - r.first_column_;
  r.part_rows_ = last_row - r.first_row_;
  r.output_width_ = columns.outputs;
  r.output_rows_ = rows.outputs;
  r.part_stride_ = padded(3 * r.part_columns_);
  // One byte more, as pixels are written in fours.
  r.between_stride_ = padded(3 * r.output_width_ + 1);
  r.mixes_columns_ = columns.values != nullptr;
  r.mixes_rows_ = rows.values != nullptr;
  if (r.mixes_columns_) {
    r.columns_.begin.push_back(0);
    for (int64_t x = 0; x < columns.outputs; ++x) {
      const int32_t* values = columns.values + x * columns.width;
      r.columns_.at.push_back(3 * (columns.first[x] - r.first_column_));
      for (int64_t k = 0; k < columns.count[x]; k += 4) {
        Group group{};
        for (int64_t tap = k; tap < std::min<int64_t>(k + 4, columns.count[x]); ++tap) {
          const Parts parts = split(values[tap]);
          const int64_t pair = (tap - k) / 2 * 8 + (tap - k) % 2;
          for (int64_t lane = 0; lane < 8; lane += 2) {
            group.upper[pair + lane] = parts.upper;
            group.lower[pair + lane] = parts.lower;
          }
        }
        r.columns_.items.push_back(group);
      }
      r.columns_.begin.push_back(static_cast<int64_t>(r.columns_.items.size()));
    }
  }
  r.rows_.begin.push_back(0);
  for (int64_t y = 0; y < rows.outputs; ++y) {
    r.rows_.at.push_back(rows.first[y] - r.first_row_);
    if (!r.mixes_rows_) continue;
    const int32_t* values = rows.values + y * rows.width;
    for (int64_t k = 0; k < rows.count[y]; k += 2) {
      const Parts a = split(values[k]);
      const Parts b = k + 1 < rows.count[y] ? split(values[k + 1]) : Parts{0, 0};
      const auto join = [](int16_t low, int16_t high) {
        return static_cast<int32_t>(static_cast<uint32_t>(static_cast<uint16_t>(high)) << 16 | static_cast<uint16_t>(low));
      };
      r.rows_.items.push_back({join(a.upper, b.upper), join(a.lower, b.lower)});
    }
    r.rows_.begin.push_back(static_cast<int64_t>(r.rows_.items.size()));
  }
  return {};
}

void Resize::gather(const uint8_t* pixels, std::vector<uint8_t>* part) const {
  part->resize(static_cast<size_t>(part_rows_ * part_stride_ + kVectorBytes));
  const size_t bytes = static_cast<size_t>(3 * part_columns_);
  for (int64_t row = 0; row < part_rows_; ++row) {
    const uint8_t* from = pixels + 3 * ((first_row_ + row) * source_width_ + first_column_);
    std::memcpy(part->data() + row * part_stride_, from, bytes);
  }
}

void Resize::run(const Cpu& cpu, const std::vector<uint8_t>& part, std::vector<uint8_t>* between, uint8_t* output) const {
  const auto mix_columns = HWY_DYNAMIC_DISPATCH(MixColumns);
  const auto mix_down = HWY_DYNAMIC_DISPATCH(MixDown);
  const int64_t row_bytes = 3 * output_width_;
  // The taps of a last row come in pairs: one row more.
  between->resize(static_cast<size_t>((part_rows_ + 1) * between_stride_ + kVectorBytes));
  uint8_t* middle = between->data();
#pragma omp parallel num_threads(threads_for(cpu, part_rows_ * row_bytes))
  {
#pragma omp for schedule(static)
    for (int64_t row = 0; row < part_rows_; row += kRowsAtOnce) {
      const int64_t rows = std::min(kRowsAtOnce, part_rows_ - row);
      const uint8_t* from = part.data() + row * part_stride_;
      uint8_t* to = middle + row * between_stride_;
      if (mixes_columns_) {
        mix_columns(columns_, rows, from, part_stride_, to, between_stride_);
      } else {
        for (int64_t r = 0; r < rows; ++r) {
          std::memcpy(to + r * between_stride_, from + r * part_stride_, static_cast<size_t>(row_bytes));
        }
      }
    }
#pragma omp for schedule(static)
    for (int64_t y = 0; y < output_rows_; ++y) {
      const uint8_t* from = middle + rows_.at[y] * between_stride_;
      uint8_t* to = output + y * row_bytes;
      if (!mixes_rows_) {
        std::memcpy(to, from, static_cast<size_t>(row_bytes));
        continue;
      }
      const Pair* pairs = rows_.items.data() + rows_.begin[y];
      const int64_t count = rows_.begin[y + 1] - rows_.begin[y];
      const int64_t whole = row_bytes / 32 * 32;
      if (whole > 0) mix_down(pairs, count, from, between_stride_, whole, to);
      if (whole == row_bytes) continue;
      uint8_t rest[kVectorBytes];
      mix_down(pairs, count, from + whole, between_stride_, row_bytes - whole, rest);
      std::memcpy(to + whole, rest, static_cast<size_t>(row_bytes - whole));
    }
  }
}

}  // namespace krait::cpu
#endif

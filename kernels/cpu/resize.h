// Images resampled by tables of 22-bit coefficients, rows first, bytes in between: Pillow's arithmetic, whatever filter made the tables.
// No op of programs: it works on bytes, its shapes are those of pictures, and it is done before anything is on a device.
#pragma once

#include <cstdint>
#include <vector>

#include "cpu.h"

namespace krait::cpu {

// How one axis is mixed: output i is Σ values[i · width + k] · x[first[i] + k] over count[i] elements of an axis of `size`.
// Without values (an axis that keeps its size) output i is x[first[i]].
struct ResizeTaps {
  int64_t size = 0;
  int64_t outputs = 0;
  const int32_t* first = nullptr;
  const int32_t* count = nullptr;
  const int32_t* values = nullptr;
  int64_t width = 0;
};

class Resize {
 public:
  // Checks every index and that no sum leaves 32 bits; copies what it keeps.
  static Status make(const ResizeTaps& columns, const ResizeTaps& rows, Resize* resize);

  int64_t source_bytes() const { return source_width_ * source_height_ * 3; }
  int64_t output_bytes() const { return output_width_ * output_rows_ * 3; }

  // The part of a picture (RGB24, source_bytes long) that is needed, laid out so that reads of whole vectors stay inside.
  void gather(const uint8_t* pixels, std::vector<uint8_t>* part) const;

  // From such a part to output_bytes. `between` is memory that may be used again.
  void run(const Cpu& cpu, const std::vector<uint8_t>& part, std::vector<uint8_t>* between, uint8_t* output) const;

  // Four taps of one output: upper and lower parts of the coefficients, c = upper · 2^12 + lower, for two pairs of neighbours, each
  // pair four times (red, green, blue and nothing).
  struct Group {
    int16_t upper[16];
    int16_t lower[16];
  };
  // Two taps of one output, as pairs of 16 bits.
  struct Pair {
    int32_t upper;
    int32_t lower;
  };
  // The taps of output i are items[begin[i]] to items[begin[i + 1]]; at[i] is the byte or row at which they begin.
  template <typename Item>
  struct Axis {
    std::vector<int64_t> at;
    std::vector<int64_t> begin;
    std::vector<Item> items;
  };

 private:
  int64_t source_width_ = 0;
  int64_t source_height_ = 0;
  int64_t first_column_ = 0;
  int64_t part_columns_ = 0;
  int64_t first_row_ = 0;
  int64_t part_rows_ = 0;
  int64_t output_width_ = 0;
  int64_t output_rows_ = 0;
  int64_t part_stride_ = 0;
  int64_t between_stride_ = 0;
  bool mixes_columns_ = false;
  bool mixes_rows_ = false;
  Axis<Group> columns_;
  Axis<Pair> rows_;
};

}  // namespace krait::cpu

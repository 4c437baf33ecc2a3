// Reads of weights under the sanitizers: odd places in the file and in memory, all dtypes, cuts at the borders of pieces and huge pages.
#include "cpu/weights.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "check.h"
#include "random.h"

namespace krait::test {
namespace {

using cpu::Stored;

constexpr int64_t kCounts[] = {1, 131'073, 3, 1'048'577, 0, 70'001};
constexpr int64_t kFront = 11;  // bytes of the file in front of the first element

struct Case {
  Stored stored;
  DType target;
  float scale;
};

// Ones of either sign, so that every conversion is exact; `scale` is a power of two.
void put_one(Stored stored, bool negative, char* to) {
  const float narrow = negative ? -1.0f : 1.0f;
  const double wide = narrow;
  const uint16_t bf16 = negative ? 0xbf80 : 0x3f80;
  const uint16_t f16 = negative ? 0xbc00 : 0x3c00;
  const void* from = stored == Stored::f32 ? static_cast<const void*>(&narrow) : stored == Stored::f64 ? &wide : stored == Stored::bf16 ? static_cast<const void*>(&bf16) : &f16;
  std::memcpy(to, from, static_cast<size_t>(cpu::stored_size(stored)));
}

float held(DType dtype, const char* from) {
  uint32_t bits = 0;
  if (dtype == DType::f32) {
    std::memcpy(&bits, from, 4);
  } else {
    uint16_t upper = 0;
    std::memcpy(&upper, from, 2);
    bits = static_cast<uint32_t>(upper) << 16;
  }
  float value = 0;
  std::memcpy(&value, &bits, 4);
  return value;
}

std::string read_case(const Case& c, int threads) {
  const int64_t size = cpu::stored_size(c.stored);
  const int64_t narrow = dtype_size(c.target);
  int64_t total = 0;
  for (const int64_t count : kCounts) total += count;
  std::vector<char> file(static_cast<size_t>(kFront + total * size));
  std::vector<bool> signs(static_cast<size_t>(total));
  Random random(7);
  for (int64_t i = 0; i < total; ++i) {
    signs[static_cast<size_t>(i)] = random.below(2) == 1;
    put_one(c.stored, signs[static_cast<size_t>(i)], file.data() + kFront + i * size);
  }
  std::FILE* handle = std::tmpfile();
  if (handle == nullptr || std::fwrite(file.data(), 1, file.size(), handle) != file.size() || std::fflush(handle) != 0) return "no temporary file";

  // One behind the other, with nothing behind the last: the sanitizer sees a write past the end.
  std::vector<char> memory(static_cast<size_t>(total * narrow));
  std::vector<cpu::WeightRead> reads;
  for (int64_t i = 0, at = 0; i < static_cast<int64_t>(std::size(kCounts)); at += kCounts[i++]) {
    reads.push_back({fileno(handle), kFront + at * size, kCounts[i], c.stored, c.scale, false, c.target, memory.data() + at * narrow});
  }
  cpu::WeightsRead result;
  std::string wrong;
  const Status status = cpu::read_weights(threads, reads, &result);
  if (!status.ok() || result.read >= 0) wrong = text("read %lld failed", static_cast<long long>(result.read));
  for (int64_t i = 0; wrong.empty() && i < total; ++i) {
    const float wanted = signs[static_cast<size_t>(i)] ? -c.scale : c.scale;
    if (held(c.target, memory.data() + i * narrow) != wanted) wrong = text("element %lld", static_cast<long long>(i));
  }
  // The last read is longer than the file.
  reads.back().count -= 1;
  reads.back().offset += 2 * size;
  if (wrong.empty() && (!cpu::read_weights(threads, reads, &result).ok() || result.read != static_cast<int64_t>(reads.size()) - 1 || result.bad != -1)) {
    wrong = "a file that ends too soon was not told";
  }
  std::fclose(handle);
  return wrong;
}

const Adds all_dtypes("weights: read in any dtype, on one thread and three", [] {
  for (const Stored stored : {Stored::f32, Stored::bf16, Stored::f16, Stored::f64}) {
    for (const DType target : {DType::f32, DType::bf16}) {
      for (const float scale : {1.0f, 0.5f}) {
        for (const int threads : {1, 3}) {
          const std::string wrong = read_case({stored, target, scale}, threads);
          if (!wrong.empty()) return text("stored %d, target %d, scale %g, %d threads: %s", static_cast<int>(stored), static_cast<int>(target), static_cast<double>(scale), threads, wrong.c_str());
        }
      }
    }
  }
  return std::string();
});

}  // namespace
}  // namespace krait::test

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/weights.cpp"
#include "hwy/foreach_target.h"
//
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cmath>
#include <cstring>

#include "half.h"
#include "hwy/highway.h"
#include "weights.h"

HWY_BEFORE_NAMESPACE();
namespace krait::cpu::HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

using Floats = hn::ScalableTag<float>;
using Words = hn::RebindToUnsigned<Floats>;
using Halves = hn::Rebind<uint16_t, Floats>;

HWY_INLINE hn::Vec<Floats> LoadStored(const float* from) { return hn::LoadU(Floats(), from); }
HWY_INLINE hn::Vec<Floats> LoadStored(const double* from) {
  HWY_ALIGN float lanes[hn::MaxLanes(Floats())];
  for (size_t i = 0; i < hn::Lanes(Floats()); ++i) lanes[i] = static_cast<float>(from[i]);
  return hn::Load(Floats(), lanes);
}
HWY_INLINE hn::Vec<Floats> LoadStored(const hwy::float16_t* from) {
  return hn::PromoteTo(Floats(), hn::LoadU(hn::Rebind<hwy::float16_t, Floats>(), from));
}
HWY_INLINE hn::Vec<Floats> LoadStored(const uint16_t* from) {
  return hn::BitCast(Floats(), hn::ShiftLeft<16>(hn::PromoteTo(Words(), hn::LoadU(Halves(), from))));
}

// One more than an exponent of all ones reaches the bit of the sign: all elements are looked at together.
HWY_INLINE hn::Vec<Words> Unbounded(hn::Vec<Words> bits) {
  return hn::Add(hn::And(bits, hn::Set(Words(), 0x7f800000u)), hn::Set(Words(), 0x00800000u));
}

HWY_INLINE hn::Vec<Words> Round(hn::Vec<Words> bits) {
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(Words(), 1u));
  return hn::And(hn::Add(hn::Add(bits, hn::Set(Words(), 0x7fffu)), odd), hn::Set(Words(), 0xffff0000u));
}

HWY_INLINE void StoreBits(hn::Vec<Words> bits, float* to) { hn::StoreU(hn::BitCast(Floats(), bits), Floats(), to); }
HWY_INLINE void StoreBits(hn::Vec<Words> bits, uint16_t* to) {
  const hn::RebindToSigned<Floats> whole;
  hn::StoreU(hn::DemoteTo(Halves(), hn::BitCast(whole, hn::ShiftRight<16>(bits))), Halves(), to);
}

// Returns whether all were finite. The vectors past the last whole one go over copies.
template <class From, class To>
bool Convert(const From* from, int64_t count, float scale, bool rounds, To* to) {
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(Floats()));
  auto seen = hn::Zero(Words());
  const auto step = [&](const From* source, To* target) HWY_ATTR {
    auto bits = hn::BitCast(Words(), hn::Mul(LoadStored(source), hn::Set(Floats(), scale)));
    seen = hn::Or(seen, Unbounded(bits));
    if (rounds) {
      bits = Round(bits);
      seen = hn::Or(seen, Unbounded(bits));
    }
    StoreBits(bits, target);
  };
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) step(from + i, to + i);
  if (i < count) {
    HWY_ALIGN From source[hn::MaxLanes(Floats())] = {};
    HWY_ALIGN To target[hn::MaxLanes(Floats())];
    std::copy(from + i, from + count, source);
    step(source, target);
    std::copy(target, target + (count - i), to + i);
  }
  return hn::AllFalse(Words(), hn::Ne(hn::And(seen, hn::Set(Words(), 0x80000000u)), hn::Zero(Words())));
}

template <class From>
bool ConvertFrom(const void* from, int64_t count, float scale, bool rounds, DType target, void* to) {
  if (target == DType::bf16) return Convert(static_cast<const From*>(from), count, scale, true, static_cast<uint16_t*>(to));
  return Convert(static_cast<const From*>(from), count, scale, rounds, static_cast<float*>(to));
}

bool ConvertBlock(Stored stored, const void* from, int64_t count, float scale, bool rounds, DType target, void* to) {
  switch (stored) {
    case Stored::f32:
      return ConvertFrom<float>(from, count, scale, rounds, target, to);
    case Stored::bf16:
      return ConvertFrom<uint16_t>(from, count, scale, rounds, target, to);
    case Stored::f16:
      return ConvertFrom<hwy::float16_t>(from, count, scale, rounds, target, to);
    case Stored::f64:
      return ConvertFrom<double>(from, count, scale, rounds, target, to);
  }
  return false;
}

bool AllFinite(const void* data, int64_t bytes, bool narrow) {
  const Words d;
  const int64_t step = static_cast<int64_t>(hn::Lanes(d) * sizeof(uint32_t));
  const uint32_t exponents = narrow ? 0x7f807f80u : 0x7f800000u;
  const uint32_t ones = narrow ? 0x00800080u : 0x00800000u;
  const uint32_t signs = narrow ? 0x80008000u : 0x80000000u;
  auto seen = hn::Zero(d);
  const auto look = [&](hn::Vec<Words> v) HWY_ATTR { seen = hn::Or(seen, hn::Add(hn::And(v, hn::Set(d, exponents)), hn::Set(d, ones))); };
  const char* at = static_cast<const char*>(data);
  int64_t i = 0;
  for (; i + step <= bytes; i += step) look(hn::LoadU(d, reinterpret_cast<const uint32_t*>(at + i)));
  if (i < bytes) {
    HWY_ALIGN uint32_t rest[hn::MaxLanes(d)] = {0};
    std::memcpy(rest, at + i, static_cast<size_t>(bytes - i));
    look(hn::Load(d, rest));
  }
  return hn::AllFalse(d, hn::Ne(hn::And(seen, hn::Set(d, signs)), hn::Zero(d)));
}

}  // namespace
}  // namespace krait::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace krait::cpu {

HWY_EXPORT(ConvertBlock);
HWY_EXPORT(AllFinite);

namespace {

// What is read at a time: it is looked at, or converted, while it is in a thread's second-level cache.
constexpr int64_t kPieceBytes = 256 << 10;
// The system clears a page of this size when it is first written; two threads that write to one would both begin to.
constexpr int64_t kHugePage = 2 << 20;

// What of a read goes to one huge page: the work that one thread takes.
struct Block {
  size_t read;
  int64_t from;
  int64_t count;
};

std::vector<Block> blocks_of(const std::vector<WeightRead>& reads) {
  std::vector<Block> blocks;
  for (size_t i = 0; i < reads.size(); ++i) {
    const int64_t size = dtype_size(reads[i].target);
    for (int64_t from = 0; from < reads[i].count;) {
      const auto address = reinterpret_cast<uintptr_t>(reads[i].to) + static_cast<uintptr_t>(from * size);
      const int64_t room = (kHugePage - static_cast<int64_t>(address % kHugePage)) / size;
      blocks.push_back({i, from, std::min(room, reads[i].count - from)});
      from += room;
    }
  }
  return blocks;
}

enum class Got : int32_t { all, less, failed };

Got read_all(int fd, void* to, int64_t bytes, int64_t offset, int* fault) {
  for (int64_t done = 0; done < bytes;) {
    const ssize_t got = pread(fd, static_cast<char*>(to) + done, static_cast<size_t>(bytes - done), static_cast<off_t>(offset + done));
    if (got > 0) {
      done += got;
    } else if (got == 0) {
      return Got::less;
    } else if (errno != EINTR) {
      *fault = errno;
      return Got::failed;
    }
  }
  return Got::all;
}

// The first element of a piece that is not finite in the end.
int64_t first_bad(const WeightRead& read, const void* from, int64_t count) {
  const int64_t size = stored_size(read.stored);
  for (int64_t i = 0; i < count; ++i) {
    float out[1];
    if (!HWY_DYNAMIC_DISPATCH(ConvertBlock)(read.stored, static_cast<const char*>(from) + i * size, 1, read.scale, read.rounds, read.target, out)) return i;
  }
  return 0;
}

struct Outcome {
  Got got = Got::all;
  int fault = 0;     // the system's number, where it failed
  int64_t bad = -1;  // of the read
};

Outcome read_block(const WeightRead& read, const Block& block, KeptMemory& staged) {
  const int64_t size = stored_size(read.stored);
  const bool is_direct = read.scale == 1.0f && ((read.target == DType::bf16 && read.stored == Stored::bf16) ||
                                                (read.target == DType::f32 && read.stored == Stored::f32 && !read.rounds));
  Outcome outcome;
  for (int64_t done = 0; done < block.count;) {
    const int64_t from = block.from + done;
    const int64_t count = std::min(kPieceBytes / size, block.count - done);
    char* out = static_cast<char*>(read.to) + from * dtype_size(read.target);
    void* in = is_direct ? out : staged.reserve(kPieceBytes);
    if (!read.is_there) {
      outcome.fault = ENOMEM;
      outcome.got = in == nullptr ? Got::failed : read_all(read.fd, in, count * size, read.offset + from * size, &outcome.fault);
      if (outcome.got != Got::all) return outcome;
    }
    const bool good = is_direct ? HWY_DYNAMIC_DISPATCH(AllFinite)(in, count * size, read.target == DType::bf16)
                                : HWY_DYNAMIC_DISPATCH(ConvertBlock)(read.stored, in, count, read.scale, read.rounds, read.target, out);
    if (!good) {
      outcome.bad = from + first_bad(read, in, count);
      return outcome;
    }
    done += count;
  }
  return outcome;
}

}  // namespace

Status read_weights(int threads, const std::vector<WeightRead>& reads, WeightsRead* result) {
  const std::vector<Block> blocks = blocks_of(reads);
  const int64_t count = static_cast<int64_t>(blocks.size());
  // Those of the first read, and of the first of its elements.
  std::atomic<int64_t> first_bad_block{INT64_MAX};
  std::atomic<int64_t> bad{-1};
  std::atomic<int64_t> short_read{-1};
  std::atomic<int> fault{0};
#pragma omp parallel num_threads(static_cast<int>(std::clamp<int64_t>(count, 1, threads)))
  {
    KeptMemory staged;
#pragma omp for schedule(dynamic)
    for (int64_t i = 0; i < count; ++i) {
      if (short_read >= 0 || fault != 0 || i > first_bad_block) continue;
      const Block& block = blocks[static_cast<size_t>(i)];
      const Outcome outcome = read_block(reads[block.read], block, staged);
      if (outcome.got == Got::less) short_read = static_cast<int64_t>(block.read);
      if (outcome.got == Got::failed) fault = outcome.fault;
      if (outcome.bad < 0) continue;
#pragma omp critical(krait_weights)
      if (i < first_bad_block) {
        first_bad_block = i;
        bad = outcome.bad;
      }
    }
  }
  if (fault != 0) return error(StatusCode::device, "Expected the weights to be read but the system said: %s", std::strerror(fault));
  if (short_read >= 0) {
    *result = {short_read, -1};
  } else if (bad >= 0) {
    *result = {static_cast<int64_t>(blocks[static_cast<size_t>(first_bad_block)].read), bad};
  }
  return {};
}

}  // namespace krait::cpu
#endif

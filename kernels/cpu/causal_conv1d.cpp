#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/causal_conv1d.cpp"
#include "hwy/foreach_target.h"
//
#include <cstring>

#include "activations-inl.h"
#include "borders.h"
#include "half.h"
#include "hwy/highway.h"
#include "mirror.h"
#include "sequences.h"
#include "tile-inl.h"

#ifndef KRAIT_CPU_CAUSAL_CONV1D_ONCE
#define KRAIT_CPU_CAUSAL_CONV1D_ONCE
namespace krait::cpu {

inline constexpr int64_t kConvTokens = 64;     // of one piece of work
inline constexpr int64_t kConvChannels = 256;  // so that taps and rows stay in the first-level cache
inline constexpr int kConvTaps = 4;            // of one pass over a row
inline constexpr int64_t kConvAlone = 8192;    // elements below which waking another thread costs more than it saves

// Where a sequence's carried rows are: null for none.
inline float* conv_tail(const CausalConv1dArgs& a, int64_t s) {
  const int32_t slot = a.state && a.state_index ? a.state_index.as<int32_t>()[s] : -1;
  return slot < 0 ? nullptr : a.state.as<float>() + slot * a.state.stride[0];
}

}  // namespace krait::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace krait::cpu::HWY_NAMESPACE {

template <bool kPartial, class E>
HWY_INLINE FloatVec LoadSome(const E* from, int64_t rest) {
  if constexpr (kPartial) return LoadPart(FloatTag(), from, rest);
  return LoadRow(FloatTag(), from);
}

template <bool kPartial, int kTaps, class In, class Out>
HWY_INLINE void ConvVector(const In* const* rows, const float* weights, const float* start, Out* y, bool silu, int64_t c, int64_t rest) {
  const FloatTag d;
  FloatVec sum = LoadVec<kPartial>(start + c, rest);
#pragma GCC unroll 4
  for (int w = 0; w < kTaps; ++w) sum = hn::MulAdd(hn::LoadU(d, weights + w * kConvChannels + c), LoadSome<kPartial>(rows[w] + c, rest), sum);
  if (silu) sum = Silu::Of(d, sum);
  if constexpr (kPartial) {
    StorePart(sum, d, y + c, rest);
  } else {
    StoreRow(sum, d, y + c);
  }
}

// y = f(start + Σ_w weights[w] · rows[w]) over one row's channels.
template <int kTaps, class In, class Out>
HWY_INLINE void ConvTaps(const In* const* rows, const float* weights, const float* start, Out* y, bool silu, int64_t channels) {
  int64_t c = 0;
  for (; c + kLanes <= channels; c += kLanes) ConvVector<false, kTaps>(rows, weights, start, y, silu, c, 0);
  if (c < channels) ConvVector<true, kTaps>(rows, weights, start, y, silu, c, channels - c);
}

template <class In, class Out>
void ConvRow(int64_t taps, const In* const* rows, const float* weights, const float* start, Out* y, bool silu, int64_t channels) {
  switch (taps) {
    case 1: return ConvTaps<1>(rows, weights, start, y, silu, channels);
    case 2: return ConvTaps<2>(rows, weights, start, y, silu, channels);
    case 3: return ConvTaps<3>(rows, weights, start, y, silu, channels);
    default: return ConvTaps<4>(rows, weights, start, y, silu, channels);
  }
}

// E: of x and y.
template <class E>
void ConvPieceOf(const CausalConv1dArgs& a, const Pieces& pieces, const Pieces::Piece& piece, int64_t channel) {
  constexpr bool kNarrow = sizeof(E) == 2;
  const FloatTag d;
  const int64_t channels = HWY_MIN(kConvChannels, a.x.dim[1] - channel);
  const int64_t width = a.weight.dim[1];
  const int64_t all = a.x.dim[1];
  const int64_t begin = pieces.borders[piece.sequence];
  const E* x = a.x.as<E>() + begin * a.x.stride[0] + channel;
  const float* tail = conv_tail(a, piece.sequence);
  const bool silu = a.activation == CausalConv1dArgs::Activation::silu;

  alignas(64) static constexpr float kZeros[kConvChannels] = {0};
  alignas(64) float weights[kConvTaps * kConvChannels] = {0};
  // Where x is narrow: the first tokens' rows widened, beside those of the tail, and the sums of wide convolutions.
  alignas(64) float widened[kNarrow ? kConvTaps * kConvChannels : 1];
  alignas(64) float sums[kNarrow ? kConvTokens * kConvChannels : 1];
  const float* bias = a.bias ? a.bias.as<float>() + channel : kZeros;

  for (int64_t w0 = 0; w0 < width; w0 += kConvTaps) {
    const int64_t taps = HWY_MIN(kConvTaps, width - w0);
    const float* from = a.weight.as<float>() + channel * a.weight.stride[0] + w0;
    Transpose(from, a.weight.stride[0], channels, taps, weights, kConvChannels);
    const bool last = w0 + taps == width;
    for (int64_t t = piece.from; t < piece.to; ++t) {
      const int64_t first = t - begin - (width - 1) + w0;  // row of the first tap
      E* y = a.y.as<E>() + t * a.y.stride[0] + channel;
      // Wider convolutions gather their sum in y, or beside it where y is narrow.
      float* gathered;
      if constexpr (kNarrow) {
        gathered = sums + (t - piece.from) * kConvChannels;
      } else {
        gathered = y;
      }
      const float* start = w0 == 0 ? bias : gathered;
      const auto put = [&](auto rows) HWY_ATTR {
        if (last) {
          ConvRow(taps, rows, weights, start, y, silu, channels);
        } else {
          ConvRow(taps, rows, weights, start, gathered, false, channels);
        }
      };
      if (!kNarrow || first < 0) {
        const float* rows[kConvTaps];
        for (int64_t w = 0; w < taps; ++w) {
          const int64_t r = first + w;
          if (r < 0) {
            rows[w] = tail != nullptr ? tail + (width - 1 + r) * all + channel : kZeros;
          } else if constexpr (kNarrow) {
            float* to = widened + w * kConvChannels;
            for (int64_t c = 0; c < channels; c += kLanes) hn::Store(LoadPart(d, x + r * a.x.stride[0] + c, HWY_MIN(kLanes, channels - c)), d, to + c);
            rows[w] = to;
          } else {
            rows[w] = x + r * a.x.stride[0];
          }
        }
        put(static_cast<const float* const*>(rows));
      } else {
        const E* rows[kConvTaps];
        for (int64_t w = 0; w < taps; ++w) rows[w] = x + (first + w) * a.x.stride[0];
        put(static_cast<const E* const*>(rows));
      }
    }
  }
}

void ConvPiece(const CausalConv1dArgs& a, const Pieces& pieces, const Pieces::Piece& piece, int64_t channel) {
  if (a.x.dtype == DType::bf16) {
    ConvPieceOf<uint16_t>(a, pieces, piece, channel);
  } else {
    ConvPieceOf<float>(a, pieces, piece, channel);
  }
}

}  // namespace krait::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace krait::cpu {
namespace {

HWY_EXPORT(ConvPiece);

// The last W − 1 inputs become the tail, the oldest first; a short run moves what was there.
void carry(const CausalConv1dArgs& a, const Pieces& pieces, int64_t s) {
  float* tail = conv_tail(a, s);
  const int64_t length = pieces.length(s);
  if (tail == nullptr || length == 0) return;
  const int64_t channels = a.x.dim[1];
  const int64_t rows = a.weight.dim[1] - 1;
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t at = length - rows + r;
    // Only later rows are moved to earlier places, so nothing is overwritten before it moved.
    const int64_t x_at = (pieces.borders[s] + at) * a.x.stride[0];
    if (at >= 0 && a.x.dtype == DType::bf16) {
      widen_rows(1, 1, channels, a.x.as<uint16_t>() + x_at, channels, tail + r * channels, channels);
      continue;
    }
    const float* from = at >= 0 ? a.x.as<float>() + x_at : tail + (rows + at) * channels;
    std::memcpy(tail + r * channels, from, static_cast<size_t>(channels) * sizeof(float));
  }
}

Status convolve(const CausalConv1dArgs& a, const Cpu& cpu) {
  if (!are_borders(a.cu_seqlens, a.x.dim[0])) return bad_borders("causal_conv1d", a.x.dim[0]);
  if (!are_slots(a.state_index, a.state)) return bad_slots("causal_conv1d", a.state);
  const Pieces pieces = {a.cu_seqlens.as<int32_t>(), a.cu_seqlens.dim[0] - 1, kConvTokens};
  const int64_t blocks = (a.x.dim[1] + kConvChannels - 1) / kConvChannels;
  const int64_t units = pieces.count() * blocks;
  const auto work = HWY_DYNAMIC_DISPATCH(ConvPiece);
#pragma omp parallel for num_threads(cpu.threads) schedule(dynamic) if (a.x.dim[0] * a.x.dim[1] > kConvAlone)
  for (int64_t u = 0; u < units; ++u) {
    const Pieces::Piece piece = pieces[u / blocks];
    if (piece.index >= 0) work(a, pieces, piece, u % blocks * kConvChannels);
  }
  if (!a.state) return {};
#pragma omp parallel for num_threads(cpu.threads) schedule(dynamic) if (pieces.sequences * a.x.dim[1] > kConvAlone)
  for (int64_t s = 0; s < pieces.sequences; ++s) carry(a, pieces, s);
  return {};
}

}  // namespace

Status causal_conv1d(const CausalConv1dArgs& a, const Cpu& cpu) {
  using Args = CausalConv1dArgs;
  if (!a.reverse) return convolve(a, cpu);
  return with_mirror("causal_conv1d", a, {&Args::x, &Args::y}, [&](const Args& mirror) { return convolve(mirror, cpu); });
}

}  // namespace krait::cpu
#endif

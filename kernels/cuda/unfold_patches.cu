#include "rows.cuh"

namespace krait::cuda {
namespace {

struct Geometry {
  int64_t frames, height, width;  // of one tubelet
  int64_t patch;
};

// One thread takes N neighbouring pixels of one line of a patch, interleaved, to the three channels, planar.
template <typename P, typename O, int N>
struct Unfold {
  Rows<const P> pixels;  // a row is a tubelet
  const float* scale;
  const float* shift;
  Rows<O> y;
  Geometry g;
  bool small;  // all counts below fit 32 bits

  template <typename I>
  __device__ __forceinline__ void move(I row, I step) const {
    const I patch = static_cast<I>(g.patch), columns = static_cast<I>(g.width) / patch, rows = static_cast<I>(g.height) / patch;
    const I line = row / columns, tubelet = line / rows, steps = patch / N, strip = step / steps, frame = strip / patch;
    const int64_t x = static_cast<int64_t>(row - line * columns) * g.patch + static_cast<int64_t>(step - strip * steps) * N;
    const int64_t v = static_cast<int64_t>(line - tubelet * rows) * g.patch + static_cast<int64_t>(strip - frame * patch);
    const P* from = pixels.row(tubelet) + ((static_cast<int64_t>(frame) * g.height + v) * g.width + x) * 3;
    O* to = y.row(row) + static_cast<int64_t>(step) * N;
    P samples[3 * N];
    // Four pixels are three aligned words of bytes, or three vectors of floats.
    constexpr int kWord = N == 1 ? 1 : 4;
#pragma unroll
    for (int w = 0; w < 3 * N / kWord; ++w) {
      const Pack<P, kWord> word = reinterpret_cast<const Pack<P, kWord>*>(from)[w];
#pragma unroll
      for (int i = 0; i < kWord; ++i) samples[w * kWord + i] = word.at[i];
    }
#pragma unroll
    for (int c = 0; c < 3; ++c) {
      float plane[N];
#pragma unroll
      for (int i = 0; i < N; ++i) plane[i] = static_cast<float>(samples[3 * i + c]) * scale[c] + shift[c];
      store(to + c * g.frames * g.patch * g.patch, plane, N, true);
    }
  }

  __device__ __forceinline__ void operator()(int64_t row, int64_t step) const {
    if (small) {
      move(static_cast<uint32_t>(row), static_cast<uint32_t>(step));
    } else {
      move(row, step);
    }
  }
};

template <typename P, typename O, int N>
Status launch(const UnfoldPatchesArgs& a, const Geometry& g, const Cuda& cuda) {
  const int64_t rows = a.y.dim[0], steps = g.frames * g.patch * g.patch / N;
  const bool small = rows < (int64_t{1} << 31) && steps < (int64_t{1} << 31) && g.height < (int64_t{1} << 31) && g.width < (int64_t{1} << 31);
  const Unfold<P, O, N> body{rows_of<const P>(a.frames), a.scale.as<const float>(), a.shift.as<const float>(), rows_of<O>(a.y), g, small};
  return for_packs("unfold_patches", cuda, rows, steps, body);
}

template <typename P, typename O>
Status choose(const UnfoldPatchesArgs& a, const Geometry& g, const Cuda& cuda) {
  // Both sides of every group of four pixels are aligned when the patch is a multiple of four.
  const bool wide = g.patch % 4 == 0 && is_wide<4>(a.frames) && is_wide<4>(a.y);
  return wide ? launch<P, O, 4>(a, g, cuda) : launch<P, O, 1>(a, g, cuda);
}

}  // namespace

Status unfold_patches(const UnfoldPatchesArgs& a, const Cuda& cuda) {
  const int64_t p = a.patch;
  const Geometry g{a.frames.dim[1], a.frames.dim[2], a.frames.dim[3], p};
  if (p < 1 || g.height % p != 0 || g.width % p != 0 || a.y.dim[0] != a.frames.dim[0] * (g.height / p) * (g.width / p) ||
      a.y.dim[1] != 3 * g.frames * p * p) {
    return error(StatusCode::invalid_program, "Expected frames of whole patches of %lld for unfold_patches but received %lld x %lld",
                 static_cast<long long>(p), static_cast<long long>(g.height), static_cast<long long>(g.width));
  }
  return with_float(a.y.dtype, [&](auto* o) {
    using O = std::remove_pointer_t<decltype(o)>;
    return a.frames.dtype == DType::u8 ? choose<uint8_t, O>(a, g, cuda) : choose<float, O>(a, g, cuda);
  });
}

}  // namespace krait::cuda

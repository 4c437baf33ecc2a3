// Panels and tiles after Goto and van de Geijn (2008): a panel of A rests in L1, a block of B in L2, a tile of C in registers.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/gemm.cpp"
#include "hwy/foreach_target.h"
//
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <memory>
#include <utility>

#include "gemm.h"
#include "hwy/highway.h"
#include "part-inl.h"

#ifndef KRAIT_CPU_GEMM_ONCE_
#define KRAIT_CPU_GEMM_ONCE_
namespace krait::cpu {
namespace {

constexpr int64_t kDepth = 256;    // of a panel: k is cut into pieces of at most this
constexpr int64_t kColumns = 768;  // of a block of B, a multiple of every tile's width
constexpr int64_t kMostRows = 12;  // of a tile

struct Product {
  int64_t m, n, k;
  const float* a;
  int64_t lda;
  const float* b;
  int64_t ldb;
  float beta;
  float* c;
  int64_t ldc;
};

struct Workspace {
  float a[kDepth * kMostRows];
  float b[kDepth * kColumns];
};

constexpr int64_t round_up(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }

// The smallest equal pieces that need no more pieces than `most` does.
constexpr int64_t even_piece(int64_t n, int64_t most, int64_t unit) {
  const int64_t pieces = std::max<int64_t>(1, (n + most - 1) / most);
  return std::max(unit, round_up((n + pieces - 1) / pieces, unit));
}

}  // namespace
}  // namespace krait::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace krait::cpu::HWY_NAMESPACE {
namespace {

// As many accumulators as the registers hold: 12 × 2 of 32 with AVX-512, else 4 × 3 of 16.
constexpr bool kManyRegisters = HWY_TARGET <= HWY_AVX3 || HWY_ARCH_ARM;
constexpr int64_t kTileRows = kManyRegisters ? 12 : 4;
constexpr int64_t kTileVectors = kManyRegisters ? 2 : 3;
using Tag = hn::CappedTag<float, 16>;
using Vec = hn::Vec<Tag>;
constexpr int64_t kLanes = hn::MaxLanes(Tag());
constexpr int64_t kTileColumns = kTileVectors * kLanes;
static_assert(kTileRows <= kMostRows && kColumns % kTileColumns == 0);

// Four columns of four rows, turned round.
HWY_INLINE void Transpose4(const float* from, int64_t ld, float* to, int64_t step) {
#if HWY_TARGET == HWY_SCALAR
  for (int64_t i = 0; i < 4; ++i) {
    for (int64_t j = 0; j < 4; ++j) to[i * step + j] = from[j * ld + i];
  }
#else
  const hn::Full128<float> d;
  const auto r0 = hn::LoadU(d, from);
  const auto r1 = hn::LoadU(d, from + ld);
  const auto r2 = hn::LoadU(d, from + 2 * ld);
  const auto r3 = hn::LoadU(d, from + 3 * ld);
  const auto low02 = hn::InterleaveLower(d, r0, r2);
  const auto low13 = hn::InterleaveLower(d, r1, r3);
  const auto high02 = hn::InterleaveUpper(d, r0, r2);
  const auto high13 = hn::InterleaveUpper(d, r1, r3);
  hn::StoreU(hn::InterleaveLower(d, low02, low13), d, to);
  hn::StoreU(hn::InterleaveUpper(d, low02, low13), d, to + step);
  hn::StoreU(hn::InterleaveLower(d, high02, high13), d, to + 2 * step);
  hn::StoreU(hn::InterleaveUpper(d, high02, high13), d, to + 3 * step);
#endif
}

// to[i · width + r] = from[r · ld + i] for r < rows, i < k; zeros for the rows up to `width`.
void Pack(const float* from, int64_t ld, int64_t rows, int64_t k, int64_t width, float* HWY_RESTRICT to) {
  int64_t r = 0;
  for (; r + 4 <= rows; r += 4) {
    int64_t i = 0;
    for (; i + 4 <= k; i += 4) Transpose4(from + r * ld + i, ld, to + i * width + r, width);
    for (; i < k; ++i) {
      for (int64_t j = r; j < r + 4; ++j) to[i * width + j] = from[j * ld + i];
    }
  }
  for (; r < width; ++r) {
    for (int64_t i = 0; i < k; ++i) to[i * width + r] = r < rows ? from[r * ld + i] : 0.0f;
  }
}

template <size_t... I>
HWY_INLINE void Multiply(std::index_sequence<I...>, int64_t k, const float* HWY_RESTRICT a, const float* HWY_RESTRICT b, Vec* acc) {
  const Tag d;
  ((acc[I] = hn::Zero(d)), ...);
  for (int64_t i = 0; i < k; ++i) {
    Vec row[kTileVectors];
    for (int64_t v = 0; v < kTileVectors; ++v) row[v] = hn::Load(d, b + v * kLanes);
    ((acc[I] = hn::MulAdd(hn::Set(d, a[I / kTileVectors]), row[I % kTileVectors], acc[I])), ...);
    a += kTileRows;
    b += kTileColumns;
  }
}

template <size_t... I>
HWY_INLINE void StoreTile(std::index_sequence<I...>, const Vec* acc, float beta, float* HWY_RESTRICT c, int64_t ldc) {
  const Tag d;
  const auto at = [&](size_t i) { return c + static_cast<int64_t>(i / kTileVectors) * ldc + static_cast<int64_t>(i % kTileVectors) * kLanes; };
  if (beta == 0.0f) {
    (hn::StoreU(acc[I], d, at(I)), ...);
  } else if (beta == 1.0f) {
    (hn::StoreU(hn::Add(hn::LoadU(d, at(I)), acc[I]), d, at(I)), ...);
  } else {
    const Vec factor = hn::Set(d, beta);
    (hn::StoreU(hn::MulAdd(factor, hn::LoadU(d, at(I)), acc[I]), d, at(I)), ...);
  }
}

using TileIndices = std::make_index_sequence<static_cast<size_t>(kTileRows* kTileVectors)>;

void Tile(int64_t k, const float* a, const float* b, int64_t rows, int64_t columns, float beta, float* c, int64_t ldc) {
  Vec acc[kTileRows * kTileVectors];
  Multiply(TileIndices(), k, a, b, acc);
  if (rows == kTileRows && columns == kTileColumns) {
    StoreTile(TileIndices(), acc, beta, c, ldc);
    return;
  }
  HWY_ALIGN float edge[kTileRows * kTileColumns];
  StoreTile(TileIndices(), acc, 0.0f, edge, kTileColumns);
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t j = 0; j < columns; ++j) {
      float& to = c[r * ldc + j];
      const float sum = edge[r * kTileColumns + j];
      to = beta == 0.0f ? sum : beta == 1.0f ? to + sum : std::fma(beta, to, sum);
    }
  }
}

// A block of C from packed panels, on one thread.
void PackedBlock(const Product& p, int64_t row, int64_t column, Workspace* work, const GemmFinish& finish) {
  const int64_t depth = even_piece(p.k, kDepth, 4);
  const int64_t width = even_piece(p.n, kColumns, kTileColumns);
  for (int64_t j = 0; j < p.n; j += width) {
    const int64_t columns = std::min(width, p.n - j);
    for (int64_t l = 0; l < p.k; l += depth) {
      const int64_t k = std::min(depth, p.k - l);
      for (int64_t jj = 0; jj < columns; jj += kTileColumns) {
        Pack(p.b + (j + jj) * p.ldb + l, p.ldb, std::min(kTileColumns, columns - jj), k, kTileColumns, work->b + jj * k);
      }
      const float beta = l == 0 ? p.beta : 1.0f;
      for (int64_t i = 0; i < p.m; i += kTileRows) {
        const int64_t rows = std::min(kTileRows, p.m - i);
        Pack(p.a + i * p.lda + l, p.lda, rows, k, kTileRows, work->a);
        for (int64_t jj = 0; jj < columns; jj += kTileColumns) {
          Tile(k, work->a, work->b + jj * k, rows, std::min(kTileColumns, columns - jj), beta, p.c + i * p.ldc + j + jj, p.ldc);
        }
        if (l + k == p.k) finish(row + i, rows, column + j, columns);
      }
    }
  }
}

// R rows of A with N rows of B, both read along k as they lie.
template <int64_t R, int64_t N, size_t... I>
HWY_INLINE void Dots(std::index_sequence<I...>, const Product& p, const float* a, const float* b, float* c) {
  const Tag d;
  Vec acc[R * N];
  ((acc[I] = hn::Zero(d)), ...);
  const auto step = [&](auto load, int64_t k) HWY_ATTR {
    Vec left[R];
    Vec right[N];
    for (int64_t r = 0; r < R; ++r) left[r] = load(a + r * p.lda + k);
    for (int64_t j = 0; j < N; ++j) right[j] = load(b + j * p.ldb + k);
    ((acc[I] = hn::MulAdd(left[I / N], right[I % N], acc[I])), ...);
  };
  int64_t k = 0;
  for (; k + kLanes <= p.k; k += kLanes) step([&](const float* from) HWY_ATTR { return hn::LoadU(d, from); }, k);
  if (k < p.k) step([&](const float* from) HWY_ATTR { return LoadPart(d, from, p.k - k); }, k);
  const auto put = [&](float sum, int64_t r, int64_t j) {
    float& to = c[r * p.ldc + j];
    to = p.beta == 0.0f ? sum : std::fma(p.beta, to, sum);
  };
  (put(hn::GetLane(hn::SumOfLanes(d, acc[I])), static_cast<int64_t>(I) / N, static_cast<int64_t>(I) % N), ...);
}

template <int64_t R>
void DotColumns(const Product& p, int64_t row, int64_t from, int64_t to) {
  // A single row waits for memory alone, which is fastest in the order of its addresses.
  constexpr int64_t N = R == 1 ? 1 : R < 4 && kManyRegisters ? 8 : R < 4 || kManyRegisters ? 4 : 3;
  const float* a = p.a + row * p.lda;
  float* c = p.c + row * p.ldc;
  int64_t j = from;
  for (; j + N <= to; j += N) Dots<R, N>(std::make_index_sequence<static_cast<size_t>(R * N)>(), p, a, p.b + j * p.ldb, c + j);
  for (; j < to; ++j) Dots<R, 1>(std::make_index_sequence<static_cast<size_t>(R)>(), p, a, p.b + j * p.ldb, c + j);
}

// All rows of the columns [from, to), for few rows.
void DotBlock(const Product& p, int64_t from, int64_t to) {
  // Few enough rows of B that they stay in L1 while the rows of A go by.
  constexpr int64_t kGroup = 8;
  for (int64_t j = from; j < to; j += kGroup) {
    const int64_t end = std::min(to, j + kGroup);
    int64_t row = 0;
    for (; row + 4 <= p.m; row += 4) DotColumns<4>(p, row, j, end);
    if (p.m - row == 3) DotColumns<3>(p, row, j, end);
    if (p.m - row == 2) DotColumns<2>(p, row, j, end);
    if (p.m - row == 1) DotColumns<1>(p, row, j, end);
  }
}

}  // namespace
}  // namespace krait::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace krait::cpu {

HWY_EXPORT(PackedBlock);
HWY_EXPORT(DotBlock);

namespace {

struct Free {
  void operator()(void* p) const { std::free(p); }
};

// Kept from call to call, one per thread.
Workspace* workspace() {
  thread_local std::unique_ptr<Workspace, Free> kept;
  if (!kept) kept.reset(static_cast<Workspace*>(std::aligned_alloc(64, round_up(sizeof(Workspace), 64))));
  return kept.get();
}

}  // namespace

int gemm_threads(const Cpu& cpu, int64_t m, int64_t n, int64_t k) {
  // Products worth one more thread.
  constexpr double kProducts = 1 << 17;
  const double share = static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k) / kProducts;
  return static_cast<int>(std::clamp(share, 1.0, static_cast<double>(cpu.threads)));
}

GemmGrid gemm_grid(int threads, int64_t m, int64_t n) {
  // Whole tiles of every instruction set; a block packs its own rows and columns, which costs about as much as this many products each.
  constexpr int64_t kRowUnit = 12;
  constexpr int64_t kColumnUnit = 96;
  constexpr int64_t kPackCost = 24;
  GemmGrid best;
  int64_t best_cost = -1;
  for (int rows = 1; rows <= threads; ++rows) {
    GemmGrid grid{rows, threads / rows, 0, 0};
    grid.block_rows = round_up((m + grid.rows - 1) / grid.rows, kRowUnit);
    grid.block_columns = round_up((n + grid.columns - 1) / grid.columns, kColumnUnit);
    const int64_t r = std::min(m, grid.block_rows);
    const int64_t c = std::min(n, grid.block_columns);
    const int64_t cost = r * c + kPackCost * (r + c);
    if (best_cost >= 0 && cost >= best_cost) continue;
    best = grid;
    best_cost = cost;
  }
  return best;
}

Status gemm_nt(const Cpu& cpu, int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const float* b, int64_t ldb, float beta,
               float* c, int64_t ldc, const GemmFinish& finish) {
  if (m == 0 || n == 0) return {};
  const Product whole{m, n, k, a, lda, b, ldb, beta, c, ldc};
  const int threads = gemm_threads(cpu, m, n, k);
  // Also for k = 0, where there is nothing to pack.
  if (m <= kFewRows || k == 0) {
    const int64_t step = round_up((n + threads - 1) / threads, 8);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t j = 0; j < n; j += step) {
      const int64_t end = std::min(n, j + step);
      HWY_DYNAMIC_DISPATCH(DotBlock)(whole, j, end);
      finish(0, m, j, end - j);
    }
    return {};
  }
  const GemmGrid grid = gemm_grid(threads, m, n);
  bool starved = false;
#pragma omp parallel num_threads(threads)
  {
    Workspace* work = workspace();
    if (work == nullptr) {
#pragma omp atomic write
      starved = true;
    }
#pragma omp barrier
    bool stop;
#pragma omp atomic read
    stop = starved;
    if (!stop) {
#pragma omp for schedule(static, 1)
      for (int block = 0; block < grid.rows * grid.columns; ++block) {
        const int64_t row = block / grid.columns * grid.block_rows;
        const int64_t column = block % grid.columns * grid.block_columns;
        if (row >= m || column >= n) continue;
        const Product part{std::min(grid.block_rows, m - row),
                           std::min(grid.block_columns, n - column),
                           k,
                           a + row * lda,
                           lda,
                           b + column * ldb,
                           ldb,
                           beta,
                           c + row * ldc + column,
                           ldc};
        HWY_DYNAMIC_DISPATCH(PackedBlock)(part, row, column, work, finish);
      }
    }
  }
  if (starved) return error(StatusCode::out_of_memory, "Expected %zu bytes per thread for a matrix product but the system gave none", sizeof(Workspace));
  return {};
}

}  // namespace krait::cpu
#endif

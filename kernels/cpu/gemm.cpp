// Panels and tiles after Goto and van de Geijn (2008): a panel of B rests in L1 while a block of A passes by from L2, a tile of C in registers.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/gemm.cpp"
#include "hwy/foreach_target.h"
//
#include <algorithm>
#include <cmath>
#include <cstdlib>
#if defined(__linux__)
#include <sys/mman.h>
#endif
#include <memory>
#include <type_traits>
#include <utility>

#include "gemm.h"
#include "hwy/highway.h"
#include "part-inl.h"

#ifndef KRAIT_CPU_GEMM_ONCE_
#define KRAIT_CPU_GEMM_ONCE_
namespace krait::cpu {
namespace {

constexpr int64_t kDepth = 192;    // of a panel: k is cut into pieces of at most this
constexpr int64_t kColumns = 768;  // of a block of B, a multiple of every tile's width
constexpr int64_t kRows = 120;     // of a block of A, a multiple of every tile's height

// E: float, or the pattern of a bf16, which is widened where it is packed.
template <class E>
struct Product {
  int64_t m, n, k;
  const E* a;
  int64_t lda;
  const E* b;
  int64_t ldb;
  float beta;
  float* c;
  int64_t ldc;
};

struct Workspace {
  float a[kDepth * kRows];
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
static_assert(kRows % kTileRows == 0 && kColumns % kTileColumns == 0);

// Four columns of four rows, turned round.
template <class E>
HWY_INLINE void Transpose4(const E* from, int64_t ld, float* to, int64_t step) {
#if HWY_TARGET == HWY_SCALAR
  const Tag d;
  for (int64_t i = 0; i < 4; ++i) {
    for (int64_t j = 0; j < 4; ++j) to[i * step + j] = hn::GetLane(LoadRow(d, from + j * ld + i));
  }
#else
  const hn::Full128<float> d;
  const auto r0 = LoadRow(d, from);
  const auto r1 = LoadRow(d, from + ld);
  const auto r2 = LoadRow(d, from + 2 * ld);
  const auto r3 = LoadRow(d, from + 3 * ld);
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

template <class E>
HWY_INLINE float Wide(E x) {
  const hn::CappedTag<float, 1> d;
  return hn::GetLane(LoadRow(d, &x));
}

// to[i · width + r] = from[r · ld + i] for r < rows, i < k; zeros for the rows up to `width`. `left` rows follow from `from` on.
template <class E>
HWY_INLINE void Pack(const E* from, int64_t ld, int64_t rows, int64_t left, int64_t k, int64_t width, float* HWY_RESTRICT to) {
  constexpr int64_t kAhead = 8;  // rows whose short runs are fetched before they are needed: nothing else foresees them
  constexpr int64_t kLine = 64 / static_cast<int64_t>(sizeof(E));
  int64_t r = 0;
  for (; r + 4 <= rows; r += 4) {
    const bool ahead = r + kAhead + 4 <= left;
    int64_t i = 0;
    for (; i + 4 <= k; i += 4) {
      const E* at = from + r * ld + i;
      if (ahead && i % kLine == 0) {
        for (int64_t j = 0; j < 4; ++j) __builtin_prefetch(at + (kAhead + j) * ld);
      }
      Transpose4(at, ld, to + i * width + r, width);
    }
    for (; i < k; ++i) {
      for (int64_t j = r; j < r + 4; ++j) to[i * width + j] = Wide(from[j * ld + i]);
    }
  }
  for (; r < width; ++r) {
    for (int64_t i = 0; i < k; ++i) to[i * width + r] = r < rows ? Wide(from[r * ld + i]) : 0.0f;
  }
}

// N vectors of a tile's columns: all, or as many as the last columns need.
template <int64_t N, size_t... I>
HWY_INLINE void Multiply(std::index_sequence<I...>, int64_t k, const float* HWY_RESTRICT a, const float* HWY_RESTRICT b, Vec* acc) {
  const Tag d;
  ((acc[I] = hn::Zero(d)), ...);
#pragma GCC unroll 4
  for (int64_t i = 0; i < k; ++i) {
    Vec row[N];
    for (int64_t v = 0; v < N; ++v) row[v] = hn::Load(d, b + v * kLanes);
    ((acc[I] = hn::MulAdd(hn::Set(d, a[I / N]), row[I % N], acc[I])), ...);
    a += kTileRows;
    b += kTileColumns;
  }
}

template <int64_t N, size_t... I>
HWY_INLINE void StoreTile(std::index_sequence<I...>, const Vec* acc, float beta, float* HWY_RESTRICT c, int64_t ldc) {
  const Tag d;
  const auto at = [&](size_t i) { return c + static_cast<int64_t>(i / N) * ldc + static_cast<int64_t>(i % N) * kLanes; };
  if (beta == 0.0f) {
    (hn::StoreU(acc[I], d, at(I)), ...);
  } else if (beta == 1.0f) {
    (hn::StoreU(hn::Add(hn::LoadU(d, at(I)), acc[I]), d, at(I)), ...);
  } else {
    const Vec factor = hn::Set(d, beta);
    (hn::StoreU(hn::MulAdd(factor, hn::LoadU(d, at(I)), acc[I]), d, at(I)), ...);
  }
}

template <int64_t N>
void Tile(int64_t k, const float* a, const float* b, int64_t rows, int64_t columns, float beta, float* c, int64_t ldc) {
  constexpr std::make_index_sequence<static_cast<size_t>(kTileRows * N)> kAll;
  Vec acc[kTileRows * N];
  // C comes while the products are made.
  for (int64_t r = 0; r < rows; ++r) {
    __builtin_prefetch(c + r * ldc, 1);
    __builtin_prefetch(c + r * ldc + columns - 1, 1);
  }
  Multiply<N>(kAll, k, a, b, acc);
  if (rows == kTileRows && columns == N * kLanes) {
    StoreTile<N>(kAll, acc, beta, c, ldc);
    return;
  }
  HWY_ALIGN float edge[kTileRows * N * kLanes];
  StoreTile<N>(kAll, acc, 0.0f, edge, N * kLanes);
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t j = 0; j < columns; ++j) {
      float& to = c[r * ldc + j];
      const float sum = edge[r * N * kLanes + j];
      to = beta == 0.0f ? sum : beta == 1.0f ? to + sum : std::fma(beta, to, sum);
    }
  }
}

// One panel of B with a block of A.
template <int64_t N>
void Panel(int64_t m, int64_t k, const float* a, const float* b, int64_t columns, float beta, float* c, int64_t ldc) {
  for (int64_t i = 0; i < m; i += kTileRows) Tile<N>(k, a + i * k, b, std::min(kTileRows, m - i), columns, beta, c + i * ldc, ldc);
}

// A block of C from packed panels, on one thread.
template <class E>
void PackedBlock(const Product<E>& p, int64_t row, int64_t column, Workspace* work, const GemmFinish& finish) {
  const int64_t depth = even_piece(p.k, kDepth, 4);
  const int64_t width = even_piece(p.n, kColumns, kTileColumns);
  const int64_t height = even_piece(p.m, kRows, kTileRows);
  for (int64_t j = 0; j < p.n; j += width) {
    const int64_t columns = std::min(width, p.n - j);
    for (int64_t l = 0; l < p.k; l += depth) {
      const int64_t k = std::min(depth, p.k - l);
      for (int64_t jj = 0; jj < columns; jj += kTileColumns) {
        Pack(p.b + (j + jj) * p.ldb + l, p.ldb, std::min(kTileColumns, columns - jj), p.n - j - jj, k, kTileColumns, work->b + jj * k);
      }
      const float beta = l == 0 ? p.beta : 1.0f;
      for (int64_t i = 0; i < p.m; i += height) {
        const int64_t rows = std::min(height, p.m - i);
        for (int64_t ii = 0; ii < rows; ii += kTileRows) {
          Pack(p.a + (i + ii) * p.lda + l, p.lda, std::min(kTileRows, rows - ii), p.m - i - ii, k, kTileRows, work->a + ii * k);
        }
        for (int64_t jj = 0; jj < columns; jj += kTileColumns) {
          const int64_t some = std::min(kTileColumns, columns - jj);
          const auto panel = some <= kLanes ? Panel<1> : some <= 2 * kLanes ? Panel<2> : Panel<kTileVectors>;
          panel(rows, k, work->a, work->b + jj * k, some, beta, p.c + i * p.ldc + j + jj, p.ldc);
        }
        if (l + k == p.k) finish(row + i, rows, column + j, columns);
      }
    }
  }
}

void PackedWide(const Product<float>& p, int64_t row, int64_t column, Workspace* work, const GemmFinish& finish) {
  PackedBlock(p, row, column, work, finish);
}
void PackedNarrow(const Product<uint16_t>& p, int64_t row, int64_t column, Workspace* work, const GemmFinish& finish) {
  PackedBlock(p, row, column, work, finish);
}

// Measured where 16 registers of 256 bits are the widest: the large products of a model a tenth faster alone than oneDNN 2.6
// (bench/notes/gemm.md).
bool Leads() { return HWY_TARGET == HWY_AVX2; }

// R rows of A with N rows of B, b_step rows apart, both read along k as they lie.
template <int64_t R, int64_t N, size_t... I>
HWY_INLINE void Dots(std::index_sequence<I...>, const Product<float>& p, const float* a, const float* b, int64_t b_step, float* c) {
  const Tag d;
  Vec acc[R * N];
  ((acc[I] = hn::Zero(d)), ...);
  const auto step = [&](auto load, int64_t k) HWY_ATTR {
    Vec left[R];
    Vec right[N];
    for (int64_t r = 0; r < R; ++r) left[r] = load(a + r * p.lda + k);
    for (int64_t j = 0; j < N; ++j) right[j] = load(b + j * b_step * p.ldb + k);
    ((acc[I] = hn::MulAdd(left[I / N], right[I % N], acc[I])), ...);
  };
  int64_t k = 0;
  for (; k + kLanes <= p.k; k += kLanes) step([&](const float* from) HWY_ATTR { return hn::LoadU(d, from); }, k);
  if (k < p.k) step([&](const float* from) HWY_ATTR { return LoadPart(d, from, p.k - k); }, k);
  const auto put = [&](float sum, int64_t r, int64_t j) {
    float& to = c[r * p.ldc + j * b_step];
    to = p.beta == 0.0f ? sum : std::fma(p.beta, to, sum);
  };
  (put(hn::GetLane(hn::SumOfLanes(d, acc[I])), static_cast<int64_t>(I) / N, static_cast<int64_t>(I) % N), ...);
}

// All rows of A with N rows of B.
template <int64_t N>
HWY_INLINE void DotRows(const Product<float>& p, int64_t column, int64_t b_step) {
  const float* b = p.b + column * p.ldb;
  const auto some = [&](auto rows, int64_t row) HWY_ATTR {
    constexpr int64_t R = decltype(rows)::value;
    Dots<R, N>(std::make_index_sequence<static_cast<size_t>(R * N)>(), p, p.a + row * p.lda, b, b_step, p.c + row * p.ldc + column);
  };
  int64_t row = 0;
  for (; row + 4 <= p.m; row += 4) some(std::integral_constant<int64_t, 4>(), row);
  if (p.m - row == 3) some(std::integral_constant<int64_t, 3>(), row);
  if (p.m - row == 2) some(std::integral_constant<int64_t, 2>(), row);
  if (p.m - row == 1) some(std::integral_constant<int64_t, 1>(), row);
}

// `Streams` parts of the columns [from, to), each read in the order of its addresses: one stream keeps too few lines of memory under way,
// and rows beside each other are no streams.
template <int64_t Streams>
HWY_INLINE void DotStreams(const Product<float>& p, int64_t from, int64_t to) {
  const int64_t each = (to - from) / Streams;
  for (int64_t j = from; j < from + each; ++j) DotRows<Streams>(p, j, each);
  for (int64_t j = from + each * Streams; j < to; ++j) DotRows<1>(p, j, 0);
}

// All rows of the columns [from, to), for few rows.
void DotBlock(const Product<float>& p, int64_t from, int64_t to) {
  if (p.m < 4 || kManyRegisters) return DotStreams<4>(p, from, to);
  DotStreams<3>(p, from, to);
}

}  // namespace
}  // namespace krait::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace krait::cpu {

HWY_EXPORT(PackedWide);
HWY_EXPORT(PackedNarrow);
HWY_EXPORT(DotBlock);
HWY_EXPORT(Leads);

namespace {

struct Free {
  void operator()(void* p) const { std::free(p); }
};

// Kept from call to call, one per thread. In one huge page, so that its addresses take one place of those that a processor translates at once.
Workspace* workspace() {
  constexpr int64_t kPage = 2 << 20;
  static_assert(sizeof(Workspace) <= kPage);
  thread_local std::unique_ptr<Workspace, Free> kept;
  if (kept) return kept.get();
  kept.reset(static_cast<Workspace*>(std::aligned_alloc(kPage, kPage)));
#if defined(__linux__)
  if (kept) madvise(kept.get(), kPage, MADV_HUGEPAGE);  // a refusal changes nothing but the speed
#endif
  return kept.get();
}

}  // namespace

int gemm_threads(const Cpu& cpu, int64_t m, int64_t n, int64_t k) {
  // Products worth one more thread.
  constexpr double kProducts = 1 << 17;
  const double share = static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k) / kProducts;
  return static_cast<int>(std::clamp(share, 1.0, static_cast<double>(cpu.threads)));
}

int few_rows_threads(const Cpu& cpu, int64_t n, int64_t row_bytes) {
  constexpr int64_t kLeastBytes = 48 << 10;
  return static_cast<int>(std::clamp<int64_t>(n * row_bytes / kLeastBytes, 1, cpu.threads));
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

namespace {

void dot_blocks(const Product<float>& p, int threads, const GemmFinish& finish) {
  // Several pieces per thread: one that another process holds up does not hold up the others.
  const int64_t pieces = threads == 1 ? 1 : threads * 4;
  const int64_t step = (p.n + pieces - 1) / pieces;
#pragma omp parallel for num_threads(threads) schedule(dynamic)
  for (int64_t j = 0; j < p.n; j += step) {
    const int64_t end = std::min(p.n, j + step);
    HWY_DYNAMIC_DISPATCH(DotBlock)(p, j, end);
    finish(0, p.m, j, end - j);
  }
}

template <class E>
Status packed_blocks(const Product<E>& p, int threads, const GemmFinish& finish,
                     void (*work_on)(const Product<E>&, int64_t, int64_t, Workspace*, const GemmFinish&)) {
  const GemmGrid grid = gemm_grid(threads, p.m, p.n);
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
        if (row >= p.m || column >= p.n) continue;
        Product<E> part = p;
        part.m = std::min(grid.block_rows, p.m - row);
        part.n = std::min(grid.block_columns, p.n - column);
        part.a = p.a + row * p.lda;
        part.b = p.b + column * p.ldb;
        part.c = p.c + row * p.ldc + column;
        work_on(part, row, column, work, finish);
      }
    }
  }
  if (starved) return error(StatusCode::out_of_memory, "Expected %zu bytes per thread for a matrix product but the system gave none", sizeof(Workspace));
  return {};
}

}  // namespace

Status gemm_nt(const Cpu& cpu, int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const float* b, int64_t ldb, float beta,
               float* c, int64_t ldc, const GemmFinish& finish) {
  if (m == 0 || n == 0) return {};
  const Product<float> whole{m, n, k, a, lda, b, ldb, beta, c, ldc};
  const int threads = gemm_threads(cpu, m, n, k);
  // Also for k = 0, where there is nothing to pack.
  if (m > kFewRows && k > 0) return packed_blocks(whole, threads, finish, HWY_DYNAMIC_DISPATCH(PackedWide));
  dot_blocks(whole, few_rows_threads(cpu, n, k * static_cast<int64_t>(sizeof(float))), finish);
  return {};
}

Status gemm_nt(const Cpu& cpu, int64_t m, int64_t n, int64_t k, const uint16_t* a, int64_t lda, const uint16_t* b, int64_t ldb, float beta,
               float* c, int64_t ldc, const GemmFinish& finish) {
  if (m == 0 || n == 0) return {};
  const int threads = gemm_threads(cpu, m, n, k);
  if (k > 0) return packed_blocks(Product<uint16_t>{m, n, k, a, lda, b, ldb, beta, c, ldc}, threads, finish, HWY_DYNAMIC_DISPATCH(PackedNarrow));
  dot_blocks(Product<float>{m, n, 0, nullptr, 0, nullptr, 0, beta, c, ldc}, threads, finish);
  return {};
}

bool gemm_leads() { return HWY_DYNAMIC_DISPATCH(Leads)(); }

}  // namespace krait::cpu
#endif

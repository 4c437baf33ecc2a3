// The own matrix product on every instruction set of this machine: all edges, beta, strides, and the same bits for any threads.
#include "cpu/gemm.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <mutex>

#include "check.h"
#include "hwy/targets.h"
#include "random.h"

namespace krait::test {
namespace {

struct Matrix {
  int64_t rows, columns, stride;
  std::vector<float> data;

  Matrix(int64_t r, int64_t c, int64_t gap, Random* random) : rows(r), columns(c), stride(c + gap) {
    // Exactly to the last element, so that a read beyond it is seen.
    data.resize(static_cast<size_t>(r > 0 ? (r - 1) * stride + c : 0));
    for (float& v : data) v = random->real();
  }

  // The patterns of bf16 that the elements are cut to.
  std::vector<uint16_t> cut() {
    std::vector<uint16_t> patterns(data.size());
    for (size_t i = 0; i < data.size(); ++i) {
      uint32_t bits;
      std::memcpy(&bits, &data[i], sizeof(bits));
      patterns[i] = static_cast<uint16_t>(bits >> 16);
      bits &= 0xffff0000u;
      std::memcpy(&data[i], &bits, sizeof(bits));
    }
    return patterns;
  }
};

double reference(const Matrix& a, const Matrix& b, int64_t i, int64_t j) {
  double sum = 0;
  for (int64_t l = 0; l < a.columns; ++l) sum += static_cast<double>(a.data[i * a.stride + l]) * b.data[j * b.stride + l];
  return sum;
}

std::string product(int64_t m, int64_t n, int64_t k, float beta, bool narrow, Random* random) {
  Matrix a(m, k, random->below(3), random);
  Matrix b(n, k, random->below(3), random);
  const std::vector<uint16_t> narrow_a = narrow ? a.cut() : std::vector<uint16_t>();
  const std::vector<uint16_t> narrow_b = narrow ? b.cut() : std::vector<uint16_t>();
  Matrix start(m, n, random->below(3), random);
  if (beta == 0) std::fill(start.data.begin(), start.data.end(), std::numeric_limits<float>::quiet_NaN());
  std::vector<float> first;
  for (const int32_t threads : {1, 2, 3}) {
    Matrix c = start;
    std::vector<int> finished(static_cast<size_t>(m * n), 0);
    struct Context {
      std::vector<int>* finished;
      int64_t n;
      std::mutex mutex;
    } context{&finished, n, {}};
    const auto mark = [](const void* p, int64_t row, int64_t rows, int64_t column, int64_t columns) {
      auto& to = *const_cast<Context*>(static_cast<const Context*>(p));
      const std::lock_guard<std::mutex> lock(to.mutex);
      for (int64_t i = row; i < row + rows; ++i) {
        for (int64_t j = column; j < column + columns; ++j) ++(*to.finished)[i * to.n + j];
      }
    };
    cpu::Cpu device;
    device.threads = threads;
    const auto multiply = [&](const auto& left, const auto& right) {
      return cpu::gemm_nt(device, m, n, k, left.data(), a.stride, right.data(), b.stride, beta, c.data.data(), c.stride, {mark, &context});
    };
    const Status status = narrow ? multiply(narrow_a, narrow_b) : multiply(a.data, b.data);
    if (!status.ok()) return status.message;
    for (const int times : finished) {
      if (times != 1) return text("[%ld, %ld, %ld] finished an element %d times", m, n, k, times);
    }
    double difference = 0;
    double norm = 0;
    for (int64_t i = 0; i < m; ++i) {
      for (int64_t j = 0; j < n; ++j) {
        const double want = reference(a, b, i, j) + (beta == 0 ? 0.0 : static_cast<double>(beta) * start.data[i * c.stride + j]);
        difference += std::pow(c.data[i * c.stride + j] - want, 2);
        norm += want * want;
      }
      // Between the rows nothing may change.
      for (int64_t j = n; j < c.stride && i + 1 < m; ++j) {
        if (std::memcmp(&c.data[i * c.stride + j], &start.data[i * c.stride + j], 4) != 0) return text("[%ld, %ld, %ld] wrote past a row", m, n, k);
      }
    }
    if (!(difference <= 1e-12 * norm)) return text("[%ld, %ld, %ld] beta %g is off by %g", m, n, k, beta, std::sqrt(difference / norm));
    if (first.empty()) first = c.data;
    if (std::memcmp(first.data(), c.data.data(), 4 * first.size()) != 0) return text("[%ld, %ld, %ld] depends on the threads", m, n, k);
  }
  return "";
}

std::string products() {
  Random random(7);
  constexpr int64_t kShapes[][3] = {{1, 1, 1},    {1, 9, 33},    {2, 3, 17},    {3, 8, 64},    {4, 100, 19},  {7, 25, 40},     {32, 31, 16},
                                    {33, 1, 1},   {33, 95, 31},  {36, 96, 64},  {50, 7, 300},  {47, 800, 13}, {35, 33, 1030}, {130, 129, 127},
                                    {3, 5, 0},    {40, 5, 0},    {100, 64, 256}, {250, 800, 200}, {1, 501, 259}, {2, 203, 330}, {3, 202, 257}, {9, 305, 260}};
  for (const auto& shape : kShapes) {
    for (const float beta : {0.0f, 1.0f, -0.5f}) {
      for (const bool narrow : {false, true}) {
        const std::string wrong = product(shape[0], shape[1], shape[2], beta, narrow, &random);
        if (!wrong.empty()) return wrong + (narrow ? " from bf16" : "");
      }
    }
  }
  return "";
}

// With the better instruction sets hidden one after the other.
const Adds all("matrix products on every instruction set", [] {
  int64_t hidden = 0;
  std::string wrong;
  for (int64_t targets = hwy::SupportedTargets(); targets != 0 && wrong.empty(); targets &= targets - 1) {
    hwy::DisableTargets(hidden);
    wrong = products();
    if (!wrong.empty()) wrong = std::string(hwy::TargetName(targets & -targets)) + ": " + wrong;
    hidden |= targets & -targets;
  }
  hwy::DisableTargets(0);
  return wrong;
});

const Adds grid("every thread's block of a product covers it once", [] {
  for (int threads = 1; threads <= 70; ++threads) {
    for (const int64_t m : {1, 13, 100, 1000}) {
      for (const int64_t n : {1, 97, 3072}) {
        const cpu::GemmGrid g = cpu::gemm_grid(threads, m, n);
        if (g.rows * g.columns > threads || g.rows * g.block_rows < m || g.columns * g.block_columns < n) {
          return text("%d threads for [%ld, %ld]", threads, m, n);
        }
      }
    }
  }
  return std::string();
});

}  // namespace
}  // namespace krait::test

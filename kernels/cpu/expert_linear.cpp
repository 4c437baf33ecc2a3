// Pairs (token, choice) are sorted by expert; each expert's rows are gathered in blocks, multiplied at once and put where they belong.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/expert_linear.cpp"
#include "hwy/foreach_target.h"
//
#include <algorithm>
#include <cstring>

#include "activations-inl.h"
#include "cpu.h"
#include "gemm.h"
#include "hwy/highway.h"
#include "part-inl.h"
#include "rows.h"

HWY_BEFORE_NAMESPACE();
namespace krait::cpu::HWY_NAMESPACE {
namespace {

template <typename F>
void FinishWith(const float* HWY_RESTRICT product, const float* HWY_RESTRICT gated, int64_t count, float* HWY_RESTRICT y) {
  const hn::ScalableTag<float> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  for (int64_t i = 0; i < count; i += lanes) {
    const int64_t n = std::min(lanes, count - i);
    auto v = F::Of(d, LoadPart(d, product + i, n));
    if (gated != nullptr) v = hn::Mul(v, LoadPart(d, gated + i, n));
    StorePart(v, d, y + i, n);
  }
}

// y = f(product), times `gated` where it is given.
void Finish(ExpertLinearArgs::Activation activation, const float* product, const float* gated, int64_t count, float* y) {
  using Activation = ExpertLinearArgs::Activation;
  switch (activation) {
    case Activation::identity:
      return FinishWith<Identity>(product, gated, count, y);
    case Activation::silu:
      return FinishWith<Silu>(product, gated, count, y);
    case Activation::gelu:
      return FinishWith<Gelu>(product, gated, count, y);
    case Activation::gelu_tanh:
      return FinishWith<GeluTanh>(product, gated, count, y);
    case Activation::relu:
      return FinishWith<Relu>(product, gated, count, y);
    case Activation::relu2:
      return FinishWith<Relu2>(product, gated, count, y);
  }
}

}  // namespace
}  // namespace krait::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace krait::cpu {

HWY_EXPORT(Finish);

namespace {

constexpr int64_t kBlock = 256;  // rows that are gathered at once; the record's scratch knows it

int64_t align(int64_t bytes) { return (bytes + kArenaAlignment - 1) / kArenaAlignment * kArenaAlignment; }

struct Work {
  int32_t* order;   // [T·K] pairs, by expert and then by token
  int32_t* starts;  // [N + 1]
  float* rows;      // [kBlock, C]
  float* products;  // [kBlock, M]
};

bool take(const ExpertLinearArgs& a, int64_t pairs, Work& work) {
  char* at = static_cast<char*>(a.scratch);
  const auto part = [&](int64_t bytes) {
    char* result = at;
    at += align(bytes);
    return result;
  };
  work.order = reinterpret_cast<int32_t*>(part(4 * pairs));
  work.starts = reinterpret_cast<int32_t*>(part(4 * (a.weight.dim[0] + 1)));
  work.rows = reinterpret_cast<float*>(part(4 * kBlock * a.weight.dim[2]));
  work.products = reinterpret_cast<float*>(part(4 * kBlock * a.weight.dim[1]));
  return at - static_cast<char*>(a.scratch) <= a.scratch_bytes;
}

// Counting sort. False when an index is no expert's.
bool sort(const ExpertLinearArgs& a, int64_t tokens, int64_t choices, const Work& work) {
  const int64_t count = a.weight.dim[0];
  std::fill(work.starts, work.starts + count + 1, 0);
  for (int64_t t = 0; t < tokens; ++t) {
    const int32_t* experts = a.experts.as<int32_t>() + t * a.experts.stride[0];
    for (int64_t k = 0; k < choices; ++k) {
      if (experts[k] < 0 || experts[k] >= count) return false;
      ++work.starts[experts[k] + 1];
    }
  }
  for (int64_t e = 0; e < count; ++e) work.starts[e + 1] += work.starts[e];
  for (int64_t t = 0; t < tokens; ++t) {
    const int32_t* experts = a.experts.as<int32_t>() + t * a.experts.stride[0];
    for (int64_t k = 0; k < choices; ++k) work.order[work.starts[experts[k]]++] = static_cast<int32_t>(t * choices + k);
  }
  // Each start now lies where the next expert's pairs begin.
  for (int64_t e = count; e > 0; --e) work.starts[e] = work.starts[e - 1];
  work.starts[0] = 0;
  return true;
}

}  // namespace

Status expert_linear(const ExpertLinearArgs& a, const Cpu& cpu) {
  const int64_t tokens = a.x.dim[0];
  const int64_t choices = a.experts.dim[1];
  const int64_t experts = a.weight.dim[0], m = a.weight.dim[1], c = a.weight.dim[2];
  const int64_t width = a.gated ? m / 2 : m;
  if (tokens == 0) return {};
  Work work;
  if (!take(a, tokens * choices, work)) {
    return error(StatusCode::invalid_program, "Expected more scratch memory for expert_linear but received %lld bytes",
                 static_cast<long long>(a.scratch_bytes));
  }
  if (!sort(a, tokens, choices, work)) {
    return error(StatusCode::invalid_argument, "Expected indices of %lld experts for expert_linear but received another",
                 static_cast<long long>(experts));
  }
  float* y = a.y.as<float>();
  if (a.combine) {
    for (int64_t t = 0; t < tokens; ++t) std::memset(y + t * a.y.stride[0], 0, static_cast<size_t>(4 * m));
  }
  for (int64_t e = 0; e < experts; ++e) {
    for (int64_t from = work.starts[e]; from < work.starts[e + 1]; from += kBlock) {
      const int64_t rows = std::min<int64_t>(kBlock, work.starts[e + 1] - from);
      const int32_t* pairs = work.order + from;
      for (int64_t r = 0; r < rows; ++r) {
        const int64_t t = pairs[r] / choices, k = pairs[r] % choices;
        const float* x = a.x.as<float>() + t * a.x.stride[0] + (a.combine ? k * c : 0);
        std::memcpy(work.rows + r * c, x, static_cast<size_t>(4 * c));
      }
      const float* weight = a.weight.as<float>() + e * m * c;
      if (Status status = gemm_nt(cpu, rows, m, c, work.rows, c, weight, c, 0.0f, work.products, m); !status.ok()) return status;
#pragma omp parallel for num_threads(threads_for(cpu, rows * m)) schedule(static)
      for (int64_t r = 0; r < rows; ++r) {
        const int64_t t = pairs[r] / choices, k = pairs[r] % choices;
        float* product = work.products + r * m;
        if (!a.combine) {
          HWY_DYNAMIC_DISPATCH(Finish)(a.activation, product, a.gated ? product + width : nullptr, width, y + t * a.y.stride[0] + k * width);
          continue;
        }
        // An expert is chosen once per token, so that no two rows of a block add to the same place.
        HWY_DYNAMIC_DISPATCH(Finish)(a.activation, product, nullptr, m, product);
        const float weight_of = a.weights ? a.weights.as<float>()[t * a.weights.stride[0] + k] : 1.0f;
        float* sum = y + t * a.y.stride[0];
        for (int64_t i = 0; i < m; ++i) sum[i] += weight_of * product[i];
      }
    }
  }
  return {};
}

}  // namespace krait::cpu
#endif

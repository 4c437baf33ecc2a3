#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <vector>

#include "cpu.h"
#include "rows.h"

namespace krait::cpu {
namespace {

using Scoring = RouteExpertsArgs::Scoring;

// The best of `values` that is not taken, the lower index of equals; always an index, whatever the numbers are.
int64_t best_of(const float* values, const uint8_t* taken, int64_t count) {
  int64_t best = -1;
  for (int64_t i = 0; i < count; ++i) {
    if (!taken[i] && (best < 0 || values[i] > values[best])) best = i;
  }
  return best;
}

struct Router {
  const RouteExpertsArgs& a;
  int64_t count = a.logits.dim[1];
  std::vector<float> scores = std::vector<float>(count);
  std::vector<float> choice = std::vector<float>(count);
  std::vector<uint8_t> taken = std::vector<uint8_t>(count);
  std::vector<float> group_scores = std::vector<float>(a.groups);
  std::vector<uint8_t> group_taken = std::vector<uint8_t>(a.groups);

  void score(const float* logits) {
    if (a.scoring == Scoring::sigmoid) {
      for (int64_t i = 0; i < count; ++i) scores[i] = 1.0f / (1.0f + std::exp(-logits[i]));
    } else {
      const float top = *std::max_element(logits, logits + count);
      float total = 0;
      for (int64_t i = 0; i < count; ++i) total += scores[i] = std::exp(logits[i] - top);
      for (int64_t i = 0; i < count; ++i) scores[i] /= total;
    }
    const float* bias = a.bias.as<float>();
    for (int64_t i = 0; i < count; ++i) choice[i] = bias != nullptr ? scores[i] + bias[i] : scores[i];
  }

  void leave_out_groups() {
    const int64_t size = count / a.groups;
    for (int64_t g = 0; g < a.groups; ++g) {
      float first = -std::numeric_limits<float>::infinity(), second = first;
      for (int64_t i = g * size; i < (g + 1) * size; ++i) {
        if (choice[i] > first) {
          second = first;
          first = choice[i];
        } else if (choice[i] > second) {
          second = choice[i];
        }
      }
      group_scores[g] = size > 1 ? first + second : first;
    }
    std::fill(group_taken.begin(), group_taken.end(), 0);
    std::fill(taken.begin(), taken.end(), 1);
    for (int64_t k = 0; k < a.kept_groups; ++k) {
      const int64_t g = best_of(group_scores.data(), group_taken.data(), a.groups);
      group_taken[g] = 1;
      std::fill(taken.begin() + g * size, taken.begin() + (g + 1) * size, 0);
    }
  }

  void choose(int32_t* experts) {
    if (a.groups > 1) {
      leave_out_groups();
    } else {
      std::fill(taken.begin(), taken.end(), 0);
    }
    for (int64_t k = 0; k < a.top_k; ++k) {
      const int64_t i = best_of(choice.data(), taken.data(), count);
      taken[i] = 1;
      experts[k] = static_cast<int32_t>(i);
    }
  }

  // False when a given index is no expert's; nothing is written then.
  bool route(int64_t t) {
    int32_t* experts = a.experts.as<int32_t>() + t * a.experts.stride[0];
    const int32_t* given = a.given ? a.given.as<int32_t>() + t * a.given.stride[0] : nullptr;
    const bool replays = given != nullptr && given[0] != -1;
    if (replays && std::any_of(given, given + a.top_k, [&](int32_t i) { return i < 0 || i >= count; })) return false;
    score(a.logits.as<float>() + t * a.logits.stride[0]);
    if (replays) {
      std::copy(given, given + a.top_k, experts);
    } else {
      choose(experts);
    }
    float* weights = a.weights.as<float>() + t * a.weights.stride[0];
    float sum = 0;
    for (int64_t k = 0; k < a.top_k; ++k) sum += weights[k] = scores[experts[k]];
    const float scale = static_cast<float>(a.scale) / (a.normalize ? sum + 1e-20f : 1.0f);
    for (int64_t k = 0; k < a.top_k; ++k) weights[k] *= scale;
    return true;
  }
};

}  // namespace

Status route_experts(const RouteExpertsArgs& a, const Cpu& cpu) {
  const int64_t tokens = a.logits.dim[0];
  std::atomic<int64_t> wrong{-1};
#pragma omp parallel num_threads(threads_for(cpu, tokens * a.logits.dim[1] * (a.top_k + 4)))
  {
    Router router{a};
#pragma omp for schedule(static)
    for (int64_t t = 0; t < tokens; ++t) {
      if (!router.route(t)) wrong.store(t, std::memory_order_relaxed);
    }
  }
  const int64_t t = wrong.load();
  if (t < 0) return {};
  return error(StatusCode::invalid_argument,
               "Expected experts in [0, %lld) or a first -1 for the given choices of route_experts but received others at row %lld",
               static_cast<long long>(a.logits.dim[1]), static_cast<long long>(t));
}

}  // namespace krait::cpu

// One warp routes one token. The scores lie in shared memory; each lane keeps in a word which of its experts are taken.
#include "functions.cuh"
#include "refuse.cuh"
#include "rows.cuh"

namespace krait::cuda {
namespace {

using Scoring = RouteExpertsArgs::Scoring;

constexpr int32_t kWarps = 4;
constexpr int32_t kMostExperts = 1024;

struct Routing {
  Rows<const float> logits;
  const float* bias;
  Rows<const int32_t> given;  // data is null without choices
  Rows<int32_t> experts;
  Rows<float> weights;
  int64_t tokens;
  int32_t count, top_k, groups, kept_groups;
  bool is_sigmoid, normalize;
  float scale;
  int32_t* error_word;
};

struct Best {
  float value;
  int32_t index;  // −1 for none
};

// The larger value, the lower index of equals; what cannot be compared never replaces what is there.
__device__ __forceinline__ Best better(Best a, Best b) {
  const bool takes = b.index >= 0 && (a.index < 0 || b.value > a.value || (b.value == a.value && b.index < a.index));
  return takes ? b : a;
}

// Every lane gets the same answer.
__device__ __forceinline__ int32_t best_of_warp(Best mine) {
  for (int32_t step = 16; step > 0; step /= 2) {
    const Best other{__shfl_down_sync(~0u, mine.value, step), __shfl_down_sync(~0u, mine.index, step)};
    mine = better(mine, other);
  }
  return __shfl_sync(~0u, mine.index, 0);
}

__device__ __forceinline__ float sum_of_warp(float value) {
  for (int32_t step = 16; step > 0; step /= 2) value += __shfl_xor_sync(~0u, value, step);
  return value;
}

__device__ __forceinline__ float max_of_warp(float value) {
  for (int32_t step = 16; step > 0; step /= 2) value = larger(value, __shfl_xor_sync(~0u, value, step));
  return value;
}

// Taken-words of a lane after all groups but the best were left out. Lane 0 chooses among at most 1024 groups.
__device__ uint32_t outside_groups(const Routing& r, const float* choice, float* group_scores, int32_t lane) {
  const int32_t size = r.count / r.groups;
  for (int32_t g = lane; g < r.groups; g += 32) {
    float first = -INFINITY, second = -INFINITY;
    for (int32_t i = g * size; i < (g + 1) * size; ++i) {
      const float v = choice[i];
      if (v > first) {
        second = first;
        first = v;
      } else if (v > second) {
        second = v;
      }
    }
    group_scores[g] = size > 1 ? first + second : first;
  }
  __syncwarp();
  uint32_t open = 0, done = 0;  // bit j: expert or group lane + 32 j
  for (int32_t k = 0; k < r.kept_groups; ++k) {
    Best mine{0, -1};
    for (int32_t g = lane, j = 0; g < r.groups; g += 32, ++j) {
      if (!(done >> j & 1)) mine = better(mine, {group_scores[g], g});
    }
    const int32_t group = best_of_warp(mine);
    if (group < 0) break;
    if (group % 32 == lane) done |= 1u << (group / 32);
    for (int32_t i = lane, j = 0; i < r.count; i += 32, ++j) {
      if (i / size == group) open |= 1u << j;
    }
  }
  return ~open;
}

__global__ void __launch_bounds__(32 * kWarps) route_kernel(const Routing r) {
  __shared__ float scores_of[kWarps][kMostExperts], choice_of[kWarps][kMostExperts], groups_of[kWarps][kMostExperts];
  const int32_t lane = static_cast<int32_t>(threadIdx.x), warp = static_cast<int32_t>(threadIdx.y);
  float* scores = scores_of[warp];
  float* choice = choice_of[warp];
  for (int64_t t = static_cast<int64_t>(blockIdx.x) * kWarps + warp; t < r.tokens; t += static_cast<int64_t>(gridDim.x) * kWarps) {
    const float* logits = r.logits.row(t);
    float top = -INFINITY, total = 0;
    if (!r.is_sigmoid) {
      for (int32_t i = lane; i < r.count; i += 32) top = larger(top, logits[i]);
      top = max_of_warp(top);
      for (int32_t i = lane; i < r.count; i += 32) total += expf(logits[i] - top);
      total = sum_of_warp(total);
    }
    for (int32_t i = lane; i < r.count; i += 32) {
      const float score = r.is_sigmoid ? sigmoid(logits[i]) : expf(logits[i] - top) / total;
      scores[i] = score;
      choice[i] = r.bias != nullptr ? score + r.bias[i] : score;
    }
    __syncwarp();
    const int32_t* given = r.given.data != nullptr ? r.given.row(t) : nullptr;
    const bool replays = given != nullptr && given[0] != -1;
    uint32_t taken = !replays && r.groups > 1 ? outside_groups(r, choice, groups_of[warp], lane) : 0;
    float sum = 0;
    for (int32_t k = 0; k < r.top_k; ++k) {
      int32_t expert;
      if (replays) {
        expert = given[k];
        if (expert < 0 || expert >= r.count) {
          refuse<op_number("route_experts")>(r.error_word);
          expert = 0;
        }
      } else {
        Best mine{0, -1};
        for (int32_t i = lane, j = 0; i < r.count; i += 32, ++j) {
          if (!(taken >> j & 1)) mine = better(mine, {choice[i], i});
        }
        expert = max(best_of_warp(mine), 0);
        if (expert % 32 == lane) taken |= 1u << (expert / 32);
      }
      sum += scores[expert];
      if (lane == 0) {
        r.experts.row(t)[k] = expert;
        r.weights.row(t)[k] = scores[expert];
      }
    }
    if (lane == 0) {
      const float scale = r.scale / (r.normalize ? sum + 1e-20f : 1.0f);
      for (int32_t k = 0; k < r.top_k; ++k) r.weights.row(t)[k] *= scale;
    }
    __syncwarp();
  }
}

}  // namespace

Status route_experts(const RouteExpertsArgs& a, const Cuda& cuda) {
  const int64_t tokens = a.logits.dim[0];
  if (tokens == 0) return {};
  if (a.logits.dim[1] > kMostExperts) return error(StatusCode::unsupported, "Expected at most %d experts for route_experts", kMostExperts);
  const Routing r{rows_of<const float>(a.logits),
                  a.bias.as<const float>(),
                  rows_of<const int32_t>(a.given),
                  rows_of<int32_t>(a.experts),
                  rows_of<float>(a.weights),
                  tokens,
                  static_cast<int32_t>(a.logits.dim[1]),
                  static_cast<int32_t>(a.top_k),
                  static_cast<int32_t>(a.groups),
                  static_cast<int32_t>(a.kept_groups),
                  a.scoring == Scoring::sigmoid,
                  a.normalize,
                  static_cast<float>(a.scale),
                  cuda.error_word};
  const int64_t blocks = std::min<int64_t>(divide_up(tokens, kWarps), std::max(cuda.multiprocessors, 1) * int64_t{8});
  route_kernel<<<static_cast<unsigned>(blocks), dim3(32, kWarps), 0, cuda.stream>>>(r);
  return launched("route_experts");
}

}  // namespace krait::cuda

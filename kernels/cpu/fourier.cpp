#include "fourier.h"

#include <cmath>
#include <iterator>
#include <map>
#include <mutex>

namespace krait::cpu {
namespace {

void add_root(std::vector<float>* to, int64_t numerator, int64_t denominator) {
  const double angle = -2.0 * 3.14159265358979323846 * static_cast<double>(numerator % denominator) / static_cast<double>(denominator);
  to->push_back(static_cast<float>(std::cos(angle)));
  to->push_back(static_cast<float>(std::sin(angle)));
}

std::shared_ptr<const Fourier> make(int64_t size) {
  auto plan = std::make_shared<Fourier>();
  plan->size = size;
  plan->halved = size % 2 == 0;
  plan->points = plan->halved ? size / 2 : size;
  int64_t stride = 1;
  for (int64_t n = plan->points; n > 1;) {
    int64_t radix = 0;
    for (const int64_t candidate : {4, 2, 5, 3}) {
      if (n % candidate == 0 && radix == 0) radix = candidate;
    }
    for (int64_t candidate = 7; radix == 0; candidate += 2) {
      if (n % candidate == 0) radix = candidate;
      if (candidate * candidate > n) radix = n;
    }
    const int64_t groups = n / radix;
    Fourier::Stage stage{radix, groups, stride, static_cast<int64_t>(plan->twiddles.size()), 0};
    for (int64_t p = 0; p < groups; ++p) {
      for (int64_t k = 0; k < radix; ++k) add_root(&plan->twiddles, p * k, n);
    }
    stage.roots = static_cast<int64_t>(plan->twiddles.size());
    if (radix > 5) {
      for (int64_t j = 0; j < radix; ++j) add_root(&plan->twiddles, j, radix);
    }
    plan->stages.push_back(stage);
    stride *= radix;
    n = groups;
  }
  for (int64_t k = 0; plan->halved && k <= plan->points / 2; ++k) add_root(&plan->halves, k, size);
  return plan;
}

// Lengths are few in a process; beyond so many one makes room.
constexpr size_t kKept = 32;

}  // namespace

std::shared_ptr<const Fourier> Fourier::of(int64_t size) {
  static std::mutex mutex;
  static std::map<int64_t, std::shared_ptr<const Fourier>> plans;
  const std::lock_guard<std::mutex> lock(mutex);
  auto& plan = plans[size];
  if (!plan) plan = make(size);
  const auto kept = plan;
  if (plans.size() > kKept) plans.erase(plans.begin()->first == size ? std::prev(plans.end()) : plans.begin());
  return kept;
}

}  // namespace krait::cpu

// Each definition as one would first write it: one thread, no intrinsics; the compiler may do what it can.
#include <cmath>

#include "bench.h"

namespace {

float softplus(float x) { return x > 20 ? x : std::log1p(std::exp(x)); }
float silu(float x) { return x / (1 + std::exp(-x)); }

}  // namespace

Times selective_scan(long tokens, long channels, long states) {
  const auto x = random_floats(tokens * channels, -1, 1);
  const auto dt = random_floats(tokens * channels, -1, 1);
  const auto z = random_floats(tokens * channels, -1, 1);
  const auto a_log = random_floats(channels * states, 0, 2);
  const auto b = random_floats(tokens * states, -1, 1);
  const auto c = random_floats(tokens * states, -1, 1);
  const auto skip = random_floats(channels, -1, 1);
  const auto bias = random_floats(channels, -1, 1);
  std::vector<float> y(x.size());
  std::vector<float> a(a_log.size());
  return median_ms(3, [&] {
    for (size_t i = 0; i < a.size(); ++i) a[i] = -std::exp(a_log[i]);
    std::vector<float> h(a.size(), 0.0f);
    for (long t = 0; t < tokens; ++t) {
      for (long d = 0; d < channels; ++d) {
        const long at = t * channels + d;
        const float step = softplus(dt[at] + bias[d]);
        float sum = skip[d] * x[at];
        for (long n = 0; n < states; ++n) {
          float& s = h[d * states + n];
          s = std::exp(step * a[d * states + n]) * s + step * b[t * states + n] * x[at];
          sum += c[t * states + n] * s;
        }
        y[at] = sum * silu(z[at]);
      }
    }
  });
}

Times ssd_scan(long tokens, long heads, long head_dim, long state_size) {
  const auto x = random_floats(tokens * heads * head_dim, -1, 1);
  const auto dt = random_floats(tokens * heads, -1, 1);
  const auto a_log = random_floats(heads, 0, 2);
  const auto b = random_floats(tokens * state_size, -1, 1);
  const auto c = random_floats(tokens * state_size, -1, 1);
  const auto skip = random_floats(heads, -1, 1);
  std::vector<float> y(x.size());
  return median_ms(3, [&] {
    std::vector<float> state(static_cast<size_t>(heads * head_dim * state_size), 0.0f);
    for (long t = 0; t < tokens; ++t) {
      for (long h = 0; h < heads; ++h) {
        const float step = softplus(dt[t * heads + h]);
        const float decay = std::exp(-std::exp(a_log[h]) * step);
        for (long p = 0; p < head_dim; ++p) {
          const long at = (t * heads + h) * head_dim + p;
          float sum = skip[h] * x[at];
          for (long n = 0; n < state_size; ++n) {
            float& s = state[(h * head_dim + p) * state_size + n];
            s = decay * s + step * x[at] * b[t * state_size + n];
            sum += c[t * state_size + n] * s;
          }
          y[at] = sum;
        }
      }
    }
  });
}

Times causal_conv1d(long tokens, long channels, long width) {
  const auto x = random_floats(tokens * channels, -1, 1);
  const auto weight = random_floats(channels * width, -1, 1);
  const auto bias = random_floats(channels, -1, 1);
  std::vector<float> y(x.size());
  return median_ms(3, [&] {
    for (long t = 0; t < tokens; ++t) {
      for (long c = 0; c < channels; ++c) {
        float sum = bias[c];
        for (long w = 0; w < width; ++w) {
          const long from = t - (width - 1) + w;
          if (from >= 0) sum += weight[c * width + w] * x[from * channels + c];
        }
        y[t * channels + c] = silu(sum);
      }
    }
  });
}

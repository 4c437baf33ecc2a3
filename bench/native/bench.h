#pragma once

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <random>
#include <vector>

// Median milliseconds of one thread running the plain loops of each definition.
double selective_scan(long tokens, long channels, long states);
double ssd_scan(long tokens, long heads, long head_dim, long state_size);
double causal_conv1d(long tokens, long channels, long width);
// Prints the machine's copy bandwidth and peak rates.
void machine();

inline void print_ms(double ms) { std::printf("{\"ms\":%.6f}\n", ms); }

template <typename F>
double median_ms(int repeats, const F& work) {
  work();
  std::vector<double> times;
  for (int i = 0; i < repeats; ++i) {
    const auto began = std::chrono::steady_clock::now();
    work();
    times.push_back(std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - began).count());
  }
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

inline std::vector<float> random_floats(long count, float low, float high) {
  static std::mt19937 engine(1);
  std::uniform_real_distribution<float> next(low, high);
  std::vector<float> out(static_cast<size_t>(count));
  for (float& x : out) x = next(engine);
  return out;
}

#pragma once

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <random>
#include <vector>

struct Times {
  double ms;
  double cpu_ms;  // of the processor, which other work on the machine hardly changes
};

// Median of one thread running the plain loops of each definition.
Times selective_scan(long tokens, long channels, long states);
Times ssd_scan(long tokens, long heads, long head_dim, long state_size);
Times causal_conv1d(long tokens, long channels, long width);
// Prints the machine's copy bandwidth and peak rates.
void machine();

inline void print_ms(Times t) { std::printf("{\"ms\":%.6f,\"cpuMs\":%.6f}\n", t.ms, t.cpu_ms); }

template <typename F>
Times median_ms(int repeats, const F& work) {
  work();
  std::vector<double> times;
  std::vector<double> cpu;
  for (int i = 0; i < repeats; ++i) {
    const auto began = std::chrono::steady_clock::now();
    const std::clock_t cpu_began = std::clock();
    work();
    cpu.push_back(1000.0 * static_cast<double>(std::clock() - cpu_began) / CLOCKS_PER_SEC);
    times.push_back(std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - began).count());
  }
  std::sort(times.begin(), times.end());
  std::sort(cpu.begin(), cpu.end());
  return {times[times.size() / 2], cpu[cpu.size() / 2]};
}

inline std::vector<float> random_floats(long count, float low, float high) {
  static std::mt19937 engine(1);
  std::uniform_real_distribution<float> next(low, high);
  std::vector<float> out(static_cast<size_t>(count));
  for (float& x : out) x = next(engine);
  return out;
}

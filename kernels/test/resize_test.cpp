// The resize on every instruction set of this machine: random tables, odd sizes, all edges, and the same bytes for any threads.
#include "cpu/resize.h"

#include <algorithm>
#include <cstdlib>

#include "check.h"
#include "hwy/targets.h"
#include "random.h"

namespace krait::test {
namespace {

constexpr int32_t kOne = 1 << 22;

struct Axis {
  int64_t size = 0;
  int64_t width = 0;
  std::vector<int32_t> first, count, values;

  cpu::ResizeTaps taps() const {
    return {size, static_cast<int64_t>(first.size()), first.data(), count.data(), values.empty() ? nullptr : values.data(), width};
  }
};

// Any taps inside the picture, with coefficients of both signs that may leave the range of bytes.
Axis mixing(int64_t size, int64_t outputs, int64_t most, Random* random) {
  Axis axis{size, std::min(size, most), {}, {}, {}};
  for (int64_t i = 0; i < outputs; ++i) {
    const int64_t count = 1 + random->below(axis.width);
    axis.count.push_back(static_cast<int32_t>(count));
    axis.first.push_back(static_cast<int32_t>(random->below(size - count + 1)));
    for (int64_t k = 0; k < axis.width; ++k) {
      const double share = count == 1 ? 1.0 : 1.9 * random->real() / static_cast<double>(count);
      axis.values.push_back(static_cast<int32_t>(share * kOne));
    }
  }
  return axis;
}

Axis keeping(int64_t size, int64_t outputs, Random* random) {
  Axis axis{size, 0, {}, std::vector<int32_t>(static_cast<size_t>(outputs), 1), {}};
  const int64_t from = random->below(size - outputs + 1);
  for (int64_t i = 0; i < outputs; ++i) axis.first.push_back(static_cast<int32_t>(from + i));
  return axis;
}

uint8_t mixed(const Axis& axis, int64_t i, const uint8_t* from, int64_t step) {
  if (axis.values.empty()) return from[axis.first[i] * step];
  int64_t sum = kOne / 2;
  for (int64_t k = 0; k < axis.count[i]; ++k) sum += static_cast<int64_t>(axis.values[i * axis.width + k]) * from[(axis.first[i] + k) * step];
  return static_cast<uint8_t>(std::clamp<int64_t>(sum >> 22, 0, 255));
}

std::vector<uint8_t> reference(const Axis& columns, const Axis& rows, const std::vector<uint8_t>& pixels) {
  const int64_t width = static_cast<int64_t>(columns.first.size());
  std::vector<uint8_t> between(static_cast<size_t>(rows.size * width * 3));
  std::vector<uint8_t> out(rows.first.size() * static_cast<size_t>(width) * 3);
  for (int64_t y = 0; y < rows.size; ++y) {
    for (int64_t i = 0; i < 3 * width; ++i) between[y * width * 3 + i] = mixed(columns, i / 3, &pixels[y * columns.size * 3 + i % 3], 3);
  }
  for (int64_t y = 0; y < static_cast<int64_t>(rows.first.size()); ++y) {
    for (int64_t i = 0; i < 3 * width; ++i) out[y * width * 3 + i] = mixed(rows, y, &between[i], 3 * width);
  }
  return out;
}

std::string compare(const Axis& columns, const Axis& rows, Random* random) {
  std::vector<uint8_t> pixels(static_cast<size_t>(columns.size * rows.size * 3));
  for (uint8_t& byte : pixels) byte = static_cast<uint8_t>(random->below(256));
  cpu::Resize resize;
  const Status status = cpu::Resize::make(columns.taps(), rows.taps(), &resize);
  if (!status.ok()) return status.message;
  const std::vector<uint8_t> wanted = reference(columns, rows, pixels);
  if (resize.source_bytes() != static_cast<int64_t>(pixels.size()) || resize.output_bytes() != static_cast<int64_t>(wanted.size())) {
    return "sizes that are not the picture's";
  }
  std::vector<uint8_t> part, between;
  resize.gather(pixels.data(), &part);
  for (const int32_t threads : {1, 3}) {
    // Exactly as long as it must be, so that a write beyond is seen.
    std::vector<uint8_t> out(wanted.size(), 7);
    cpu::Cpu device;
    device.threads = threads;
    resize.run(device, part, &between, out.data());
    for (size_t i = 0; i < out.size(); ++i) {
      if (out[i] != wanted[i]) {
        return text("%ld × %ld to %zu × %zu: byte %zu is %d, not %d", columns.size, rows.size, columns.first.size(), rows.first.size(), i,
                    out[i], wanted[i]);
      }
    }
  }
  return {};
}

std::string many() {
  Random random(11);
  for (int64_t i = 0; i < 200; ++i) {
    const auto axis = [&](int64_t most) {
      const int64_t size = 1 + random.below(most);
      if (random.below(4) == 0) return keeping(size, 1 + random.below(size), &random);
      return mixing(size, 1 + random.below(most), 1 + random.below(19), &random);
    };
    const Axis columns = axis(70);
    const Axis rows = axis(40);
    const std::string wrong = compare(columns, rows, &random);
    if (!wrong.empty()) return wrong;
  }
  // Large enough for several threads.
  return compare(mixing(301, 150, 9, &random), mixing(257, 131, 9, &random), &random);
}

std::string extremes() {
  // All taps at the bound of 32 bits, on pixels of 255.
  const int32_t most = (INT32_MAX - kOne / 2) / 255;
  for (const int32_t c : {most, -most, most / 2, -most / 2}) {
    const int32_t rest = std::abs(c) == most ? 0 : c;
    const Axis axis{2, 2, {0}, {2}, {c, rest}};
    const std::vector<uint8_t> pixels(12, 255);
    cpu::Resize resize;
    const Status status = cpu::Resize::make(axis.taps(), axis.taps(), &resize);
    if (!status.ok()) return status.message;
    std::vector<uint8_t> part, between, out(3);
    resize.gather(pixels.data(), &part);
    resize.run(cpu::Cpu{}, part, &between, out.data());
    if (out != reference(axis, axis, pixels)) return text("coefficient %d gives %d", c, out[0]);
  }
  return {};
}

std::string refusals() {
  Random random(5);
  const Axis good = mixing(9, 4, 3, &random);
  const auto refused = [&](auto change) {
    Axis bad = good;
    change(bad);
    cpu::Resize one, other;
    return !cpu::Resize::make(bad.taps(), good.taps(), &one).ok() && !cpu::Resize::make(good.taps(), bad.taps(), &other).ok();
  };
  if (!refused([](Axis& a) { a.first[2] = -1; })) return "a first tap below zero passes";
  if (!refused([](Axis& a) { a.first[2] = 9; })) return "a tap behind the picture passes";
  if (!refused([](Axis& a) { a.first[2] = INT32_MAX; })) return "a first tap that overflows passes";
  if (!refused([](Axis& a) { a.count[1] = 0; })) return "an output of nothing passes";
  if (!refused([](Axis& a) { a.count[1] = 4; })) return "more taps than the table holds pass";
  if (!refused([](Axis& a) { a.count[1] = INT32_MIN; })) return "a negative count passes";
  if (!refused([](Axis& a) { a.size = 0; })) return "a picture of nothing passes";
  if (!refused([](Axis& a) { a.size = 70000; })) return "a side of 70,000 passes";
  if (!refused([](Axis& a) { a.width = 0; })) return "a table of nothing passes";
  if (!refused([](Axis& a) { a.values[a.width] = INT32_MIN; })) return "a coefficient that overflows passes";
  Axis order = keeping(9, 4, &random);
  order.first[2] = 0;
  cpu::Resize resize;
  if (cpu::Resize::make(order.taps(), good.taps(), &resize).ok()) return "pixels out of order pass";
  return {};
}

// With the better instruction sets hidden one after the other.
std::string everywhere(std::string (*test)()) {
  int64_t hidden = 0;
  std::string wrong;
  for (int64_t targets = hwy::SupportedTargets(); targets != 0 && wrong.empty(); targets &= targets - 1) {
    hwy::DisableTargets(hidden);
    wrong = test();
    if (!wrong.empty()) wrong = std::string(hwy::TargetName(targets & -targets)) + ": " + wrong;
    hidden |= targets & -targets;
  }
  hwy::DisableTargets(0);
  return wrong;
}

const Adds kMany("resize: random tables, on every instruction set", [] { return everywhere(many); });
const Adds kExtremes("resize: sums at the bound of 32 bits", [] { return everywhere(extremes); });
const Adds kRefusals("resize: tables that point elsewhere are refused", refusals);

}  // namespace
}  // namespace krait::test

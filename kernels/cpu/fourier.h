// The plan of a real Fourier transform: how its length falls into factors, and the factors of unit length.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

namespace krait::cpu {

struct Fourier {
  // n points of this stage are groups · radix; it is done for `stride` transforms at once.
  struct Stage {
    int64_t radix;
    int64_t groups;
    int64_t stride;
    int64_t twiddles;  // in `twiddles`: e^(−2πi·p·k / n) as [p < groups][k < radix], real and imaginary
    int64_t roots;     // there too, for radices without a form of their own: e^(−2πi·j / radix)
  };

  int64_t size = 0;
  // An even length is done as half as many complex points, even samples and i · odd ones.
  bool halved = false;
  int64_t points = 0;
  std::vector<Stage> stages;
  std::vector<float> twiddles;
  std::vector<float> halves;  // e^(−2πi·k / size) for k ≤ points / 2

  // Plans are made once per length and kept. Any thread.
  static std::shared_ptr<const Fourier> of(int64_t size);
};

}  // namespace krait::cpu

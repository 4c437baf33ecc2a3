// A signal resampled by filters that take turns. No op of programs: it serves decoders, before anything is on a device.
#pragma once

#include <cstdint>

#include "krait/abi.h"

namespace krait::cpu {

struct Polyphase {
  const float* signal = nullptr;
  int64_t samples = 0;
  // [up, taps]; output m uses filter m · down mod up.
  const double* filters = nullptr;
  int64_t up = 0;
  int64_t down = 0;
  int64_t taps = 0;
  float* output = nullptr;
  int64_t outputs = 0;
  // Of the first output: its filter, and the sample on which that filter's first tap lies. Beyond both ends the signal is zero.
  int64_t phase = 0;
  int64_t base = 0;
};

// Refuses tables and phases that do not fit. Sums are in double, in one order.
Status polyphase(const Polyphase& work);

}  // namespace krait::cpu

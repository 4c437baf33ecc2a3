// Elements of files on their way into the memory of a device.
#pragma once

#include <napi.h>

#include <memory>
#include <vector>

#include "../cpu/weights.h"
#include "../executor/device.h"

namespace krait::addon {

// The reads of one call. They keep the memory that they write to, or look at.
class FileReads {
 public:
  // { fd, offset, count, stored, scale, rounds, narrow, byteOffset }; null memory is a closed buffer. In memory of a mapped file the
  // elements are there already, as they are stored: they are only looked at.
  Status add(const Device& device, std::shared_ptr<Memory> memory, const Napi::Object& options);
  // On the executor thread.
  Status read(const Device& device);
  void settle(Napi::Env env, const Napi::Promise::Deferred& deferred) const;

 private:
  Status read_staged(const Device& device);

  std::vector<cpu::WeightRead> reads_;
  std::vector<std::shared_ptr<Memory>> memory_;
  cpu::WeightsRead result_;
};

}  // namespace krait::addon

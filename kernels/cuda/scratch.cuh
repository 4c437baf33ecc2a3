// The parts of an op's scratch memory.
#pragma once

#include "cuda.h"

namespace krait::cuda {

class Scratch {
 public:
  Scratch(void* memory, int64_t bytes) : memory_(static_cast<char*>(memory)), bytes_(bytes) {}

  template <typename T>
  T* take(int64_t count) {
    T* part = reinterpret_cast<T*>(memory_ + used_);
    const int64_t bytes = count * static_cast<int64_t>(sizeof(T));
    used_ += (bytes + kArenaAlignment - 1) / kArenaAlignment * kArenaAlignment;
    return part;
  }

  int64_t used() const { return used_; }

  // To be asked before the parts are used.
  Status check(const char* op) const {
    if (used_ <= bytes_) return {};
    return error(StatusCode::invalid_program, "Expected %lld bytes of scratch memory for %s but received %lld", static_cast<long long>(used_), op,
                 static_cast<long long>(bytes_));
  }

 private:
  char* memory_;
  int64_t bytes_;
  int64_t used_ = 0;
};

}  // namespace krait::cuda

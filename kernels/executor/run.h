// Runs of loaded programs, on the executor thread of their device.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "device.h"

namespace krait {

struct RunRequest;

// The ops of the last few kinds of run, recorded by the device: the same symbol values and buffers replay with one launch.
// Used on the executor thread alone.
class Recordings {
 public:
  explicit Recordings(std::shared_ptr<Device> device) : device_(std::move(device)) {}
  ~Recordings();
  Recordings(const Recordings&) = delete;
  Recordings& operator=(const Recordings&) = delete;

  struct Entry {
    std::vector<int64_t> symbols;
    std::vector<std::shared_ptr<Memory>> buffers;  // also keeps them alive while the recording names them
    int64_t runs = 0;
    void* recording = nullptr;
    bool refused = false;
  };

  // The entry of this kind of run, made when new; the one unused for longest goes.
  Entry& find(const RunRequest& request);

 private:
  static constexpr size_t kMost = 4;
  std::shared_ptr<Device> device_;
  std::vector<Entry> entries_;  // last used first
};

// A program loaded on a device, with its arena.
struct LoadedProgram {
  std::shared_ptr<Device> device;
  Program program;
  std::shared_ptr<Memory> arena;
  std::unique_ptr<Recordings> recordings;
};

struct RunRequest {
  std::vector<int64_t> symbols;
  // In the program's order of input and output bindings.
  std::vector<std::shared_ptr<Staging>> inputs;
  std::vector<std::shared_ptr<Staging>> outputs;
  // In the program's order of parameters and states.
  std::vector<std::shared_ptr<Memory>> buffers;
  std::shared_ptr<std::atomic<bool>> cancel;
};

// Starts one program: copies in, ops, copies out. What it gives waits for the end; both must outlive that.
Device::Finish launch_program(LoadedProgram& loaded, const RunRequest& request);

// Runs one program to its end.
Status run_program(LoadedProgram& loaded, const RunRequest& request);

struct Measurement {
  int32_t warmup = 3;
  int32_t repeats = 10;
  bool per_op = false;
  // Milliseconds by the device's clock: of each repetition, or with per_op of each node in each repetition, repetition after repetition.
  std::vector<double> times;
};

// Runs the ops of a program again and again and times them, without the copies. States move on with each repetition.
Status measure_program(LoadedProgram& loaded, const RunRequest& request, Measurement* measurement);

}  // namespace krait

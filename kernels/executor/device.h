// One device: a backend, one owned thread, a queue of jobs in order, and the memory that lives there.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "krait/backend.h"
#include "mapped_file.h"
#include "program.h"

namespace krait {

class Device;

// Device memory that frees itself on the device's thread when the last user is done.
class Memory {
 public:
  Memory(std::shared_ptr<Device> device, void* data, int64_t bytes);
  // Bytes of a mapped file: they can only be read.
  Memory(std::shared_ptr<Device> device, std::shared_ptr<const MappedFile> file, int64_t offset, int64_t bytes);
  ~Memory();
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  const Device* device() const { return device_.get(); }
  void* data() const { return data_; }
  int64_t bytes() const { return bytes_; }
  // Null where it can be written to.
  const MappedFile* file() const { return file_.get(); }

 private:
  std::shared_ptr<Device> device_;
  void* data_;
  int64_t bytes_;
  std::shared_ptr<const MappedFile> file_;
};

// Host bytes on their way in or out; 64-byte aligned. Those of `Device::stage` are pinned where the device has pinned memory.
class Staging {
 public:
  explicit Staging(int64_t bytes);
  Staging(std::shared_ptr<Device> device, void* data, int64_t bytes, int64_t capacity);
  ~Staging();
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;

  void* data() const { return data_; }
  int64_t bytes() const { return bytes_; }
  bool pinned() const { return device_ != nullptr; }

 private:
  void* data_;
  int64_t bytes_;
  std::shared_ptr<Device> device_;  // null for plain memory
  int64_t capacity_ = 0;
};

using Done = std::function<void(const Status&)>;

class Device : public std::enable_shared_from_this<Device> {
 public:
  // `done` of every job is called on the executor thread.
  static std::shared_ptr<Device> open(const krait_backend_table* table, const krait_device_options& options, Status* status);

  const krait_backend_table& backend() const { return *table_; }
  void* context() const { return context_; }
  // Of the host, for work that the executor thread shares out.
  int32_t threads() const { return threads_; }
  // Whether its memory is another than the host's.
  bool has_own_memory() const { return table_->allocate_host != nullptr; }

  // Runs `work` on the executor thread after all earlier jobs. Once the device is closed jobs fail with `cancelled`.
  void submit(std::function<Status()> work, Done done);

  // The same in two steps: `launch` enqueues, the function it gives waits and tells how it went. The launch of one more such job may
  // come between the two.
  using Finish = std::function<Status()>;
  void submit_run(std::function<Finish()> launch, Done done);

  std::shared_ptr<Memory> allocate(int64_t bytes, Status* status);
  void release(void* data);
  // Unmapping takes as long as there are pages: not on the thread of whoever lets go.
  void release(std::shared_ptr<const MappedFile> file);

  // Host bytes to copy from or to this device. Pinned memory is slow to get, so what was given back is used again.
  std::shared_ptr<Staging> stage(int64_t bytes);
  void give_back(void* data, int64_t capacity);
  // Copies between device memory and staged bytes; those of pinned bytes are done at the next synchronize.
  void copy_in(void* to, const Staging& from, Status* status);
  void copy_out(const Staging& to, const void* from, Status* status);

  // Sets the flag that running programs look at between ops, refuses new jobs and ends the thread when the queue is empty.
  // `done` is the last thing the thread calls.
  void close(std::function<void()> done);
  bool cancelled() const { return cancelled_.load(std::memory_order_relaxed); }

  std::string describe() const;

 private:
  Device() = default;
  void loop();

  struct Job {
    std::function<Finish()> launch;
    Done done;
    bool overlaps = false;  // whether it may be launched while the job before it still runs
  };
  void submit(Job job);
  static void end(const Finish& finish, Done done);

  const krait_backend_table* table_ = nullptr;
  void* context_ = nullptr;
  int32_t threads_ = 1;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Job> jobs_;
  std::vector<void*> garbage_;
  std::vector<std::shared_ptr<const MappedFile>> unused_files_;
  std::multimap<int64_t, void*> idle_host_;  // by capacity
  int64_t idle_host_bytes_ = 0;
  int64_t host_bytes_ = 0;  // the idle ones among them
  bool closing_ = false;
  bool finished_ = false;
  std::function<void()> closed_;
  std::atomic<bool> cancelled_{false};
};

}  // namespace krait

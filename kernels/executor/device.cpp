#include "device.h"

#include <algorithm>
#include <cstdlib>
#include <future>
#include <new>
#include <thread>

namespace krait {
namespace {

// Pinned memory that nothing uses, kept for the next copies.
constexpr int64_t kMostIdleHostBytes = int64_t{512} << 20;
// And all of it, with what results hold that JavaScript has not let go; beyond, plain memory serves.
constexpr int64_t kMostHostBytes = int64_t{1} << 30;
constexpr int64_t kLeastHostBytes = 4096;

// Of a handful of sizes per power of two, so that chunks of nearly the same length share buffers.
int64_t host_capacity(int64_t bytes) {
  int64_t step = kLeastHostBytes;
  while (step * 8 < bytes) step *= 2;
  return std::max(kLeastHostBytes, (bytes + step - 1) / step * step);
}

}  // namespace

Memory::Memory(std::shared_ptr<Device> device, void* data, int64_t bytes) : device_(std::move(device)), data_(data), bytes_(bytes) {}

Memory::Memory(std::shared_ptr<Device> device, std::shared_ptr<const MappedFile> file, int64_t offset, int64_t bytes)
    : device_(std::move(device)), data_(const_cast<char*>(file->data()) + offset), bytes_(bytes), file_(std::move(file)) {}

Memory::~Memory() {
  if (file_ != nullptr) {
    device_->release(std::move(file_));
  } else {
    device_->release(data_);
  }
}

Staging::Staging(int64_t bytes) : data_(std::aligned_alloc(64, static_cast<size_t>((bytes + 64) / 64 * 64))), bytes_(bytes) {
  if (data_ == nullptr) throw std::bad_alloc();
}

Staging::Staging(std::shared_ptr<Device> device, void* data, int64_t bytes, int64_t capacity)
    : data_(data), bytes_(bytes), device_(std::move(device)), capacity_(capacity) {}

Staging::~Staging() {
  if (device_ == nullptr) {
    std::free(data_);
  } else {
    device_->give_back(data_, capacity_);
  }
}

std::shared_ptr<Device> Device::open(const krait_backend_table* table, const krait_device_options& options, Status* status) {
  std::shared_ptr<Device> device(new Device());
  device->table_ = table;
  device->threads_ = options.threads > 0 ? options.threads : static_cast<int32_t>(std::max(1u, std::thread::hardware_concurrency()));
  // The backend opens on its own thread: CUDA contexts and OpenMP teams belong to the thread that made them. The thread keeps the
  // device alive until close(), so that no job can destroy the device under its feet.
  std::promise<bool> opened;
  std::thread([device, options, status, &opened]() mutable {
    device->context_ = device->table_->open(&options, status);
    const bool good = status->ok();
    opened.set_value(good);
    if (good) device->loop();
    device.reset();
  }).detach();
  return opened.get_future().get() ? device : nullptr;
}

void Device::submit(std::function<Status()> work, Done done) {
  submit(Job{[work = std::move(work)] { return Finish(work); }, std::move(done), false});
}

void Device::submit_run(std::function<Finish()> launch, Done done) { submit(Job{std::move(launch), std::move(done), true}); }

void Device::submit(Job job) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!closing_) {
      jobs_.push_back(std::move(job));
      wake_.notify_one();
      return;
    }
  }
  job.done(error(StatusCode::cancelled, "Expected an open device but received one that is closed"));
}

std::shared_ptr<Memory> Device::allocate(int64_t bytes, Status* status) {
  void* data = table_->allocate(context_, bytes, status);
  if (!status->ok()) return nullptr;
  return std::make_shared<Memory>(shared_from_this(), data, bytes);
}

void Device::release(void* data) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!finished_) {
      garbage_.push_back(data);
      wake_.notify_one();
      return;
    }
  }
  // The thread is gone and the context with it; only plain memory is left to free.
  table_->release(nullptr, data);
}

void Device::release(std::shared_ptr<const MappedFile> file) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (finished_) return;
  unused_files_.push_back(std::move(file));
  wake_.notify_one();
}

std::shared_ptr<Staging> Device::stage(int64_t bytes) {
  if (table_->allocate_host == nullptr) return std::make_shared<Staging>(bytes);
  const int64_t capacity = host_capacity(bytes);
  void* data = nullptr;
  {
    // Held over the allocation: the context must not close under it.
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto idle = idle_host_.find(capacity);
    if (idle != idle_host_.end()) {
      data = idle->second;
      idle_host_.erase(idle);
      idle_host_bytes_ -= capacity;
    } else if (!finished_ && host_bytes_ + capacity <= kMostHostBytes) {
      Status status;
      data = table_->allocate_host(context_, capacity, &status);
      if (data != nullptr) host_bytes_ += capacity;
    }
  }
  // Plain memory is slower to copy, not wrong.
  if (data == nullptr) return std::make_shared<Staging>(bytes);
  return std::make_shared<Staging>(shared_from_this(), data, bytes, capacity);
}

void Device::give_back(void* data, int64_t capacity) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!finished_ && idle_host_bytes_ + capacity <= kMostIdleHostBytes) {
      idle_host_.emplace(capacity, data);
      idle_host_bytes_ += capacity;
      return;
    }
    host_bytes_ -= capacity;
  }
  table_->release_host(nullptr, data);
}

void Device::copy_in(void* to, const Staging& from, Status* status) {
  if (from.bytes() == 0) return;
  const auto copy = from.pinned() ? table_->enqueue_upload : table_->upload;
  copy(context_, to, from.data(), from.bytes(), status);
}

void Device::copy_out(const Staging& to, const void* from, Status* status) {
  if (to.bytes() == 0) return;
  const auto copy = to.pinned() ? table_->enqueue_download : table_->download;
  copy(context_, to.data(), from, to.bytes(), status);
}

void Device::close(std::function<void()> done) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!closing_) {
      closing_ = true;
      cancelled_ = true;
      closed_ = std::move(done);
      wake_.notify_one();
      return;
    }
  }
  done();
}

std::string Device::describe() const {
  char json[1024] = "{}";
  table_->describe(context_, json, sizeof(json));
  return json;
}

void Device::end(const Finish& finish, Done done) {
  Status status;
  try {
    status = finish();
  } catch (const std::bad_alloc&) {
    status = error(StatusCode::out_of_memory, "Expected host memory for the run but received none");
  } catch (const std::exception& e) {
    status = error(StatusCode::device, "Expected the run to finish but received %s", e.what());
  }
  done(status);
}

void Device::loop() {
  // The one run that was launched and not waited for.
  Finish running;
  Done running_done;
  const auto settle = [&] {
    if (!running) return;
    // Emptied before anyone hears of the end, with all that they hold.
    Finish finish;
    Done done;
    finish.swap(running);
    done.swap(running_done);
    end([finish = std::move(finish)]() mutable {
      const Status status = finish();
      finish = nullptr;
      return status;
    }, std::move(done));
  };
  std::unique_lock<std::mutex> lock(mutex_);
  for (;;) {
    wake_.wait(lock, [&] { return running || !jobs_.empty() || !garbage_.empty() || !unused_files_.empty() || closing_; });
    if (!unused_files_.empty()) {
      std::vector<std::shared_ptr<const MappedFile>> files;
      files.swap(unused_files_);
      lock.unlock();
      files.clear();
      lock.lock();
      continue;
    }
    if (!garbage_.empty()) {
      std::vector<void*> garbage;
      garbage.swap(garbage_);
      lock.unlock();
      for (void* data : garbage) table_->release(context_, data);
      lock.lock();
      continue;
    }
    if (jobs_.empty()) {
      if (!running) break;
      lock.unlock();
      settle();
      lock.lock();
      continue;
    }
    Job job = std::move(jobs_.front());
    jobs_.pop_front();
    const bool refuse = closing_;
    lock.unlock();
    if (!job.overlaps || refuse || table_->checkpoint == nullptr) settle();
    Finish finish;
    if (refuse) {
      finish = [] { return error(StatusCode::cancelled, "Expected the device to stay open but received close()"); };
    } else {
      try {
        finish = job.launch();
      } catch (const std::bad_alloc&) {
        finish = [] { return error(StatusCode::out_of_memory, "Expected host memory for the run but received none"); };
      } catch (const std::exception& e) {
        finish = [what = std::string(e.what())] { return error(StatusCode::device, "Expected the run to start but received %s", what.c_str()); };
      }
    }
    job.launch = nullptr;
    settle();
    running = std::move(finish);
    running_done = std::move(job.done);
    if (!job.overlaps || table_->checkpoint == nullptr) settle();
    lock.lock();
  }
  finished_ = true;
  std::function<void()> closed = std::move(closed_);
  std::multimap<int64_t, void*> idle;
  idle.swap(idle_host_);
  lock.unlock();
  for (const auto& entry : idle) table_->release_host(context_, entry.second);
  table_->close(context_);
  if (closed) closed();
}

}  // namespace krait

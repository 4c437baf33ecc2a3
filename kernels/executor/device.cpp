#include "device.h"

#include <cstdlib>
#include <future>
#include <new>
#include <thread>

namespace krait {

Memory::Memory(std::shared_ptr<Device> device, void* data, int64_t bytes) : device_(std::move(device)), data_(data), bytes_(bytes) {}

Memory::~Memory() { device_->release(data_); }

Staging::Staging(int64_t bytes) : data_(std::aligned_alloc(64, static_cast<size_t>((bytes + 64) / 64 * 64))), bytes_(bytes) {
  if (data_ == nullptr) throw std::bad_alloc();
}

Staging::~Staging() { std::free(data_); }

std::shared_ptr<Device> Device::open(const krait_backend_table* table, const krait_device_options& options, Status* status) {
  std::shared_ptr<Device> device(new Device());
  device->table_ = table;
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
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!closing_) {
      jobs_.push_back({std::move(work), std::move(done)});
      wake_.notify_one();
      return;
    }
  }
  done(error(StatusCode::cancelled, "Expected an open device but received one that is closed"));
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

void Device::loop() {
  std::unique_lock<std::mutex> lock(mutex_);
  for (;;) {
    wake_.wait(lock, [&] { return !jobs_.empty() || !garbage_.empty() || closing_; });
    if (!garbage_.empty()) {
      std::vector<void*> garbage;
      garbage.swap(garbage_);
      lock.unlock();
      for (void* data : garbage) table_->release(context_, data);
      lock.lock();
      continue;
    }
    if (jobs_.empty()) break;
    Job job = std::move(jobs_.front());
    jobs_.pop_front();
    const bool refuse = closing_;
    lock.unlock();
    {
      Status status;
      if (refuse) {
        status = error(StatusCode::cancelled, "Expected the device to stay open but received close()");
      } else {
        try {
          status = job.work();
        } catch (const std::bad_alloc&) {
          status = error(StatusCode::out_of_memory, "Expected host memory for the run but received none");
        } catch (const std::exception& e) {
          status = error(StatusCode::device, "Expected the run to finish but received %s", e.what());
        }
      }
      job.work = nullptr;  // drops what the job held before anyone hears of its end
      job.done(status);
      job.done = nullptr;
    }
    lock.lock();
  }
  finished_ = true;
  std::function<void()> closed = std::move(closed_);
  lock.unlock();
  table_->close(context_);
  if (closed) closed();
}

namespace {

struct BackendCalls {
  const krait_backend_table& table;
  void* context;
  Status status;

  bool upload(void* to, const void* from, int64_t bytes) {
    if (bytes > 0) table.upload(context, to, from, bytes, &status);
    return status.ok();
  }
  bool download(void* to, const void* from, int64_t bytes) {
    if (bytes > 0) table.download(context, to, from, bytes, &status);
    return status.ok();
  }
};

int64_t tensor_bytes(const Tensor& t) {
  int64_t n = dtype_size(t.dtype);
  for (int32_t a = 0; a < t.rank; ++a) n *= t.dim[a];
  return n;
}

Status bind(const LoadedProgram& loaded, const RunRequest& request, std::vector<Tensor>* tensors) {
  const Program& program = loaded.program;
  if (static_cast<int64_t>(request.buffers.size()) != program.buffer_count) {
    return error(StatusCode::invalid_argument, "Expected %lld bound buffers for the run but received %zu",
                 static_cast<long long>(program.buffer_count), request.buffers.size());
  }
  for (size_t i = 0; i < program.values.size(); ++i) {
    const ValueInfo& value = program.values[i];
    char* base = nullptr;
    if (value.buffer < 0) {
      base = static_cast<char*>(loaded.arena->data()) + value.base;
    } else {
      const auto& memory = request.buffers[value.buffer];
      if (memory->bytes() < value.storage_bytes) {
        return error(StatusCode::invalid_argument, "Expected at least %lld bytes for bound buffer %d but received %lld",
                     static_cast<long long>(value.storage_bytes), value.buffer, static_cast<long long>(memory->bytes()));
      }
      base = static_cast<char*>(memory->data());
    }
    (*tensors)[i].data = base + value.offset;
  }
  return {};
}

}  // namespace

Status run_program(const LoadedProgram& loaded, const RunRequest& request) {
  const Program& program = loaded.program;
  Shapes shapes;
  Status status = resolve_shapes(program, request.symbols, &shapes);
  if (!status.ok()) return status;
  status = bind(loaded, request, &shapes.tensors);
  if (!status.ok()) return status;

  BackendCalls backend{loaded.device->backend(), loaded.device->context(), {}};
  const auto stopped = [&] { return request.cancel->load(std::memory_order_relaxed) || loaded.device->cancelled(); };
  size_t next_input = 0;
  for (const BindingInfo& binding : program.bindings) {
    if (binding.kind != BindingKind::input) continue;
    const Tensor& t = shapes.tensors[binding.value];
    if (next_input >= request.inputs.size() || request.inputs[next_input]->bytes() != tensor_bytes(t)) {
      return error(StatusCode::invalid_argument, "Expected %lld bytes for input %zu but received %lld",
                   static_cast<long long>(tensor_bytes(t)), next_input,
                   next_input < request.inputs.size() ? static_cast<long long>(request.inputs[next_input]->bytes()) : -1LL);
    }
    const Staging& staging = *request.inputs[next_input++];
    if (binding.role != IndexRole::none) {
      status = check_indices(binding, request.symbols, static_cast<const int32_t*>(staging.data()), t.dim[0]);
      if (!status.ok()) return status;
    }
    if (!backend.upload(t.data, staging.data(), staging.bytes())) return backend.status;
  }

  for (const NodeInfo& node : program.nodes) {
    if (stopped()) {
      status = error(StatusCode::cancelled, "Expected the run to finish but received a cancellation");
      break;
    }
    Tensor operands[kMaxOperands] = {};
    for (size_t i = 0; i < node.operands.size(); ++i) {
      if (node.operands[i] >= 0) operands[i] = shapes.tensors[node.operands[i]];
    }
    Call call{operands, node.attributes.data(), nullptr, node.scratch_bytes};
    if (node.scratch_bytes > 0) call.scratch = static_cast<char*>(loaded.arena->data()) + node.scratch_offset;
    backend.table.run(backend.context, node.op, &call, &backend.status);
    if (!backend.status.ok()) {
      status = backend.status;
      break;
    }
  }
  if (status.ok()) {
    size_t next_output = 0;
    for (const BindingInfo& binding : program.bindings) {
      if (binding.kind != BindingKind::output) continue;
      const Tensor& t = shapes.tensors[binding.value];
      if (next_output >= request.outputs.size() || request.outputs[next_output]->bytes() != tensor_bytes(t)) {
        status = error(StatusCode::invalid_argument, "Expected %lld bytes for output %zu", static_cast<long long>(tensor_bytes(t)), next_output);
        break;
      }
      const Staging& staging = *request.outputs[next_output++];
      if (!backend.download(staging.data(), t.data, staging.bytes())) {
        status = backend.status;
        break;
      }
    }
  }
  // Even after an error: nothing may still be running on memory that is about to be given away.
  Status finished;
  backend.table.synchronize(backend.context, &finished);
  return status.ok() ? finished : status;
}

}  // namespace krait

#include "run.h"

#include <algorithm>

namespace krait {
namespace {

int64_t tensor_bytes(const Tensor& t) {
  int64_t n = dtype_size(t.dtype);
  for (int32_t a = 0; a < t.rank; ++a) n *= t.dim[a];
  return n;
}

// One run with its shapes resolved and its memory bound.
class Run {
 public:
  Run(const LoadedProgram& loaded, const RunRequest& request)
      : loaded_(loaded), program_(loaded.program), request_(request), table_(loaded.device->backend()), context_(loaded.device->context()) {}

  Status bind() {
    Status status = resolve_shapes(program_, request_.symbols, &shapes_);
    if (!status.ok()) return status;
    if (static_cast<int64_t>(request_.buffers.size()) != program_.buffer_count) {
      return error(StatusCode::invalid_argument, "Expected %lld bound buffers for the run but received %zu",
                   static_cast<long long>(program_.buffer_count), request_.buffers.size());
    }
    for (size_t i = 0; i < program_.values.size(); ++i) {
      const ValueInfo& value = program_.values[i];
      char* base = nullptr;
      if (value.buffer < 0) {
        base = static_cast<char*>(loaded_.arena->data()) + value.base;
      } else {
        const auto& memory = request_.buffers[value.buffer];
        if (memory->device() != loaded_.device.get()) {
          return error(StatusCode::invalid_argument, "Expected memory of the program's own device for bound buffer %d but received another device's",
                       value.buffer);
        }
        if (memory->bytes() < value.storage_bytes) {
          return error(StatusCode::invalid_argument, "Expected at least %lld bytes for bound buffer %d but received %lld",
                       static_cast<long long>(value.storage_bytes), value.buffer, static_cast<long long>(memory->bytes()));
        }
        if (memory->file() != nullptr) {
          if (program_.writes[static_cast<size_t>(value.buffer)]) {
            return error(StatusCode::invalid_argument, "Expected memory that can be written to for bound buffer %d but received that of a mapped file",
                         value.buffer);
          }
          if (reinterpret_cast<uintptr_t>(memory->data()) % static_cast<uintptr_t>(dtype_size(value.dtype)) != 0) {
            return error(StatusCode::invalid_argument, "Expected a multiple of the element's size for the place of bound buffer %d in its file but received another",
                         value.buffer);
          }
          add_file(memory->file());
        }
        base = static_cast<char*>(memory->data());
      }
      shapes_.tensors[i].data = base + value.offset;
    }
    if (!files_.empty()) MappedFile::arm();
    // States stay as they are when the weights are wrong from the start.
    return check_files();
  }

  // What was computed from mapped files, if they are those that were mapped.
  Status check_files() const {
    for (const MappedFile* file : files_) {
      const Status status = file->check();
      if (!status.ok()) return status;
    }
    return {};
  }

  Status copy_in() {
    size_t next = 0;
    for (const BindingInfo& binding : program_.bindings) {
      if (binding.kind != BindingKind::input) continue;
      const Tensor& t = shapes_.tensors[binding.value];
      if (next >= request_.inputs.size() || request_.inputs[next]->bytes() != tensor_bytes(t)) {
        return error(StatusCode::invalid_argument, "Expected %lld bytes for input %zu but received %lld",
                     static_cast<long long>(tensor_bytes(t)), next,
                     next < request_.inputs.size() ? static_cast<long long>(request_.inputs[next]->bytes()) : -1LL);
      }
      const Staging& staging = *request_.inputs[next++];
      if (binding.role != IndexRole::none) {
        const Status status = check_indices(binding, request_.symbols, static_cast<const int32_t*>(staging.data()), t.dim[0]);
        if (!status.ok()) return status;
      }
      Status status;
      loaded_.device->copy_in(t.data, staging, &status);
      if (!status.ok()) return status;
    }
    return {};
  }

  Status copy_out() {
    size_t next = 0;
    for (const BindingInfo& binding : program_.bindings) {
      if (binding.kind != BindingKind::output) continue;
      const Tensor& t = shapes_.tensors[binding.value];
      if (next >= request_.outputs.size() || request_.outputs[next]->bytes() != tensor_bytes(t)) {
        return error(StatusCode::invalid_argument, "Expected %lld bytes for output %zu but received another size",
                     static_cast<long long>(tensor_bytes(t)), next);
      }
      const Staging& staging = *request_.outputs[next++];
      Status status;
      loaded_.device->copy_out(staging, t.data, &status);
      if (!status.ok()) return status;
    }
    return {};
  }

  Call call_of(const NodeInfo& node, Tensor* operands) const {
    for (size_t i = 0; i < node.operands.size(); ++i) {
      if (node.operands[i] >= 0) operands[i] = shapes_.tensors[node.operands[i]];
    }
    Call call{operands, node.attributes.data(), nullptr, node.scratch_bytes};
    if (node.scratch_bytes > 0) call.scratch = static_cast<char*>(loaded_.arena->data()) + node.scratch_offset;
    return call;
  }

  // All ops in order; with `first_mark` ≥ 0 a time mark after each, counted from there.
  Status run_ops(int32_t first_mark = -1) {
    int32_t slot = first_mark;
    for (size_t n = 0; n < program_.nodes.size(); ++n) {
      if (stopped()) return cancelled();
      Tensor operands[kMaxOperands] = {}, next_operands[kMaxOperands] = {};
      const NodeInfo& node = program_.nodes[n];
      const Call call = call_of(node, operands);
      Status status;
      // Marks are of single ops.
      if (table_.run_pair != nullptr && first_mark < 0 && n + 1 < program_.nodes.size()) {
        const NodeInfo& next = program_.nodes[n + 1];
        const Call next_call = call_of(next, next_operands);
        if (table_.run_pair(context_, node.op, &call, next.op, &next_call, &status)) {
          if (!status.ok()) return status;
          ++n;
          continue;
        }
      }
      table_.run(context_, node.op, &call, &status);
      if (!status.ok()) return status;
      if (first_mark >= 0) status = mark(slot++);
      if (!status.ok()) return status;
    }
    return {};
  }

  // The ops as one replayed recording where the device has recordings, from the third run of a kind on: a size that comes once or
  // twice (the last chunk) is not worth recording.
  Status run_recorded(Recordings* recordings) {
    if (table_.begin_recording == nullptr || recordings == nullptr) return run_ops();
    Recordings::Entry& entry = recordings->find(request_);
    if (entry.runs++ < 2 || entry.refused) return run_ops();
    Status status;
    if (entry.recording == nullptr) {
      table_.begin_recording(context_, &status);
      if (!status.ok()) return status;
      const Status recorded = run_ops();
      void* recording = table_.end_recording(context_, &status);
      if (!recorded.ok()) {
        // What was recorded ends somewhere between the ops: it must never be replayed.
        if (recording != nullptr) table_.discard(context_, recording);
        if (recorded.code == StatusCode::cancelled) return recorded;
        // An op that cannot be recorded may say so itself; if it cannot run either, it says so again.
        entry.refused = true;
        return run_ops();
      }
      if (!status.ok()) return status;
      entry.recording = recording;
      if (entry.recording == nullptr) {
        entry.refused = true;
        return run_ops();
      }
    }
    if (stopped()) return cancelled();
    table_.replay(context_, entry.recording, &status);
    return status;
  }

  Status mark(int32_t slot) {
    Status status;
    table_.mark(context_, slot, &status);
    return status;
  }

  // Even after an error: nothing may still be running on memory that is about to be given away.
  Status finish(const Status& so_far) {
    Status finished;
    table_.synchronize(context_, &finished);
    return so_far.ok() ? finished : so_far;
  }

 private:
  // Buffers of one file mostly follow each other.
  void add_file(const MappedFile* file) {
    if (!files_.empty() && files_.back() == file) return;
    if (std::find(files_.begin(), files_.end(), file) == files_.end()) files_.push_back(file);
  }

  bool stopped() const { return request_.cancel->load(std::memory_order_relaxed) || loaded_.device->cancelled(); }
  static Status cancelled() { return error(StatusCode::cancelled, "Expected the run to finish but received a cancellation"); }

  const LoadedProgram& loaded_;
  const Program& program_;
  const RunRequest& request_;
  const krait_backend_table& table_;
  void* context_;
  Shapes shapes_;
  std::vector<const MappedFile*> files_;
};

}  // namespace

Recordings::~Recordings() {
  // Graphs may be destroyed on any thread, unlike the stream they were recorded on.
  for (Entry& entry : entries_) {
    if (entry.recording != nullptr) device_->backend().discard(device_->context(), entry.recording);
  }
}

Recordings::Entry& Recordings::find(const RunRequest& request) {
  for (size_t i = 0; i < entries_.size(); ++i) {
    if (entries_[i].symbols != request.symbols || entries_[i].buffers != request.buffers) continue;
    std::rotate(entries_.begin(), entries_.begin() + static_cast<int64_t>(i), entries_.begin() + static_cast<int64_t>(i) + 1);
    return entries_.front();
  }
  if (entries_.size() == kMost) {
    if (entries_.back().recording != nullptr) device_->backend().discard(device_->context(), entries_.back().recording);
    entries_.pop_back();
  }
  Entry entry;
  entry.symbols = request.symbols;
  entry.buffers = request.buffers;
  entries_.insert(entries_.begin(), std::move(entry));
  return entries_.front();
}

Device::Finish launch_program(LoadedProgram& loaded, const RunRequest& request) {
  Run run(loaded, request);
  Status status = run.bind();
  if (!status.ok()) return [status] { return status; };
  status = run.copy_in();
  if (status.ok()) status = run.run_recorded(loaded.recordings.get());
  if (status.ok()) status = run.copy_out();
  const krait_backend_table& table = loaded.device->backend();
  void* context = loaded.device->context();
  if (table.checkpoint == nullptr) {
    status = run.finish(status);
    if (status.ok()) status = run.check_files();
    return [status] { return status; };
  }
  // Even after an error: nothing may still be running on memory that is about to be given away.
  Status marked;
  void* ticket = table.checkpoint(context, &marked);
  if (ticket == nullptr) return [status = status.ok() ? marked : status] { return status; };
  return [&table, context, ticket, status] {
    Status finished;
    table.wait(context, ticket, &finished);
    return status.ok() ? finished : status;
  };
}

Status run_program(LoadedProgram& loaded, const RunRequest& request) { return launch_program(loaded, request)(); }

Status measure_program(LoadedProgram& loaded, const RunRequest& request, Measurement* measurement) {
  Run run(loaded, request);
  Status status = run.bind();
  // Ops may use the memory of inputs again once nothing needs them: every repetition brings them anew.
  for (int32_t i = 0; status.ok() && i < measurement->warmup; ++i) {
    status = run.copy_in();
    if (status.ok()) status = measurement->per_op ? run.run_ops() : run.run_recorded(loaded.recordings.get());
  }
  status = run.finish(status);
  // Slot 0 is a repetition's start; the marks after it are its ops, or its end alone.
  const int32_t marks = measurement->per_op ? static_cast<int32_t>(loaded.program.nodes.size()) : 1;
  const int32_t stride = marks + 1;
  for (int32_t r = 0; status.ok() && r < measurement->repeats; ++r) {
    status = run.copy_in();
    if (status.ok()) status = run.mark(r * stride);
    if (status.ok()) status = measurement->per_op ? run.run_ops(r * stride + 1) : run.run_recorded(loaded.recordings.get());
    if (status.ok() && !measurement->per_op) status = run.mark(r * stride + 1);
  }
  status = run.finish(status);
  const krait_backend_table& table = loaded.device->backend();
  for (int32_t r = 0; status.ok() && r < measurement->repeats; ++r) {
    for (int32_t m = 0; status.ok() && m < marks; ++m) {
      measurement->times.push_back(table.elapsed(loaded.device->context(), r * stride + m, r * stride + m + 1, &status));
    }
  }
  if (status.ok()) status = run.check_files();
  return status;
}

}  // namespace krait

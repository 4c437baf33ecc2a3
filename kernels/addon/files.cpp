#include "files.h"

#include <algorithm>
#include <utility>

#include "glue.h"

namespace krait::addon {
namespace {

// Elements that go through host memory at a time where the device has memory of its own.
constexpr int64_t kStagedElements = 8 << 20;

}  // namespace

Status FileReads::add(const Device& device, std::shared_ptr<Memory> memory, const Napi::Object& options) {
  if (!memory || memory->device() != &device) return invalid("Expected an open buffer of the device for the elements of a file");
  const auto number = [&](const char* name) { return options.Get(name).As<Napi::Number>(); };
  cpu::WeightRead read;
  read.fd = number("fd").Int32Value();
  read.offset = number("offset").Int64Value();
  read.count = number("count").Int64Value();
  read.scale = number("scale").FloatValue();
  read.rounds = options.Get("rounds").As<Napi::Boolean>().Value();
  read.target = options.Get("narrow").As<Napi::Boolean>().Value() ? DType::bf16 : DType::f32;
  const int32_t stored = number("stored").Int32Value();
  const int64_t at = number("byteOffset").Int64Value();
  const int64_t size = dtype_size(read.target);
  if (stored < 0 || stored > static_cast<int32_t>(cpu::Stored::f64) || read.offset < 0 || read.count < 0 || at < 0 || at % size != 0 ||
      at > memory->bytes() || read.count > (memory->bytes() - at) / size) {
    return invalid("Expected a range inside the buffer for the elements of a file");
  }
  read.stored = static_cast<cpu::Stored>(stored);
  read.is_there = memory->file() != nullptr;
  const bool is_stored = read.stored == (read.target == DType::bf16 ? cpu::Stored::bf16 : cpu::Stored::f32) && (read.target == DType::bf16 || !read.rounds);
  if (read.is_there && (read.scale != 1.0f || !is_stored)) {
    return invalid("Expected elements of a mapped file to be wanted as they are stored");
  }
  read.to = static_cast<char*>(memory->data()) + at;
  reads_.push_back(read);
  memory_.push_back(std::move(memory));
  return {};
}

Status FileReads::read(const Device& device) {
  if (device.has_own_memory()) return read_staged(device);
  std::vector<const MappedFile*> files;
  for (const auto& memory : memory_) {
    const MappedFile* file = memory->file();
    if (file != nullptr && std::find(files.begin(), files.end(), file) == files.end()) files.push_back(file);
  }
  if (!files.empty()) MappedFile::arm();
  Status status = cpu::read_weights(device.threads(), reads_, &result_);
  for (size_t i = 0; status.ok() && i < files.size(); ++i) status = files[i]->check();
  return status;
}

Status FileReads::read_staged(const Device& device) {
  int64_t most = 0;
  for (const cpu::WeightRead& read : reads_) most = std::max(most, std::min(read.count, kStagedElements) * dtype_size(read.target));
  const Staging staging(most);
  for (size_t i = 0; i < reads_.size(); ++i) {
    for (int64_t from = 0; from < reads_[i].count; from += kStagedElements) {
      cpu::WeightRead part = reads_[i];
      part.offset += from * cpu::stored_size(part.stored);
      part.count = std::min(kStagedElements, part.count - from);
      part.to = staging.data();
      Status status = cpu::read_weights(device.threads(), {part}, &result_);
      if (!status.ok()) return status;
      if (result_.read >= 0) {
        result_ = {static_cast<int64_t>(i), result_.bad < 0 ? -1 : result_.bad + from};
        return {};
      }
      const int64_t size = dtype_size(part.target);
      device.backend().upload(device.context(), static_cast<char*>(reads_[i].to) + from * size, staging.data(), part.count * size, &status);
      Status finished;
      device.backend().synchronize(device.context(), &finished);
      if (!status.ok() || !finished.ok()) return status.ok() ? finished : status;
    }
  }
  return {};
}

void FileReads::settle(Napi::Env env, const Napi::Promise::Deferred& deferred) const {
  if (result_.read < 0) return deferred.Resolve(env.Undefined());
  Napi::Object found = Napi::Object::New(env);
  found.Set("read", Napi::Number::New(env, static_cast<double>(result_.read)));
  found.Set("element", Napi::Number::New(env, static_cast<double>(result_.bad)));
  deferred.Resolve(found);
}

}  // namespace krait::addon

// The Node-API objects of devices, buffers and programs, nothing else.
#include <dlfcn.h>
#include <napi.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <utility>

#include "../cpu/backend.h"
#include "../executor/run.h"
#include "files.h"
#include "front_ends.h"
#include "glue.h"
#include "krait/ops.h"

namespace {

using namespace krait;
using namespace krait::addon;

// Memory on a device. close() drops it; jobs in flight keep it until they end.
class BufferObject : public Napi::ObjectWrap<BufferObject> {
 public:
  static Napi::Function define(Napi::Env env) {
    return DefineClass(env, "Buffer",
                       {InstanceMethod<&BufferObject::write>("write"), InstanceMethod<&BufferObject::read>("read"),
                        InstanceMethod<&BufferObject::fill>("fill"), InstanceMethod<&BufferObject::close>("close"), InstanceAccessor<&BufferObject::bytes>("bytes")});
  }
  explicit BufferObject(const Napi::CallbackInfo& info) : Napi::ObjectWrap<BufferObject>(info) {}

  void attach(std::shared_ptr<Device> device, std::shared_ptr<Memory> memory) {
    device_ = std::move(device);
    memory_ = std::move(memory);
  }
  const std::shared_ptr<Memory>& memory() const { return memory_; }

 private:
  Napi::Value bytes(const Napi::CallbackInfo& info) {
    return Napi::Number::New(info.Env(), memory_ ? static_cast<double>(memory_->bytes()) : 0);
  }

  static Status read_only() { return invalid("Expected a buffer that can be written to but received one of a mapped file"); }

  Status range(const Napi::CallbackInfo& info, Bytes* host, int64_t* offset) {
    if (!memory_) return invalid("Expected an open buffer but received one that is closed");
    if (!bytes_of(info[0], host) || !info[1].IsNumber()) return invalid("Expected a typed array and a byte offset for the copy");
    *offset = info[1].As<Napi::Number>().Int64Value();
    if (*offset < 0 || *offset > memory_->bytes() || static_cast<int64_t>(host->size) > memory_->bytes() - *offset) {
      return invalid("Expected a range inside the buffer for the copy");
    }
    return {};
  }

  Napi::Value write(const Napi::CallbackInfo& info) {
    Bytes host{};
    int64_t offset = 0;
    const Status status = memory_ && memory_->file() != nullptr ? read_only() : range(info, &host, &offset);
    if (!status.ok()) return reject(info.Env(), status);
    auto staging = device_->stage(static_cast<int64_t>(host.size));
    if (host.size > 0) std::memcpy(staging->data(), host.data, host.size);
    auto [promise, done] = data_of(info.Env()).completions->start(resolve_undefined);
    auto* device = device_.get();
    auto memory = memory_;
    device_->submit(
        [device, memory, staging, offset] {
          Status s;
          if (staging->bytes() > 0) {
            device->copy_in(static_cast<char*>(memory->data()) + offset, *staging, &s);
            Status finished;
            device->backend().synchronize(device->context(), &finished);
            if (s.ok()) s = finished;
          }
          return s;
        },
        std::move(done));
    return promise;
  }

  Napi::Value read(const Napi::CallbackInfo& info) {
    Bytes host{};
    int64_t offset = 0;
    const Status status = range(info, &host, &offset);
    if (!status.ok()) return reject(info.Env(), status);
    auto staging = device_->stage(static_cast<int64_t>(host.size));
    auto target = std::make_shared<Napi::ObjectReference>(Napi::Persistent(info[0].As<Napi::Object>()));
    auto [promise, done] =
        data_of(info.Env()).completions->start([staging, target](Napi::Env env, Napi::Promise::Deferred deferred, const Status&) {
          Bytes to{};
          // The array may have been detached meanwhile; then it has no bytes.
          if (bytes_of(target->Value(), &to) && static_cast<int64_t>(to.size) == staging->bytes() && to.size > 0) {
            std::memcpy(to.data, staging->data(), to.size);
          }
          deferred.Resolve(env.Undefined());
        });
    auto* device = device_.get();
    auto memory = memory_;
    device_->submit(
        [device, memory, staging, offset] {
          Status s;
          if (memory->file() != nullptr) MappedFile::arm();
          if (staging->bytes() > 0) {
            device->copy_out(*staging, static_cast<const char*>(memory->data()) + offset, &s);
            Status finished;
            device->backend().synchronize(device->context(), &finished);
            if (s.ok()) s = finished;
          }
          return s.ok() && memory->file() != nullptr ? memory->file()->check() : s;
        },
        std::move(done));
    return promise;
  }

  // fill(byte, offset, bytes)
  Napi::Value fill(const Napi::CallbackInfo& info) {
    if (!memory_) return reject(info.Env(), invalid("Expected an open buffer but received one that is closed"));
    if (memory_->file() != nullptr) return reject(info.Env(), read_only());
    const int32_t byte = info[0].As<Napi::Number>().Int32Value();
    const int64_t offset = info[1].As<Napi::Number>().Int64Value();
    const int64_t bytes = info[2].As<Napi::Number>().Int64Value();
    if (offset < 0 || bytes < 0 || offset > memory_->bytes() || bytes > memory_->bytes() - offset) {
      return reject(info.Env(), invalid("Expected a range inside the buffer for the fill"));
    }
    auto [promise, done] = data_of(info.Env()).completions->start(resolve_undefined);
    auto* device = device_.get();
    auto memory = memory_;
    device_->submit(
        [device, memory, byte, offset, bytes] {
          Status s;
          device->backend().fill(device->context(), static_cast<char*>(memory->data()) + offset, byte, bytes, &s);
          Status finished;
          device->backend().synchronize(device->context(), &finished);
          return s.ok() ? finished : s;
        },
        std::move(done));
    return promise;
  }

  void close(const Napi::CallbackInfo&) {
    memory_.reset();
    device_.reset();
  }

  std::shared_ptr<Device> device_;
  std::shared_ptr<Memory> memory_;
};

// A file that buffers can lie in. close() drops it; buffers keep it mapped.
class MappedFileObject : public Napi::ObjectWrap<MappedFileObject> {
 public:
  static Napi::Function define(Napi::Env env) {
    return DefineClass(env, "MappedFile",
                       {InstanceMethod<&MappedFileObject::buffer>("buffer"), InstanceMethod<&MappedFileObject::close>("close"),
                        InstanceAccessor<&MappedFileObject::bytes>("bytes")});
  }
  explicit MappedFileObject(const Napi::CallbackInfo& info) : Napi::ObjectWrap<MappedFileObject>(info) {}
  ~MappedFileObject() override { drop(); }

  void attach(std::shared_ptr<Device> device, std::shared_ptr<const MappedFile> file) {
    device_ = std::move(device);
    file_ = std::move(file);
  }

 private:
  Napi::Value bytes(const Napi::CallbackInfo& info) { return Napi::Number::New(info.Env(), file_ ? static_cast<double>(file_->bytes()) : 0); }

  // buffer(offset, bytes) → Buffer
  Napi::Value buffer(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    if (!file_) throw to_error(env, invalid("Expected an open mapping but received one that is closed"));
    const int64_t offset = info[0].As<Napi::Number>().Int64Value();
    const int64_t bytes = info[1].As<Napi::Number>().Int64Value();
    if (offset < 0 || bytes < 0 || offset > file_->bytes() || bytes > file_->bytes() - offset) {
      throw to_error(env, invalid("Expected a range inside the file for a buffer of it"));
    }
    const Napi::Object object = data_of(env).buffer.New({});
    BufferObject::Unwrap(object)->attach(device_, std::make_shared<Memory>(device_, file_, offset, bytes));
    return object;
  }

  void close(const Napi::CallbackInfo&) { drop(); }

  void drop() {
    if (device_ && file_) device_->release(std::move(file_));
    file_.reset();
    device_.reset();
  }

  std::shared_ptr<Device> device_;
  std::shared_ptr<const MappedFile> file_;
};

class ProgramObject : public Napi::ObjectWrap<ProgramObject> {
 public:
  static Napi::Function define(Napi::Env env) {
    return DefineClass(env, "Program",
                       {InstanceMethod<&ProgramObject::run>("run"), InstanceMethod<&ProgramObject::measure>("measure"),
                        InstanceMethod<&ProgramObject::close>("close"),
                        InstanceMethod<&ProgramObject::arena>("arena")});
  }
  explicit ProgramObject(const Napi::CallbackInfo& info) : Napi::ObjectWrap<ProgramObject>(info) {}

  void attach(std::shared_ptr<LoadedProgram> loaded) { loaded_ = std::move(loaded); }

 private:
  // The common part of run and measure: { symbols, inputs, outputs (in bytes), buffers }. The message names what is wrong.
  const char* read_request(const Napi::Object& options, RunRequest* request) {
    if (!loaded_) return "Expected an open program but received one that is closed";
    const Napi::Array symbols = options.Get("symbols").As<Napi::Array>();
    const Napi::Array inputs = options.Get("inputs").As<Napi::Array>();
    const Napi::Array outputs = options.Get("outputs").As<Napi::Array>();
    const Napi::Array buffers = options.Get("buffers").As<Napi::Array>();
    request->cancel = std::make_shared<std::atomic<bool>>(false);
    for (uint32_t i = 0; i < symbols.Length(); ++i) request->symbols.push_back(symbols.Get(i).As<Napi::Number>().Int64Value());
    for (uint32_t i = 0; i < inputs.Length(); ++i) {
      Bytes bytes{};
      if (!bytes_of(inputs.Get(i), &bytes)) return "Expected a typed array for every input";
      request->inputs.push_back(loaded_->device->stage(static_cast<int64_t>(bytes.size)));
      if (bytes.size > 0) std::memcpy(request->inputs.back()->data(), bytes.data, bytes.size);
    }
    for (uint32_t i = 0; i < outputs.Length(); ++i) {
      request->outputs.push_back(loaded_->device->stage(outputs.Get(i).As<Napi::Number>().Int64Value()));
    }
    for (uint32_t i = 0; i < buffers.Length(); ++i) {
      BufferObject* buffer = BufferObject::Unwrap(buffers.Get(i).As<Napi::Object>());
      if (buffer == nullptr || !buffer->memory()) return "Expected open buffers for every parameter and state";
      request->buffers.push_back(buffer->memory());
    }
    return nullptr;
  }

  static Napi::Object handle(Napi::Env env, const Napi::Value& promise, Napi::Function cancel) {
    Napi::Object result = Napi::Object::New(env);
    result.Set("done", promise);
    result.Set("cancel", cancel);
    return result;
  }

  // run(request) → { done: Promise<ArrayBuffer[]>, cancel() }
  Napi::Value run(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    auto request = std::make_shared<RunRequest>();
    if (const char* fault = read_request(info[0].As<Napi::Object>(), request.get())) {
      return handle(env, reject(env, invalid(fault)), Napi::Function::New(env, [](const Napi::CallbackInfo&) {}));
    }
    auto [promise, done] = data_of(env).completions->start([request](Napi::Env e, Napi::Promise::Deferred deferred, const Status&) {
      Napi::Array results = Napi::Array::New(e, request->outputs.size());
      for (uint32_t i = 0; i < request->outputs.size(); ++i) results.Set(i, to_array_buffer(e, request->outputs[i]));
      deferred.Resolve(results);
    });
    auto loaded = loaded_;
    loaded->device->submit_run(
        [loaded, request] {
          // Programs and memory stay until the device is done with them.
          return [loaded, request, finish = launch_program(*loaded, *request)] { return finish(); };
        },
        std::move(done));
    auto cancel = request->cancel;
    return handle(env, promise, Napi::Function::New(env, [cancel](const Napi::CallbackInfo&) { cancel->store(true); }));
  }

  // measure(request, { warmup, repeats, perOp }) → Promise<number[]>, milliseconds
  Napi::Value measure(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    auto request = std::make_shared<RunRequest>();
    if (const char* fault = read_request(info[0].As<Napi::Object>(), request.get())) return reject(env, invalid(fault));
    const Napi::Object options = info[1].As<Napi::Object>();
    auto measurement = std::make_shared<Measurement>();
    measurement->warmup = options.Get("warmup").As<Napi::Number>().Int32Value();
    measurement->repeats = options.Get("repeats").As<Napi::Number>().Int32Value();
    measurement->per_op = options.Get("perOp").As<Napi::Boolean>().Value();
    auto [promise, done] = data_of(env).completions->start([measurement](Napi::Env e, Napi::Promise::Deferred deferred, const Status&) {
      Napi::Array times = Napi::Array::New(e, measurement->times.size());
      for (uint32_t i = 0; i < measurement->times.size(); ++i) times.Set(i, Napi::Number::New(e, measurement->times[i]));
      deferred.Resolve(times);
    });
    auto loaded = loaded_;
    loaded->device->submit([loaded, request, measurement] { return measure_program(*loaded, *request, measurement.get()); }, std::move(done));
    return promise;
  }

  // The arena as a buffer, for tests that poison it and look at its guards.
  Napi::Value arena(const Napi::CallbackInfo& info) {
    const Napi::Object object = data_of(info.Env()).buffer.New({});
    if (loaded_) BufferObject::Unwrap(object)->attach(loaded_->device, loaded_->arena);
    return object;
  }

  void close(const Napi::CallbackInfo&) { loaded_.reset(); }

  std::shared_ptr<LoadedProgram> loaded_;
};

class DeviceObject : public Napi::ObjectWrap<DeviceObject> {
 public:
  static Napi::Function define(Napi::Env env) {
    return DefineClass(env, "Device",
                       {InstanceMethod<&DeviceObject::allocate>("allocate"), InstanceMethod<&DeviceObject::load>("load"),
                        InstanceMethod<&DeviceObject::read_files>("readFiles"), InstanceMethod<&DeviceObject::map_file>("mapFile"), InstanceMethod<&DeviceObject::resizer>("resizer"), InstanceMethod<&DeviceObject::describe>("describe"), InstanceMethod<&DeviceObject::close>("close")});
  }

  // new Device({ plugin?: string, index: number, threads: number, urgent: boolean })
  explicit DeviceObject(const Napi::CallbackInfo& info) : Napi::ObjectWrap<DeviceObject>(info) {
    const Napi::Env env = info.Env();
    const Napi::Object options = info[0].As<Napi::Object>();
    krait_device_options native{};
    native.index = options.Get("index").As<Napi::Number>().Int32Value();
    native.threads = options.Get("threads").As<Napi::Number>().Int32Value();
    native.urgent = options.Get("urgent").ToBoolean();
    const krait_backend_table* table = cpu::backend();
    Status status;
    if (options.Get("plugin").IsString()) table = open_plugin(options.Get("plugin").As<Napi::String>(), &status);
    if (status.ok()) device_ = Device::open(table, native, &status);
    if (table == cpu::backend()) threads_ = native.threads;
    if (!status.ok()) throw to_error(env, status);
  }

  ~DeviceObject() override {
    if (device_) device_->close([] {});
  }

  static const krait_backend_table* open_plugin(const std::string& path, Status* status) {
    // Stays open for the life of the process: its threads and contexts cannot be unloaded safely.
    void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (handle == nullptr) {
      *status = error(StatusCode::unsupported, "Expected a loadable plugin but received %s", dlerror());
      return nullptr;
    }
    const auto function = reinterpret_cast<krait_backend_function>(dlsym(handle, "krait_backend"));
    const krait_backend_table* table = function != nullptr ? function() : nullptr;
    if (table == nullptr || table->size != sizeof(krait_backend_table) || std::strcmp(table->abi_hash, kAbiHash) != 0) {
      *status = error(StatusCode::unsupported, "Expected a plugin built with this addon but received one of another build");
      return nullptr;
    }
    return table;
  }

 private:
  Napi::Value allocate(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    if (!device_) return reject(env, invalid("Expected an open device but received one that is closed"));
    const int64_t bytes = info[0].As<Napi::Number>().Int64Value();
    auto device = device_;
    auto memory = std::make_shared<std::shared_ptr<Memory>>();
    auto [promise, done] =
        data_of(env).completions->start([device, memory](Napi::Env e, Napi::Promise::Deferred deferred, const Status&) {
          const Napi::Object object = data_of(e).buffer.New({});
          BufferObject::Unwrap(object)->attach(device, std::move(*memory));
          deferred.Resolve(object);
        });
    device->submit(
        [device, memory, bytes] {
          Status status;
          *memory = device->allocate(bytes, &status);
          return status;
        },
        std::move(done));
    return promise;
  }

  Napi::Value load(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    if (!device_) return reject(env, invalid("Expected an open device but received one that is closed"));
    if (!info[0].IsArrayBuffer()) return reject(env, invalid("Expected an ArrayBuffer for the program"));
    Napi::ArrayBuffer bytes = info[0].As<Napi::ArrayBuffer>();
    auto loaded = std::make_shared<LoadedProgram>();
    loaded->device = device_;
    const Status status = decode_program(bytes.Data(), static_cast<int64_t>(bytes.ByteLength()), &loaded->program);
    if (!status.ok()) return reject(env, status);
    auto [promise, done] = data_of(env).completions->start([loaded](Napi::Env e, Napi::Promise::Deferred deferred, const Status&) {
      const Napi::Object object = data_of(e).program.New({});
      ProgramObject::Unwrap(object)->attach(loaded);
      deferred.Resolve(object);
    });
    auto device = device_;
    device->submit(
        [device, loaded] {
          Status s;
          loaded->arena = device->allocate(loaded->program.arena_bytes, &s);
          loaded->recordings = std::make_unique<Recordings>(device);
          return s;
        },
        std::move(done));
    return promise;
  }

  // mapFile(fd, name) → Promise<MappedFile>; the file must stay open until then.
  Napi::Value map_file(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    if (!device_) return reject(env, invalid("Expected an open device but received one that is closed"));
    if (threads_ == 0) return reject(env, error(StatusCode::unsupported, "Expected a CPU device for a mapped file but received another kind"));
    const int32_t fd = info[0].As<Napi::Number>().Int32Value();
    const std::string name = info[1].As<Napi::String>();
    auto device = device_;
    auto file = std::make_shared<std::shared_ptr<const MappedFile>>();
    auto [promise, done] = data_of(env).completions->start([device, file](Napi::Env e, Napi::Promise::Deferred deferred, const Status&) {
      const Napi::Object object = data_of(e).mapped_file.New({});
      MappedFileObject::Unwrap(object)->attach(device, std::move(*file));
      deferred.Resolve(object);
    });
    device->submit(
        [file, fd, name] {
          Status status;
          *file = MappedFile::open(fd, name, &status);
          return status;
        },
        std::move(done));
    return promise;
  }

  // readFiles([{ buffer, fd, offset, count, stored, scale, rounds, narrow, byteOffset }]) → Promise<{ read, element } | undefined>: the
  // first of them that did not give what it should, with an element that is not finite, or −1 when the file ended too soon.
  Napi::Value read_files(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    if (!device_) return reject(env, invalid("Expected an open device but received one that is closed"));
    auto files = std::make_shared<FileReads>();
    const Napi::Array list = info[0].As<Napi::Array>();
    for (uint32_t i = 0; i < list.Length(); ++i) {
      const Napi::Object options = list.Get(i).As<Napi::Object>();
      BufferObject* buffer = BufferObject::Unwrap(options.Get("buffer").As<Napi::Object>());
      const Status status = files->add(*device_, buffer != nullptr ? buffer->memory() : nullptr, options);
      if (!status.ok()) return reject(env, status);
    }
    auto [promise, done] = data_of(env).completions->start([files](Napi::Env e, Napi::Promise::Deferred deferred, const Status&) { files->settle(e, deferred); });
    auto* device = device_.get();
    device->submit([device, files] { return files->read(*device); }, std::move(done));
    return promise;
  }

  // resizer({ columns, rows }) → Resizer; throws where a table points outside.
  Napi::Value resizer(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    if (!device_) throw to_error(env, invalid("Expected an open device but received one that is closed"));
    if (threads_ == 0) throw to_error(env, error(StatusCode::unsupported, "Expected a CPU device for a resizer but received another kind"));
    const Napi::Object object = data_of(env).resizer.New({});
    const Status status = ResizerObject::Unwrap(object)->attach(device_, threads_, info[0].As<Napi::Object>());
    if (!status.ok()) throw to_error(env, status);
    return object;
  }

  Napi::Value describe(const Napi::CallbackInfo& info) {
    return Napi::String::New(info.Env(), device_ ? device_->describe() : "{}");
  }

  Napi::Value close(const Napi::CallbackInfo& info) {
    auto [promise, done] = data_of(info.Env()).completions->start(resolve_undefined);
    auto device = std::move(device_);
    if (!device) {
      done({});
    } else {
      device->close([done = std::move(done)] { done({}); });
    }
    return promise;
  }

  std::shared_ptr<Device> device_;
  int32_t threads_ = 0;  // of a CPU device
};

// cudaDevices(plugin) → the number of devices; throws with the reason when the plugin or the driver cannot serve.
Napi::Value plugin_devices(const Napi::CallbackInfo& info) {
  Status status;
  const krait_backend_table* table = DeviceObject::open_plugin(info[0].As<Napi::String>(), &status);
  const int32_t count = table != nullptr ? table->device_count(&status) : 0;
  if (!status.ok()) throw to_error(info.Env(), status);
  return Napi::Number::New(info.Env(), count);
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  auto* data = new AddonData();
  env.SetInstanceData(data);
  data->completions = std::make_unique<Completions>(env);
  data->buffer = Napi::Persistent(BufferObject::define(env));
  data->mapped_file = Napi::Persistent(MappedFileObject::define(env));
  data->program = Napi::Persistent(ProgramObject::define(env));
  data->resizer = Napi::Persistent(ResizerObject::define(env));
  exports.Set("Device", DeviceObject::define(env));
  exports.Set("pluginDevices", Napi::Function::New(env, plugin_devices));
  exports.Set("polyphase", Napi::Function::New(env, polyphase));
  exports.Set("abiHash", Napi::String::New(env, kAbiHash));
  return exports;
}

}  // namespace

NODE_API_MODULE(krait, init)

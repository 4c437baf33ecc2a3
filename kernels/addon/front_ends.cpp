#include "front_ends.h"

#include <mutex>
#include <utility>
#include <vector>

#include "../cpu/polyphase.h"
#include "../cpu/resize.h"
#include "glue.h"

namespace krait::addon {
namespace {

// Parts of pictures that are kept for the next ones.
constexpr size_t kIdleParts = 4;

bool integers(const Napi::Value& value, const int32_t** data, size_t* length) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_int32_array) return false;
  const Napi::Int32Array array = value.As<Napi::Int32Array>();
  *data = array.Data();
  *length = array.ElementLength();
  return true;
}

bool read_taps(const Napi::Value& value, cpu::ResizeTaps* taps) {
  if (!value.IsObject()) return false;
  const Napi::Object object = value.As<Napi::Object>();
  if (!object.Get("size").IsNumber()) return false;
  taps->size = object.Get("size").As<Napi::Number>().Int64Value();
  size_t outputs = 0;
  size_t counts = 0;
  if (!integers(object.Get("first"), &taps->first, &outputs) || !integers(object.Get("count"), &taps->count, &counts)) return false;
  taps->outputs = static_cast<int64_t>(outputs);
  if (counts != outputs) return false;
  if (!object.Get("values").IsTypedArray()) return object.Get("values").IsUndefined();
  size_t values = 0;
  if (!integers(object.Get("values"), &taps->values, &values) || outputs == 0) return false;
  taps->width = static_cast<int64_t>(values / outputs);
  return values % outputs == 0 && values > 0;
}

}  // namespace

struct ResizerObject::State {
  cpu::Resize resize;
  cpu::Cpu cpu;
  std::vector<uint8_t> between;  // touched on the device's thread alone
  std::mutex mutex;
  std::vector<std::vector<uint8_t>> idle;  // parts of pictures that were done
};

Napi::Function ResizerObject::define(Napi::Env env) {
  return DefineClass(env, "Resizer", {InstanceMethod<&ResizerObject::run>("run"), InstanceMethod<&ResizerObject::close>("close")});
}

Status ResizerObject::attach(std::shared_ptr<Device> device, int32_t threads, const Napi::Object& options) {
  cpu::ResizeTaps columns;
  cpu::ResizeTaps rows;
  if (!read_taps(options.Get("columns"), &columns) || !read_taps(options.Get("rows"), &rows)) {
    return invalid("Expected tables of 32-bit integers, as many counts as firsts and a row of values each, for a resizer");
  }
  auto state = std::make_shared<State>();
  const Status status = cpu::Resize::make(columns, rows, &state->resize);
  if (!status.ok()) return status;
  state->cpu.threads = threads;
  device_ = std::move(device);
  state_ = std::move(state);
  return {};
}

Napi::Value ResizerObject::run(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!state_) return reject(env, invalid("Expected an open resizer but received one that is closed"));
  Bytes pixels{};
  if (!bytes_of(info[0], &pixels) || static_cast<int64_t>(pixels.size) != state_->resize.source_bytes()) {
    return reject(env, invalid("Expected the bytes of one picture for a resizer"));
  }
  auto state = state_;
  auto part = std::make_shared<std::vector<uint8_t>>();
  {
    const std::lock_guard<std::mutex> lock(state->mutex);
    if (!state->idle.empty()) {
      part->swap(state->idle.back());
      state->idle.pop_back();
    }
  }
  state->resize.gather(static_cast<const uint8_t*>(pixels.data), part.get());
  auto output = std::make_shared<Staging>(state->resize.output_bytes());
  auto [promise, done] = data_of(env).completions->start([output](Napi::Env e, Napi::Promise::Deferred deferred, const Status&) {
    deferred.Resolve(to_array_buffer(e, output));
  });
  device_->submit(
      [state, part, output] {
        state->resize.run(state->cpu, *part, &state->between, static_cast<uint8_t*>(output->data()));
        const std::lock_guard<std::mutex> lock(state->mutex);
        if (state->idle.size() < kIdleParts) state->idle.push_back(std::move(*part));
        return Status{};
      },
      std::move(done));
  return promise;
}

void ResizerObject::close(const Napi::CallbackInfo&) {
  state_.reset();
  device_.reset();
}

Napi::Value polyphase(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto is = [&](size_t i, napi_typedarray_type type) {
    return info[i].IsTypedArray() && info[i].As<Napi::TypedArray>().TypedArrayType() == type;
  };
  if (!is(0, napi_float32_array) || !is(1, napi_float64_array) || !is(2, napi_float32_array) || !info[3].IsObject()) {
    throw to_error(env, invalid("Expected samples, filters, room for the output and a phase for a resampler"));
  }
  const Napi::Float32Array signal = info[0].As<Napi::Float32Array>();
  const Napi::Float64Array filters = info[1].As<Napi::Float64Array>();
  Napi::Float32Array output = info[2].As<Napi::Float32Array>();
  const Napi::Object at = info[3].As<Napi::Object>();
  const auto number = [&](const char* name) { return at.Get(name).ToNumber().Int64Value(); };
  cpu::Polyphase work;
  work.signal = signal.Data();
  work.samples = static_cast<int64_t>(signal.ElementLength());
  work.filters = filters.Data();
  work.up = number("up");
  work.down = number("down");
  work.taps = work.up > 0 ? static_cast<int64_t>(filters.ElementLength()) / work.up : 0;
  work.output = output.Data();
  work.outputs = static_cast<int64_t>(output.ElementLength());
  work.phase = number("phase");
  work.base = number("base");
  const Status status = cpu::polyphase(work);
  if (!status.ok()) throw to_error(env, status);
  return env.Undefined();
}

}  // namespace krait::addon

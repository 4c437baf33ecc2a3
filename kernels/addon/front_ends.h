// What serves front ends beside programs: the resizing of pictures, and the resampling of sound.
#pragma once

#include <napi.h>

#include <memory>

#include "../executor/run.h"

namespace krait::addon {

// Resizes pictures of one size on the thread of a CPU device. Memory is kept from one picture to the next.
class ResizerObject : public Napi::ObjectWrap<ResizerObject> {
 public:
  static Napi::Function define(Napi::Env env);
  explicit ResizerObject(const Napi::CallbackInfo& info) : Napi::ObjectWrap<ResizerObject>(info) {}

  // columns and rows: { size, first: Int32Array, count: Int32Array, values?: Int32Array, width }. The tables are checked and copied.
  Status attach(std::shared_ptr<Device> device, int32_t threads, const Napi::Object& options);

 private:
  struct State;

  // run(pixels) → Promise<ArrayBuffer>. The part of the picture that is needed is copied before it returns.
  Napi::Value run(const Napi::CallbackInfo& info);
  void close(const Napi::CallbackInfo& info);

  std::shared_ptr<Device> device_;
  std::shared_ptr<State> state_;
};

// polyphase(signal, filters, output, { up, down, phase, base }): fills the output, on the calling thread.
Napi::Value polyphase(const Napi::CallbackInfo& info);

}  // namespace krait::addon

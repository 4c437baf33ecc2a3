// What the objects of the addon share: errors, promises, and the copy of host bytes in and out.
#pragma once

#include <napi.h>

#include <cstring>
#include <functional>
#include <memory>
#include <mutex>
#include <utility>

#include "../executor/run.h"

namespace krait::addon {

inline const char* code_name(StatusCode code) {
  switch (code) {
    case StatusCode::ok:
      return "OK";
    case StatusCode::invalid_program:
      return "INVALID_PROGRAM";
    case StatusCode::invalid_argument:
      return "INVALID_RUN";
    case StatusCode::out_of_memory:
      return "OUT_OF_MEMORY";
    case StatusCode::device:
      return "DEVICE_FAILED";
    case StatusCode::cancelled:
      return "CANCELLED";
    case StatusCode::unsupported:
      return "UNSUPPORTED";
    case StatusCode::file_changed:
      return "FILE_CHANGED";
  }
  return "DEVICE_FAILED";
}

inline Napi::Error to_error(Napi::Env env, const Status& status) {
  Napi::Error error = Napi::Error::New(env, status.message);
  error.Set("code", Napi::String::New(env, code_name(status.code)));
  return error;
}

// The way from any thread to the JavaScript thread. Node frees the function when its environment ends, which a job may outlive.
struct Gate {
  std::mutex mutex;
  bool open = true;
  Napi::ThreadSafeFunction function;
};

// Resolves promises on the JavaScript thread. The process may exit while nothing is pending.
class Completions {
 public:
  explicit Completions(Napi::Env env) : env_(env), gate_(std::make_shared<Gate>()) {
    const auto nothing = Napi::Function::New(env, [](const Napi::CallbackInfo&) {});
    gate_->function = Napi::ThreadSafeFunction::New(env, nothing, "krait", 0, 1, [gate = gate_](Napi::Env) {
      const std::lock_guard<std::mutex> lock(gate->mutex);
      gate->open = false;
    });
    gate_->function.Unref(env);
  }

  using Settle = std::function<void(Napi::Env, Napi::Promise::Deferred, const Status&)>;

  // To be called on the JavaScript thread; what it returns may be called once, on any thread.
  std::pair<Napi::Promise, Done> start(Settle settle) {
    auto* pending = new Pending{Napi::Promise::Deferred::New(env_), std::move(settle), {}, this};
    if (count_++ == 0) gate_->function.Ref(env_);
    Napi::Promise promise = pending->deferred.Promise();
    return {promise, [pending, gate = gate_](const Status& status) {
              pending->status = status;
              const std::lock_guard<std::mutex> lock(gate->mutex);
              // With the environment gone nobody is left to hear of it, and `pending` cannot be freed: its references were Node's.
              if (gate->open) gate->function.NonBlockingCall(pending, finish);
            }};
  }

 private:
  struct Pending {
    Napi::Promise::Deferred deferred;
    Settle settle;
    Status status;
    Completions* owner;
  };

  static void finish(Napi::Env env, Napi::Function, Pending* pending) {
    const std::unique_ptr<Pending> owned(pending);
    const Napi::HandleScope scope(env);
    Completions& owner = *pending->owner;
    if (--owner.count_ == 0) owner.gate_->function.Unref(env);
    if (pending->status.ok()) {
      pending->settle(env, pending->deferred, pending->status);
    } else {
      pending->deferred.Reject(to_error(env, pending->status).Value());
    }
  }

  Napi::Env env_;
  std::shared_ptr<Gate> gate_;
  int64_t count_ = 0;
};

inline void resolve_undefined(Napi::Env env, Napi::Promise::Deferred deferred, const Status&) { deferred.Resolve(env.Undefined()); }

struct Bytes {
  void* data;
  size_t size;
};

// The bytes of any typed array.
inline bool bytes_of(const Napi::Value& value, Bytes* bytes) {
  if (!value.IsTypedArray()) return false;
  const Napi::TypedArray array = value.As<Napi::TypedArray>();
  bytes->data = static_cast<char*>(array.ArrayBuffer().Data()) + array.ByteOffset();
  bytes->size = array.ByteLength();
  return true;
}

// Fewer bytes are copied sooner than handed over.
inline constexpr int64_t kLeastExternalBytes = 64 << 10;

// What came out of a run, without a copy where it is large: the bytes go back when JavaScript has no more use for them.
inline Napi::ArrayBuffer to_array_buffer(Napi::Env env, const std::shared_ptr<Staging>& staging) {
  const size_t bytes = static_cast<size_t>(staging->bytes());
  if (staging->bytes() >= kLeastExternalBytes) {
    auto* held = new std::shared_ptr<Staging>(staging);
    return Napi::ArrayBuffer::New(
        env, staging->data(), bytes, [](Napi::Env, void*, std::shared_ptr<Staging>* hint) { delete hint; }, held);
  }
  Napi::ArrayBuffer copy = Napi::ArrayBuffer::New(env, bytes);
  if (bytes > 0) std::memcpy(copy.Data(), staging->data(), bytes);
  return copy;
}

struct AddonData {
  std::unique_ptr<Completions> completions;
  Napi::FunctionReference buffer;
  Napi::FunctionReference mapped_file;
  Napi::FunctionReference program;
  Napi::FunctionReference resizer;
};

inline AddonData& data_of(Napi::Env env) { return *env.GetInstanceData<AddonData>(); }

inline Napi::Value reject(Napi::Env env, const Status& status) {
  const auto deferred = Napi::Promise::Deferred::New(env);
  deferred.Reject(to_error(env, status).Value());
  return deferred.Promise();
}

inline Status invalid(const char* message) { return error(StatusCode::invalid_argument, "%s", message); }

}  // namespace krait::addon

// What a device backend offers the executor. The CPU backend is linked in; the CUDA backend is a plugin opened at run time, which
// exports `krait_backend` with C linkage. Everything that crosses is plain data.
#pragma once

#include "krait/abi.h"

extern "C" {

struct krait_device_options {
  int32_t index;    // which device of the kind
  int32_t threads;  // CPU only
  bool urgent;      // GPU only: its kernels go before those of other devices opened on the same GPU
};

struct krait_backend_table {
  uint32_t size;         // sizeof(krait_backend_table) as the backend was built
  const char* abi_hash;  // of the op records it was built from
  const char* name;

  int32_t (*device_count)(krait::Status* status);
  void* (*open)(const krait_device_options* options, krait::Status* status);
  void (*close)(void* device);

  // Called on the executor thread of the device, except allocate, release and their host pair, which may come from any thread.
  void* (*allocate)(void* device, int64_t bytes, krait::Status* status);
  void (*release)(void* device, void* memory);
  void (*upload)(void* device, void* to, const void* from, int64_t bytes, krait::Status* status);
  void (*download)(void* device, void* to, const void* from, int64_t bytes, krait::Status* status);
  void (*fill)(void* device, void* to, int32_t byte, int64_t bytes, krait::Status* status);

  // Host memory that the device copies from and to by itself, and the copies, which are done at synchronize: until then the host bytes
  // must stay as they are. Null where plain memory serves as well.
  void* (*allocate_host)(void* device, int64_t bytes, krait::Status* status);
  void (*release_host)(void* device, void* memory);
  void (*enqueue_upload)(void* device, void* to, const void* from, int64_t bytes, krait::Status* status);
  void (*enqueue_download)(void* device, void* to, const void* from, int64_t bytes, krait::Status* status);

  // What was enqueued so far, as a ticket to wait for while more is enqueued behind it; `wait` tells how it went and takes the ticket
  // back. Null where nothing runs ahead of the host.
  void* (*checkpoint)(void* device, krait::Status* status);
  void (*wait)(void* device, void* ticket, krait::Status* status);

  // Enqueues one op; an error of the device may show only at synchronize.
  void (*run)(void* device, int64_t op, const krait::Call* call, krait::Status* status);
  // Enqueues two ops that follow each other as one, or neither: false. Null where the device never does.
  bool (*run_pair)(void* device, int64_t op, const krait::Call* call, int64_t next_op, const krait::Call* next, krait::Status* status);
  void (*synchronize)(void* device, krait::Status* status);

  // Recorded sequences of ops, which replay with one launch. Null where the device has none. Between begin and end `run` records
  // instead of running; `end_recording` gives null when what was recorded cannot be replayed.
  void (*begin_recording)(void* device, krait::Status* status);
  void* (*end_recording)(void* device, krait::Status* status);
  void (*replay)(void* device, void* recording, krait::Status* status);
  void (*discard)(void* device, void* recording);

  // Time marks on the device's own clock, for measuring. `elapsed` gives milliseconds between two marks that have passed.
  void (*mark)(void* device, int32_t slot, krait::Status* status);
  double (*elapsed)(void* device, int32_t from, int32_t to, krait::Status* status);

  // One line of JSON about the device and the libraries it found.
  void (*describe)(void* device, char* json, int64_t capacity);
};

typedef const krait_backend_table* (*krait_backend_function)(void);
}

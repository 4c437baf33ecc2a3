// CUDA as a backend: one stream, pinned staging for what goes in and out, and the error word that kernels mark.
#include "krait/backend.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "cublaslt.h"
#include "cuda.h"
#include "pairs.h"

namespace krait::cuda {
namespace {

using Kernel = Status (*)(const Call&, const Cuda&);

#define KRAIT_ENTRY(name, Args) [](const Call& c, const Cuda& cuda) { return name(unpack_##name(c), cuda); },
constexpr Kernel kKernels[] = {KRAIT_OPS(KRAIT_ENTRY)};
#undef KRAIT_ENTRY

constexpr int64_t kWorkspaceBytes = int64_t{32} << 20;
// Two buffers of this size: while one is on its way the host fills or empties the other.
constexpr int64_t kStagingBytes = int64_t{8} << 20;
constexpr int kOldestCapability = 8;
// Copies of at least this size go beside the computation, through device memory of their own.
constexpr int64_t kLaneBytes = int64_t{256} << 10;

long long number(int64_t n) { return static_cast<long long>(n); }

// After these CUDA repeats the error at every call until the process ends.
bool is_lasting(cudaError_t result) {
  switch (result) {
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchTimeout:
    case cudaErrorAssert:
    case cudaErrorHardwareStackError:
    case cudaErrorIllegalInstruction:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorLaunchFailure:
    case cudaErrorECCUncorrectable:
    case cudaErrorNvlinkUncorrectable:
      return true;
    default:
      return false;
  }
}

Status failure(cudaError_t result, const char* what) {
  // CUDA would report it once more at the next launch.
  cudaGetLastError();
  return error(StatusCode::device, "Expected %s but CUDA reported %s (%s)%s", what, cudaGetErrorName(result), cudaGetErrorString(result),
               is_lasting(result) ? "; this process cannot use the GPU again" : "");
}

Status no_device(cudaError_t result) {
  cudaGetLastError();
  int driver = 0;
  if (cudaDriverGetVersion(&driver) != cudaSuccess) driver = 0;
  if (result == cudaErrorInsufficientDriver && driver > 0) {
    return error(StatusCode::unsupported,
                 "Expected an NVIDIA driver for CUDA %d.%d or newer but received one for CUDA %d.%d: update the driver (cudaErrorInsufficientDriver)",
                 CUDART_VERSION / 1000, CUDART_VERSION / 10 % 100, driver / 1000, driver / 10 % 100);
  }
  if (driver == 0) {
    return error(StatusCode::unsupported, "Expected an NVIDIA driver but received none: libcuda.so.1 is not there (%s)", cudaGetErrorName(result));
  }
  if (result == cudaErrorNoDevice || result == cudaSuccess) {
    return error(StatusCode::unsupported,
                 "Expected an NVIDIA GPU but the driver shows none: none is installed, or CUDA_VISIBLE_DEVICES hides it (cudaErrorNoDevice)");
  }
  return error(StatusCode::unsupported, "Expected a usable NVIDIA GPU but CUDA reported %s (%s)", cudaGetErrorName(result), cudaGetErrorString(result));
}

int32_t device_count(Status* status) {
  int count = 0;
  const cudaError_t result = cudaGetDeviceCount(&count);
  if (result == cudaSuccess && count > 0) return count;
  *status = no_device(result);
  return 0;
}

// One direction of copies beside the main stream. The host's side of a copy is met by a buffer here; between it and the arena, which
// the runs before may still use, the main stream copies in its own turn.
struct Lane {
  struct Buffer {
    void* data = nullptr;
    int64_t capacity = 0;
    cudaEvent_t filled = nullptr;
    cudaEvent_t emptied = nullptr;
  };
  cudaStream_t stream = nullptr;
  Buffer buffers[2];
  int64_t turn = 0;
};

// The end of a run on its way.
struct Ticket {
  cudaEvent_t computed = nullptr;
  cudaEvent_t downloaded = nullptr;
  int32_t* error_host = nullptr;  // pinned
};

struct Device {
  Cuda cuda;
  Lane up, down;
  std::vector<std::unique_ptr<Ticket>> tickets;  // all of them
  std::vector<Ticket*> idle_tickets;
  void* staging[2] = {};
  cudaEvent_t staged[2] = {};  // the last copy from or to each buffer
  int64_t turn = 0;
  int32_t* error_host = nullptr;  // pinned
  std::vector<cudaEvent_t> marks;
  std::string description;

  ~Device() {
    if (cuda.stream != nullptr) cudaStreamSynchronize(cuda.stream);
    for (Lane* lane : {&up, &down}) {
      if (lane->stream != nullptr) cudaStreamSynchronize(lane->stream);
      for (Lane::Buffer& buffer : lane->buffers) {
        if (buffer.filled != nullptr) cudaEventDestroy(buffer.filled);
        if (buffer.emptied != nullptr) cudaEventDestroy(buffer.emptied);
        if (buffer.data != nullptr) cudaFree(buffer.data);
      }
      if (lane->stream != nullptr) cudaStreamDestroy(lane->stream);
    }
    for (const auto& ticket : tickets) {
      if (ticket->computed != nullptr) cudaEventDestroy(ticket->computed);
      if (ticket->downloaded != nullptr) cudaEventDestroy(ticket->downloaded);
      if (ticket->error_host != nullptr) cudaFreeHost(ticket->error_host);
    }
    for (cudaEvent_t event : marks) cudaEventDestroy(event);
    for (int i = 0; i < 2; ++i) {
      if (staged[i] != nullptr) cudaEventDestroy(staged[i]);
      if (staging[i] != nullptr) cudaFreeHost(staging[i]);
    }
    if (error_host != nullptr) cudaFreeHost(error_host);
    if (cuda.error_word != nullptr) cudaFree(cuda.error_word);
    if (cuda.workspace != nullptr) cudaFree(cuda.workspace);
    if (cuda.stream != nullptr) cudaStreamDestroy(cuda.stream);
    cudaGetLastError();
  }
};

std::string quoted(const char* text) {
  std::string out = "\"";
  for (const char* c = text; *c != 0; ++c) {
    if (*c == '"' || *c == '\\') out += '\\';
    out += static_cast<unsigned char>(*c) < 0x20 ? ' ' : *c;
  }
  return out + '"';
}

std::string cuda_version(int version) {
  return quoted((std::to_string(version / 1000) + '.' + std::to_string(version / 10 % 100)).c_str());
}

std::string description_of(const cudaDeviceProp& properties, int32_t index) {
  int driver = 0;
  cudaDriverGetVersion(&driver);
  const char* gemm = nullptr;
  const char* detail = nullptr;
  cublaslt_describe(&gemm, &detail);
  const std::string capability = std::to_string(properties.major) + '.' + std::to_string(properties.minor);
  return std::string("{\"kind\":\"cuda\"") + ",\"index\":" + std::to_string(index) + ",\"name\":" + quoted(properties.name) +
         ",\"computeCapability\":" + quoted(capability.c_str()) + ",\"memoryBytes\":" + std::to_string(properties.totalGlobalMem) +
         ",\"multiprocessors\":" + std::to_string(properties.multiProcessorCount) + ",\"driver\":" + cuda_version(driver) +
         ",\"runtime\":" + cuda_version(CUDART_VERSION) + ",\"gemm\":" + quoted(gemm) +
         ",\"gemmDetail\":" + quoted(std::string(detail).substr(0, 400).c_str()) + "}";
}

Status start(Device* device, int32_t index, bool urgent) {
  Cuda& cuda = device->cuda;
  Status status;
  // Whether all is well so far; the first failure is kept.
  const auto ok = [&](cudaError_t result, const char* what) {
    if (result != cudaSuccess) status = failure(result, what);
    return result == cudaSuccess;
  };
  cudaDeviceProp properties{};
  if (!ok(cudaSetDevice(index), "the GPU to open") || !ok(cudaGetDeviceProperties(&properties, index), "the GPU's properties")) return status;
  if (properties.major < kOldestCapability) {
    return error(StatusCode::unsupported, "Expected a GPU of compute capability %d.0 or newer but received %s with %d.%d", kOldestCapability,
                 properties.name, properties.major, properties.minor);
  }
  cuda.device = index;
  cuda.multiprocessors = properties.multiProcessorCount;
  cuda.waits_for_inputs = properties.major == 9;
  cuda.shared_memory_limit = static_cast<int32_t>(properties.sharedMemPerBlockOptin);
  int lowest = 0, highest = 0;
  if (!ok(cudaDeviceGetStreamPriorityRange(&lowest, &highest), "the priorities of streams")) return status;
  const int priority = urgent ? highest : lowest;
  if (!ok(cudaStreamCreateWithPriority(&cuda.stream, cudaStreamNonBlocking, priority), "a stream")) return status;
  for (Lane* lane : {&device->up, &device->down}) {
    if (!ok(cudaStreamCreateWithPriority(&lane->stream, cudaStreamNonBlocking, priority), "a stream")) return status;
    for (Lane::Buffer& buffer : lane->buffers) {
      if (!ok(cudaEventCreateWithFlags(&buffer.filled, cudaEventDisableTiming), "an event") ||
          !ok(cudaEventCreateWithFlags(&buffer.emptied, cudaEventDisableTiming), "an event")) {
        return status;
      }
    }
  }
  for (int i = 0; i < 2; ++i) {
    if (!ok(cudaHostAlloc(&device->staging[i], kStagingBytes, cudaHostAllocDefault), "pinned host memory") ||
        !ok(cudaEventCreateWithFlags(&device->staged[i], cudaEventDisableTiming), "an event")) {
      return status;
    }
  }
  if (!ok(cudaHostAlloc(reinterpret_cast<void**>(&device->error_host), sizeof(int32_t), cudaHostAllocDefault), "pinned host memory") ||
      !ok(cudaMalloc(reinterpret_cast<void**>(&cuda.error_word), sizeof(int32_t)), "memory for the error word") ||
      !ok(cudaMemsetAsync(cuda.error_word, 0, sizeof(int32_t), cuda.stream), "the error word to be cleared") ||
      !ok(cudaMalloc(&cuda.workspace, kWorkspaceBytes), "32 MiB of GPU memory as workspace")) {
    return status;
  }
  cuda.workspace_bytes = kWorkspaceBytes;
  *device->error_host = 0;
  if (!ok(cudaStreamSynchronize(cuda.stream), "the GPU to start")) return status;
  device->description = description_of(properties, index);
  return status;
}

void* open(const krait_device_options* options, Status* status) {
  const int32_t count = device_count(status);
  if (!status->ok()) return nullptr;
  if (options->index < 0 || options->index >= count) {
    *status = error(StatusCode::invalid_argument, "Expected a CUDA device index below %d, the number of GPUs here, but received %d", count,
                    options->index);
    return nullptr;
  }
  try {
    auto device = std::make_unique<Device>();
    *status = start(device.get(), options->index, options->urgent);
    return status->ok() ? device.release() : nullptr;
  } catch (const std::bad_alloc&) {
    *status = error(StatusCode::out_of_memory, "Expected host memory to open the GPU but received none");
    return nullptr;
  }
}

void close(void* device) { delete static_cast<Device*>(device); }

void* allocate(void* device, int64_t bytes, Status* status) {
  // The caller's thread may have met another GPU, or none.
  cudaError_t result = cudaSetDevice(static_cast<Device*>(device)->cuda.device);
  void* data = nullptr;
  if (result == cudaSuccess) result = cudaMalloc(&data, static_cast<size_t>(std::max<int64_t>(bytes, 1)));
  if (result == cudaSuccess) return data;
  if (result != cudaErrorMemoryAllocation) {
    *status = failure(result, "GPU memory");
    return nullptr;
  }
  cudaGetLastError();
  size_t available = 0, total = 0;
  if (cudaMemGetInfo(&available, &total) != cudaSuccess) cudaGetLastError();
  *status = error(StatusCode::out_of_memory, "Expected %lld bytes of GPU memory but only %lld of %lld are free", number(bytes),
                  number(static_cast<int64_t>(available)), number(static_cast<int64_t>(total)));
  return nullptr;
}

// The device may be closed already: memory knows where it lies.
void release(void*, void* memory) {
  cudaPointerAttributes attributes{};
  if (cudaPointerGetAttributes(&attributes, memory) == cudaSuccess && attributes.type == cudaMemoryTypeDevice) {
    int before = 0;
    const bool known = cudaGetDevice(&before) == cudaSuccess;
    cudaSetDevice(attributes.device);
    cudaFree(memory);
    if (known) cudaSetDevice(before);
  }
  // Nobody is left to tell at the end of a process; a lasting error shows at the next synchronize.
  cudaGetLastError();
}

// Copies through the staging buffers, in order with the stream. What is downloaded is there on return.
Status copy(Device& device, void* to, const void* from, int64_t bytes, bool up) {
  const int64_t pieces = (bytes + kStagingBytes - 1) / kStagingBytes;
  const int64_t first = device.turn;
  device.turn += pieces;
  const auto piece = [&](int64_t i) { return static_cast<size_t>(std::min(kStagingBytes, bytes - i * kStagingBytes)); };
  cudaError_t result = cudaSuccess;
  const auto ok = [&](cudaError_t r) {
    result = r;
    return r == cudaSuccess;
  };
  for (int64_t i = 0; i <= pieces && result == cudaSuccess; ++i) {
    if (i < pieces) {
      const int64_t slot = (first + i) % 2;
      void* staging = device.staging[slot];
      // Until the copy that used this buffer last is done.
      if (!ok(cudaEventSynchronize(device.staged[slot]))) break;
      if (up) std::memcpy(staging, static_cast<const char*>(from) + i * kStagingBytes, piece(i));
      void* target = up ? static_cast<char*>(to) + i * kStagingBytes : staging;
      const void* source = up ? staging : static_cast<const char*>(from) + i * kStagingBytes;
      if (!ok(cudaMemcpyAsync(target, source, piece(i), up ? cudaMemcpyHostToDevice : cudaMemcpyDeviceToHost, device.cuda.stream))) break;
      if (!ok(cudaEventRecord(device.staged[slot], device.cuda.stream))) break;
    }
    if (!up && i > 0) {
      const int64_t slot = (first + i - 1) % 2;
      if (!ok(cudaEventSynchronize(device.staged[slot]))) break;
      std::memcpy(static_cast<char*>(to) + (i - 1) * kStagingBytes, device.staging[slot], piece(i - 1));
    }
  }
  return result == cudaSuccess ? Status{} : failure(result, up ? "a copy to the GPU" : "a copy from the GPU");
}

void upload(void* device, void* to, const void* from, int64_t bytes, Status* status) {
  *status = copy(*static_cast<Device*>(device), to, from, bytes, true);
}

void download(void* device, void* to, const void* from, int64_t bytes, Status* status) {
  *status = copy(*static_cast<Device*>(device), to, from, bytes, false);
}

void* allocate_host(void* device, int64_t bytes, Status* status) {
  cudaError_t result = cudaSetDevice(static_cast<Device*>(device)->cuda.device);
  void* data = nullptr;
  // Portable: whichever of several GPUs gives it back.
  if (result == cudaSuccess) result = cudaHostAlloc(&data, static_cast<size_t>(bytes), cudaHostAllocPortable);
  if (result == cudaSuccess) return data;
  *status = failure(result, "pinned host memory");
  if (result == cudaErrorMemoryAllocation) status->code = StatusCode::out_of_memory;
  return nullptr;
}

void release_host(void*, void* memory) {
  cudaFreeHost(memory);
  cudaGetLastError();
}

// The lane's next buffer with room for `bytes`; null when there is no memory for one.
Lane::Buffer* next_buffer(Lane& lane, int64_t bytes) {
  Lane::Buffer& buffer = lane.buffers[lane.turn++ % 2];
  if (buffer.capacity >= bytes) return &buffer;
  // Waits for all that uses the old one.
  if (buffer.data != nullptr) cudaFree(buffer.data);
  buffer.data = nullptr;
  buffer.capacity = 0;
  if (cudaMalloc(&buffer.data, static_cast<size_t>(bytes)) != cudaSuccess) {
    buffer.data = nullptr;
    cudaGetLastError();
    return nullptr;
  }
  buffer.capacity = bytes;
  return &buffer;
}

// source → buffer on `fill_stream`, buffer → target on `empty_stream`, each behind the other's last use of the buffer.
cudaError_t through(const Lane::Buffer& buffer, void* to, const void* from, size_t bytes, cudaStream_t fill_stream, cudaStream_t empty_stream) {
  cudaError_t result = cudaStreamWaitEvent(fill_stream, buffer.emptied, 0);
  if (result == cudaSuccess) result = cudaMemcpyAsync(buffer.data, from, bytes, cudaMemcpyDefault, fill_stream);
  if (result == cudaSuccess) result = cudaEventRecord(buffer.filled, fill_stream);
  if (result == cudaSuccess) result = cudaStreamWaitEvent(empty_stream, buffer.filled, 0);
  if (result == cudaSuccess) result = cudaMemcpyAsync(to, buffer.data, bytes, cudaMemcpyDefault, empty_stream);
  if (result == cudaSuccess) result = cudaEventRecord(buffer.emptied, empty_stream);
  return result;
}

void enqueue_upload(void* opened, void* to, const void* from, int64_t bytes, Status* status) {
  Device& device = *static_cast<Device*>(opened);
  Lane::Buffer* buffer = bytes >= kLaneBytes ? next_buffer(device.up, bytes) : nullptr;
  const size_t size = static_cast<size_t>(bytes);
  const cudaError_t result = buffer != nullptr ? through(*buffer, to, from, size, device.up.stream, device.cuda.stream)
                                               : cudaMemcpyAsync(to, from, size, cudaMemcpyHostToDevice, device.cuda.stream);
  if (result != cudaSuccess) *status = failure(result, "a copy to the GPU");
}

void enqueue_download(void* opened, void* to, const void* from, int64_t bytes, Status* status) {
  Device& device = *static_cast<Device*>(opened);
  Lane::Buffer* buffer = bytes >= kLaneBytes ? next_buffer(device.down, bytes) : nullptr;
  const size_t size = static_cast<size_t>(bytes);
  const cudaError_t result = buffer != nullptr ? through(*buffer, to, from, size, device.cuda.stream, device.down.stream)
                                               : cudaMemcpyAsync(to, from, size, cudaMemcpyDeviceToHost, device.cuda.stream);
  if (result != cudaSuccess) *status = failure(result, "a copy from the GPU");
}

Ticket* take_ticket(Device& device, cudaError_t* result) {
  if (!device.idle_tickets.empty()) {
    Ticket* ticket = device.idle_tickets.back();
    device.idle_tickets.pop_back();
    return ticket;
  }
  device.tickets.push_back(std::make_unique<Ticket>());
  Ticket* ticket = device.tickets.back().get();
  *result = cudaEventCreateWithFlags(&ticket->computed, cudaEventDisableTiming);
  if (*result == cudaSuccess) *result = cudaEventCreateWithFlags(&ticket->downloaded, cudaEventDisableTiming);
  if (*result == cudaSuccess) *result = cudaHostAlloc(reinterpret_cast<void**>(&ticket->error_host), sizeof(int32_t), cudaHostAllocDefault);
  return ticket;
}

Status refused(int32_t op) {
  return error(StatusCode::invalid_argument, "Expected indices and borders within their bounds for %s but received others",
               op < kOpCount ? kOps[op].name : "an op");
}

void* checkpoint(void* opened, Status* status) {
  Device& device = *static_cast<Device*>(opened);
  const Cuda& cuda = device.cuda;
  cudaError_t result = cudaSuccess;
  Ticket* ticket = take_ticket(device, &result);
  // The word is cleared in the stream's own order: the next run is not blamed for this one.
  if (result == cudaSuccess) {
    result = cudaMemcpyAsync(ticket->error_host, cuda.error_word, sizeof(int32_t), cudaMemcpyDeviceToHost, cuda.stream);
  }
  if (result == cudaSuccess) result = cudaMemsetAsync(cuda.error_word, 0, sizeof(int32_t), cuda.stream);
  if (result == cudaSuccess) result = cudaEventRecord(ticket->computed, cuda.stream);
  if (result == cudaSuccess) result = cudaEventRecord(ticket->downloaded, device.down.stream);
  if (result == cudaSuccess) return ticket;
  *status = failure(result, "the end of a run to be marked");
  // Nothing may still run on memory that is about to be given away.
  cudaStreamSynchronize(cuda.stream);
  cudaStreamSynchronize(device.down.stream);
  cudaGetLastError();
  return nullptr;
}

void wait(void* opened, void* taken, Status* status) {
  Device& device = *static_cast<Device*>(opened);
  Ticket* ticket = static_cast<Ticket*>(taken);
  cudaError_t result = cudaEventSynchronize(ticket->computed);
  if (result == cudaSuccess) result = cudaEventSynchronize(ticket->downloaded);
  device.idle_tickets.push_back(ticket);
  if (result != cudaSuccess) {
    *status = failure(result, "the GPU to finish");
  } else if (*ticket->error_host > 0) {
    *status = refused(*ticket->error_host - 1);
  }
}

void fill(void* device, void* to, int32_t byte, int64_t bytes, Status* status) {
  if (bytes <= 0) return;
  const cudaError_t result = cudaMemsetAsync(to, byte, static_cast<size_t>(bytes), static_cast<Device*>(device)->cuda.stream);
  if (result != cudaSuccess) *status = failure(result, "GPU memory to be filled");
}

void run(void* device, int64_t op, const Call* call, Status* status) {
  for (int32_t i = 0; i < kOps[op].operand_count; ++i) {
    const Tensor& t = call->operands[i];
    if (t && t.rank == 1 && t.dim[0] > 1 && t.stride[0] != 1) {
      *status = error(StatusCode::invalid_program, "Expected neighbouring elements for %s of %s but received a stride of %lld",
                      kOps[op].operands[i].name, kOps[op].name, number(t.stride[0]));
      return;
    }
  }
  try {
    *status = kKernels[op](*call, static_cast<const Device*>(device)->cuda);
  } catch (const std::bad_alloc&) {
    *status = error(StatusCode::out_of_memory, "Expected host memory for %s but received none", kOps[op].name);
  }
}

bool run_pair(void* device, int64_t op, const Call* call, int64_t next_op, const Call* next, Status* status) {
  return run_as_one(op, *call, next_op, *next, static_cast<const Device*>(device)->cuda, status);
}

void synchronize(void* opened, Status* status) {
  Device& device = *static_cast<Device*>(opened);
  const Cuda& cuda = device.cuda;
  cudaError_t result = cudaMemcpyAsync(device.error_host, cuda.error_word, sizeof(int32_t), cudaMemcpyDeviceToHost, cuda.stream);
  if (result == cudaSuccess) result = cudaStreamSynchronize(cuda.stream);
  if (result == cudaSuccess) result = cudaStreamSynchronize(device.down.stream);
  if (result != cudaSuccess) {
    *status = failure(result, "the GPU to finish");
    return;
  }
  const int32_t op = *device.error_host - 1;
  if (op < 0) return;
  *status = refused(op);
  *device.error_host = 0;
  result = cudaMemsetAsync(cuda.error_word, 0, sizeof(int32_t), cuda.stream);
  if (result != cudaSuccess) *status = failure(result, "the error word to be cleared");
}

void begin_recording(void* opened, Status* status) {
  const Cuda& cuda = static_cast<Device*>(opened)->cuda;
  const cudaError_t result = cudaStreamBeginCapture(cuda.stream, cudaStreamCaptureModeThreadLocal);
  if (result != cudaSuccess) *status = failure(result, "a recording to begin");
}

void* end_recording(void* opened, Status* status) {
  const Cuda& cuda = static_cast<Device*>(opened)->cuda;
  cudaGraph_t graph = nullptr;
  cudaError_t result = cudaStreamEndCapture(cuda.stream, &graph);
  if (result != cudaSuccess || graph == nullptr) {
    // What some kernel or library did cannot be recorded; the ops run one by one then.
    cudaGetLastError();
    return nullptr;
  }
  cudaGraphExec_t recording = nullptr;
  result = cudaGraphInstantiate(&recording, graph, 0);
  cudaGraphDestroy(graph);
  if (result == cudaSuccess) return recording;
  *status = failure(result, "a recording to be made ready");
  return nullptr;
}

void replay(void* opened, void* recording, Status* status) {
  const Cuda& cuda = static_cast<Device*>(opened)->cuda;
  const cudaError_t result = cudaGraphLaunch(static_cast<cudaGraphExec_t>(recording), cuda.stream);
  if (result != cudaSuccess) *status = failure(result, "a recording to replay");
}

void discard(void*, void* recording) { cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(recording)); }

void mark(void* opened, int32_t slot, Status* status) {
  Device& device = *static_cast<Device*>(opened);
  while (device.marks.size() <= static_cast<size_t>(slot)) {
    cudaEvent_t event = nullptr;
    const cudaError_t result = cudaEventCreate(&event);
    if (result != cudaSuccess) {
      *status = failure(result, "a new event");
      return;
    }
    device.marks.push_back(event);
  }
  const cudaError_t result = cudaEventRecord(device.marks[static_cast<size_t>(slot)], device.cuda.stream);
  if (result != cudaSuccess) *status = failure(result, "an event to be recorded");
}

double elapsed(void* opened, int32_t from, int32_t to, Status* status) {
  const Device& device = *static_cast<const Device*>(opened);
  float milliseconds = 0;
  const cudaError_t result =
      cudaEventElapsedTime(&milliseconds, device.marks.at(static_cast<size_t>(from)), device.marks.at(static_cast<size_t>(to)));
  if (result != cudaSuccess) *status = failure(result, "the time between two events");
  return milliseconds;
}

void describe(void* device, char* json, int64_t capacity) {
  std::snprintf(json, static_cast<size_t>(capacity), "%s", static_cast<const Device*>(device)->description.c_str());
}

}  // namespace
}  // namespace krait::cuda

extern "C" __attribute__((visibility("default"))) const krait_backend_table* krait_backend(void) {
  using namespace krait::cuda;
  static const krait_backend_table table = {
      sizeof(krait_backend_table), krait::kAbiHash, "cuda", device_count, open, close, allocate, release, upload, download, fill, allocate_host,
      release_host, enqueue_upload, enqueue_download, checkpoint, wait, run, run_pair, synchronize, begin_recording, end_recording, replay, discard,
      mark, elapsed, describe
  };
  return &table;
}

// When runs are recorded and replayed, on a CPU that pretends to have recordings.
#include <cstring>
#include <utility>

#include "check.h"
#include "cpu/backend.h"
#include "executor/run.h"
#include "krait/ops.h"

namespace krait::test {
namespace {

constexpr int kNodes = 3;
constexpr int64_t kBytes = 4 * 64 * sizeof(float);

// What the pretended device did.
struct {
  bool recording;
  int recorded;      // ops in the recording that is being made
  int ran;           // ops that ran one by one
  int replayed;      // ops in the recordings that were replayed
  int alive;         // recordings made and not discarded
  int fault_at;      // the op of a recording at which `fault` happens; −1 for none
  void (*fault)(Status* status);
} fake;

std::shared_ptr<std::atomic<bool>> cancel;

void run_op(void* device, int64_t op, const Call* call, Status* status) {
  if (!fake.recording) {
    ++fake.ran;
    cpu::backend()->run(device, op, call, status);
    return;
  }
  if (fake.recorded++ == fake.fault_at) fake.fault(status);
}

void begin_recording(void*, Status*) {
  fake.recording = true;
  fake.recorded = 0;
}

void* end_recording(void*, Status*) {
  fake.recording = false;
  ++fake.alive;
  return new int(fake.recorded);
}

void replay(void*, void* recording, Status*) { fake.replayed += *static_cast<int*>(recording); }

void discard(void*, void* recording) {
  --fake.alive;
  delete static_cast<int*>(recording);
}

std::shared_ptr<Device> open_device() {
  static krait_backend_table table = *cpu::backend();
  table.run = run_op;
  table.begin_recording = begin_recording;
  table.end_recording = end_recording;
  table.replay = replay;
  table.discard = discard;
  Status status;
  return Device::open(&table, {.index = 0, .threads = 1, .urgent = false}, &status);
}

// x → three squares → y, all [4, 64].
Program squares() {
  Program program;
  program.arena_bytes = (kNodes + 1) * kBytes;
  int64_t unary = 0;
  while (std::strcmp(kOps[unary].name, "unary") != 0) ++unary;
  for (int64_t i = 0; i <= kNodes; ++i) {
    ValueInfo value{DType::f32, -1, i * kBytes, 0, kBytes, {}, {64, 1}};
    for (const int64_t n : {4, 64}) value.dims.push_back({n, {}});
    program.values.push_back(value);
    if (i > 0) program.nodes.push_back({unary, std::vector<Attribute>(static_cast<size_t>(kOps[unary].attribute_count)), {i - 1, i}, 0, 0});
  }
  program.bindings.push_back({BindingKind::input, 0, IndexRole::none, 0, {}});
  program.bindings.push_back({BindingKind::output, kNodes, IndexRole::none, 0, {}});
  return program;
}

Status run_once(LoadedProgram& loaded) {
  RunRequest request;
  request.inputs.push_back(std::make_shared<Staging>(kBytes));
  std::memset(request.inputs[0]->data(), 0, kBytes);
  request.outputs.push_back(std::make_shared<Staging>(kBytes));
  request.cancel = cancel = std::make_shared<std::atomic<bool>>(false);
  return run_program(loaded, request);
}

// Runs until a recording is made, in which `fault` happens at the second op, and once more; says how the faulty run ended.
StatusCode run_with_fault(void (*fault)(Status*)) {
  fake = {};
  fake.fault_at = fault == nullptr ? -1 : 1;
  fake.fault = fault;
  StatusCode code = StatusCode::ok;
  {
    Status status;
    LoadedProgram loaded;
    loaded.device = open_device();
    loaded.program = squares();
    loaded.arena = loaded.device->allocate(loaded.program.arena_bytes, &status);
    loaded.recordings = std::make_unique<Recordings>(loaded.device);
    for (int i = 0; i < 2; ++i) status = run_once(loaded);
    if (status.ok()) code = run_once(loaded).code;
    fake.fault_at = -1;
    fake.ran = fake.replayed = 0;
    status = run_once(loaded);
    if (!status.ok()) code = status.code;
    loaded.device->close([] {});
  }
  return code;
}

const Adds replays("a run of a kind that comes again is replayed whole", [] {
  const StatusCode code = run_with_fault(nullptr);
  if (code != StatusCode::ok || fake.ran != 0 || fake.replayed != kNodes) return text("ran %d ops, replayed %d", fake.ran, fake.replayed);
  return fake.alive == 0 ? std::string() : text("%d recordings left", fake.alive);
});

const Adds cancelled("a recording that was cancelled is not replayed", [] {
  const StatusCode code = run_with_fault([](Status*) { cancel->store(true); });
  if (code != StatusCode::cancelled) return text("the run ended with status %d", static_cast<int>(code));
  if (fake.ran + fake.replayed != kNodes) return text("ran %d ops and replayed %d of %d", fake.ran, fake.replayed, kNodes);
  return fake.alive == 0 ? std::string() : text("%d recordings left", fake.alive);
});

const Adds refused("ops that cannot be recorded run one by one", [] {
  const StatusCode code = run_with_fault([](Status* status) { *status = error(StatusCode::device, "no recording"); });
  if (code != StatusCode::ok) return text("the run ended with status %d", static_cast<int>(code));
  return fake.ran == kNodes && fake.replayed == 0 ? std::string() : text("ran %d ops, replayed %d", fake.ran, fake.replayed);
});

const Adds foreign("memory of another device is refused", [] {
  fake = {};
  Status status;
  LoadedProgram loaded;
  loaded.device = open_device();
  loaded.program = squares();
  loaded.program.buffer_count = 1;
  loaded.program.values[0].buffer = 0;
  loaded.program.values[0].base = 0;
  loaded.program.bindings.erase(loaded.program.bindings.begin());
  loaded.arena = loaded.device->allocate(loaded.program.arena_bytes, &status);
  const auto other = open_device();
  std::string wrong;
  for (const auto& device : {loaded.device, other}) {
    RunRequest request;
    request.buffers.push_back(device->allocate(kBytes, &status));
    request.outputs.push_back(std::make_shared<Staging>(kBytes));
    request.cancel = std::make_shared<std::atomic<bool>>(false);
    std::memset(request.buffers[0]->data(), 0, kBytes);
    const StatusCode code = run_program(loaded, request).code;
    const StatusCode due = device == other ? StatusCode::invalid_argument : StatusCode::ok;
    if (code != due) wrong = text("status %d", static_cast<int>(code));
  }
  loaded.device->close([] {});
  other->close([] {});
  return wrong;
});

}  // namespace
}  // namespace krait::test

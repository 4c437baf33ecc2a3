#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/half.cpp"
#include "hwy/foreach_target.h"
//
#include <algorithm>
#include <cstdlib>

#include "half.h"
#include "hwy/highway.h"
#include "part-inl.h"
#include "rows.h"

HWY_BEFORE_NAMESPACE();
namespace krait::cpu::HWY_NAMESPACE {
namespace {

template <class From, class To>
HWY_INLINE void ConvertRow(const From* HWY_RESTRICT from, To* HWY_RESTRICT to, int64_t count) {
  const hn::ScalableTag<float> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) StoreRow(LoadRow(d, from + i), d, to + i);
  if (i < count) StorePart(LoadPart(d, from + i, count - i), d, to + i, count - i);
}

void WidenRow(const uint16_t* from, float* to, int64_t count) { ConvertRow(from, to, count); }
void NarrowRow(const float* from, uint16_t* to, int64_t count) { ConvertRow(from, to, count); }

}  // namespace
}  // namespace krait::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace krait::cpu {

HWY_EXPORT(WidenRow);
HWY_EXPORT(NarrowRow);

void widen_rows(int threads, int64_t rows, int64_t width, const uint16_t* from, int64_t from_step, float* to, int64_t to_step) {
  const auto convert = HWY_DYNAMIC_DISPATCH(WidenRow);
  for_pieces(Cpu{threads}, rows, width, [&](int64_t row, int64_t begin, int64_t end) {
    convert(from + row * from_step + begin, to + row * to_step + begin, end - begin);
  });
}

void narrow_rows(int threads, int64_t rows, int64_t width, const float* from, int64_t from_step, uint16_t* to, int64_t to_step) {
  const auto convert = HWY_DYNAMIC_DISPATCH(NarrowRow);
  for_pieces(Cpu{threads}, rows, width, [&](int64_t row, int64_t begin, int64_t end) {
    convert(from + row * from_step + begin, to + row * to_step + begin, end - begin);
  });
}

KeptMemory::~KeptMemory() { std::free(data_); }

void* KeptMemory::reserve(int64_t bytes) {
  if (bytes <= bytes_) return data_;
  std::free(data_);
  bytes_ = (bytes + kArenaAlignment - 1) / kArenaAlignment * kArenaAlignment;
  data_ = std::aligned_alloc(kArenaAlignment, static_cast<size_t>(bytes_));
  if (data_ == nullptr) bytes_ = 0;
  return data_;
}

Status run_widened(const OpSignature& op, const Call& call, const Cpu& cpu, KeptMemory& workspace, Status (*kernel)(const Call&, const Cpu&)) {
  Tensor wide[kMaxOperands] = {};
  int64_t widths[kMaxOperands] = {};
  int64_t offsets[kMaxOperands] = {};
  int64_t bytes = 0;
  const auto is_narrow = [&](int32_t i) { return call.operands[i] && call.operands[i].dtype == DType::bf16; };
  for (int32_t i = 0; i < op.operand_count; ++i) {
    wide[i] = call.operands[i];
    if (!is_narrow(i)) continue;
    Tensor& t = wide[i];
    widths[i] = 1;
    for (int32_t axis = 1; axis < t.rank; ++axis) widths[i] *= t.dim[axis];
    t.dtype = DType::f32;
    t.stride[0] = widths[i];
    offsets[i] = bytes;
    const int64_t size = (t.rank == 0 ? 1 : t.dim[0]) * widths[i] * 4;
    bytes += (size / kArenaAlignment + 1) * kArenaAlignment;
  }
  char* memory = static_cast<char*>(workspace.reserve(bytes));
  if (memory == nullptr) {
    return error(StatusCode::out_of_memory, "Expected %lld bytes for %s on float32 copies but the system gave none",
                 static_cast<long long>(bytes), op.name);
  }
  for (int32_t i = 0; i < op.operand_count; ++i) {
    if (!is_narrow(i)) continue;
    wide[i].data = memory + offsets[i];
    const Tensor& from = call.operands[i];
    if (op.operands[i].is_output) continue;
    widen_rows(cpu.threads, from.dim[0], widths[i], from.as<uint16_t>(), from.stride[0], wide[i].as<float>(), widths[i]);
  }
  const Call widened{wide, call.attributes, call.scratch, call.scratch_bytes};
  const Status status = kernel(widened, cpu);
  if (!status.ok()) return status;
  for (int32_t i = 0; i < op.operand_count; ++i) {
    if (!is_narrow(i) || !(op.operands[i].is_output || op.operands[i].is_inout)) continue;
    const Tensor& to = call.operands[i];
    narrow_rows(cpu.threads, to.dim[0], widths[i], wide[i].as<float>(), widths[i], to.as<uint16_t>(), to.stride[0]);
  }
  return {};
}

}  // namespace krait::cpu
#endif

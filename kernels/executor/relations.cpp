#include "relations.h"

#include <cstdint>

#include "krait/ops.h"

namespace krait {
namespace {

// Attributes beyond this are no sizes, and below it sums of a few do not overflow.
constexpr int64_t kMost = int64_t{1} << 48;

bool is_size(int64_t n) { return n >= 1 && n <= kMost; }

// What is broken, or null. An op without relations falls back to the first.
template <typename Args>
const char* broken(const Args&) {
  return nullptr;
}

const char* broken(const AttentionArgs& a) {
  const int64_t heads = a.q.dim[1];
  const int64_t key_heads = a.k.dim[1];
  if (key_heads < 1 || heads % key_heads != 0) return "query heads in equal groups, one for each key head";
  if (!is_size(a.window) || a.sinks < 0 || a.sinks > kMost) return "a window of at least one key and no negative sinks";
  if (a.rotary_dims < 0 || a.rotary_dims % 2 != 0 || a.rotary_dims > a.q.dim[2]) return "an even number of rotary dimensions within a head";
  if (static_cast<bool>(a.keys) != static_cast<bool>(a.values)) return "keys and values together";
  if (!a.keys) return nullptr;
  const int64_t ring = a.keys.dim[1];
  if (ring < a.sinks + a.window - 1 || (ring <= a.sinks && a.window > 1)) return "a ring for the sinks and window - 1 earlier keys";
  return nullptr;
}

const char* broken(const BinaryArgs& a) {
  for (int32_t i = 0; i < 2; ++i) {
    if (a.b.dim[i] != a.a.dim[i] && a.b.dim[i] != 1) return "dimensions of a, or 1, for b";
  }
  return nullptr;
}

const char* broken(const CausalConv1dArgs& a) {
  if (a.weight.dim[1] < 1) return "a width of at least 1";
  if (a.state && a.state.dim[1] != a.weight.dim[1] - 1) return "a state of width - 1 rows";
  return nullptr;
}

const char* broken(const ConcatenateArgs& a) {
  if (a.axis < 0 || a.axis > 1) return "axis 0 or 1";
  const int64_t other = 1 - a.axis;
  const bool fits = a.y.dim[a.axis] == a.a.dim[a.axis] + a.b.dim[a.axis];
  return fits && a.a.dim[other] == a.y.dim[other] && a.b.dim[other] == a.y.dim[other] ? nullptr : "a result as large as both parts";
}

const char* broken(const ExpertLinearArgs& a) {
  const int64_t experts = a.weight.dim[0], m = a.weight.dim[1], c = a.weight.dim[2], choices = a.experts.dim[1];
  if (experts < 1 || experts > 1024) return "1 to 1024 experts";
  if (choices > kMost || m > kMost || c > kMost) return "sizes that can be multiplied";
  if (a.gated && (a.combine || m % 2 != 0)) return "an even number of rows per expert for a gate, not combined";
  const __int128 columns = static_cast<__int128>(a.combine ? choices : 1) * c;
  const __int128 width = a.combine ? static_cast<__int128>(m) : static_cast<__int128>(choices) * (a.gated ? m / 2 : m);
  return a.x.dim[1] == columns && a.y.dim[1] == width ? nullptr : "rows for each of a token's experts";
}

const char* broken(const FrameArgs& a) {
  return is_size(a.size) && is_size(a.hop) && a.y.dim[1] == a.size ? nullptr : "rows of its size and a positive hop";
}

const char* broken(const GatedRmsNormArgs& a) {
  return is_size(a.groups) && a.x.dim[1] % a.groups == 0 ? nullptr : "groups that divide its width";
}

const char* broken(const RmsNormArgs& a) {
  return static_cast<bool>(a.residual) == static_cast<bool>(a.sum) ? nullptr : "a sum exactly when there is a residual";
}

const char* broken(const RouteExpertsArgs& a) {
  const int64_t experts = a.logits.dim[1];
  if (experts < 1 || experts > 1024) return "1 to 1024 experts";
  if (a.groups < 1 || a.groups > experts || experts % a.groups != 0) return "groups that divide its experts";
  if (a.kept_groups < 1 || a.kept_groups > a.groups) return "1 to all groups kept";
  const bool fits = a.top_k >= 1 && a.top_k <= experts / a.groups * a.kept_groups;
  return fits && a.experts.dim[1] == a.top_k && a.weights.dim[1] == a.top_k ? nullptr : "as many choices as topK";
}

const char* broken(const SsdScanArgs& a) {
  const int64_t groups = a.B.dim[1];
  if (groups < 1 || a.x.dim[1] % groups != 0) return "heads in equal groups";
  if (a.chunk_size < 1 || a.chunk_size > 256) return "chunks of 1 to 256 tokens";
  if (a.D && a.D.dim[1] != 1 && a.D.dim[1] != a.x.dim[2]) return "D per head or per channel";
  return nullptr;
}

const char* broken(const UnfoldPatchesArgs& a) {
  const int64_t* frames = a.frames.dim;
  const int64_t p = a.patch;
  if (!is_size(p) || p > 65536 || frames[2] % p != 0 || frames[3] % p != 0) return "frames of whole patches";
  const __int128 rows = static_cast<__int128>(frames[0]) * (frames[2] / p) * (frames[3] / p);
  const __int128 columns = static_cast<__int128>(3 * p * p) * frames[1];
  return a.y.dim[0] == rows && a.y.dim[1] == columns ? nullptr : "a row per patch";
}

using Check = const char* (*)(const Call&);
#define KRAIT_ENTRY(name, Args) [](const Call& call) { return broken(unpack_##name(call)); },
constexpr Check kChecks[] = {KRAIT_OPS(KRAIT_ENTRY)};
#undef KRAIT_ENTRY

}  // namespace

Status check_relations(const NodeInfo& node, const std::vector<Tensor>& tensors) {
  // Nothing is bound yet; a present operand only has to be told from an absent one.
  static char present;
  Tensor operands[kMaxOperands] = {};
  for (size_t i = 0; i < node.operands.size(); ++i) {
    if (node.operands[i] < 0) continue;
    operands[i] = tensors[node.operands[i]];
    operands[i].data = &present;
  }
  const char* what = kChecks[node.op]({operands, node.attributes.data(), nullptr, node.scratch_bytes});
  if (what == nullptr) return {};
  return error(StatusCode::invalid_program, "Expected %s for %s but received a program without", what, kOps[node.op].name);
}

}  // namespace krait

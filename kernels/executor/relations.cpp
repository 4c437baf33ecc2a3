#include "relations.h"

#include "krait/rules.h"

namespace krait {
namespace {

using Check = const char* (*)(const Call&);
#define KRAIT_ENTRY(name, Args) [](const Call& call) { return broken_rule(unpack_##name(call)); },
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

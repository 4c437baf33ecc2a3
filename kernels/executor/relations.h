// What must hold between an op's operands and attributes beyond the letters of its shapes: the rules of
// the op records, generated into krait/rules.h. Kernels of every backend may rely on it.
#pragma once

#include <vector>

#include "program.h"

namespace krait {

// Checks one node at the shapes of a run.
Status check_relations(const NodeInfo& node, const std::vector<Tensor>& tensors);

}  // namespace krait

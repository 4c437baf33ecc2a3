#pragma once

#include "krait/backend.h"

namespace krait::cpu {

const krait_backend_table* backend();

}  // namespace krait::cpu

// Which instruction sets this processor has, and which one was chosen.
#pragma once

#include <string>
#include <vector>

#include "ops.hpp"

namespace kbit {

// Best first; "portable" is always there.
std::vector<const Ops *> available_ops();
// `name`, or the environment's KBIT_KERNEL where it is empty, or the best. Throws std::invalid_argument.
const Ops &choose_ops(const std::string &name);

}  // namespace kbit

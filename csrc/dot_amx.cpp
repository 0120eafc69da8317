#include "row_kernel.hpp"
namespace kbit {
const RowKernel *amx_bf16_kernel() { return nullptr; }
}  // namespace kbit

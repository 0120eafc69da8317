// Products of packed weights with many rows of activations.
#pragma once

#include <cstdint>

#include "amx.hpp"
#include "stretch.hpp"

namespace kbit {

// out[m, n] = sum over k of x[m, k] w[n, k] (+ bias[n]), bfloat16 [x.count, rows of w], contiguous.
// Needs amx_compiled() and a processor to match; w must have a column.
void long_product(const BfloatRows &x, const RowSource &w, const float *bias, uint16_t *out, int threads);

}  // namespace kbit

// Panels of products of packed weights with many bfloat16 rows, on the tile registers of AMX.
// Only where the processor has AMX with bfloat16, and the process may use it.
#pragma once

#include <cstdint>

#include "stretch.hpp"

namespace kbit {

struct BfloatRows {
    const uint16_t *data;  // [count, cols], values of a row consecutive
    int64_t count, stride;
};

bool amx_compiled();

// Columns [first, first + count) of out = x w^T (+ bias), by the calling thread: weights rounded to bfloat16,
// sums in float32, rounded to bfloat16 at the end. `out` is [x.count, rows of w], contiguous.
void amx_panel(const BfloatRows &x, const RowSource &w, const float *bias, uint16_t *out, int64_t first,
               int64_t count);

// The most columns of `out` that amx_panel takes; a multiple of 32.
int64_t amx_widest_panel();
// What a thread keeps for it, at most, whatever the shapes.
int64_t amx_workspace_bytes();

}  // namespace kbit

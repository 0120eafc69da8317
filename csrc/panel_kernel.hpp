// Panels of a product with many rows of activations: some rows of a packed weight, decoded once into a layout of
// the instructions that multiply, then all rows of activations past them. Each file that fills one is compiled
// with its own flags, so nothing here may be inline or a template.
#pragma once

#include <cstdint>

#include "stretch.hpp"

namespace kbit {

struct BfloatRows {
    const uint16_t *data;  // [count, cols], values of a row consecutive
    int64_t count, stride;
};

struct PanelKernel {
    const char *name;
    int64_t grain;  // panels are best a multiple of so many rows of the weight
    // The most rows of a weight with so many columns that `panel` takes.
    int64_t (*widest)(int64_t cols);
    // What a thread keeps for it, at most, whatever the shapes.
    int64_t (*workspace_bytes)();
    // Columns [first, first + count) of out = x w^T (+ bias), by the calling thread: weights rounded to bfloat16,
    // sums in float32, rounded to bfloat16 at the end. `out` is [x.count, rows of w], contiguous; w has a column.
    void (*panel)(const BfloatRows &x, const RowSource &w, const float *bias, uint16_t *out, int64_t first,
                  int64_t count);
};

// Null where not compiled in.
const PanelKernel *amx_panel_kernel();   // needs a process that may use AMX's tiles
const PanelKernel *bf16_panel_kernel();  // AVX-512 with BF16

}  // namespace kbit

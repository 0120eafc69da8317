// Products of packed weights with many rows of activations.
#pragma once

#include <cstdint>

#include "a8_panel_kernel.hpp"
#include "panel_kernel.hpp"

namespace kbit {

// out[m, n] = sum over k of x[m, k] w[n, k] (+ bias[n]), bfloat16 [x.count, rows of w], contiguous.
// w must have a column.
void long_product(const PanelKernel &kernel, const BfloatRows &x, const RowSource &w, const float *bias, uint16_t *out,
                  int threads);

// The same with activations rounded to 8 bits; x is float32 or bfloat16, of any count, and so is out. `kernel` serves w.
void long_product_a8(const A8PanelKernel &kernel, const Ops &ops, const void *x, bool bfloat16, int64_t count,
                     int64_t stride, const Prepared &w, const float *bias, void *out, bool bfloat16_out, int threads);
// Beside what the kernel's threads keep: for the rounded activations.
int64_t a8_rows_bytes(int64_t cols);

// Rows of a weight for each panel of a product by so many threads, where a panel takes `widest` at most.
int64_t panel_width(int64_t rows, int64_t widest, int64_t grain, int threads);

}  // namespace kbit

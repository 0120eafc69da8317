// y = x W^T for one to sixteen rows of activations and a packed weight.
//
//     Prepared weight = prepare(stored, ops, threads);               // once
//     const RowKernel &kernel = kernel_for(weight, Numerics::bf16, n);
//     multiply(weight, kernel, x, y, rows, threads);                 // or, inside threads of one's own:
//     Arranged in = kernel.arrange(weight, x, room);                 // kernel.room(weight, n) bytes, 64-aligned
//     kernel.rows(weight, in, first, last, y, y_stride);             // any thread, any rows
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "row_kernel.hpp"

namespace kbit {

// The fastest kernel of the chosen path (KBIT_KERNEL, or the best) for this weight and n rows of activations;
// never fails, since the general one takes every weight. Throws std::invalid_argument for a path that cannot run here.
const RowKernel &kernel_for(const Prepared &weight, Numerics numerics, int n, const std::string &path = "");

// y: float32 [n, rows], y_stride from row to row. Up to kMostInputs rows at once, more in several passes.
void multiply(const Prepared &weight, const RowKernel &kernel, const Activations &x, float *y, int64_t y_stride,
              int threads);

// How many rows of a weight a thread takes at once, a multiple of `step`: long streams, shared evenly.
int64_t rows_a_task(int64_t rows, int64_t row_bytes, int64_t cols, int64_t step, int threads);

// 64-byte aligned memory of the calling thread, at least `bytes`, valid until its next call.
void *scratch(size_t bytes);

}  // namespace kbit

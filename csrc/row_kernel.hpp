// One way to multiply rows of a weight with a few rows of activations. Each file that fills one is compiled
// with its own flags, so nothing here may be inline or a template.
#pragma once

#include <cstddef>
#include <cstdint>

#include "prepared.hpp"

namespace kbit {

constexpr int kMostInputs = 16;

enum class Numerics {
    f32,   // float32 activations and sums
    bf16,  // bfloat16 activations, float32 sums
    a8,    // activations rounded to 8 bits by blocks of 64, exact integer sums within a block
};

struct Activations {  // [n, cols]
    const void *data;
    bool bfloat16;   // else float32
    int64_t stride;  // from row to row, in values
    int n;
};

// Activations in the order a kernel reads them, in memory of the caller's.
struct Arranged {
    int n;
    int padded;             // rows as computed, those beyond n being zero
    const void *x;
    const float *sums;      // [n, sums_stride]: sums of x over each block of the weight; null where not needed
    int64_t sums_stride;
    const float *quanta;    // a8: [padded, groups]: what one unit of x is in each 64; else null
    int64_t groups;
};

struct RowKernel {
    const char *name;
    Numerics numerics;
    int64_t rows_at_once;  // tasks are multiples of it
    int least_inputs;      // rows of activations from which on it is the faster one
    bool (*serves)(const Prepared &weight);
    // Bytes that `arrange` needs for n rows of activations, n at most kMostInputs.
    size_t (*room)(const Prepared &weight, int n);
    Arranged (*arrange)(const Prepared &weight, const Activations &x, void *room);
    // y[i * y_stride + r] = sum over c of weight[r, c] * x[i, c] for rows first <= r < last.
    void (*rows)(const Prepared &weight, const Arranged &x, int64_t first, int64_t last, float *y,
                 int64_t y_stride);
};

// Takes every weight.
const RowKernel *general_kernel(const Ops &ops, Numerics numerics);
// Null where not compiled in.
const RowKernel *avx2_f32_kernel();
const RowKernel *avx512bw_f32_kernel();
const RowKernel *vbmi_f32_kernel();
const RowKernel *vbmi_wide_kernel();
const RowKernel *vbmi_bf16_kernel();
const RowKernel *vbmi_wide_a8_kernel();
const RowKernel *vbmi_a8_kernel();
const RowKernel *amx_bf16_kernel();

}  // namespace kbit

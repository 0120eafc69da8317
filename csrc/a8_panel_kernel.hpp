// Panels of a product of packed weights with many rows of 8-bit activations. The same numbers as the row kernel of
// these numerics: activations rounded by blocks of 64, a block's products summed exactly in integers.
#pragma once

#include <cstdint>

#include "ops.hpp"
#include "prepared.hpp"
#include "row_kernel.hpp"

namespace kbit {

// Rows of activations in 8 bits, each byte 128 more than the number; memory of the caller's.
struct EightBitRows {
    int64_t count, cols;
    int part;             // columns that share a scale of the weight: 16, 32 or 64
    int64_t groups;       // blocks of 64 in a row; bytes of a row are 64 times as many, 128 beyond the row
    uint8_t *bytes;       // [count, 64 * groups]
    float *quanta;        // [count, groups]: what one unit is
    float *sums;          // [count, groups * 64 / part]: of the rounded activations
};

struct A8PanelKernel {
    const char *name;
    int64_t grain;  // panels are best a multiple of so many rows of the weight
    bool (*serves)(const Prepared &weight);
    int64_t (*widest)(int64_t cols);
    // What a thread keeps for a weight with so many columns, at most.
    int64_t (*workspace_bytes)(int64_t cols);
    // Rounds row `row` of x.
    void (*arrange)(const Activations &x, int64_t row, const EightBitRows &to);
    // Columns [first, first + count) of out = x w^T (+ bias), float32 or bfloat16 [x.count, rows of w].
    void (*panel)(const Ops &ops, const EightBitRows &x, const Prepared &w, const float *bias, void *out,
                  bool bfloat16, int64_t first, int64_t count);
};

// Columns of a weight that share a scale, as EightBitRows are cut.
inline int part_of(const Prepared &weight) {
    if (weight.blocks <= 1 || weight.block % 64 == 0) return 64;
    return weight.block % 32 == 0 ? 32 : 16;
}

// Bytes that EightBitRows need; a multiple of 64.
int64_t eight_bit_room(int64_t count, int64_t cols, int part);
EightBitRows eight_bit_rows(int64_t count, int64_t cols, int part, void *room);

// AVX-512 with VBMI and VNNI; null where not compiled in.
const A8PanelKernel *vnni_panel_kernel();

}  // namespace kbit

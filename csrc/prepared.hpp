// A packed weight made ready to multiply: views of the stored parts, and small tables made from them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "rows.hpp"

namespace kbit {

// Scales or offsets of a weight, one for each block.
struct BlockValues {
    const void *data;        // null where the weight has none
    const uint16_t *second;  // of type q8, else null
    bool is_signed;          // codes of type q8 are: offsets'
};

// The stored parts of one weight [rows, cols]; the memory stays the caller's and must outlive what uses it.
// A weight is table[code] * scale + offset.
struct Stored {
    const uint8_t *codes;  // row r is the little-endian bit stream at codes + r * row_stride
    int64_t row_stride, rows, cols;
    int bits;
    const float *table;  // 2^bits values, each exact in bfloat16
    BlockValues scales, offsets;
    ScaleType scale_type;
    int64_t scales_a_row, block;  // scales of row r start at r * scales_a_row
    bool flat;  // blocks run over the flattened matrix; scales_a_row is not used
};

// What a kernel reads. Weights share a scale in blocks that divide a row alike in every row: flat blocks that
// do not are cut at `block`, the greatest length that all their borders are multiples of.
struct Prepared {
    const uint8_t *codes;
    int64_t row_stride, row_bytes, rows, cols;
    int bits;
    BlockValues scales, offsets;
    ScaleType scale_type;
    int64_t scales_a_row;
    int64_t block, blocks;  // weights that share a scale; such blocks in a row
    int64_t flat_block;     // 0, or the length of flat blocks that `block` cuts: scales are then found by place
    bool even;              // whether `block` is a multiple of 16, or one block is the row: what fast kernels take

    float table[256];
    // Where the table is step * (code + zero) for each code that occurs, kernels compute it instead.
    bool affine;
    float step, zero;
    // The same table in bfloat16, and rounded to 8 bits: table[c] is about (rounded[c] - 128) * rounded_step.
    uint16_t words[256];
    uint8_t rounded[256];
    float rounded_step;
};

// Reads every code once where it must know whether one that the format never writes occurs.
Prepared prepare(const Stored &stored, const Ops &ops, int threads);

// Scales (or offsets) of `count` blocks of a row from `first` on, as float32.
void read_blocks(const Prepared &weight, const BlockValues &which, int64_t row, int64_t first, int64_t count, float *out);

}  // namespace kbit

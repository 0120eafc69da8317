// Whole rows of codes and scales to weights, table * scale (+ offset), at the speed of wide registers.
#pragma once

#include <cstddef>
#include <cstdint>

#include "rows.hpp"

namespace kbit {

// A table as two planes of bytes: entries of up to eight bits are looked up as bytes, where 64 or 128 of
// them fit in one or two registers. So its values must be exact in bfloat16.
struct alignas(64) BytePlanes {
    uint8_t low[256], high[256];
};

// What a stretch of a row is decoded from. It starts at a multiple of 64 weights of its row, and a block is a
// multiple of 16 weights (only a row's last block may be short).
struct Stretch {
    const uint8_t *codes;    // the bit stream, from the stretch's first code
    size_t n;                // weights
    const float *scales;     // one for each block the stretch touches
    const float *offsets;    // the same, or null
    size_t block;            // weights in a block
    size_t first_left;       // weights from the stretch's start to its first block's end
};

// Its instructions flush subnormal numbers to zero. So no value of the table but zero may be below 2^-24,
// and `scales` refuses a scale or offset below 2^-60: then no product or sum is subnormal.
struct RowDecoder {
    // Rounded after each step, to bfloat16 once at the end.
    void (*to_bfloat16)(const BytePlanes &, int bits, const Stretch &, uint16_t *out);
    void (*to_float)(const BytePlanes &, int bits, const Stretch &, float *out);
    // n stored scales to float32 in `room` (n rounded up to 16), which is returned; null: too small a one.
    const float *(*scales)(const void *stored, size_t n, ScaleType type, float *room);
};

// Null where not compiled in. Needs AVX-512 with VBMI and BF16.
const RowDecoder *wide_row_decoder();

}  // namespace kbit

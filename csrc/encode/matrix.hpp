// Whole matrices of weights: their blocks' ranges, and their codes.
#pragma once

#include <cstdint>

#include "../ops.hpp"
#include "encoder.hpp"

namespace kbit {

struct WeightRows {  // weights of a row are consecutive
    const void *data;
    WeightType type;
    int64_t rows, cols, row_stride;  // in weights; the number of columns where blocks are flat
};

// Boundaries of a table: `count` of them, ascending.
Boundaries make_boundaries(const float *given, int count, int bits);

// Least and greatest weight of each block: low and high are [rows, blocks], or [blocks] where blocks are flat, and
// run over the flattened matrix. False where a weight is NaN or infinite.
bool block_ranges(const Encoder &encoder, const WeightRows &weights, int64_t block, bool flat, float *low,
                  float *high, int threads);

struct Encode {
    const float *scales, *offsets;   // as numbers; offsets may be null
    int64_t scales_a_row, block;     // scales of row r start at r * scales_a_row
    bool flat;                       // blocks run over the flattened matrix
};

// Codes of each row as a bit stream of stream_bytes(cols, bits) bytes.
void encode_rows(const Encoder &encoder, const Ops &ops, const WeightRows &weights, const Encode &how,
                 const Boundaries &boundaries, uint8_t *out, int threads);

}  // namespace kbit

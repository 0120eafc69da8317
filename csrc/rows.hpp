// Whole matrices: rows and pieces of rows, over threads.
#pragma once

#include <cstddef>
#include <cstdint>

#include "ops.hpp"

namespace kbit {

struct ByteRows {  // a matrix of bytes with any strides, in bytes
    const uint8_t *data;
    int64_t row_stride, col_stride;
};

// q8: an 8-bit code (scales unsigned, offsets signed) times a bfloat16 for each 256 consecutive codes.
enum class ScaleType { fp16, bf16, fp32, q8 };
constexpr int64_t kSecondLevelGroup = 256;

// Scale or offset number `at` of those stored.
float read_scale(const void *scales, const uint16_t *second, ScaleType type, bool is_signed, int64_t at);

// Scale (or offset) number `at` of those stored.
float read_scale(const void *scales, ScaleType type, int64_t at);

struct Decode {
    ByteRows codes;  // packed; col_stride is 1
    const int64_t *numbers;  // row numbers, or null for first, first + 1, ...
    int64_t first, count, cols;
    int bits;
    const float *table;
    const void *scales, *offsets;  // offsets may be null
    const uint16_t *second_scales, *second_offsets;  // of q8, else null
    ScaleType scale_type;
    int64_t row_stride, block;  // scales of row r start at r * row_stride; a block has `block` weights
    bool flat;  // blocks run over the flattened matrix; row_stride is not used
    float *out_float;
    uint16_t *out_bfloat16;  // one of the two is null
};

inline int64_t stream_bytes(int64_t cols, int bits) { return (cols + 31) / 32 * 4 * bits; }

// Returns the bitwise or of all codes.
uint8_t pack_rows(const Ops &ops, ByteRows codes, int64_t rows, int64_t cols, int bits, uint8_t *out,
                  int threads);
void unpack_rows(const Ops &ops, ByteRows packed, int64_t rows, int64_t cols, int bits, uint8_t *out,
                 int threads);
void decode_rows(const Ops &ops, const Decode &what, int threads);

}  // namespace kbit

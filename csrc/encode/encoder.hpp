// From weights to codes: the inner loops of one instruction set. Each file that fills one is compiled with its
// own flags, so nothing here may be inline or a template.
#pragma once

#include <cstddef>
#include <cstdint>

namespace kbit {

enum class WeightType { f32, bf16, fp16 };

// Midpoints of neighbouring entries of a table of 2^bits values, ascending; +inf where there are fewer.
struct Boundaries {
    int bits;
    float at[256];        // 2^bits - 1, then +inf
    float coarse64[64];   // of more than 6 bits: every 2^(bits - 6)th, the first 6 steps of a search
    float coarse16[16];   // of more than 4 bits: every 2^(bits - 4)th, the first 4 steps
    // Of integers: the boundaries are `lowest`, lowest + 1, ..., `count` of them, each half-way between two whole numbers,
    // so that a place is found by rounding down; else 0.
    int count;
    float lowest;
};

struct Encoder {
    // Least and greatest of n weights, n at least 1; false where one is NaN or infinite.
    bool (*range)(const void *weights, WeightType type, size_t n, float *low, float *high);
    // codes[i] = how many boundaries lie below (weights[i] - offset) / scale, each step rounded to float32; below
    // 0 where the scale is 0. So a weight midway between two entries takes the lower.
    void (*codes)(const void *weights, WeightType type, size_t n, float scale, bool has_offset, float offset,
                  const Boundaries &boundaries, uint8_t *codes);
};

const Encoder *portable_encoder();
const Encoder *avx2_encoder();    // null where not compiled in
const Encoder *avx512_encoder();  // null where not compiled in

}  // namespace kbit

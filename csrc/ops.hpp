// The inner loops of one instruction set, as plain function pointers. Each file that fills one is
// compiled with its own flags, so nothing here may be inline or a template.
#pragma once

#include <cstddef>
#include <cstdint>

namespace kbit {

struct Ops {
    const char *name;
    // n codes (one a byte) -> bit stream of ceil(n / 32) * 4 * bits bytes, padding zero.
    // Returns the bitwise or of all codes: a value of 2^bits or more says that some code was too large.
    uint8_t (*pack)(const uint8_t *codes, size_t n, int bits, uint8_t *out);
    // Bit stream of ceil(n / 32) * 4 * bits bytes -> n codes.
    void (*unpack)(const uint8_t *in, size_t n, int bits, uint8_t *codes);
    // out[i] = table[codes[i]] * scale (+ offset, where has_offset), rounded after each step.
    void (*look_up)(const uint8_t *codes, size_t n, int bits, const float *table, float scale,
                    bool has_offset, float offset, float *out);
    // Float32 to bfloat16, nearest, ties to even.
    void (*to_bfloat16)(const float *in, size_t n, uint16_t *out);
    // Sum of a[i] * b[i], in 16 partial sums.
    float (*dot)(const float *a, const float *b, size_t n);
};

const Ops *portable_ops();
const Ops *avx2_ops();    // null where not compiled in
const Ops *avx512_ops();  // null where not compiled in

}  // namespace kbit

// What a step of a Transformer needs beside products with packed weights, one table for each instruction set.
// Each file that fills one is compiled with its own flags from the same text, so nothing here is inline.
#pragma once

#include <cstdint>

namespace kbit {

constexpr int kBlock = 8;

struct Math {
    const char *name;
    // out = weight * x / sqrt(mean(x^2) + eps)
    void (*rms_norm)(const float *x, const float *weight, int64_t n, float eps, float *out);
    // y[i * y_stride + r] = row r . x[i], first <= r < last; weights bfloat16 (raw bits) or float32.
    void (*dense_bf16)(const uint16_t *weight, int64_t cols, const float *x, int64_t x_stride, int inputs,
                       int64_t first, int64_t last, float *y, int64_t y_stride);
    void (*dense_f32)(const float *weight, int64_t cols, const float *x, int64_t x_stride, int inputs,
                      int64_t first, int64_t last, float *y, int64_t y_stride);
    // Rotary position: pairs (i, i + n / 2); cos and sin have n values.
    void (*rotate)(float *x, const float *cos, const float *sin, int64_t n);
    // gate = silu(gate) * up
    void (*gated)(float *gate, const float *up, int64_t n);
    // scores[t] = scale * (q . key t) for keys of n values, bfloat16, `count` of them in a row.
    void (*scores_bf16)(const float *q, const uint16_t *keys, int64_t n, int64_t count, float scale, float *scores);
    void (*scores_f32)(const float *q, const float *keys, int64_t n, int64_t count, float scale, float *scores);
    // The same for keys in 8 bits, each with a scale of its own.
    void (*scores_q8)(const float *q, const int8_t *keys, const float *scales, int64_t n, int64_t count, float scale,
                      float *scores);
    // scores -> probabilities, in place
    void (*softmax)(float *scores, int64_t count);
    // out = sum over t of weights[t] * value t
    void (*mix_bf16)(const float *weights, const uint16_t *values, int64_t n, int64_t count, float *out);
    void (*mix_f32)(const float *weights, const float *values, int64_t n, int64_t count, float *out);
    void (*mix_q8)(const float *weights, const int8_t *values, const float *scales, int64_t n, int64_t count, float *out);
    // Attention of kBlock queries at once. keys: tiles of 16, value d of key t at [16 * d + t]; scores [kBlock, stride].
    void (*block_scores)(const float *q, int64_t q_stride, const float *keys, int64_t n, int64_t tiles, float scale,
                         float *scores, int64_t stride);
    // out [kBlock, padded] = weights [kBlock, stride] times values [count, padded], padded a multiple of 16.
    void (*block_mix)(const float *weights, int64_t stride, const float *values, int64_t padded, int64_t count,
                      float *out);
    // gate = silu(gate) * up in bfloat16; rms_norm into bfloat16.
    void (*gated_bf16)(uint16_t *gate, const uint16_t *up, int64_t n);
    void (*norm_bf16)(const float *x, const float *weight, int64_t n, float eps, uint16_t *out);
    void (*from_bf16)(const uint16_t *in, int64_t n, float *out);
    // x += y
    void (*add_bf16)(float *x, const uint16_t *y, int64_t n);
    void (*to_bf16)(const float *in, int64_t n, uint16_t *out);
    // Symmetric 8 bits; returns the scale.
    float (*to_q8)(const float *in, int64_t n, int8_t *out);
};

const Math *math_portable();
const Math *math_avx2();    // null where not compiled in
const Math *math_avx512();  // null where not compiled in

}  // namespace kbit

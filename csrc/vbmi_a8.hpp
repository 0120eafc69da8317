// Activations rounded to 8 bits in groups of 64.
#pragma once

#include <cstring>

#include "vbmi_rows.hpp"

namespace kbit {
namespace {

// Group g of a row, nearest, in units of the returned quantum: NaN where one of them is not a number, since integers have
// none and the quantum carries it into every product.
inline float round_group(const Activations &x, int row, int64_t g, int64_t cols, void *units) {
    __m512 part[4], most = _mm512_setzero_ps();
    __mmask16 numbers = 0xffff;
    for (int q = 0; q < 4; ++q) {
        part[q] = load_activations(x, row, g * kGroup + 16 * q, cols);
        most = _mm512_max_ps(most, _mm512_abs_ps(part[q]));
        numbers &= _mm512_cmp_ps_mask(part[q], part[q], _CMP_ORD_Q);
    }
    const float greatest = numbers == 0xffff ? _mm512_reduce_max_ps(most) : __builtin_nanf("");
    const __m512 times = _mm512_set1_ps(greatest > 0 ? 127.0f / greatest : 0.0f);
    for (int q = 0; q < 4; ++q) {
        const __m512i whole = _mm512_cvtps_epi32(_mm512_mul_ps(part[q], times));
        _mm_storeu_si128(reinterpret_cast<__m128i *>(static_cast<char *>(units) + 16 * q), _mm512_cvtsepi32_epi8(whole));
    }
    return greatest / 127.0f;
}

// Adds a rounded group to the sums of the weight's blocks: multiples of 16, or one that is the row.
inline void add_rounded(const Prepared &weight, const void *units, int64_t g, float quantum, float *sums) {
    alignas(64) int32_t fours[16];
    const __m512i ones = _mm512_set1_epi8(1);
    _mm512_store_si512(fours, _mm512_dpbusd_epi32(_mm512_setzero_si512(), ones, _mm512_loadu_si512(units)));
    if (weight.blocks == 1 || weight.block % kGroup == 0) {
        int32_t sum = 0;
        for (int i = 0; i < 16; ++i) sum += fours[i];
        sums[weight.blocks == 1 ? 0 : g * kGroup / weight.block] += static_cast<float>(sum) * quantum;
        return;
    }
    for (int q = 0; q < 4 && g * kGroup + 16 * q < weight.cols; ++q) {
        const int32_t sum = fours[4 * q] + fours[4 * q + 1] + fours[4 * q + 2] + fours[4 * q + 3];
        sums[(g * kGroup + 16 * q) / weight.block] += static_cast<float>(sum) * quantum;
    }
}

}  // namespace
}  // namespace kbit

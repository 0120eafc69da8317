// Groups of weights as bfloat16 words, and bfloat16 activations in the same order.
#pragma once

#include "vbmi_rows.hpp"

namespace kbit {
namespace {

template <int K, bool Affine>
struct BfloatWords {
    static constexpr int kBits = K;
    // Without a look-up: a code in the upper bits of the fraction of a bfloat16 in [2^K, 2^(K+1)) makes it
    // 2^K + code. K = 8 has a bit too many: that one goes alone, 0x4300 | 0x80 being 128 more than 0x4300.
    static constexpr int kFraction = K == 8 ? 7 : K;
    static constexpr int kParts = Affine && K == 8 ? 2 : 1;
    struct Values {
        __m512i even[kParts], odd[kParts];
    };
    Spread<K, Affine && K < 8 ? 7 - K : 0> spread;
    WordTable<K> table;
    float step, zero;

    explicit BfloatWords(const Prepared &weight)
        : table(weight),
          step(Affine ? weight.step : 1.0f),
          zero(Affine ? weight.zero - (1 << K) : 0.0f) {}

    inline Values values(__m512i bytes) const {
        const __m512i codes = spread(bytes);
        Values out;
        if constexpr (Affine) {
            const __m512i one = _mm512_set1_epi16((127 + kFraction) << 7), odd = _mm512_srli_epi16(codes, 8);
            const __m512i mask = _mm512_set1_epi16(0x7f - (0x7f >> kFraction));
            out.even[0] = _mm512_ternarylogic_epi32(codes, mask, one, 0xea);  // codes & mask | one
            out.odd[0] = _mm512_ternarylogic_epi32(odd, mask, one, 0xea);
            if constexpr (K == 8) {
                const __m512i top = _mm512_set1_epi16(0x80);
                out.even[1] = _mm512_ternarylogic_epi32(codes, top, one, 0xea);
                out.odd[1] = _mm512_ternarylogic_epi32(odd, top, one, 0xea);
            }
        } else {
            table(codes, out.even[0], out.odd[0]);
        }
        return out;
    }
};

inline size_t rounded_room(const Prepared &weight, int n) {
    return static_cast<size_t>(n * round_up(weight.cols, 32) * 2);
}

// The activations as bfloat16: themselves, or rounded to nearest even into `room`.
inline Activations rounded(const Activations &x, int64_t cols, void *room) {
    if (x.bfloat16) return x;
    auto *to = static_cast<uint16_t *>(room);
    const Activations out = {to, true, round_up(cols, 32), x.n};
    for (int i = 0; i < x.n; ++i) {
        for (int64_t c = 0; c < cols; c += 32) {
            const __m512 low = load_activations(x, i, c, cols), high = load_activations(x, i, c + 16, cols);
            _mm512_storeu_si512(to + i * out.stride + c, (__m512i)_mm512_cvtne2ps_pbh(high, low));
        }
    }
    return out;
}

// 32 bfloat16 activations from c on, zero beyond the row.
inline __m512i load_bfloat16(const Activations &x, int row, int64_t c, int64_t cols) {
    const int64_t left = cols - c;
    const __mmask32 keep = static_cast<__mmask32>(left >= 32 ? 0xffffffffu : left > 0 ? low_bits(left) : 0);
    return _mm512_maskz_loadu_epi16(keep, static_cast<const uint16_t *>(x.data) + row * x.stride + c);
}

// The even and the odd ones of 64 activations from c on.
inline void load_words(const Activations &x, int row, int64_t c, int64_t cols, __m512i &even, __m512i &odd) {
    alignas(64) static const uint16_t evens[32] = {0,  2,  4,  6,  8,  10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30,
                                                   32, 34, 36, 38, 40, 42, 44, 46, 48, 50, 52, 54, 56, 58, 60, 62};
    const __m512i low = load_bfloat16(x, row, c, cols), high = load_bfloat16(x, row, c + 32, cols);
    const __m512i index = _mm512_load_si512(evens);
    even = _mm512_permutex2var_epi16(low, index, high);
    odd = _mm512_permutex2var_epi16(low, _mm512_add_epi16(index, _mm512_set1_epi16(1)), high);
}

}  // namespace
}  // namespace kbit

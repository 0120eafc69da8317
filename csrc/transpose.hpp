// Sixteen rows of sixteen 32-bit words to sixteen words of sixteen rows. In an anonymous namespace: each file that
// includes it has flags of its own.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace kbit {
namespace {

// out[word][row] at out + word * step bytes, from in + row * stride bytes; `out` and `step` are multiples of 64.
inline void transpose_words(const void *in, std::int64_t stride, void *out, std::int64_t step) {
    const auto *from = static_cast<const char *>(in);
    auto *to = static_cast<char *>(out);
    for (int quarter = 0; quarter < 4; ++quarter) {
        __m512i z[4];
        for (int i = 0; i < 4; ++i) {
            const auto at = [&](int row) {
                return _mm_loadu_si128(reinterpret_cast<const __m128i *>(from + row * stride + 16 * quarter));
            };
            z[i] = _mm512_castsi128_si512(at(i));
            z[i] = _mm512_inserti32x4(z[i], at(i + 4), 1);
            z[i] = _mm512_inserti32x4(z[i], at(i + 8), 2);
            z[i] = _mm512_inserti32x4(z[i], at(i + 12), 3);
        }
        const __m512i a = _mm512_unpacklo_epi32(z[0], z[1]), b = _mm512_unpackhi_epi32(z[0], z[1]);
        const __m512i c = _mm512_unpacklo_epi32(z[2], z[3]), d = _mm512_unpackhi_epi32(z[2], z[3]);
        char *word = to + 4 * quarter * step;
        _mm512_store_si512(word, _mm512_unpacklo_epi64(a, c));
        _mm512_store_si512(word + step, _mm512_unpackhi_epi64(a, c));
        _mm512_store_si512(word + 2 * step, _mm512_unpacklo_epi64(b, d));
        _mm512_store_si512(word + 3 * step, _mm512_unpackhi_epi64(b, d));
    }
}

}  // namespace
}  // namespace kbit

// AVX-512 with VBMI: 64 codes of a row to table values in registers, and what is shared by the kernels that
// multiply with them. Everything is in an anonymous namespace: each file has flags of its own.
//
// 64 codes are the 8k bytes of a group. vpermb moves the k bytes of each eight codes into a 64-bit lane,
// vpmultishiftqb takes each code's eight bits from its own position in the lane. The bits above the code are
// the next code's: tables are repeated so that they change nothing. Values come out as the even and the odd
// codes of the group, 32 words each; activations are put into that order once for a product.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "row_kernel.hpp"

namespace kbit {
namespace {

using std::int64_t;
using std::uint8_t;

constexpr int kGroup = 64;

constexpr uint64_t low_bits(int64_t n) { return n >= 64 ? ~uint64_t{0} : (uint64_t{1} << n) - 1; }

// Bytes a plain load of a group reads; more than 8K where no shorter load has them.
template <int K>
constexpr int kLoad = K == 1 ? 8 : K == 2 ? 16 : K <= 4 ? 32 : 64;

// The bytes of a group, and maybe some after it.
template <int K>
inline __m512i load_whole(const uint8_t *from) {
    if constexpr (K == 1) return _mm512_castsi128_si512(_mm_loadl_epi64(reinterpret_cast<const __m128i *>(from)));
    else if constexpr (K == 2) return _mm512_castsi128_si512(_mm_loadu_si128(reinterpret_cast<const __m128i *>(from)));
    else if constexpr (K <= 4) return _mm512_castsi256_si512(_mm256_loadu_si256(reinterpret_cast<const __m256i *>(from)));
    else return _mm512_loadu_si512(from);
}

// The bytes of a group as far as the row reaches.
template <int K>
inline __m512i load_group(const uint8_t *from, const uint8_t *end) {
    return _mm512_maskz_loadu_epi8(low_bits(end - from < 8 * K ? end - from : 8 * K), from);
}

// One code a byte, its lowest bit at `Low`; the other bits are those of its neighbours.
template <int K, int Low = 0>
struct Spread {
    __m512i bytes, shifts;
    Spread() {
        alignas(64) uint8_t b[64], s[64];
        for (int i = 0; i < 64; ++i) {
            b[i] = static_cast<uint8_t>((K * (i / 8) + i % 8) & 63);
            s[i] = static_cast<uint8_t>((K * (i % 8) - Low) & 63);
        }
        bytes = _mm512_load_si512(b);
        shifts = _mm512_load_si512(s);
    }
    inline __m512i operator()(__m512i group) const {
        if constexpr (K == 8) return group;
        return _mm512_multishift_epi64_epi8(shifts, _mm512_permutexvar_epi8(bytes, group));
    }
};

// A table of 2^K bytes, looked up by the low K bits of each byte.
template <int K>
struct ByteTable {
    static constexpr int kParts = K <= 6 ? 1 : K == 7 ? 2 : 4;
    __m512i part[kParts];
    void fill(const uint8_t *table) {
        alignas(64) uint8_t b[64];
        for (int p = 0; p < kParts; ++p) {
            for (int i = 0; i < 64; ++i) b[i] = table[(64 * p + i) & ((1 << K) - 1)];
            part[p] = _mm512_load_si512(b);
        }
    }
    inline __m512i operator()(__m512i codes) const {
        if constexpr (K <= 6) {
            return _mm512_permutexvar_epi8(codes, part[0]);
        } else if constexpr (K == 7) {
            return _mm512_permutex2var_epi8(part[0], codes, part[1]);
        } else {
            return _mm512_mask_blend_epi8(_mm512_movepi8_mask(codes),
                                          _mm512_permutex2var_epi8(part[0], codes, part[1]),
                                          _mm512_permutex2var_epi8(part[2], codes, part[3]));
        }
    }
};

// The table's bfloat16 values of a group: 32 words for the even codes, 32 for the odd ones.
template <int K>
struct WordTable {
    __m512i words;           // K <= 5: looked up by the low five bits of a word
    ByteTable<K> low, high;  // else: the two bytes of a value apart
    explicit WordTable(const Prepared &weight) {
        if constexpr (K <= 5) {
            alignas(64) uint16_t w[32];
            for (int i = 0; i < 32; ++i) w[i] = weight.words[i & ((1 << K) - 1)];
            words = _mm512_load_si512(w);
        } else {
            uint8_t l[256], h[256];
            for (int i = 0; i < 256; ++i) {
                l[i] = static_cast<uint8_t>(weight.words[i] & 255);
                h[i] = static_cast<uint8_t>(weight.words[i] >> 8);
            }
            low.fill(l);
            high.fill(h);
        }
    }
    inline void operator()(__m512i codes, __m512i &even, __m512i &odd) const {
        if constexpr (K <= 5) {
            even = _mm512_permutexvar_epi16(codes, words);
            odd = _mm512_permutexvar_epi16(_mm512_srli_epi16(codes, 8), words);
        } else {
            const __m512i l = low(codes), h = high(codes), first = _mm512_set1_epi16(0x00ff);
            even = _mm512_ternarylogic_epi32(l, first, _mm512_slli_epi16(h, 8), 0xea);  // l & first | h << 8
            odd = _mm512_ternarylogic_epi32(h, first, _mm512_srli_epi16(l, 8), 0xba);   // h & ~first | l >> 8
        }
    }
};

inline __m512 widen_bfloat16(__m256i raw) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(raw), 16));
}

// Up to 16 stored scales (or offsets) from number `at` on.
inline __m512 load_blocks(const BlockValues &which, ScaleType type, int64_t at, __mmask16 keep) {
    const auto *words = static_cast<const uint16_t *>(which.data) + at;
    switch (type) {
        case ScaleType::fp16: return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(keep, words));
        case ScaleType::bf16: return widen_bfloat16(_mm256_maskz_loadu_epi16(keep, words));
        case ScaleType::fp32: return _mm512_maskz_loadu_ps(keep, static_cast<const float *>(which.data) + at);
        default: break;
    }
    const __m128i codes = _mm_maskz_loadu_epi8(keep, static_cast<const uint8_t *>(which.data) + at);
    const __m512 values =
        _mm512_cvtepi32_ps(which.is_signed ? _mm512_cvtepi8_epi32(codes) : _mm512_cvtepu8_epi32(codes));
    // 16 numbers fall into two groups at most, the second from lane `border` on.
    const int64_t group = at / kSecondLevelGroup, border = (group + 1) * kSecondLevelGroup - at;
    const __mmask16 upper = static_cast<__mmask16>(border < 16 ? ~low_bits(border) & keep : 0);
    const __m512 second = widen_bfloat16(_mm256_set1_epi16(static_cast<short>(which.second[group])));
    const __m512 next = upper ? widen_bfloat16(_mm256_set1_epi16(static_cast<short>(which.second[group + 1]))) : second;
    return _mm512_mul_ps(values, _mm512_mask_blend_ps(upper, second, next));
}

// Asks for what comes four lines later in the same row: the processor has brought it near, not into the first level.
inline void bring_near(const uint8_t *codes) { _mm_prefetch(reinterpret_cast<const char *>(codes) + 256, _MM_HINT_T0); }

inline int64_t scale_bytes(ScaleType type) { return type == ScaleType::fp32 ? 4 : type == ScaleType::q8 ? 1 : 2; }

// Asks for the scales that rows two further on will need at number `at`: they are read at the start of a row, all else
// waiting for them, and a line of them every few rows is no stream that the processor would foresee.
inline void ask_for_scales(const Prepared &weight, int64_t at) {
    const int64_t later = (at + 2 * weight.scales_a_row) * scale_bytes(weight.scale_type);
    _mm_prefetch(static_cast<const char *>(weight.scales.data) + later, _MM_HINT_T0);
    if (weight.offsets.data) _mm_prefetch(static_cast<const char *>(weight.offsets.data) + later, _MM_HINT_T0);
}

// Scales (or offsets) of blocks as float32 times `factor`, zero beyond `count` up to a multiple of 16.
inline void expand_blocks(const Prepared &weight, const BlockValues &which, int64_t row, int64_t first,
                          int64_t count, float factor, float *out) {
    const __m512 times = _mm512_set1_ps(factor);
    const int64_t at = row * weight.scales_a_row + first;
    if (weight.flat_block) read_blocks(weight, which, row, first, count, out);
    for (int64_t i = 0; i < count; i += 16) {
        const __mmask16 keep = static_cast<__mmask16>(low_bits(count - i));
        const __m512 values = weight.flat_block ? _mm512_maskz_loadu_ps(keep, out + i)
                                                : load_blocks(which, weight.scale_type, at + i, keep);
        _mm512_storeu_ps(out + i, _mm512_mul_ps(values, times));
    }
}

// Sum of a[i] * b[i] over a multiple of 16.
inline float dot_blocks(const float *a, const float *b, int64_t count) {
    __m512 sum = _mm512_setzero_ps();
    for (int64_t i = 0; i < count; i += 16) sum = _mm512_fmadd_ps(_mm512_loadu_ps(a + i), _mm512_loadu_ps(b + i), sum);
    return _mm512_reduce_add_ps(sum);
}

inline int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

// 16 activations from c on, as float32, zero beyond the row.
inline __m512 load_activations(const Activations &x, int row, int64_t c, int64_t cols) {
    const __mmask16 keep = static_cast<__mmask16>(cols - c >= 16 ? 0xffff : cols > c ? low_bits(cols - c) : 0);
    const int64_t at = row * x.stride + c;
    if (!x.bfloat16) return _mm512_maskz_loadu_ps(keep, static_cast<const float *>(x.data) + at);
    const __m256i raw = _mm256_maskz_loadu_epi16(keep, static_cast<const uint16_t *>(x.data) + at);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(raw), 16));
}

inline bool needs_sums(const Prepared &weight) { return weight.affine || weight.offsets.data != nullptr; }

inline int64_t sums_stride(const Prepared &weight) { return round_up(weight.blocks, 16); }

// Sums over each block of the weight, which is a multiple of 16 long or the whole row.
inline void sum_blocks(const Prepared &weight, const Activations &x, float *sums) {
    const int64_t stride = sums_stride(weight);
    for (int i = 0; i < x.n; ++i) {
        for (int64_t b = 0; b < stride; ++b) {
            __m512 sum = _mm512_setzero_ps();
            const int64_t end = (b + 1) * weight.block < weight.cols ? (b + 1) * weight.block : weight.cols;
            for (int64_t c = b * weight.block; c < end; c += 16) {
                sum = _mm512_add_ps(sum, load_activations(x, i, c, end));
            }
            sums[i * stride + b] = b * weight.block < end ? _mm512_reduce_add_ps(sum) : 0.0f;
        }
    }
}

}  // namespace
}  // namespace kbit

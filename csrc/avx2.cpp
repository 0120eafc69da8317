// AVX2 and BMI2: pdep and pext move eight codes between bytes and the bit stream.
#include "ops.hpp"

#if defined(__AVX2__) && defined(__BMI2__) && defined(__x86_64__)

#include <immintrin.h>

namespace kbit {
namespace {

inline uint64_t read(const uint8_t *in, int bytes) {
    uint64_t word = 0;
    __builtin_memcpy(&word, in, static_cast<size_t>(bytes));
    return word;
}

inline uint64_t fields(int bits) { return ((uint64_t{1} << bits) - 1) * 0x0101010101010101ull; }

template <int K>
uint8_t pack_k(const uint8_t *codes, size_t n, uint8_t *out) {
    uint64_t seen = 0;
    size_t i = 0;
    for (; i + 8 <= n; i += 8, out += K) {
        const uint64_t x = read(codes + i, 8);
        seen |= x;
        const uint64_t word = _pext_u64(x, fields(K));
        __builtin_memcpy(out, &word, K);
    }
    const size_t groups = (n + 31) / 32 * 4;
    for (size_t g = i / 8; g < groups; ++g, out += K) {
        const uint64_t x = g * 8 < n ? read(codes + g * 8, static_cast<int>(n - g * 8)) : 0;
        seen |= x;
        const uint64_t word = _pext_u64(x, fields(K));
        __builtin_memcpy(out, &word, K);
    }
    seen |= seen >> 32;
    seen |= seen >> 16;
    seen |= seen >> 8;
    return static_cast<uint8_t>(seen);
}

template <int K>
void unpack_k(const uint8_t *in, size_t n, uint8_t *codes) {
    size_t i = 0;
    for (; i + 8 <= n; i += 8, in += K) {
        const uint64_t x = _pdep_u64(read(in, K), fields(K));
        __builtin_memcpy(codes + i, &x, 8);
    }
    if (i < n) {
        const uint64_t x = _pdep_u64(read(in, K), fields(K));
        __builtin_memcpy(codes + i, &x, n - i);
    }
}

uint8_t pack(const uint8_t *codes, size_t n, int bits, uint8_t *out) {
    switch (bits) {
        case 1: return pack_k<1>(codes, n, out);
        case 2: return pack_k<2>(codes, n, out);
        case 3: return pack_k<3>(codes, n, out);
        case 4: return pack_k<4>(codes, n, out);
        case 5: return pack_k<5>(codes, n, out);
        case 6: return pack_k<6>(codes, n, out);
        case 7: return pack_k<7>(codes, n, out);
        default: return pack_k<8>(codes, n, out);
    }
}

void unpack(const uint8_t *in, size_t n, int bits, uint8_t *codes) {
    switch (bits) {
        case 1: return unpack_k<1>(in, n, codes);
        case 2: return unpack_k<2>(in, n, codes);
        case 3: return unpack_k<3>(in, n, codes);
        case 4: return unpack_k<4>(in, n, codes);
        case 5: return unpack_k<5>(in, n, codes);
        case 6: return unpack_k<6>(in, n, codes);
        case 7: return unpack_k<7>(in, n, codes);
        default: return unpack_k<8>(in, n, codes);
    }
}

inline __m256i eight_codes(const uint8_t *codes) {
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i *>(codes)));
}

void look_up(const uint8_t *codes, size_t n, int bits, const float *table, float scale, bool has_offset,
             float offset, float *out) {
    const __m256 s = _mm256_set1_ps(scale), o = _mm256_set1_ps(offset);
    size_t i = 0;
    if (bits <= 4) {
        float padded[16];
        for (int j = 0; j < 16; ++j) padded[j] = table[j & ((1 << bits) - 1)];
        const __m256 first = _mm256_loadu_ps(padded), second = _mm256_loadu_ps(padded + 8);
        for (; i + 8 <= n; i += 8) {
            const __m256i c = eight_codes(codes + i);
            const __m256 upper = _mm256_castsi256_ps(_mm256_slli_epi32(c, 28));  // bit 3 to the sign
            __m256 v = _mm256_blendv_ps(_mm256_permutevar8x32_ps(first, c), _mm256_permutevar8x32_ps(second, c),
                                        upper);
            v = _mm256_mul_ps(v, s);
            if (has_offset) v = _mm256_add_ps(v, o);
            _mm256_storeu_ps(out + i, v);
        }
    } else {
        for (; i + 8 <= n; i += 8) {
            __m256 v = _mm256_mul_ps(_mm256_i32gather_ps(table, eight_codes(codes + i), 4), s);
            if (has_offset) v = _mm256_add_ps(v, o);
            _mm256_storeu_ps(out + i, v);
        }
    }
    for (; i < n; ++i) {
        const float v = table[codes[i]] * scale;
        out[i] = has_offset ? v + offset : v;
    }
}

void to_bfloat16(const float *in, size_t n, uint16_t *out) {
    for (size_t i = 0; i < n; ++i) {
        uint32_t x;
        __builtin_memcpy(&x, in + i, 4);
        const uint32_t rounded = (x + 0x7fffu + ((x >> 16) & 1u)) >> 16;
        out[i] = static_cast<uint16_t>((x & 0x7fffffffu) > 0x7f800000u ? 0x7fc0u : rounded);
    }
}

float dot(const float *a, const float *b, size_t n) {
    __m256 low = _mm256_setzero_ps(), high = low;
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        low = _mm256_fmadd_ps(_mm256_loadu_ps(a + i), _mm256_loadu_ps(b + i), low);
        high = _mm256_fmadd_ps(_mm256_loadu_ps(a + i + 8), _mm256_loadu_ps(b + i + 8), high);
    }
    float sums[8];
    _mm256_storeu_ps(sums, _mm256_add_ps(low, high));
    for (; i < n; ++i) sums[i % 8] += a[i] * b[i];
    return ((sums[0] + sums[4]) + (sums[1] + sums[5])) + ((sums[2] + sums[6]) + (sums[3] + sums[7]));
}

const Ops kOps = {"avx2", pack, unpack, look_up, to_bfloat16, dot};

}  // namespace

const Ops *avx2_ops() { return &kOps; }

}  // namespace kbit

#else

namespace kbit {
const Ops *avx2_ops() { return nullptr; }
}  // namespace kbit

#endif

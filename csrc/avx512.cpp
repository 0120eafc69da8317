// AVX-512 with VBMI: 64 codes at a time. vpermb moves the k bytes of each eight codes into a 64-bit lane,
// vpmultishiftqb then takes each code's eight bits from its own position in the lane.
#include "ops.hpp"

#if defined(__AVX512VBMI__) && defined(__AVX512BW__) && defined(__AVX512VL__) && defined(__x86_64__)

#include <immintrin.h>

namespace kbit {
namespace {

struct alignas(64) Bytes {
    uint8_t at[64];
};

template <int K>
__m512i lane_bytes() {  // byte j of lane l comes from byte K * l + j
    Bytes b;
    for (int l = 0; l < 8; ++l)
        for (int j = 0; j < 8; ++j) b.at[8 * l + j] = static_cast<uint8_t>((K * l + j) & 63);
    return _mm512_load_si512(&b);
}

template <int K>
__m512i stream_bytes() {  // byte K * l + j comes from byte j of lane l
    Bytes b;
    for (int i = 0; i < 64; ++i) b.at[i] = static_cast<uint8_t>((i / K * 8 + i % K) & 63);
    return _mm512_load_si512(&b);
}

template <int K>
__m512i code_shifts() {
    Bytes b;
    for (int i = 0; i < 64; ++i) b.at[i] = static_cast<uint8_t>(K * (i % 8));
    return _mm512_load_si512(&b);
}

constexpr uint64_t first_bytes(size_t n) { return n >= 64 ? ~uint64_t{0} : (uint64_t{1} << n) - 1; }

template <int K>
void unpack_k(const uint8_t *in, size_t n, uint8_t *codes) {
    const __m512i lanes = lane_bytes<K>(), shifts = code_shifts<K>();
    const __m512i mask = _mm512_set1_epi8(static_cast<char>((1 << K) - 1));
    for (size_t i = 0; i < n; i += 64, in += 8 * K) {
        const size_t left = n - i;
        const uint64_t take = left >= 64 ? first_bytes(8 * K) : first_bytes((left + 7) / 8 * K);
        __m512i x = _mm512_maskz_loadu_epi8(take, in);
        x = _mm512_multishift_epi64_epi8(shifts, _mm512_permutexvar_epi8(lanes, x));
        _mm512_mask_storeu_epi8(codes + i, first_bytes(left), _mm512_and_si512(x, mask));
    }
}

template <int K>
uint8_t pack_k(const uint8_t *codes, size_t n, uint8_t *out) {
    const __m512i stream = stream_bytes<K>();
    const __m512i bytes = _mm512_set1_epi16(0x00ff), words = _mm512_set1_epi32(0x0000ffff);
    const __m512i halves = _mm512_set1_epi64(0xffffffffll);
    __m512i seen = _mm512_setzero_si512();
    for (size_t i = 0; i < n; i += 64, out += 8 * K) {
        const size_t left = n - i;
        __m512i x = _mm512_maskz_loadu_epi8(first_bytes(left), codes + i);
        seen = _mm512_or_si512(seen, x);
        x = _mm512_or_si512(_mm512_and_si512(x, bytes),
                            _mm512_srli_epi16(_mm512_andnot_si512(bytes, x), 8 - K));
        // A shift within 16-bit lanes moves the upper byte's field down; wider lanes follow.
        x = _mm512_or_si512(_mm512_and_si512(x, words),
                            _mm512_srli_epi32(_mm512_andnot_si512(words, x), 16 - 2 * K));
        x = _mm512_or_si512(_mm512_and_si512(x, halves),
                            _mm512_srli_epi64(_mm512_andnot_si512(halves, x), 32 - 4 * K));
        const uint64_t keep = left >= 64 ? first_bytes(8 * K) : first_bytes((left + 31) / 32 * 4 * K);
        _mm512_mask_storeu_epi8(out, keep, _mm512_permutexvar_epi8(stream, x));
    }
    uint64_t all = static_cast<uint64_t>(_mm512_reduce_or_epi64(seen));
    all |= all >> 32;
    all |= all >> 16;
    all |= all >> 8;
    return static_cast<uint8_t>(all);
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

void look_up(const uint8_t *codes, size_t n, int bits, const float *table, float scale, bool has_offset,
             float offset, float *out) {
    const __m512 s = _mm512_set1_ps(scale), o = _mm512_set1_ps(offset);
    // Entries of up to six bits stay in four registers; the scale is multiplied in once, into them.
    __m512 part[4];
    const int entries = 1 << bits;
    for (int j = 0; j < 4; ++j) {
        const int left = entries - 16 * j;
        const __mmask16 have = left >= 16 ? 0xffff : left > 0 ? static_cast<__mmask16>((1 << left) - 1) : 0;
        part[j] = _mm512_mul_ps(_mm512_maskz_loadu_ps(have, table + (left > 0 ? 16 * j : 0)), s);
        if (has_offset) part[j] = _mm512_add_ps(part[j], o);
    }
    for (size_t i = 0; i < n; i += 16) {
        const size_t left = n - i;
        const __mmask16 keep = left >= 16 ? 0xffff : static_cast<__mmask16>((1 << left) - 1);
        const __m512i c = _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(keep, codes + i));
        __m512 v;
        if (bits <= 4) {
            v = _mm512_permutexvar_ps(c, part[0]);
        } else if (bits <= 6) {
            const __mmask16 upper = _mm512_test_epi32_mask(c, _mm512_set1_epi32(32));
            v = _mm512_mask_blend_ps(upper, _mm512_permutex2var_ps(part[0], c, part[1]),
                                     _mm512_permutex2var_ps(part[2], c, part[3]));
        } else {
            v = _mm512_mul_ps(_mm512_i32gather_ps(c, table, 4), s);
            if (has_offset) v = _mm512_add_ps(v, o);
        }
        _mm512_mask_storeu_ps(out + i, keep, v);
    }
}

void to_bfloat16(const float *in, size_t n, uint16_t *out) {
    const __m512i one = _mm512_set1_epi32(1), half = _mm512_set1_epi32(0x7fff);
    for (size_t i = 0; i < n; i += 16) {
        const size_t left = n - i;
        const __mmask16 keep = left >= 16 ? 0xffff : static_cast<__mmask16>((1 << left) - 1);
        const __m512 f = _mm512_maskz_loadu_ps(keep, in + i);
        const __m512i x = _mm512_castps_si512(f);
        __m512i y = _mm512_add_epi32(x, _mm512_add_epi32(half, _mm512_and_si512(_mm512_srli_epi32(x, 16), one)));
        y = _mm512_srli_epi32(y, 16);
        y = _mm512_mask_mov_epi32(y, _mm512_cmp_ps_mask(f, f, _CMP_UNORD_Q), _mm512_set1_epi32(0x7fc0));
        _mm512_mask_cvtepi32_storeu_epi16(out + i, keep, y);
    }
}

float dot(const float *a, const float *b, size_t n) {
    __m512 sum = _mm512_setzero_ps();
    for (size_t i = 0; i < n; i += 16) {
        const size_t left = n - i;
        const __mmask16 keep = left >= 16 ? 0xffff : static_cast<__mmask16>((1 << left) - 1);
        sum = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(keep, a + i), _mm512_maskz_loadu_ps(keep, b + i), sum);
    }
    return _mm512_reduce_add_ps(sum);
}

const Ops kOps = {"avx512", pack, unpack, look_up, to_bfloat16, dot};

}  // namespace

const Ops *avx512_ops() { return &kOps; }

}  // namespace kbit

#else

namespace kbit {
const Ops *avx512_ops() { return nullptr; }
}  // namespace kbit

#endif

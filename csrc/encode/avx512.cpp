// AVX-512: sixteen weights at a time. The place among the boundaries is found by halving, with the boundaries of
// the first six steps in registers (vpermps, vpermt2ps) and those of the last two of 8 bits gathered.
#include "encoder.hpp"

#if defined(__AVX512VBMI__) && defined(__AVX512BW__) && defined(__AVX512VL__) && defined(__AVX512DQ__) && \
    defined(__x86_64__)

#include <immintrin.h>

namespace kbit {
namespace {

inline __mmask16 first(size_t n) { return n >= 16 ? 0xffff : static_cast<__mmask16>((1u << n) - 1); }

struct F32 {
    static __m512 at(const void *weights, size_t i, __mmask16 keep) {
        return _mm512_maskz_loadu_ps(keep, static_cast<const float *>(weights) + i);
    }
};
struct Bf16 {
    static __m512 at(const void *weights, size_t i, __mmask16 keep) {
        const __m256i raw = _mm256_maskz_loadu_epi16(keep, static_cast<const uint16_t *>(weights) + i);
        return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(raw), 16));
    }
};
struct Fp16 {
    static __m512 at(const void *weights, size_t i, __mmask16 keep) {
        return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(keep, static_cast<const uint16_t *>(weights) + i));
    }
};

template <class Type>
bool range_of(const void *weights, size_t n, float *low, float *high) {
    const __m512 start = _mm512_broadcastss_ps(_mm512_castps512_ps128(Type::at(weights, 0, 1)));
    __m512 least = start, most = start, not_finite = _mm512_setzero_ps();
    for (size_t i = 0; i < n; i += 16) {
        const __mmask16 keep = first(n - i);
        const __m512 w = Type::at(weights, i, keep);
        least = _mm512_mask_min_ps(least, keep, least, w);
        most = _mm512_mask_max_ps(most, keep, most, w);
        not_finite = _mm512_fmadd_ps(w, _mm512_setzero_ps(), not_finite);  // NaN from the first such weight on
    }
    *low = _mm512_reduce_min_ps(least);
    *high = _mm512_reduce_max_ps(most);
    return _mm512_cmp_ps_mask(not_finite, not_finite, _CMP_UNORD_Q) == 0;
}

// Weights in units of their block's scale, each step rounded; zero where the scale is.
struct Units {
    __m512 scale, offset;
    __mmask16 scaled;
    bool has_offset;
    Units(float s, bool has, float o)
        : scale(_mm512_set1_ps(s)), offset(_mm512_set1_ps(o)), scaled(s > 0 ? 0xffff : 0), has_offset(has) {}
    __m512 of(__m512 w) const {
        if (has_offset) w = _mm512_sub_ps(w, offset);
        return _mm512_maskz_div_ps(scaled, w, scale);
    }
};

// How many of the 2^K - 1 boundaries in the registers lie below v.
template <int K>
__m512i search(__m512 v, const __m512 *b) {
    __m512i place = _mm512_setzero_si512();
    for (int step = 1 << (K - 1); step; step >>= 1) {
        const __m512i at = _mm512_add_epi32(place, _mm512_set1_epi32(step - 1));
        __m512 boundary;
        if constexpr (K <= 4) {
            boundary = _mm512_permutexvar_ps(at, b[0]);
        } else if constexpr (K == 5) {
            boundary = _mm512_permutex2var_ps(b[0], at, b[1]);
        } else {
            const __mmask16 upper = _mm512_test_epi32_mask(at, _mm512_set1_epi32(32));
            boundary = _mm512_mask_blend_ps(upper, _mm512_permutex2var_ps(b[0], at, b[1]),
                                            _mm512_permutex2var_ps(b[2], at, b[3]));
        }
        const __mmask16 above = _mm512_cmp_ps_mask(boundary, v, _CMP_LT_OQ);
        place = _mm512_mask_add_epi32(place, above, place, _mm512_set1_epi32(step));
    }
    return place;
}

template <class Type, int K>
void codes_k(const void *weights, size_t n, float scale, bool has_offset, float offset, const Boundaries &b,
             uint8_t *codes) {
    const float *held = K > 6 ? b.coarse64 : b.at;
    __m512 registers[4];
    for (int j = 0; j < 4; ++j) registers[j] = _mm512_loadu_ps(held + (K > 4 ? 16 * j : 0));
    const Units units(scale, has_offset, offset);
    for (size_t i = 0; i < n; i += 16) {
        const __mmask16 keep = first(n - i);
        const __m512 v = units.of(Type::at(weights, i, keep));
        __m512i place = search<(K > 6 ? 6 : K)>(v, registers);
        if constexpr (K > 6) {
            place = _mm512_slli_epi32(place, K - 6);
            for (int step = 1 << (K - 7); step; step >>= 1) {
                const __m512i at = _mm512_add_epi32(place, _mm512_set1_epi32(step - 1));
                const __mmask16 above =
                    _mm512_cmp_ps_mask(_mm512_i32gather_ps(at, b.at, 4), v, _CMP_LT_OQ);
                place = _mm512_mask_add_epi32(place, above, place, _mm512_set1_epi32(step));
            }
        }
        _mm_mask_storeu_epi8(codes + i, keep, _mm512_cvtepi32_epi8(place));
    }
}

// The same for integers: boundaries below v are whole steps from the lowest, and one more past the half.
template <class Type>
void codes_of_integers(const void *weights, size_t n, float scale, bool has_offset, float offset, const Boundaries &b,
                       uint8_t *codes) {
    const Units units(scale, has_offset, offset);
    const __m512 half = _mm512_set1_ps(0.5f);
    const __m512 first_whole = _mm512_set1_ps(b.lowest - 0.5f), most = _mm512_set1_ps(static_cast<float>(b.count));
    for (size_t i = 0; i < n; i += 16) {
        const __mmask16 keep = first(n - i);
        const __m512 v = units.of(Type::at(weights, i, keep));
        const __m512 whole = _mm512_roundscale_ps(v, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
        const __mmask16 past = _mm512_cmp_ps_mask(_mm512_sub_ps(v, whole), half, _CMP_GT_OQ);
        __m512 place = _mm512_sub_ps(whole, first_whole);
        place = _mm512_mask_add_ps(place, past, place, _mm512_set1_ps(1.0f));
        place = _mm512_min_ps(_mm512_max_ps(place, _mm512_setzero_ps()), most);
        _mm_mask_storeu_epi8(codes + i, keep, _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(place)));
    }
}

template <class Type>
void codes_of(const void *weights, size_t n, float scale, bool has_offset, float offset, const Boundaries &b,
              uint8_t *out) {
    if (b.count > 0) return codes_of_integers<Type>(weights, n, scale, has_offset, offset, b, out);
    switch (b.bits) {
        case 1: return codes_k<Type, 1>(weights, n, scale, has_offset, offset, b, out);
        case 2: return codes_k<Type, 2>(weights, n, scale, has_offset, offset, b, out);
        case 3: return codes_k<Type, 3>(weights, n, scale, has_offset, offset, b, out);
        case 4: return codes_k<Type, 4>(weights, n, scale, has_offset, offset, b, out);
        case 5: return codes_k<Type, 5>(weights, n, scale, has_offset, offset, b, out);
        case 6: return codes_k<Type, 6>(weights, n, scale, has_offset, offset, b, out);
        case 7: return codes_k<Type, 7>(weights, n, scale, has_offset, offset, b, out);
        default: return codes_k<Type, 8>(weights, n, scale, has_offset, offset, b, out);
    }
}

bool range(const void *weights, WeightType type, size_t n, float *low, float *high) {
    switch (type) {
        case WeightType::f32: return range_of<F32>(weights, n, low, high);
        case WeightType::bf16: return range_of<Bf16>(weights, n, low, high);
        default: return range_of<Fp16>(weights, n, low, high);
    }
}

void codes(const void *weights, WeightType type, size_t n, float scale, bool has_offset, float offset,
           const Boundaries &b, uint8_t *out) {
    switch (type) {
        case WeightType::f32: return codes_of<F32>(weights, n, scale, has_offset, offset, b, out);
        case WeightType::bf16: return codes_of<Bf16>(weights, n, scale, has_offset, offset, b, out);
        default: return codes_of<Fp16>(weights, n, scale, has_offset, offset, b, out);
    }
}

const Encoder kEncoder = {range, codes};

}  // namespace

const Encoder *avx512_encoder() { return &kEncoder; }

}  // namespace kbit

#else

namespace kbit {
const Encoder *avx512_encoder() { return nullptr; }
}  // namespace kbit

#endif

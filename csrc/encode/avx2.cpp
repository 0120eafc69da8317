// AVX2: eight weights at a time. The first four steps of the search find their boundaries in two registers
// (vpermps), the others gather them.
#include "encoder.hpp"

#if defined(__AVX2__) && defined(__F16C__) && defined(__x86_64__)

#include <immintrin.h>

namespace kbit {
namespace {

struct F32 {
    using Raw = float;
    static __m256 at(const Raw *w) { return _mm256_loadu_ps(w); }
};
struct Bf16 {
    using Raw = uint16_t;
    static __m256 at(const Raw *w) {
        const __m128i raw = _mm_loadu_si128(reinterpret_cast<const __m128i *>(w));
        return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(raw), 16));
    }
};
struct Fp16 {
    using Raw = uint16_t;
    static __m256 at(const Raw *w) {
        return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i *>(w)));
    }
};

// The last weights of a run, the first of them repeated to fill eight.
template <class Type>
__m256 rest(const typename Type::Raw *w, size_t n) {
    typename Type::Raw room[8];
    for (size_t i = 0; i < 8; ++i) room[i] = w[i < n ? i : 0];
    return Type::at(room);
}

template <class Type>
bool range_of(const void *weights, size_t n, float *low, float *high) {
    const auto *w = static_cast<const typename Type::Raw *>(weights);
    __m256 least = n >= 8 ? Type::at(w) : rest<Type>(w, n), most = least, not_finite = _mm256_setzero_ps();
    for (size_t i = 0; i < n; i += 8) {
        const __m256 v = n - i >= 8 ? Type::at(w + i) : rest<Type>(w + i, n - i);
        least = _mm256_min_ps(least, v);
        most = _mm256_max_ps(most, v);
        not_finite = _mm256_fmadd_ps(v, _mm256_setzero_ps(), not_finite);  // NaN from the first such weight on
    }
    float lows[8], highs[8];
    _mm256_storeu_ps(lows, least);
    _mm256_storeu_ps(highs, most);
    for (int j = 1; j < 8; ++j) {
        lows[0] = lows[j] < lows[0] ? lows[j] : lows[0];
        highs[0] = highs[j] > highs[0] ? highs[j] : highs[0];
    }
    *low = lows[0];
    *high = highs[0];
    return _mm256_movemask_ps(_mm256_cmp_ps(not_finite, not_finite, _CMP_UNORD_Q)) == 0;
}

__m256i step_up(__m256i place, __m256 boundary, __m256 v, int step) {
    const __m256i above = _mm256_castps_si256(_mm256_cmp_ps(boundary, v, _CMP_LT_OQ));
    return _mm256_add_epi32(place, _mm256_and_si256(above, _mm256_set1_epi32(step)));
}

template <class Type>
void codes_of(const void *weights, size_t n, float scale, bool has_offset, float offset, const Boundaries &b,
              uint8_t *codes) {
    const auto *w = static_cast<const typename Type::Raw *>(weights);
    const int held = b.bits < 4 ? b.bits : 4;
    const float *near = b.bits > 4 ? b.coarse16 : b.at;
    const __m256 lower = _mm256_loadu_ps(near), upper = _mm256_loadu_ps(near + 8);
    const __m256 s = _mm256_set1_ps(scale), o = _mm256_set1_ps(offset);
    for (size_t i = 0; i < n; i += 8) {
        const size_t left = n - i;
        __m256 v = left >= 8 ? Type::at(w + i) : rest<Type>(w + i, left);
        if (has_offset) v = _mm256_sub_ps(v, o);
        v = scale > 0 ? _mm256_div_ps(v, s) : _mm256_setzero_ps();
        __m256i place = _mm256_setzero_si256();
        for (int step = 1 << (held - 1); step; step >>= 1) {
            const __m256i at = _mm256_add_epi32(place, _mm256_set1_epi32(step - 1));
            const __m256 in_upper = _mm256_castsi256_ps(_mm256_slli_epi32(at, 28));  // bit 3 to the sign
            const __m256 boundary = _mm256_blendv_ps(_mm256_permutevar8x32_ps(lower, at),
                                                     _mm256_permutevar8x32_ps(upper, at), in_upper);
            place = step_up(place, boundary, v, step);
        }
        if (b.bits > 4) {
            place = _mm256_slli_epi32(place, b.bits - 4);
            for (int step = 1 << (b.bits - 5); step; step >>= 1) {
                const __m256i at = _mm256_add_epi32(place, _mm256_set1_epi32(step - 1));
                place = step_up(place, _mm256_i32gather_ps(b.at, at, 4), v, step);
            }
        }
        const __m128i words = _mm_packus_epi32(_mm256_castsi256_si128(place), _mm256_extracti128_si256(place, 1));
        alignas(16) uint8_t bytes[16];
        _mm_store_si128(reinterpret_cast<__m128i *>(bytes), _mm_packus_epi16(words, words));
        for (size_t j = 0; j < (left < 8 ? left : 8); ++j) codes[i + j] = bytes[j];
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

const Encoder *avx2_encoder() { return &kEncoder; }

}  // namespace kbit

#else

namespace kbit {
const Encoder *avx2_encoder() { return nullptr; }
}  // namespace kbit

#endif

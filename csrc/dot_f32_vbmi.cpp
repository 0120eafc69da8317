// Float32 activations with AVX-512 VBMI: a bfloat16 table value is a float32 once shifted, so the products are
// those of float32 with the exact table.
#include "row_kernel.hpp"

#if defined(__AVX512VBMI__) && defined(__AVX512BW__) && defined(__AVX512VL__) && defined(__x86_64__)

#include "vbmi_rows.hpp"

namespace kbit {
namespace {

struct Values {
    __m512 v[4];  // codes 4j, 4j + 2, 4j + 1 and 4j + 3 of the group in lane j
};

template <int K, bool IsAffine>
struct Group {
    // Where a look-up is one instruction, exact values are worth it.
    static constexpr bool Affine = IsAffine && K >= 6;
    static constexpr int kBits = K;
    static constexpr int64_t kGroupBytes = 256;
    static constexpr bool kWhole = true;
    static constexpr bool kScaledAlone = false;
    Spread<K> spread;
    WordTable<K> table;
    float step, zero;

    explicit Group(const Prepared &weight)
        : table(weight), step(Affine ? weight.step : 1.0f), zero(Affine ? weight.zero : 0.0f) {}

    inline Values values(__m512i bytes) const {
        const __m512i codes = spread(bytes);
        Values out;
        if constexpr (Affine) {
            const __m512i mask = _mm512_set1_epi32((1 << K) - 1);
            out.v[0] = _mm512_cvtepi32_ps(_mm512_and_si512(codes, mask));
            out.v[1] = _mm512_cvtepi32_ps(_mm512_and_si512(_mm512_srli_epi32(codes, 16), mask));
            out.v[2] = _mm512_cvtepi32_ps(_mm512_and_si512(_mm512_srli_epi32(codes, 8), mask));
            out.v[3] = _mm512_cvtepi32_ps(_mm512_and_si512(_mm512_srli_epi32(codes, 24), mask));
        } else {
            const __m512i upper = _mm512_set1_epi32(static_cast<int>(0xffff0000u));
            __m512i even, odd;
            table(codes, even, odd);
            out.v[0] = _mm512_castsi512_ps(_mm512_slli_epi32(even, 16));
            out.v[1] = _mm512_castsi512_ps(_mm512_and_si512(even, upper));
            out.v[2] = _mm512_castsi512_ps(_mm512_slli_epi32(odd, 16));
            out.v[3] = _mm512_castsi512_ps(_mm512_and_si512(odd, upper));
        }
        return out;
    }

    inline __m512 multiply(const Values &w, const char *x, __m512 sum) const {
        const float *in = reinterpret_cast<const float *>(x);
        for (int j = 0; j < 4; ++j) sum = _mm512_fmadd_ps(w.v[j], _mm512_loadu_ps(in + 16 * j), sum);
        return sum;
    }
};

constexpr int64_t kBytes = 256;

size_t room(const Prepared &weight, int n) { return arranged_room(weight, n, kBytes); }

Arranged arrange(const Prepared &weight, const Activations &x, void *where) {
    Arranged out = arrange_into(weight, x, kBytes, where);
    const __m512i quads = _mm512_set_epi32(15, 11, 7, 3, 13, 9, 5, 1, 14, 10, 6, 2, 12, 8, 4, 0);
    for (int i = 0; i < out.padded; ++i) {
        for (int64_t g = 0; g < out.groups; ++g) {
            float *to = reinterpret_cast<float *>(place_of(out, i, g, kBytes));
            __m512 four[4];  // each 128-bit quarter becomes codes 4j + q of four js, q = 0, 2, 1, 3
            for (int q = 0; q < 4; ++q) {
                const __m512 part = i < x.n ? load_activations(x, i, g * kGroup + 16 * q, weight.cols) : _mm512_setzero_ps();
                four[q] = _mm512_permutexvar_ps(quads, part);
            }
            const __m512 a = _mm512_shuffle_f32x4(four[0], four[1], 0x44), b = _mm512_shuffle_f32x4(four[2], four[3], 0x44);
            const __m512 c = _mm512_shuffle_f32x4(four[0], four[1], 0xee), d = _mm512_shuffle_f32x4(four[2], four[3], 0xee);
            _mm512_storeu_ps(to, _mm512_shuffle_f32x4(a, b, 0x88));
            _mm512_storeu_ps(to + 16, _mm512_shuffle_f32x4(a, b, 0xdd));
            _mm512_storeu_ps(to + 32, _mm512_shuffle_f32x4(c, d, 0x88));
            _mm512_storeu_ps(to + 48, _mm512_shuffle_f32x4(c, d, 0xdd));
        }
    }
    if (needs_sums(weight)) sum_blocks(weight, x, const_cast<float *>(out.sums));
    else out.sums = nullptr;
    return out;
}

void rows(const Prepared &weight, const Arranged &x, int64_t first, int64_t last, float *y, int64_t y_stride) {
    rows_by_width<Group>(weight, x, first, last, y, y_stride);
}

const RowKernel kKernel = {"avx512-f32", Numerics::f32, 4, 1, takes_blocks, room, arrange, rows};

}  // namespace

const RowKernel *vbmi_f32_kernel() { return &kKernel; }

}  // namespace kbit

#else

namespace kbit {
const RowKernel *vbmi_f32_kernel() { return nullptr; }
}  // namespace kbit

#endif

// 8-bit activations with AVX-512 VBMI and VNNI: vpdpbusd multiplies unsigned weights with signed activations
// and sums exactly in 32 bits. Integer tables are the codes themselves; others are rounded to 8 bits.
#include "row_kernel.hpp"

#if defined(__AVX512VBMI__) && defined(__AVX512VNNI__) && defined(__AVX512VL__) && defined(__x86_64__)

#include "vbmi_rows.hpp"

namespace kbit {
namespace {

template <int K, bool Affine>
struct Group {
    static constexpr int kBits = K;
    static constexpr int64_t kGroupBytes = 64;
    static constexpr bool kScaledAlone = true;
    Spread<K> spread;
    ByteTable<K> table;
    float step, zero;

    explicit Group(const Prepared &weight)
        : step(Affine ? weight.step : weight.rounded_step), zero(Affine ? weight.zero : -128.0f) {
        table.fill(weight.rounded);
    }

    inline __m512i values(__m512i bytes) const {
        const __m512i codes = spread(bytes);
        if constexpr (Affine) {
            return K == 8 ? codes : _mm512_and_si512(codes, _mm512_set1_epi8(static_cast<char>((1 << K) - 1)));
        } else {
            return table(codes);
        }
    }

    inline __m512 multiply(__m512i w, const char *x, __m512) const {
        return _mm512_cvtepi32_ps(_mm512_dpbusd_epi32(_mm512_setzero_si512(), w, _mm512_loadu_si512(x)));
    }
};

constexpr int64_t kBytes = 64;

size_t room(const Prepared &weight, int n) { return arranged_room(weight, n, kBytes); }

// Sums of the rounded activations over each block of the weight.
void sum_rounded(const Prepared &weight, const Arranged &x, float *sums) {
    for (int i = 0; i < x.n; ++i) {
        float *to = sums + i * x.sums_stride;
        for (int64_t b = 0; b < x.sums_stride; ++b) to[b] = 0;
        for (int64_t g = 0; g < x.groups; ++g) {
            const __m512i units = _mm512_loadu_si512(place_of(x, i, g, kBytes));
            alignas(64) int32_t fours[16];
            _mm512_store_si512(fours, _mm512_dpbusd_epi32(_mm512_setzero_si512(), _mm512_set1_epi8(1), units));
            for (int q = 0; q < 4; ++q) {  // 16 codes at a time: blocks are multiples of that
                const int64_t c = g * kGroup + 16 * q;
                if (c >= weight.cols) break;
                const int32_t sum = fours[4 * q] + fours[4 * q + 1] + fours[4 * q + 2] + fours[4 * q + 3];
                to[weight.blocks == 1 ? 0 : c / weight.block] +=
                    static_cast<float>(sum) * x.quanta[i * x.groups + g];
            }
        }
    }
}

Arranged arrange(const Prepared &weight, const Activations &x, void *where) {
    Arranged out = arrange_into(weight, x, kBytes, where);
    float *quanta = const_cast<float *>(out.quanta);
    for (int i = 0; i < out.padded; ++i) {
        for (int64_t g = 0; g < out.groups; ++g) {
            char *to = place_of(out, i, g, kBytes);
            if (i >= x.n) {
                quanta[i * out.groups + g] = 0;
                _mm512_storeu_si512(to, _mm512_setzero_si512());
                continue;
            }
            __m512 part[4], most = _mm512_setzero_ps();
            __mmask16 numbers = 0xffff;
            for (int q = 0; q < 4; ++q) {
                part[q] = load_activations(x, i, g * kGroup + 16 * q, weight.cols);
                most = _mm512_max_ps(most, _mm512_abs_ps(part[q]));
                numbers &= _mm512_cmp_ps_mask(part[q], part[q], _CMP_ORD_Q);
            }
            // Integers have no NaN: the quantum carries it into every product.
            const float greatest = numbers == 0xffff ? _mm512_reduce_max_ps(most) : __builtin_nanf("");
            quanta[i * out.groups + g] = greatest / 127.0f;
            const __m512 times = _mm512_set1_ps(greatest > 0 ? 127.0f / greatest : 0.0f);
            for (int q = 0; q < 4; ++q) {
                const __m512i units = _mm512_cvtps_epi32(_mm512_mul_ps(part[q], times));
                _mm_storeu_si128(reinterpret_cast<__m128i *>(to + 16 * q), _mm512_cvtsepi32_epi8(units));
            }
        }
    }
    sum_rounded(weight, out, const_cast<float *>(out.sums));
    return out;
}

void rows(const Prepared &weight, const Arranged &x, int64_t first, int64_t last, float *y, int64_t y_stride) {
    rows_by_width<Group>(weight, x, first, last, y, y_stride);
}

const RowKernel kKernel = {"avx512-a8", Numerics::a8, 4, 1, takes_blocks, room, arrange, rows};

}  // namespace

const RowKernel *vbmi_a8_kernel() { return &kKernel; }

}  // namespace kbit

#else

namespace kbit {
const RowKernel *vbmi_a8_kernel() { return nullptr; }
}  // namespace kbit

#endif

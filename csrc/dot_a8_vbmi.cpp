// 8-bit activations with AVX-512 VBMI and VNNI: vpdpbusd multiplies unsigned weights with signed activations
// and sums exactly in 32 bits. Integer tables are the codes themselves; others are rounded to 8 bits.
#include "row_kernel.hpp"

#if defined(__AVX512VBMI__) && defined(__AVX512VNNI__) && defined(__AVX512VL__) && defined(__x86_64__)

#include "vbmi_a8.hpp"

namespace kbit {
namespace {

template <int K, bool Affine>
struct Group {
    static constexpr int kBits = K;
    static constexpr int64_t kGroupBytes = 64;
    static constexpr bool kWhole = K > 4;  // narrower ones are multiplied elsewhere
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

Arranged arrange(const Prepared &weight, const Activations &x, void *where) {
    Arranged out = arrange_into(weight, x, kBytes, where);
    float *const quanta = const_cast<float *>(out.quanta), *const sums = const_cast<float *>(out.sums);
    std::memset(sums, 0, static_cast<size_t>(x.n * out.sums_stride) * 4);
    for (int i = 0; i < out.padded; ++i) {
        for (int64_t g = 0; g < out.groups; ++g) {
            char *to = place_of(out, i, g, kBytes);
            if (i >= x.n) {
                quanta[i * out.groups + g] = 0;
                std::memset(to, 0, kBytes);
                continue;
            }
            quanta[i * out.groups + g] = round_group(x, i, g, weight.cols, to);
            add_rounded(weight, to, g, quanta[i * out.groups + g], sums + i * out.sums_stride);
        }
    }
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

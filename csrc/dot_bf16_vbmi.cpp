// Bfloat16 activations with AVX-512 VBMI and BF16: vdpbf16ps multiplies pairs and sums in float32.
#include "row_kernel.hpp"

#if defined(__AVX512VBMI__) && defined(__AVX512BF16__) && defined(__AVX512VL__) && defined(__x86_64__)

#include "vbmi_words.hpp"

namespace kbit {
namespace {

constexpr bool interleaves(int bits, bool affine) { return !affine && bits >= 6; }

template <int K, bool Affine>
struct Group : BfloatWords<K, Affine> {
    static constexpr int64_t kGroupBytes = 128;
    static constexpr bool kWhole = K > 4;  // narrower ones are multiplied elsewhere
    static constexpr bool kScaledAlone = false;
    using Words = BfloatWords<K, Affine>;
    using Words::Words;

    // Two planes of bytes become words by interleaving them, eight and eight codes in turn: two shifts and two
    // merges less than even and odd ones.
    inline typename Words::Values values(__m512i bytes) const {
        if constexpr (!interleaves(K, Affine)) {
            return Words::values(bytes);
        } else {
            const __m512i codes = this->spread(bytes), low = this->table.low(codes), high = this->table.high(codes);
            typename Words::Values out;
            out.even[0] = _mm512_unpacklo_epi8(low, high);
            out.odd[0] = _mm512_unpackhi_epi8(low, high);
            return out;
        }
    }

    inline __m512 multiply(const typename Words::Values &w, const char *x, __m512 sum) const {
        const __m512bh even = (__m512bh)_mm512_loadu_si512(x), odd = (__m512bh)_mm512_loadu_si512(x + 64);
        for (int p = 0; p < Words::kParts; ++p) {
            sum = _mm512_dpbf16_ps(sum, (__m512bh)w.even[p], even);
            sum = _mm512_dpbf16_ps(sum, (__m512bh)w.odd[p], odd);
        }
        return sum;
    }
};

constexpr int64_t kBytes = 128;

size_t room(const Prepared &weight, int n) { return arranged_room(weight, n, kBytes) + rounded_room(weight, n); }

// The first eight of each 16 of 64 activations from c on, and the others.
inline void load_eights(const Activations &x, int row, int64_t c, int64_t cols, __m512i &first, __m512i &second) {
    const __m512i low = load_bfloat16(x, row, c, cols), high = load_bfloat16(x, row, c + 32, cols);
    const __m512i index = _mm512_set_epi64(13, 12, 9, 8, 5, 4, 1, 0);
    first = _mm512_permutex2var_epi64(low, index, high);
    second = _mm512_permutex2var_epi64(low, _mm512_add_epi64(index, _mm512_set1_epi64(2)), high);
}

Arranged arrange(const Prepared &weight, const Activations &given, void *where) {
    const Activations x = rounded(given, weight.cols, static_cast<char *>(where) + arranged_room(weight, given.n, kBytes));
    Arranged out = arrange_into(weight, x, kBytes, where);
    for (int i = 0; i < out.padded; ++i) {
        for (int64_t g = 0; g < out.groups; ++g) {
            char *to = place_of(out, i, g, kBytes);
            __m512i even = _mm512_setzero_si512(), odd = even;
            if (i < x.n && interleaves(weight.bits, weight.affine)) {
                load_eights(x, i, g * kGroup, weight.cols, even, odd);
            } else if (i < x.n) {
                load_words(x, i, g * kGroup, weight.cols, even, odd);
            }
            _mm512_storeu_si512(to, even);
            _mm512_storeu_si512(to + 64, odd);
        }
    }
    if (needs_sums(weight)) sum_blocks(weight, x, const_cast<float *>(out.sums));
    else out.sums = nullptr;
    return out;
}

void rows(const Prepared &weight, const Arranged &x, int64_t first, int64_t last, float *y, int64_t y_stride) {
    rows_by_width<Group>(weight, x, first, last, y, y_stride);
}

const RowKernel kKernel = {"avx512-bf16", Numerics::bf16, 4, 1, takes_blocks, room, arrange, rows};

}  // namespace

const RowKernel *vbmi_bf16_kernel() { return &kKernel; }

}  // namespace kbit

#else

namespace kbit {
const RowKernel *vbmi_bf16_kernel() { return nullptr; }
}  // namespace kbit

#endif

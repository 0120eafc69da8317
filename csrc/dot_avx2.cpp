// Float32 products with AVX2 and BMI2.
#include "row_kernel.hpp"

#if defined(__AVX2__) && defined(__BMI2__) && defined(__FMA__) && defined(__F16C__) && defined(__x86_64__)

#include <immintrin.h>

namespace kbit {
namespace {

struct Lanes {
    using Floats = __m256;
    using Ints = __m256i;
    static constexpr int kCount = 8;
    static inline Floats zero() { return _mm256_setzero_ps(); }
    static inline Floats all(float x) { return _mm256_set1_ps(x); }
    static inline Floats load(const float *from) { return _mm256_loadu_ps(from); }
    static inline Floats add_product(Floats a, Floats b, Floats sum) { return _mm256_fmadd_ps(a, b, sum); }
    static inline Floats to_floats(Ints x) { return _mm256_cvtepi32_ps(x); }
    static inline Ints widen(const uint64_t (&codes)[1]) {
        return _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(static_cast<long long>(codes[0])));
    }
    static inline float sum(Floats x) {
        const __m128 four = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
        const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
        return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
    }
    // 2^K values: in one register, in two, or in memory.
    template <int K>
    struct Table {
        __m256 first, second;
        const float *all;
        explicit Table(const float *table) : first(_mm256_loadu_ps(table)), second(_mm256_loadu_ps(table + 8)), all(table) {}
        inline Floats operator()(Ints codes) const {
            if constexpr (K <= 3) {
                return _mm256_permutevar8x32_ps(first, codes);
            } else if constexpr (K == 4) {
                const __m256 upper = _mm256_castsi256_ps(_mm256_slli_epi32(codes, 28));  // bit 3 to the sign
                return _mm256_blendv_ps(_mm256_permutevar8x32_ps(first, codes), _mm256_permutevar8x32_ps(second, codes),
                                        upper);
            } else {
                return _mm256_i32gather_ps(all, codes, 4);
            }
        }
    };
};

}  // namespace
}  // namespace kbit

#include "pdep_rows.hpp"

namespace kbit {
namespace {
const RowKernel kKernel = {"avx2-f32", Numerics::f32, 1, 1, serves, room, arrange, rows};
}
const RowKernel *avx2_f32_kernel() { return &kKernel; }
}  // namespace kbit

#else

namespace kbit {
const RowKernel *avx2_f32_kernel() { return nullptr; }
}  // namespace kbit

#endif

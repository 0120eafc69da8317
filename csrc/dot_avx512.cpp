// Float32 products with AVX-512 but without VBMI.
#include "row_kernel.hpp"

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__) && \
    defined(__BMI2__) && defined(__x86_64__)

#include <immintrin.h>

namespace kbit {
namespace {

struct Lanes {
    using Floats = __m512;
    using Ints = __m512i;
    static constexpr int kCount = 16;
    static inline Floats zero() { return _mm512_setzero_ps(); }
    static inline Floats all(float x) { return _mm512_set1_ps(x); }
    static inline Floats load(const float *from) { return _mm512_loadu_ps(from); }
    static inline Floats add_product(Floats a, Floats b, Floats sum) { return _mm512_fmadd_ps(a, b, sum); }
    static inline Floats to_floats(Ints x) { return _mm512_cvtepi32_ps(x); }
    static inline Ints widen(const uint64_t (&codes)[2]) {
        return _mm512_cvtepu8_epi32(_mm_set_epi64x(static_cast<long long>(codes[1]), static_cast<long long>(codes[0])));
    }
    static inline float sum(Floats x) { return _mm512_reduce_add_ps(x); }
    // 2^K values: in one register, in two, or in memory.
    template <int K>
    struct Table {
        __m512 first, second;
        const float *all;
        explicit Table(const float *table) : first(_mm512_loadu_ps(table)), second(_mm512_loadu_ps(table + 16)), all(table) {}
        inline Floats operator()(Ints codes) const {
            if constexpr (K <= 4) return _mm512_permutexvar_ps(codes, first);
            else if constexpr (K == 5) return _mm512_permutex2var_ps(first, codes, second);
            else return _mm512_i32gather_ps(codes, all, 4);
        }
    };
};

}  // namespace
}  // namespace kbit

#include "pdep_rows.hpp"

namespace kbit {
namespace {
const RowKernel kKernel = {"avx512bw-f32", Numerics::f32, 1, 1, serves, room, arrange, rows};
}
const RowKernel *avx512bw_f32_kernel() { return &kKernel; }
}  // namespace kbit

#else

namespace kbit {
const RowKernel *avx512bw_f32_kernel() { return nullptr; }
}  // namespace kbit

#endif

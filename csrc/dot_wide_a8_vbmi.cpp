// Codes of up to four bits with 8-bit activations: a byte of the stream holds several whole codes (eight of one bit,
// four of two, two of three or four). A register of codes is read once, and each of its codes costs a shift, a mask (or
// a look-up of 64 bytes) and a product. Codes of three bits are first moved so that each byte holds two.
//
// A register spans several groups of 64 weights; each of its 16 sums is of consecutive weights of one group.
#include "row_kernel.hpp"

#if defined(__AVX512VBMI__) && defined(__AVX512VNNI__) && defined(__AVX512VL__) && defined(__x86_64__)

#include "vbmi_a8.hpp"

namespace kbit {
namespace {

constexpr int kTogether = 4;  // rows of activations, where there are more than two

template <int K, bool Affine>
struct Wide {
    static constexpr int kBits = K;
    static constexpr int kCodes = K == 3 ? 2 : 8 / K;  // in a byte; registers of activations of a span
    static constexpr int kGroups = kCodes;             // of 64 weights in a span
    static constexpr int kBytes = 8 * K * kGroups;
    __m512i bytes, shifts, mask;
    ByteTable<K> table;
    float step, zero;

    explicit Wide(const Prepared &weight)
        : step(Affine ? weight.step : weight.rounded_step), zero(Affine ? weight.zero : -128.0f) {
        alignas(64) uint8_t b[64], s[64];
        for (int i = 0; i < 64; ++i) {  // only of three bits
            b[i] = static_cast<uint8_t>(6 * (i / 8) + i % 8);
            s[i] = static_cast<uint8_t>(6 * (i % 8));
        }
        bytes = _mm512_load_si512(b);
        shifts = _mm512_load_si512(s);
        mask = _mm512_set1_epi8((1 << K) - 1);
        table.fill(weight.rounded);
    }

    // Products of a span with each row of activations; a lane is a sum of 4 * kCodes consecutive weights.
    template <int N>
    inline void multiply(__m512i codes, const char *x, __m512i (&sums)[N]) const {
        if constexpr (K == 3) codes = _mm512_multishift_epi64_epi8(shifts, _mm512_permutexvar_epi8(bytes, codes));
#pragma GCC unroll 8
        for (int c = 0; c < kCodes; ++c) {
            __m512i values = c ? _mm512_srli_epi16(codes, static_cast<unsigned>(c * K)) : codes;
            if constexpr (Affine) values = _mm512_and_si512(values, mask);
            else values = table(values);
            for (int i = 0; i < N; ++i) {
                const __m512i in = _mm512_loadu_si512(x + 64 * (i * kCodes + c));
                sums[i] = _mm512_dpbusd_epi32(sums[i], values, in);
            }
        }
    }
};

int groups_a_span(int bits) { return bits == 1 ? 8 : bits == 2 ? 4 : 2; }

int64_t spans_of(const Prepared &weight) {
    return (groups_of(weight) + groups_a_span(weight.bits) - 1) / groups_a_span(weight.bits);
}

bool serves(const Prepared &weight) { return weight.bits <= 4 && takes_blocks(weight) && whole_shift(weight) >= 0; }

template <class Wide, int N, int R, bool Whole>
inline void spans(const Wide &given, const FewRows<R> &rows, const char *in, int64_t first, int64_t last,
                  const float *scales, __m512 (&total)[R][N]) {
    const Wide wide = given;  // in registers
    const __m512i lanes = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    const __m512i group_of_lane = _mm512_srli_epi32(lanes, Wide::kGroups == 8 ? 1 : Wide::kGroups == 4 ? 2 : 3);
    for (int64_t s = first; s < last; ++s, in += N * 64 * Wide::kCodes, scales += Wide::kGroups) {
        for (int r = 0; r < R; ++r) {
            const uint8_t *at = rows.start[r] + s * Wide::kBytes;
            const int64_t left = rows.row_bytes - s * Wide::kBytes;
            bring_near(at);
            const __m512i codes =
                Whole ? _mm512_loadu_si512(at)
                      : _mm512_maskz_loadu_epi8(low_bits(left < Wide::kBytes ? left : Wide::kBytes), at);
            __m512i sums[N];
            for (int i = 0; i < N; ++i) sums[i] = _mm512_setzero_si512();
            wide.multiply(codes, in, sums);
            for (int i = 0; i < N; ++i) {
                const __m512 scale = _mm512_permutexvar_ps(group_of_lane, _mm512_loadu_ps(scales + (r * N + i) * kRow));
                total[r][i] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums[i]), scale, total[r][i]);
            }
        }
    }
}

template <class Wide, int N, int R>
inline void few(const Prepared &weight, const Wide &wide, const Arranged &x, int64_t row, int64_t apart,
                int shift, float *y, int64_t y_stride) {
    alignas(64) float scales[R * N * kRow];
    __m512 total[R][N], owed[R][N];
    FewRows<R> rows;
    rows.row_bytes = weight.row_bytes;
    for (int r = 0; r < R; ++r) {
        rows.start[r] = weight.codes + (row + r * apart) * weight.row_stride;
        for (int i = 0; i < N; ++i) total[r][i] = owed[r][i] = _mm512_setzero_ps();
    }
    const int64_t whole = weight.row_bytes >= 64 ? (weight.row_bytes - 64) / Wide::kBytes + 1 : 0;
    for (int64_t first = 0; first < x.groups; first += kChunk) {
        const int64_t last = first + kChunk < x.groups ? first + kChunk : x.groups;
        expand_chunk<true, N, R>(weight, wide.zero, wide.step, x, row, apart, shift, first, last, scales, owed);
        const int64_t from = first / Wide::kGroups, to = (last + Wide::kGroups - 1) / Wide::kGroups;
        const int64_t middle = whole < from ? from : whole < to ? whole : to;
        const char *in = static_cast<const char *>(x.x);
        constexpr int64_t kSpan = N * 64 * Wide::kCodes;
        spans<Wide, N, R, true>(wide, rows, in + from * kSpan, from, middle, scales, total);
        spans<Wide, N, R, false>(wide, rows, in + middle * kSpan, middle, to, scales + (middle - from) * Wide::kGroups, total);
    }
    write_sums<N, R>(total, owed, x.n, apart, y + row, y_stride);
}

template <class Wide, int N, int R>
void rows_together(const Prepared &weight, const Arranged &x, int64_t first, int64_t last, float *y, int64_t y_stride) {
    const Wide wide(weight);
    const int shift = whole_shift(weight);
    in_streams<R>(
        first, last,
        [&](int64_t row, int64_t apart) { few<Wide, N, R>(weight, wide, x, row, apart, shift, y, y_stride); },
        [&](int64_t row) { few<Wide, N, 1>(weight, wide, x, row, 0, shift, y, y_stride); });
}

template <class Wide>
void rows_of_width(const Prepared &weight, const Arranged &x, int64_t first, int64_t last, float *y, int64_t y_stride) {
    switch (x.padded) {
        case 1: return rows_together<Wide, 1, 4>(weight, x, first, last, y, y_stride);
        case 2: return rows_together<Wide, 2, 4>(weight, x, first, last, y, y_stride);
        default: break;
    }
    const int64_t bytes = spans_of(weight) * 64 * Wide::kCodes;
    for (int i = 0; i < x.n; i += kTogether) {
        Arranged part = x;
        part.n = x.n - i < kTogether ? x.n - i : kTogether;
        part.x = static_cast<const char *>(x.x) + i * bytes;
        part.sums = x.sums + i * x.sums_stride;
        part.quanta = x.quanta + i * x.groups;
        rows_together<Wide, kTogether, 2>(weight, part, first, last, y + i * y_stride, y_stride);
    }
}

void rows(const Prepared &weight, const Arranged &x, int64_t first, int64_t last, float *y, int64_t y_stride) {
#define KBIT_WIDE(K)                                                                                   \
    if (weight.bits == K) {                                                                            \
        if (weight.affine) rows_of_width<Wide<K, true>>(weight, x, first, last, y, y_stride);          \
        else rows_of_width<Wide<K, false>>(weight, x, first, last, y, y_stride);                       \
        return;                                                                                        \
    }
    KBIT_WIDE(1)
    KBIT_WIDE(2)
    KBIT_WIDE(3)
    KBIT_WIDE(4)
#undef KBIT_WIDE
}

int rows_ordered(int n) { return n <= 2 ? n : static_cast<int>(round_up(n, kTogether)); }

int64_t ordered_bytes(const Prepared &weight, int n) {
    return rows_ordered(n) * spans_of(weight) * 64 * groups_a_span(weight.bits);
}

size_t room(const Prepared &weight, int n) {
    return static_cast<size_t>(round_up(
        ordered_bytes(weight, n) + 4 * (n * sums_stride(weight) + rows_ordered(n) * groups_of(weight)), 64));
}

// Bytes 0, C, 2C, ... of C registers to the first, 1, C + 1, ... to the second: halved until they are apart.
template <int C>
inline void part_codes(const int8_t *from, char *to) {
    alignas(64) uint8_t evens[64];
    for (int i = 0; i < 64; ++i) evens[i] = static_cast<uint8_t>(2 * i);
    const __m512i even = _mm512_load_si512(evens), odd = _mm512_add_epi8(even, _mm512_set1_epi8(1));
    __m512i now[C], next[C];
    for (int i = 0; i < C; ++i) now[i] = _mm512_loadu_si512(from + 64 * i);
    for (int step = 1; step < C; step *= 2) {
        for (int i = 0; i < C / 2; ++i) {
            next[i] = _mm512_permutex2var_epi8(now[2 * i], even, now[2 * i + 1]);
            next[C / 2 + i] = _mm512_permutex2var_epi8(now[2 * i], odd, now[2 * i + 1]);
        }
        for (int i = 0; i < C; ++i) now[i] = next[i];
    }
    for (int i = 0; i < C; ++i) _mm512_storeu_si512(to + 64 * i, now[i]);
}

Arranged arrange(const Prepared &weight, const Activations &x, void *where) {
    Arranged out{};
    out.n = x.n;
    out.padded = rows_ordered(x.n);
    out.groups = groups_of(weight);
    out.x = where;
    char *const ordered = static_cast<char *>(where);
    float *const sums = reinterpret_cast<float *>(ordered + ordered_bytes(weight, x.n));
    out.sums = sums;
    out.sums_stride = sums_stride(weight);
    float *const quanta = sums + x.n * out.sums_stride;
    out.quanta = quanta;
    const int groups = groups_a_span(weight.bits), together = out.padded < kTogether ? out.padded : kTogether;
    const int64_t spans = spans_of(weight);
    std::memset(sums, 0, static_cast<size_t>(x.n * out.sums_stride) * 4);
    for (int i = 0; i < out.padded; ++i) {
        for (int64_t s = 0; s < spans; ++s) {
            char *to = ordered + (i / together * together * spans + s * together + i % together) * 64 * groups;
            alignas(64) int8_t units[8 * 64];
            for (int j = 0; j < groups; ++j) {
                const int64_t g = s * groups + j;
                float quantum = 0;
                if (i < x.n && g < out.groups) {
                    quantum = round_group(x, i, g, weight.cols, units + 64 * j);
                    add_rounded(weight, units + 64 * j, g, quantum, sums + i * out.sums_stride);
                } else {
                    std::memset(units + 64 * j, 0, 64);
                }
                if (g < out.groups) quanta[i * out.groups + g] = quantum;
            }
            if (groups == 8) part_codes<8>(units, to);
            else if (groups == 4) part_codes<4>(units, to);
            else part_codes<2>(units, to);
        }
    }
    return out;
}

const RowKernel kKernel = {"avx512-wide-a8", Numerics::a8, 4, 1, serves, room, arrange, rows};

}  // namespace

const RowKernel *vbmi_wide_a8_kernel() { return &kKernel; }

}  // namespace kbit

#else

namespace kbit {
const RowKernel *vbmi_wide_a8_kernel() { return nullptr; }
}  // namespace kbit

#endif

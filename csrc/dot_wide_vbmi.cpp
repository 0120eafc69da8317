// Codes of up to four bits with bfloat16 activations: a 16-bit word of the stream holds several whole codes (16 of
// one bit, eight of two, four of three or four), and one look-up of 32 words takes a code by its lowest five bits,
// whatever stands above it. So a register of codes is read once, and each of its codes costs a shift, a look-up and a
// product: no byte is moved for itself, and no mask is needed. Codes of three bits are first moved so that each
// 64 bits hold sixteen.
//
// A register spans 64 * kBlocksOf64 weights, and each of its 16 sums as many consecutive ones as 4 * kBlocksOf64: where
// a block is a power of two of those, a register of scales is one permutation of the row's.
#include "row_kernel.hpp"

#if defined(__AVX512VBMI__) && defined(__AVX512BF16__) && defined(__AVX512VL__) && defined(__x86_64__)

#include <cstring>

#include "vbmi_words.hpp"

namespace kbit {
namespace {

constexpr int kPieceOfScales = 256;  // of a row, expanded at once
constexpr int kTogether = 4;         // rows of activations, where there are more than two

template <int K>
struct Wide {
    static constexpr int kWords = K == 3 ? 4 : 16 / K;  // codes in a word, and registers of activations of a span
    static constexpr int kSpan = 32 * kWords;           // weights of a register of codes
    static constexpr int kBytes = kSpan * K / 8;
    static constexpr int kLane = kSpan / 16;            // consecutive weights of one sum
    __m512i bytes, shifts, table;

    explicit Wide(const Prepared &weight) {
        alignas(64) uint8_t b[64], s[64];
        alignas(64) uint16_t t[32];
        for (int i = 0; i < 64; ++i) {  // only of three bits: words of four codes, 12 bits apart
            b[i] = static_cast<uint8_t>(6 * (i / 8) + i % 8);
            s[i] = static_cast<uint8_t>(12 * (i % 8 / 2) + 8 * (i % 2));
        }
        for (int i = 0; i < 32; ++i) t[i] = weight.words[i & ((1 << K) - 1)];
        bytes = _mm512_load_si512(b);
        shifts = _mm512_load_si512(s);
        table = _mm512_load_si512(t);
    }

    inline __m512i words(__m512i codes) const {
        if constexpr (K == 3) return _mm512_multishift_epi64_epi8(shifts, _mm512_permutexvar_epi8(bytes, codes));
        else return codes;
    }

    // sums[i] += products of a span with row i of the activations.
    template <int N>
    inline void multiply(__m512i codes, const char *x, __m512 (&sums)[N]) const {
        const __m512i at = words(codes);
#pragma GCC unroll 16
        for (int w = 0; w < kWords; ++w) {
            const __m512i values = _mm512_permutexvar_epi16(w ? _mm512_srli_epi16(at, static_cast<unsigned>(w * K)) : at, table);
            for (int i = 0; i < N; ++i) {
                const __m512bh in = (__m512bh)_mm512_loadu_si512(x + i * 2 * kSpan + 64 * w);
                sums[i] = _mm512_dpbf16_ps(sums[i], (__m512bh)values, in);
            }
        }
    }
};

// Weights of a lane, for each width.
int lane_of(int bits) { return bits == 1 ? 32 : bits == 2 ? 16 : 8; }

// A block as a power of two of lanes; -1 where it is none.
int lane_shift(const Prepared &weight) {
    if (weight.flat_block || weight.blocks == 0) return -1;
    if (weight.blocks == 1) return 62;
    const int64_t lanes = weight.block / lane_of(weight.bits);
    if (weight.block % lane_of(weight.bits) != 0 || (lanes & (lanes - 1)) != 0) return -1;
    return __builtin_ctzll(static_cast<unsigned long long>(lanes));
}

bool serves(const Prepared &weight) { return weight.bits <= 4 && takes_blocks(weight) && lane_shift(weight) >= 0; }

// Scales (or offsets) [first, first + count) of a row as float32, and zeros behind them for 16 more to be read.
inline void expand(const Prepared &weight, int64_t row, int64_t first, int64_t count, float *out) {
    const int64_t at = row * weight.scales_a_row + first;
    int64_t i = 0;
    for (; i < count; i += 16) {
        const auto keep = static_cast<__mmask16>(low_bits(count - i));
        ask_for_scales(weight, at + i);
        _mm512_storeu_ps(out + i, load_blocks(weight.scales, weight.scale_type, at + i, keep));
    }
    _mm512_storeu_ps(out + i, _mm512_setzero_ps());
}

// What the offsets of a row add: each times the sum of its block's activations.
inline float of_offsets(const Prepared &weight, const float *sums, int64_t row) {
    __m512 sum = _mm512_setzero_ps();
    for (int64_t b = 0; b < weight.blocks; b += 16) {
        const auto keep = static_cast<__mmask16>(low_bits(weight.blocks - b));
        const __m512 offsets = load_blocks(weight.offsets, weight.scale_type, row * weight.scales_a_row + b, keep);
        sum = _mm512_fmadd_ps(offsets, _mm512_loadu_ps(sums + b), sum);
    }
    return _mm512_reduce_add_ps(sum);
}

// Spans [first, last) of R rows, whose scales begin at `scales`; `Whole` where a register of codes is within the row.
template <int K, int N, int R, bool Whole>
inline void spans(const Wide<K> &given, const uint8_t *const (&start)[R], int64_t row_bytes, const char *in,
                  int64_t first, int64_t last, int64_t before, int shift, const float *scales, __m512 (&total)[R][N]) {
    const Wide<K> wide = given;  // in registers
    const __m512i lanes = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    const __m512i block_of_lane = _mm512_srli_epi32(lanes, static_cast<unsigned>(shift < 31 ? shift : 31));
    for (int64_t s = first; s < last; ++s, in += N * 2 * Wide<K>::kSpan) {
        const float *of_span = scales + ((s * 16) >> shift) - before;
        for (int r = 0; r < R; ++r) {
            const uint8_t *at = start[r] + s * Wide<K>::kBytes;
            const int64_t left = row_bytes - s * Wide<K>::kBytes;
            bring_near(at);
            const __m512i codes = Whole ? _mm512_loadu_si512(at)
                                        : _mm512_maskz_loadu_epi8(low_bits(left < Wide<K>::kBytes ? left : Wide<K>::kBytes), at);
            __m512 sums[N];
            for (int i = 0; i < N; ++i) sums[i] = _mm512_setzero_ps();
            wide.multiply(codes, in, sums);
            const __m512 scale = _mm512_permutexvar_ps(block_of_lane, _mm512_loadu_ps(of_span + r * (kPieceOfScales + 16)));
            for (int i = 0; i < N; ++i) total[r][i] = _mm512_fmadd_ps(sums[i], scale, total[r][i]);
        }
    }
}

template <int K, int N, int R>
inline void few(const Prepared &weight, const Wide<K> &wide, const Arranged &x, int64_t row, int64_t apart,
                int shift, float *y, int64_t y_stride) {
    alignas(64) float scales[R * (kPieceOfScales + 16)];
    __m512 total[R][N];
    const uint8_t *start[R];
    for (int r = 0; r < R; ++r) {
        start[r] = weight.codes + (row + r * apart) * weight.row_stride;
        for (int i = 0; i < N; ++i) total[r][i] = _mm512_setzero_ps();
    }
    const int64_t whole = weight.row_bytes >= 64 ? (weight.row_bytes - 64) / Wide<K>::kBytes + 1 : 0;
    for (int64_t before = 0, s = 0; s < x.groups; before += kPieceOfScales) {
        const int64_t count = weight.blocks - before < kPieceOfScales ? weight.blocks - before : kPieceOfScales;
        int64_t end = x.groups;
        if (before + count < weight.blocks) end = ((before + count) << shift) / 16;
        for (int r = 0; r < R; ++r) expand(weight, row + r * apart, before, count, scales + r * (kPieceOfScales + 16));
        const int64_t middle = whole < s ? s : whole < end ? whole : end;
        const char *in = static_cast<const char *>(x.x);
        spans<K, N, R, true>(wide, start, weight.row_bytes, in + s * N * 2 * Wide<K>::kSpan, s, middle, before, shift, scales, total);
        spans<K, N, R, false>(wide, start, weight.row_bytes, in + middle * N * 2 * Wide<K>::kSpan, middle, end, before, shift, scales, total);
        s = end;
    }
    write_sums<N, R>(total, x.n, apart, y + row, y_stride);
    for (int i = 0; weight.offsets.data && i < x.n; ++i)
        for (int64_t r = 0, at = row; r < R; ++r, at += apart)
            y[i * y_stride + at] += of_offsets(weight, x.sums + i * x.sums_stride, at);
}

template <int K, int N, int R>
void rows_together(const Prepared &weight, const Arranged &x, int64_t first, int64_t last, float *y, int64_t y_stride) {
    const Wide<K> wide(weight);
    const int shift = lane_shift(weight);
    in_streams<R>(
        first, last,
        [&](int64_t row, int64_t apart) { few<K, N, R>(weight, wide, x, row, apart, shift, y, y_stride); },
        [&](int64_t row) { few<K, N, 1>(weight, wide, x, row, 0, shift, y, y_stride); });
}

int64_t span_of(const Prepared &weight) { return 16 * lane_of(weight.bits); }
int64_t spans_of(const Prepared &weight) { return (weight.cols + span_of(weight) - 1) / span_of(weight); }

template <int K>
void rows_of_width(const Prepared &weight, const Arranged &x, int64_t first, int64_t last, float *y, int64_t y_stride) {
    switch (x.padded) {
        case 1: return rows_together<K, 1, 4>(weight, x, first, last, y, y_stride);
        case 2: return rows_together<K, 2, 4>(weight, x, first, last, y, y_stride);
        default: break;
    }
    for (int i = 0; i < x.n; i += kTogether) {
        Arranged part = x;
        part.n = x.n - i < kTogether ? x.n - i : kTogether;
        part.padded = kTogether;
        part.x = static_cast<const char *>(x.x) + i * x.groups * Wide<K>::kSpan * 2;
        if (x.sums) part.sums = x.sums + i * x.sums_stride;
        rows_together<K, kTogether, 2>(weight, part, first, last, y + i * y_stride, y_stride);
    }
}

void rows(const Prepared &weight, const Arranged &x, int64_t first, int64_t last, float *y, int64_t y_stride) {
    switch (weight.bits) {
        case 1: return rows_of_width<1>(weight, x, first, last, y, y_stride);
        case 2: return rows_of_width<2>(weight, x, first, last, y, y_stride);
        case 3: return rows_of_width<3>(weight, x, first, last, y, y_stride);
        default: return rows_of_width<4>(weight, x, first, last, y, y_stride);
    }
}

// Words 0, C, 2C, ... of a span to the first register, 1, C + 1, ... to the second: halved until they are apart.
template <int C>
inline void arrange_span(const Activations &x, int row, int64_t c, int64_t cols, char *to) {
    alignas(64) static const uint16_t evens[32] = {0,  2,  4,  6,  8,  10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30,
                                                   32, 34, 36, 38, 40, 42, 44, 46, 48, 50, 52, 54, 56, 58, 60, 62};
    const __m512i even = _mm512_load_si512(evens), odd = _mm512_add_epi16(even, _mm512_set1_epi16(1));
    __m512i now[C], next[C];
    for (int i = 0; i < C; ++i) now[i] = load_bfloat16(x, row, c + 32 * i, cols);
    for (int step = 1; step < C; step *= 2) {
        for (int i = 0; i < C / 2; ++i) {
            next[i] = _mm512_permutex2var_epi16(now[2 * i], even, now[2 * i + 1]);
            next[C / 2 + i] = _mm512_permutex2var_epi16(now[2 * i], odd, now[2 * i + 1]);
        }
        for (int i = 0; i < C; ++i) now[i] = next[i];
    }
    for (int i = 0; i < C; ++i) _mm512_storeu_si512(to + 64 * i, now[i]);
}

int rows_ordered(int n) { return n <= 2 ? n : static_cast<int>(round_up(n, kTogether)); }

size_t ordered_bytes(const Prepared &weight, int n) {
    return static_cast<size_t>(rows_ordered(n) * spans_of(weight) * span_of(weight) * 2);
}

size_t sums_bytes(const Prepared &weight, int n) {
    return weight.offsets.data ? static_cast<size_t>(round_up(n * sums_stride(weight) * 4, 64)) : 0;
}

size_t room(const Prepared &weight, int n) {
    return ordered_bytes(weight, n) + sums_bytes(weight, n) + rounded_room(weight, n);
}

Arranged arrange(const Prepared &weight, const Activations &given, void *where) {
    char *const ordered = static_cast<char *>(where), *const sums = ordered + ordered_bytes(weight, given.n);
    const Activations x = rounded(given, weight.cols, sums + sums_bytes(weight, given.n));
    Arranged out{};
    out.n = x.n;
    out.padded = rows_ordered(x.n);
    out.groups = spans_of(weight);
    out.x = where;
    const int64_t span = span_of(weight);
    const int together = out.padded < kTogether ? out.padded : kTogether;
    for (int i = 0; i < out.padded; ++i) {
        char *const rows_of_i = ordered + i / together * together * out.groups * 2 * span;
        for (int64_t s = 0; s < out.groups; ++s) {
            char *to = rows_of_i + (s * together + i % together) * 2 * span;
            if (i >= x.n) std::memset(to, 0, static_cast<size_t>(2 * span));
            else if (weight.bits == 1) arrange_span<16>(x, i, s * span, weight.cols, to);
            else if (weight.bits == 2) arrange_span<8>(x, i, s * span, weight.cols, to);
            else arrange_span<4>(x, i, s * span, weight.cols, to);
        }
    }
    if (weight.offsets.data) {
        sum_blocks(weight, x, reinterpret_cast<float *>(sums));
        out.sums = reinterpret_cast<float *>(sums);
        out.sums_stride = sums_stride(weight);
    }
    return out;
}

const RowKernel kKernel = {"avx512-wide", Numerics::bf16, 4, 1, serves, room, arrange, rows};

}  // namespace

const RowKernel *vbmi_wide_kernel() { return &kKernel; }

}  // namespace kbit

#else

namespace kbit {
const RowKernel *vbmi_wide_kernel() { return nullptr; }
}  // namespace kbit

#endif

// Rows of a weight whose blocks are whole groups: the usual case, and the one that must be fast.
//
// Rows that go together lie `apart` rows from each other, so that each of them and the rows after it are one long
// stream: the processor fetches few long streams ahead at the speed of memory, and short ones at half of it.
//
// First the scales of up to 64 groups of each row are read, widened and multiplied by what they are multiplied with,
// sixteen in a register; what integers owe for their zero (and blocks for their offset) is one more multiply-add of
// that register with the blocks' sums. A group then costs its unpacking, its products and one multiply-add with its
// scale from the first-level cache. Sums stay in lanes to the end of the row.
#pragma once

#include "vbmi.hpp"

namespace kbit {
namespace {

constexpr int kChunk = 64;  // groups, at most
constexpr int kRow = kChunk + 16;  // scales of a row: more may be read than a chunk has

// Groups of a row of which a plain load reads nothing past the row.
template <int K>
inline int64_t safe_groups(const Prepared &weight, int64_t groups) {
    const int64_t safe = weight.row_bytes >= kLoad<K> ? (weight.row_bytes - kLoad<K>) / (8 * K) + 1 : 0;
    return safe < groups ? safe : groups;
}

// Groups that share a scale as a power of two, or -1 where blocks are not such.
inline int whole_shift(const Prepared &weight) {
    if (weight.flat_block) return -1;
    if (weight.blocks == 1) return 62;
    const int64_t every = weight.block / kGroup;
    if (weight.block % kGroup != 0 || (every & (every - 1)) != 0) return -1;
    return __builtin_ctzll(static_cast<unsigned long long>(every));
}

// Sums of the lanes of four registers, in the lanes of one.
inline __m128 reduce_four(__m512 a, __m512 b, __m512 c, __m512 d) {
    const __m512 ab = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
    const __m512 cd = _mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
    const __m512 all = _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(ab), _mm512_castps_pd(cd))),
                                     _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(ab), _mm512_castps_pd(cd))));
    const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(all), _mm512_extractf32x8_ps(all, 1));
    return _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
}

// What the loops over a chunk need to know of R rows of the weight.
template <int R>
struct FewRows {
    const uint8_t *start[R];
    int64_t row_bytes;
};

// Products of R rows with groups [first, last), into `total`; `scales` from the first of them on.
template <class Group, int N, int R, bool Safe>
inline void chunk_of_groups(const Group &given, const FewRows<R> &rows, const char *in, int64_t first, int64_t last,
                            const float *scales, __m512 (&total)[R][N]) {
    constexpr int K = Group::kBits;
    const Group group = given;  // in registers
    const uint8_t *start[R];
    for (int r = 0; r < R; ++r) start[r] = rows.start[r] + first * 8 * K;
    for (int64_t g = first; g < last; ++g, in += N * Group::kGroupBytes, ++scales) {
        for (int r = 0; r < R; ++r) {
            const auto values = group.values(Safe ? load_whole<K>(start[r])
                                                  : load_group<K>(start[r], rows.start[r] + rows.row_bytes));
            start[r] += 8 * K;
            for (int i = 0; i < N; ++i) {
                const __m512 sum = group.multiply(values, in + i * Group::kGroupBytes, _mm512_setzero_ps());
                const __m512 scale = _mm512_set1_ps(scales[(Group::kScaledAlone ? r * N + i : r) * kRow]);
                total[r][i] = _mm512_fmadd_ps(sum, scale, total[r][i]);
            }
        }
    }
}

// Scales of groups [first, last) of R rows times `step`, one for each group: scales[r * kRow + g - first], and where each
// of N rows of activations has quanta of its own, scales[(r * N + i) * kRow + g - first]. What blocks that begin here
// owe, `zero` units of their scale and their offset for each activation, is added to `owed`.
template <bool ScaledAlone, int N, int R>
inline void expand_chunk(const Prepared &weight, float given_zero, float given_step, const Arranged &x, int64_t row,
                         int64_t apart, int shift, int64_t first, int64_t last, float *scales,
                         __m512 (&owed)[R][N]) {
    const int64_t inside = (int64_t{1} << shift) - 1;
    const __m512i lanes = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    const __m512i block_of_lane = _mm512_srli_epi32(lanes, static_cast<unsigned>(shift < 31 ? shift : 31));
    const bool owes = x.sums != nullptr && (given_zero != 0 || weight.offsets.data != nullptr);
    const __m512 zero = _mm512_set1_ps(given_zero * given_step), step = _mm512_set1_ps(given_step);
    for (int64_t g = first; g < last; g += 16) {
        const int64_t end = g + 16 < last ? g + 16 : last, block = g >> shift;
        const auto keep = static_cast<__mmask16>(low_bits(((end - 1) >> shift) - block + 1));
        const auto there = static_cast<__mmask16>(low_bits(end - g));
        for (int r = 0; r < R; ++r) {
            const int64_t at = (row + r * apart) * weight.scales_a_row + block;
            ask_for_scales(weight, at);
            const __m512 read = load_blocks(weight.scales, weight.scale_type, at, keep);
            if (owes && (g & inside) == 0) {  // where a block begins: it owes once
                __m512 each = _mm512_mul_ps(read, zero);
                if (weight.offsets.data)
                    each = _mm512_add_ps(each, load_blocks(weight.offsets, weight.scale_type, at, keep));
                for (int i = 0; i < N; ++i) {
                    if (i >= x.n) break;
                    const __m512 sums = _mm512_maskz_loadu_ps(keep, x.sums + i * x.sums_stride + block);
                    owed[r][i] = _mm512_fmadd_ps(each, sums, owed[r][i]);
                }
            }
            const __m512 spread = _mm512_mul_ps(_mm512_permutexvar_ps(block_of_lane, read), step);
            if constexpr (ScaledAlone) {
                for (int i = 0; i < N; ++i) {
                    const __m512 quanta = _mm512_maskz_loadu_ps(there, x.quanta + i * x.groups + g);
                    _mm512_storeu_ps(scales + (r * N + i) * kRow + g - first, _mm512_mul_ps(spread, quanta));
                }
            } else {
                _mm512_storeu_ps(scales + r * kRow + g - first, spread);
            }
        }
    }
}

// The sums of R rows with each row of activations, to y[i * y_stride + r * apart].
template <int N, int R>
inline void write_sums(const __m512 (&total)[R][N], int n, int64_t apart, float *y, int64_t y_stride) {
    for (int i = 0; i < N && i < n; ++i) {
        float *to = y + i * y_stride;
        if constexpr (R == 4) {
            alignas(16) float four[4];
            _mm_store_ps(four, reduce_four(total[0][i], total[1][i], total[2][i], total[3][i]));
            for (int r = 0; r < R; ++r) to[r * apart] = four[r];
        } else {
            for (int r = 0; r < R; ++r) to[r * apart] = _mm512_reduce_add_ps(total[r][i]);
        }
    }
}

template <int N, int R>
inline void write_sums(__m512 (&total)[R][N], const __m512 (&owed)[R][N], int n, int64_t apart, float *y,
                       int64_t y_stride) {
    for (int i = 0; i < N; ++i)
        for (int r = 0; r < R; ++r) total[r][i] = _mm512_add_ps(total[r][i], owed[r][i]);
    write_sums<N, R>(total, n, apart, y, y_stride);
}

// each(row, apart) for all rows from `first` to `last`, R at a time; alone(row) for those left over.
template <int R, class Each, class Alone>
inline void in_streams(int64_t first, int64_t last, const Each &each, const Alone &alone) {
    const int64_t apart = (last - first) / R;
    for (int64_t i = 0; i < apart; ++i) each(first + i, apart);
    for (int64_t row = first + R * apart; row < last; ++row) alone(row);
}

// y[i * y_stride + row + r * apart] for R rows of the weight and up to N of the activations.
template <class Group, int N, int R>
inline void whole_rows(const Prepared &weight, const Group &group, const Arranged &x, int64_t row, int64_t apart,
                       int shift, float *y, int64_t y_stride) {
    alignas(64) float scales[(Group::kScaledAlone ? R * N : R) * kRow];
    __m512 total[R][N], owed[R][N];
    FewRows<R> rows;
    rows.row_bytes = weight.row_bytes;
    for (int r = 0; r < R; ++r) {
        rows.start[r] = weight.codes + (row + r * apart) * weight.row_stride;
        for (int i = 0; i < N; ++i) total[r][i] = owed[r][i] = _mm512_setzero_ps();
    }
    const int64_t groups = x.groups, safe = safe_groups<Group::kBits>(weight, groups);
    for (int64_t first = 0; first < groups; first += kChunk) {
        const int64_t last = first + kChunk < groups ? first + kChunk : groups;
        expand_chunk<Group::kScaledAlone, N, R>(weight, group.zero, group.step, x, row, apart, shift, first, last, scales,
                                                owed);
        const int64_t middle = safe < first ? first : safe < last ? safe : last;
        const char *in = static_cast<const char *>(x.x) + first * N * Group::kGroupBytes;
        chunk_of_groups<Group, N, R, true>(group, rows, in, first, middle, scales, total);
        chunk_of_groups<Group, N, R, false>(group, rows, in + (middle - first) * N * Group::kGroupBytes, middle, last,
                                            scales + (middle - first), total);
    }
    write_sums<N, R>(total, owed, x.n, apart, y + row, y_stride);
}

}  // namespace
}  // namespace kbit

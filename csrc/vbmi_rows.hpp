// Rows of a weight times a few rows of activations, for AVX-512 with VBMI. The arithmetic of a group of 64
// weights is a class: how its values are made from codes, and how they are multiplied into a vector of 16 sums.
//
// A block's sums are kept apart and multiplied by its scale once. Several rows of the weight go together where
// there are few rows of activations: their reads are independent streams, and activations are loaded once.
#pragma once

#include "vbmi.hpp"

namespace kbit {
namespace {

constexpr int64_t kPieceScales = 1024;  // scales of a row expanded at once; four blocks of 4096 have as many

// Adds the products of rows `row` to `row + R` with blocks [first, last) to y. Sums are 16 lanes wide until
// the end of the row, so `total` carries them from piece to piece.
template <class Group, int N, int R>
inline void whole_groups(const Prepared &weight, const Group &group, const Arranged &x, int64_t row, int64_t first,
                         int64_t last, const float (*scales)[kPieceScales], __m512 (&total)[R][N]) {
    constexpr int K = Group::kBits;
    const int64_t block_groups = weight.blocks == 1 ? x.groups : weight.block / kGroup;
    const uint8_t *from[R], *end[R];
    for (int r = 0; r < R; ++r) {
        const uint8_t *start = weight.codes + (row + r) * weight.row_stride;
        from[r] = start + first * block_groups * 8 * K;
        end[r] = start + weight.row_bytes;
    }
    const char *in = static_cast<const char *>(x.x) + first * block_groups * N * Group::kGroupBytes;
    int64_t g = first * block_groups;
    for (int64_t b = first; b < last; ++b) {
        const int64_t stop = g + block_groups < x.groups ? g + block_groups : x.groups;
        if constexpr (Group::kScaledAlone) {  // activations have scales of their own for each group
            for (; g < stop; ++g, in += N * Group::kGroupBytes) {
                for (int r = 0; r < R; ++r) {
                    const auto values = group.values(load_group<K>(from[r], end[r]));
                    from[r] += 8 * K;
                    const __m512 scale = _mm512_set1_ps(scales[r][b - first]);
                    for (int i = 0; i < N; ++i) {
                        const __m512 quantum = _mm512_set1_ps(x.quanta[i * x.groups + g]);
                        const __m512 sum = group.multiply(values, in + i * Group::kGroupBytes, _mm512_setzero_ps());
                        total[r][i] = _mm512_fmadd_ps(sum, _mm512_mul_ps(scale, quantum), total[r][i]);
                    }
                }
            }
        } else {
            __m512 sum[R][N];
            for (int r = 0; r < R; ++r)
                for (int i = 0; i < N; ++i) sum[r][i] = _mm512_setzero_ps();
            for (; g < stop; ++g, in += N * Group::kGroupBytes) {
                for (int r = 0; r < R; ++r) {
                    const auto values = group.values(load_group<K>(from[r], end[r]));
                    from[r] += 8 * K;
                    for (int i = 0; i < N; ++i) {
                        sum[r][i] = group.multiply(values, in + i * Group::kGroupBytes, sum[r][i]);
                    }
                }
            }
            for (int r = 0; r < R; ++r) {
                const __m512 scale = _mm512_set1_ps(scales[r][b - first]);
                for (int i = 0; i < N; ++i) total[r][i] = _mm512_fmadd_ps(sum[r][i], scale, total[r][i]);
            }
        }
    }
}

// Blocks that end inside a group: lanes 4u to 4u + 3 of a vector of sums belong to codes 16u to 16u + 15 of
// the group, so a vector of four scales, each repeated, takes the place of one scale.
template <class Group, int N, int R>
inline void parts_of_groups(const Prepared &weight, const Group &group, const Arranged &x, int64_t row,
                            int64_t first_group, int64_t last_group, const float (*units)[kPieceScales],
                            __m512 (&total)[R][N]) {
    constexpr int K = Group::kBits;
    for (int64_t g = first_group; g < last_group; ++g) {
        const char *in = static_cast<const char *>(x.x) + g * N * Group::kGroupBytes;
        for (int r = 0; r < R; ++r) {
            const uint8_t *start = weight.codes + (row + r) * weight.row_stride;
            const auto values = group.values(load_group<K>(start + g * 8 * K, start + weight.row_bytes));
            const __m512 four = _mm512_castps128_ps512(_mm_loadu_ps(units[r] + 4 * (g - first_group)));
            const __m512i spread = _mm512_set_epi32(3, 3, 3, 3, 2, 2, 2, 2, 1, 1, 1, 1, 0, 0, 0, 0);
            const __m512 scale = _mm512_permutexvar_ps(spread, four);
            for (int i = 0; i < N; ++i) {
                const __m512 sum = group.multiply(values, in + i * Group::kGroupBytes, _mm512_setzero_ps());
                if constexpr (Group::kScaledAlone) {
                    const __m512 quantum = _mm512_set1_ps(x.quanta[i * x.groups + g]);
                    total[r][i] = _mm512_fmadd_ps(sum, _mm512_mul_ps(scale, quantum), total[r][i]);
                } else {
                    total[r][i] = _mm512_fmadd_ps(sum, scale, total[r][i]);
                }
            }
        }
    }
}

template <class Group, int N, int R>
void few_rows(const Prepared &weight, const Group &group, const Arranged &x, int64_t row, float *y, int64_t y_stride) {
    alignas(64) float scales[R][kPieceScales];
    alignas(64) float units[R][kPieceScales];
    __m512 total[R][N];
    float extra[R][N];
    for (int r = 0; r < R; ++r)
        for (int i = 0; i < N; ++i) {
            total[r][i] = _mm512_setzero_ps();
            extra[r][i] = 0;
        }
    const bool whole = weight.block % kGroup == 0 || weight.blocks == 1;
    const int64_t piece_groups = kPieceScales / 4;
    // A piece is a multiple of blocks, and of groups where blocks end inside them.
    const int64_t piece = whole ? kPieceScales : piece_groups * kGroup / weight.block / 4 * 4;
    for (int64_t first = 0; first < weight.blocks; first += piece) {
        const int64_t last = first + piece < weight.blocks ? first + piece : weight.blocks, count = last - first;
        for (int r = 0; r < R; ++r) {
            expand_blocks(weight, weight.scales, row + r, first, count, group.step, scales[r]);
            for (int i = 0; x.sums && i < x.n; ++i) {
                const float *sums = x.sums + i * x.sums_stride + first;
                if (group.zero != 0) {
                    extra[r][i] += group.zero * dot_blocks(scales[r], sums, round_up(count, 16));
                }
            }
            if (weight.offsets.data) {
                expand_blocks(weight, weight.offsets, row + r, first, count, 1.0f, units[r]);
                for (int i = 0; i < x.n; ++i) {
                    extra[r][i] += dot_blocks(units[r], x.sums + i * x.sums_stride + first, round_up(count, 16));
                }
            }
        }
        if (whole) {
            whole_groups<Group, N, R>(weight, group, x, row, first, last, scales, total);
            continue;
        }
        const int64_t from = first * weight.block / kGroup;
        int64_t to = (last * weight.block + kGroup - 1) / kGroup;
        if (to > x.groups) to = x.groups;
        const int64_t every = weight.block / 16;
        for (int r = 0; r < R; ++r) {
            int64_t u = 0;
            for (int64_t b = 0; b < count; ++b)
                for (int64_t j = 0; j < every; ++j) units[r][u++] = scales[r][b];
            while (u < 4 * (to - from)) units[r][u++] = 0;
        }
        parts_of_groups<Group, N, R>(weight, group, x, row, from, to, units, total);
    }
    for (int i = 0; i < x.n; ++i)
        for (int r = 0; r < R; ++r) y[i * y_stride + row + r] = _mm512_reduce_add_ps(total[r][i]) + extra[r][i];
}

template <class Group, int N, int R>
void rows_with(const Prepared &weight, const Arranged &x, int64_t first, int64_t last, float *y, int64_t y_stride) {
    const Group group(weight);
    int64_t row = first;
    for (; row + R <= last; row += R) few_rows<Group, N, R>(weight, group, x, row, y, y_stride);
    for (; row < last; ++row) few_rows<Group, N, 1>(weight, group, x, row, y, y_stride);
}

// As many rows of activations as are computed together: 1, 2, 4 or 8, and twice 8.
inline int padded_inputs(int n) { return n <= 2 ? n : n <= 4 ? 4 : n <= 8 ? 8 : 16; }

template <class Group>
void rows_of(const Prepared &weight, const Arranged &x, int64_t first, int64_t last, float *y, int64_t y_stride) {
    switch (x.padded) {
        case 1: return rows_with<Group, 1, 4>(weight, x, first, last, y, y_stride);
        case 2: return rows_with<Group, 2, 2>(weight, x, first, last, y, y_stride);
        case 4: return rows_with<Group, 4, 1>(weight, x, first, last, y, y_stride);
        default: break;
    }
    for (int i = 0; i < x.n; i += 8) {  // eight rows are arranged together
        Arranged part = x;
        part.n = x.n - i < 8 ? x.n - i : 8;
        part.padded = 8;
        part.x = static_cast<const char *>(x.x) + i * x.groups * Group::kGroupBytes;
        if (x.sums) part.sums = x.sums + i * x.sums_stride;
        if (x.quanta) part.quanta = x.quanta + i * x.groups;
        rows_with<Group, 8, 1>(weight, part, first, last, y + i * y_stride, y_stride);
    }
}

// Rows of `Group<bits, affine>` for each width.
template <template <int, bool> class Group>
void rows_by_width(const Prepared &weight, const Arranged &x, int64_t first, int64_t last, float *y,
                   int64_t y_stride) {
#define KBIT_WIDTH(K)                                                                         \
    case K:                                                                                   \
        if (weight.affine) rows_of<Group<K, true>>(weight, x, first, last, y, y_stride);      \
        else rows_of<Group<K, false>>(weight, x, first, last, y, y_stride);                   \
        break;
    switch (weight.bits) {
        KBIT_WIDTH(1)
        KBIT_WIDTH(2)
        KBIT_WIDTH(3)
        KBIT_WIDTH(4)
        KBIT_WIDTH(5)
        KBIT_WIDTH(6)
        KBIT_WIDTH(7)
        KBIT_WIDTH(8)
    }
#undef KBIT_WIDTH
}

inline int64_t groups_of(const Prepared &weight) { return (weight.cols + kGroup - 1) / kGroup; }

// Room for activations of `group_bytes` a group, then sums, then quanta.
inline size_t arranged_room(const Prepared &weight, int n, int64_t group_bytes) {
    const int64_t padded = padded_inputs(n), groups = groups_of(weight);
    return static_cast<size_t>(
        round_up(padded * groups * group_bytes + n * sums_stride(weight) * 4 + padded * groups * 4, 64));
}

inline Arranged arrange_into(const Prepared &weight, const Activations &x, int64_t group_bytes, void *room) {
    Arranged out{};
    out.n = x.n;
    out.padded = padded_inputs(x.n);
    out.groups = groups_of(weight);
    out.x = room;
    out.sums_stride = sums_stride(weight);
    float *sums = reinterpret_cast<float *>(static_cast<char *>(room) + out.padded * out.groups * group_bytes);
    out.quanta = sums + x.n * out.sums_stride;
    out.sums = sums;
    return out;
}

// Where row i of the activations keeps group g: rows that are computed together lie together.
inline char *place_of(const Arranged &x, int i, int64_t g, int64_t group_bytes) {
    const int64_t together = x.padded < 8 ? x.padded : 8;
    char *base = static_cast<char *>(const_cast<void *>(x.x)) + i / together * together * x.groups * group_bytes;
    return base + (g * together + i % together) * group_bytes;
}

inline bool takes_blocks(const Prepared &weight) {
    return weight.even && weight.blocks > 0 && weight.rows > 0 && weight.cols > 0;
}

}  // namespace
}  // namespace kbit

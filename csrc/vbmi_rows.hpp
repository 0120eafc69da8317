// Rows of a weight times a few rows of activations, for AVX-512 with VBMI. The arithmetic of a group of 64
// weights is a class: how its values are made from codes, and how they are multiplied into a vector of 16 sums.
//
// A block's sums are kept apart and multiplied by its scale once. Several rows of the weight go together where
// there are few rows of activations: their reads are independent streams, and activations are loaded once.
#pragma once

#include "vbmi_whole.hpp"

namespace kbit {
namespace {

constexpr int64_t kPieceScales = 1024;  // scales of a row expanded at once; four blocks of 4096 have as many

// Adds the products of rows `row` to `row + R` with groups [first, last) to `total`: 16 sums in lanes until the
// end of the row. `scales` has one for each group, and each row of activations where these have their own.
template <class Group, int N, int R, bool Safe>
inline void whole_groups(const Prepared &weight, const Group &given, const Arranged &x, int64_t row, int64_t first,
                         int64_t from, int64_t last, const float (*scales)[kPieceScales], __m512 (&total)[R][N]) {
    constexpr int K = Group::kBits;
    const Group group = given;  // in registers
    const uint8_t *start[R];
    for (int r = 0; r < R; ++r) start[r] = weight.codes + (row + r) * weight.row_stride;
    const int64_t row_bytes = weight.row_bytes;
    const char *in = static_cast<const char *>(x.x) + from * N * Group::kGroupBytes;
    for (int64_t g = from; g < last; ++g, in += N * Group::kGroupBytes) {
        for (int r = 0; r < R; ++r) {
            const uint8_t *at = start[r] + g * 8 * K;
            const auto values = group.values(Safe ? load_whole<K>(at) : load_group<K>(at, start[r] + row_bytes));
            for (int i = 0; i < N; ++i) {
                const __m512 sum = group.multiply(values, in + i * Group::kGroupBytes, _mm512_setzero_ps());
                const float *scale = scales[Group::kScaledAlone ? r * N + i : r] + (g - first);
                total[r][i] = _mm512_fmadd_ps(sum, _mm512_set1_ps(*scale), total[r][i]);
            }
        }
    }
}

// Repeats the scale of each block for its groups.
inline void spread_over_groups(const float *blocks, int64_t count, int64_t every, int64_t groups, float *out) {
    int64_t g = 0;
    for (int64_t b = 0; b < count; ++b)
        for (int64_t j = 0; j < every && g < groups; ++j) out[g++] = blocks[b];
}

// The first `n` of a * b, up to a multiple of 16.
inline void multiply_each(const float *a, const float *b, int64_t n, float *out) {
    for (int64_t i = 0; i < n; i += 16) {
        const __mmask16 keep = static_cast<__mmask16>(low_bits(n - i));
        _mm512_storeu_ps(out + i, _mm512_mul_ps(_mm512_loadu_ps(a + i), _mm512_maskz_loadu_ps(keep, b + i)));
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
            const __m512 four = _mm512_castps128_ps512(_mm_loadu_ps(units[Group::kScaledAlone ? r * N : r] + 4 * (g - first_group)));
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
    constexpr int kScales = Group::kScaledAlone ? R * N : R;
    alignas(64) float blocks[kPieceScales];
    alignas(64) float scales[kScales][kPieceScales];
    __m512 total[R][N];
    float extra[R][N], long_scale[R];
    for (int r = 0; r < R; ++r)
        for (int i = 0; i < N; ++i) {
            total[r][i] = _mm512_setzero_ps();
            extra[r][i] = 0;
        }
    const bool whole = weight.block % kGroup == 0 || weight.blocks == 1;
    // A piece is a multiple of blocks, and of groups where blocks end inside them; a block longer than a piece
    // goes in several, with the same scale.
    const int64_t every = weight.blocks == 1 ? x.groups : weight.block / kGroup;
    const int64_t units = weight.block / 16;
    const int64_t piece = !whole ? kPieceScales / units / 4 * 4 : every >= kPieceScales ? 1 : kPieceScales / every;
    for (int64_t first = 0; first < weight.blocks; first += piece) {
        const int64_t last = first + piece < weight.blocks ? first + piece : weight.blocks, count = last - first;
        const int64_t from = whole ? first * every : first * weight.block / kGroup;
        int64_t to = whole ? last * every : (last * weight.block + kGroup - 1) / kGroup;
        if (to > x.groups) to = x.groups;
        for (int r = 0; r < R; ++r) {
            float *spread = scales[Group::kScaledAlone ? r * N : r];
            if (weight.offsets.data) {
                expand_blocks(weight, weight.offsets, row + r, first, count, 1.0f, blocks);
                for (int i = 0; i < x.n; ++i) {
                    extra[r][i] += dot_blocks(blocks, x.sums + i * x.sums_stride + first, round_up(count, 16));
                }
            }
            float *expanded = whole && every == 1 ? spread : blocks;
            expand_blocks(weight, weight.scales, row + r, first, count, group.step, expanded);
            for (int i = 0; group.zero != 0 && i < x.n; ++i) {
                const float *sums = x.sums + i * x.sums_stride + first;
                extra[r][i] += group.zero * dot_blocks(expanded, sums, round_up(count, 16));
            }
            long_scale[r] = expanded[0];
            if (!whole) {
                int64_t u = 0;
                for (int64_t b = 0; b < count; ++b)
                    for (int64_t j = 0; j < units; ++j) spread[u++] = blocks[b];
                while (u < 4 * (to - from)) spread[u++] = 0;
            } else if (every > 1) {
                const int64_t groups = to - from < kPieceScales ? to - from : kPieceScales;
                spread_over_groups(blocks, count, every, groups, spread);
            }
        }
        if (!whole) {
            parts_of_groups<Group, N, R>(weight, group, x, row, from, to, scales, total);
            continue;
        }
        for (int64_t begin = from; begin < to; begin += kPieceScales) {
            const int64_t end = begin + kPieceScales < to ? begin + kPieceScales : to;
            if constexpr (Group::kScaledAlone) {  // the first last: its place holds the scales themselves
                for (int r = 0; r < R; ++r) {
                    if (begin > from) spread_over_groups(&long_scale[r], 1, end - begin, end - begin, scales[r * N]);
                    for (int i = N - 1; i >= 0; --i) {
                        multiply_each(scales[r * N], x.quanta + i * x.groups + begin, end - begin, scales[r * N + i]);
                    }
                }
            }
            int64_t safe = safe_groups<Group::kBits>(weight, x.groups);
            safe = safe < begin ? begin : safe < end ? safe : end;
            whole_groups<Group, N, R, true>(weight, group, x, row, begin, begin, safe, scales, total);
            whole_groups<Group, N, R, false>(weight, group, x, row, begin, safe, end, scales, total);
        }
    }
    for (int i = 0; i < x.n; ++i)
        for (int r = 0; r < R; ++r) y[i * y_stride + row + r] = _mm512_reduce_add_ps(total[r][i]) + extra[r][i];
}

template <class Group, int N, int R>
void rows_with(const Prepared &weight, const Arranged &x, int64_t first, int64_t last, float *y, int64_t y_stride) {
    const Group group(weight);
    if constexpr (Group::kWhole) {
        const int shift = whole_shift(weight);
        if (shift >= 0) {
            return in_streams<R>(
                first, last,
                [&](int64_t row, int64_t apart) { whole_rows<Group, N, R>(weight, group, x, row, apart, shift, y, y_stride); },
                [&](int64_t row) { whole_rows<Group, N, 1>(weight, group, x, row, 0, shift, y, y_stride); });
        }
    }
    for (int64_t row = first; row < last; ++row) few_rows<Group, N, 1>(weight, group, x, row, y, y_stride);
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

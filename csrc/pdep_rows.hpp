// Rows of a weight times float32 activations without VBMI: pdep puts eight codes into the bytes of a register, from
// which they are widened to the lanes of a vector and looked up, or converted where the table is integers. A file
// that includes this defines `Lanes` (its vectors) before, and has flags of its own: all is in an anonymous namespace.
#pragma once

#include <immintrin.h>

#include <cstring>

#include "row_kernel.hpp"

namespace kbit {
namespace {

constexpr int kGroup = 64;
constexpr int kTogether = 4;             // rows of activations computed together
constexpr int64_t kScalesAtOnce = 256;

inline int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

inline uint64_t fields(int bits) { return ((uint64_t{1} << bits) - 1) * 0x0101010101010101ull; }

// The stream of eight codes; `Safe` where eight bytes may be read.
template <int K, bool Safe>
inline uint64_t eight_bytes(const uint8_t *from) {
    uint64_t word = 0;
    __builtin_memcpy(&word, from, Safe ? 8 : K);
    return _pdep_u64(word, fields(K));
}

template <int K, bool Affine>
struct Values {
    typename Lanes::template Table<K> table;
    explicit Values(const Prepared &weight) : table(weight.table) {}

    template <bool Safe>
    inline Lanes::Floats operator()(const uint8_t *from) const {
        uint64_t codes[Lanes::kCount / 8];
        for (int i = 0; i < Lanes::kCount / 8; ++i) codes[i] = eight_bytes<K, Safe>(from + K * i);
        const Lanes::Ints wide = Lanes::widen(codes);
        if constexpr (Affine) return Lanes::to_floats(wide);
        else return table(wide);
    }
};

// Scales (or offsets) of a row as float32; up to 16 beyond `count` may be written.
inline void expand(const Prepared &weight, const BlockValues &which, int64_t row, int64_t first, int64_t count, float *out) {
    const auto *words = static_cast<const uint16_t *>(which.data) + row * weight.scales_a_row + first;
    int64_t i = 0;
    if (weight.flat_block == 0 && (weight.scale_type == ScaleType::fp16 || weight.scale_type == ScaleType::bf16)) {
        for (; i + 8 <= count; i += 8) {
            const __m128i raw = _mm_loadu_si128(reinterpret_cast<const __m128i *>(words + i));
            const __m256 wide = weight.scale_type == ScaleType::fp16
                                    ? _mm256_cvtph_ps(raw)
                                    : _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(raw), 16));
            _mm256_storeu_ps(out + i, wide);
        }
    }
    if (i < count) read_blocks(weight, which, row, first + i, count - i, out + i);
}

// Adds the products of weights [from, to) of a row, one block, to `sums`: whole vectors, since blocks are multiples of 16
// and activations beyond a row are zero.
template <int K, bool Affine, int N, bool Safe>
inline void of_block(const Values<K, Affine> &values, const uint8_t *codes, const float *x, int64_t stride, int64_t from,
                     int64_t to, Lanes::Floats (&sums)[N]) {
    for (int64_t c = from; c < to; c += Lanes::kCount) {
        const Lanes::Floats w = values.template operator()<Safe>(codes + c / 8 * K);
        for (int i = 0; i < N; ++i) sums[i] = Lanes::add_product(w, Lanes::load(x + i * stride + c), sums[i]);
    }
}

template <int K, bool Affine, int N>
void rows_together(const Prepared &weight, const float *x, int64_t stride, const float *block_sums, int64_t sums_stride, int n,
                   int64_t first, int64_t last, float *y, int64_t y_stride) {
    const Values<K, Affine> values(weight);
    const float step = Affine ? weight.step : 1.0f, zero = Affine ? weight.zero : 0.0f;
    float scales[kScalesAtOnce + 16], offsets[kScalesAtOnce + 16];
    const int64_t padded = round_up(weight.cols, 32);  // the stream has as many codes
    // Blocks before this end read nothing past the row with whole words.
    const int64_t safe = weight.row_bytes >= 8 ? (weight.row_bytes - 8) / K * 8 : 0;
    for (int64_t row = first; row < last; ++row) {
        const uint8_t *codes = weight.codes + row * weight.row_stride;
        Lanes::Floats total[N];
        float owed[N] = {};
        for (int i = 0; i < N; ++i) total[i] = Lanes::zero();
        for (int64_t begin = 0; begin < weight.blocks; begin += kScalesAtOnce) {
            const int64_t count = weight.blocks - begin < kScalesAtOnce ? weight.blocks - begin : kScalesAtOnce;
            expand(weight, weight.scales, row, begin, count, scales);
            if (weight.offsets.data) expand(weight, weight.offsets, row, begin, count, offsets);
            for (int64_t b = 0; b < count; ++b) {
                const int64_t from = (begin + b) * weight.block;
                const int64_t to = weight.blocks == 1 ? padded : from + weight.block < padded ? from + weight.block : padded;
                Lanes::Floats sums[N];
                for (int i = 0; i < N; ++i) sums[i] = Lanes::zero();
                const int64_t middle = safe <= from ? from : safe < to ? from + (safe - from) / 16 * 16 : to;
                of_block<K, Affine, N, true>(values, codes, x, stride, from, middle, sums);
                of_block<K, Affine, N, false>(values, codes, x, stride, middle, to, sums);
                const float scale = scales[b] * step, each = scale * zero + (weight.offsets.data ? offsets[b] : 0.0f);
                for (int i = 0; i < N; ++i) total[i] = Lanes::add_product(sums[i], Lanes::all(scale), total[i]);
                if (block_sums)
                    for (int i = 0; i < N && i < n; ++i) owed[i] += each * block_sums[i * sums_stride + begin + b];
            }
        }
        for (int i = 0; i < N && i < n; ++i) y[i * y_stride + row] = Lanes::sum(total[i]) + owed[i];
    }
}

inline int rows_arranged(int n) { return n == 1 ? 1 : static_cast<int>(round_up(n, kTogether)); }
inline int64_t arranged_stride(const Prepared &weight) { return round_up(weight.cols, kGroup) + 16; }
inline bool owes(const Prepared &weight) { return weight.affine || weight.offsets.data != nullptr; }

inline size_t room(const Prepared &weight, int n) {
    return static_cast<size_t>(rows_arranged(n) * arranged_stride(weight) + n * weight.blocks) * 4;
}

inline Arranged arrange(const Prepared &weight, const Activations &x, void *where) {
    Arranged out{};
    out.n = x.n;
    out.padded = rows_arranged(x.n);
    out.groups = arranged_stride(weight);
    out.x = where;
    float *to = static_cast<float *>(where), *sums = to + out.padded * out.groups;
    std::memset(where, 0, static_cast<size_t>(out.padded * out.groups) * 4);
    for (int i = 0; i < x.n; ++i) {
        if (x.bfloat16) {
            const auto *from = static_cast<const uint16_t *>(x.data) + i * x.stride;
            for (int64_t c = 0; c < weight.cols; ++c) {
                const uint32_t bits = uint32_t{from[c]} << 16;
                std::memcpy(to + i * out.groups + c, &bits, 4);
            }
        } else {
            const auto *from = static_cast<const float *>(x.data) + i * x.stride;
            std::memcpy(to + i * out.groups, from, static_cast<size_t>(weight.cols) * 4);
        }
        for (int64_t b = 0; owes(weight) && b < weight.blocks; ++b) {
            const int64_t end = (b + 1) * weight.block < weight.cols ? (b + 1) * weight.block : weight.cols;
            float sum = 0;
            for (int64_t c = b * weight.block; c < end; ++c) sum += to[i * out.groups + c];
            sums[i * weight.blocks + b] = sum;
        }
    }
    out.sums = owes(weight) ? sums : nullptr;
    out.sums_stride = weight.blocks;
    return out;
}

template <int K, bool Affine>
void rows_of(const Prepared &weight, const Arranged &x, int64_t first, int64_t last, float *y, int64_t y_stride) {
    const float *in = static_cast<const float *>(x.x);
    if (x.n == 1) {
        rows_together<K, Affine, 1>(weight, in, x.groups, x.sums, x.sums_stride, 1, first, last, y, y_stride);
        return;
    }
    for (int i = 0; i < x.n; i += kTogether) {
        rows_together<K, Affine, kTogether>(weight, in + i * x.groups, x.groups, x.sums ? x.sums + i * x.sums_stride : nullptr,
                                            x.sums_stride, x.n - i, first, last, y + i * y_stride, y_stride);
    }
}

inline void rows(const Prepared &weight, const Arranged &x, int64_t first, int64_t last, float *y, int64_t y_stride) {
#define KBIT_WIDTH(K)                                                                       \
    case K:                                                                                 \
        if (weight.affine) rows_of<K, true>(weight, x, first, last, y, y_stride);           \
        else rows_of<K, false>(weight, x, first, last, y, y_stride);                        \
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

inline bool serves(const Prepared &weight) {
    return weight.even && weight.blocks > 0 && weight.rows > 0 && weight.cols > 0;
}

}  // namespace
}  // namespace kbit

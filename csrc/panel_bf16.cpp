// Panels with AVX-512 BF16, for processors without tiles. 64 rows of the weight stand in the lanes of four
// registers, pairs of columns beside each other; up to six rows of activations are broadcast pair by pair.
#include "panel_kernel.hpp"

#if defined(__AVX512BF16__) && defined(__AVX512BW__) && defined(__AVX512VL__) && defined(__x86_64__)

#include <algorithm>
#include <cstring>

#include "panel_memory.hpp"
#include "transpose.hpp"

namespace kbit {
namespace {

constexpr int64_t kLanes = 16;
constexpr int64_t kWide = 4 * kLanes;          // rows of w multiplied at once
constexpr int kRows = 6;                       // rows of x: 24 sums in registers
constexpr int64_t kPanelWeights = 1 << 18;     // decoded at once: half of a second-level cache of a megabyte
constexpr int64_t kSegment = kPanelWeights / kWide;  // columns at once
constexpr int64_t kSummedRows = 2046;          // rows of x whose sums of a segment are kept
constexpr int64_t kChunk = 256;                // columns decoded before they are transposed
constexpr int64_t kChunkRow = kChunk + 32;     // not a power of two

int64_t up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

int64_t widest(int64_t cols) {
    const int64_t fit = kPanelWeights / std::min(std::max<int64_t>(cols, 1), kSegment) / kWide * kWide;
    return std::min<int64_t>(fit, 4 * kWide);
}

struct Workspace {
    uint16_t *weights;  // [lanes / 16][pairs][16][2] of each 64: registers of a pair follow each other
    uint16_t *rows;     // [16, kChunkRow]
    float *sums;        // [rows of x, panel], where a row is longer than a segment
};

Workspace workspace(int64_t sums) {
    static thread_local PanelMemory memory;
    constexpr int64_t kWeightBytes = (kPanelWeights + 4 * kWide) * 2, kRowBytes = kLanes * kChunkRow * 2;
    uint8_t *at = memory.of(kWeightBytes + kRowBytes + sums * 4);
    return {reinterpret_cast<uint16_t *>(at), reinterpret_cast<uint16_t *>(at + kWeightBytes),
            reinterpret_cast<float *>(at + kWeightBytes + kRowBytes)};
}

int64_t most_sums() { return kSummedRows * 4 * kWide; }

int64_t workspace_bytes() { return up((kPanelWeights + 4 * kWide) * 2 + kLanes * kChunkRow * 2 + most_sums() * 4, 4096); }

// Columns [from, from + n) of rows [first, first + count): for each 64 rows [pairs][64] pairs of values.
void decode_panel(const RowSource &w, int64_t first, int64_t count, int64_t from, int64_t n, const Workspace &room) {
    const int64_t pairs = (n + 1) / 2;
    for (int64_t sixteen = 0; sixteen < up(count, kLanes); sixteen += kLanes) {
        const int64_t wide = std::min(kWide, up(count, kLanes) - sixteen / kWide * kWide);
        uint16_t *to = room.weights + sixteen / kWide * kWide * pairs * 2 + sixteen % kWide * 2;
        for (int64_t start = 0; start < n; start += kChunk) {
            const int64_t part = std::min(kChunk, n - start);
            for (int64_t i = 0; i < kLanes; ++i) {
                uint16_t *row = room.rows + i * kChunkRow;
                const int64_t known = sixteen + i < count ? part : 0;
                if (known > 0) w.decode(first + sixteen + i, from + start, part, row);
                std::fill(row + known, row + up(part, 32), uint16_t{0});
            }
            int64_t k = 0;
            for (; k + 32 <= part; k += 32)
                transpose_words(room.rows + k, kChunkRow * 2, to + (start + k) / 2 * wide * 2, wide * 4);
            if (k < part) {  // fewer than 16 pairs: what follows the panel's memory is not written
                alignas(64) uint8_t last[16 * 64];
                transpose_words(room.rows + k, kChunkRow * 2, last, 64);
                for (int64_t p = 0; p < (part - k + 1) / 2; ++p)
                    std::memcpy(to + ((start + k) / 2 + p) * wide * 2, last + 64 * p, 64);
            }
        }
    }
}

// What becomes of the sums of a segment.
struct Sums {
    float *kept;         // [M, stride] at the first lane, or null where one segment is the row
    int64_t kept_stride;
    bool first, last;    // segment
    uint16_t *out;       // at the first lane
    int64_t out_stride, lanes;
    const float *bias;   // at the first lane, or null
};

template <int M, int V>
void multiply(const uint16_t *x, int64_t x_stride, const uint16_t *w, int64_t n, const Sums &to) {
    __m512 sum[M][V];
    for (int m = 0; m < M; ++m)
        for (int v = 0; v < V; ++v)
            sum[m][v] = to.first ? _mm512_setzero_ps() : _mm512_loadu_ps(to.kept + m * to.kept_stride + kLanes * v);
    const auto step = [&](const auto &pair_of) {
        __m512bh weights[V];
        for (int v = 0; v < V; ++v) weights[v] = (__m512bh)_mm512_load_si512(w + 32 * v);
        for (int m = 0; m < M; ++m) {
            const __m512bh pair = (__m512bh)_mm512_set1_epi32(pair_of(x + m * x_stride));
            for (int v = 0; v < V; ++v) sum[m][v] = _mm512_dpbf16_ps(sum[m][v], weights[v], pair);
        }
    };
    int64_t k = 0;
    for (; k + 2 <= n; k += 2, w += 32 * V)
        step([k](const uint16_t *row) {
            int pair;
            std::memcpy(&pair, row + k, 4);
            return pair;
        });
    if (k < n) step([k](const uint16_t *row) { return static_cast<int>(row[k]); });
    for (int m = 0; m < M; ++m)
        for (int v = 0; v < V; ++v) {
            if (!to.last) {
                _mm512_storeu_ps(to.kept + m * to.kept_stride + kLanes * v, sum[m][v]);
                continue;
            }
            const int64_t left = to.lanes - kLanes * v;
            if (left <= 0) continue;
            const auto keep = static_cast<__mmask16>(left >= kLanes ? 0xffff : (1u << left) - 1);
            __m512 made = sum[m][v];
            if (to.bias) made = _mm512_add_ps(made, _mm512_maskz_loadu_ps(keep, to.bias + kLanes * v));
            _mm256_mask_storeu_epi16(to.out + m * to.out_stride + kLanes * v, keep, (__m256i)_mm512_cvtneps_pbh(made));
        }
}

template <int V>
void multiply_rows(int64_t rows, const uint16_t *x, int64_t x_stride, const uint16_t *w, int64_t n, const Sums &to) {
    switch (rows) {
        case 1: return multiply<1, V>(x, x_stride, w, n, to);
        case 2: return multiply<2, V>(x, x_stride, w, n, to);
        case 3: return multiply<3, V>(x, x_stride, w, n, to);
        case 4: return multiply<4, V>(x, x_stride, w, n, to);
        case 5: return multiply<5, V>(x, x_stride, w, n, to);
        default: return multiply<6, V>(x, x_stride, w, n, to);
    }
}

void panel(const BfloatRows &x, const RowSource &w, const float *bias, uint16_t *out, int64_t first, int64_t count) {
    const int64_t cols = w.cols(), rows = w.rows(), padded = up(count, kLanes);
    const bool whole = cols <= kSegment;
    // Segments of like length, each from a multiple of 64 on.
    const int64_t segments = (cols + kSegment - 1) / kSegment;
    const int64_t each = std::min(kSegment, up((cols + segments - 1) / segments, 64));
    const Workspace room = workspace(whole ? 0 : std::min(x.count, kSummedRows) * padded);
    for (int64_t top = 0; top < x.count; top += kSummedRows) {
        const int64_t bottom = std::min(x.count, top + kSummedRows);
        for (int64_t from = 0; from < cols; from += each) {
            const int64_t n = std::min(each, cols - from), pairs = (n + 1) / 2;
            if (!whole || top == 0) decode_panel(w, first, count, from, n, room);
            for (int64_t m = top; m < bottom; m += kRows) {
                for (int64_t lane = 0; lane < padded; lane += kWide) {
                    Sums to{};
                    to.kept = whole ? nullptr : room.sums + (m - top) * padded + lane;
                    to.kept_stride = padded;
                    to.first = from == 0;
                    to.last = from + n == cols;
                    to.out = out + m * rows + first + lane;
                    to.out_stride = rows;
                    to.lanes = count - lane;
                    to.bias = bias ? bias + first + lane : nullptr;
                    const uint16_t *at = x.data + m * x.stride + from, *weights = room.weights + lane * pairs * 2;
                    const int64_t many = std::min<int64_t>(kRows, bottom - m);
                    switch (std::min(kWide, padded - lane) / kLanes) {
                        case 1: multiply_rows<1>(many, at, x.stride, weights, n, to); break;
                        case 2: multiply_rows<2>(many, at, x.stride, weights, n, to); break;
                        case 3: multiply_rows<3>(many, at, x.stride, weights, n, to); break;
                        default: multiply_rows<4>(many, at, x.stride, weights, n, to); break;
                    }
                }
            }
        }
    }
}

const PanelKernel kKernel = {"bf16", kWide, widest, workspace_bytes, panel};

}  // namespace

const PanelKernel *bf16_panel_kernel() { return &kKernel; }

}  // namespace kbit

#else

namespace kbit {
const PanelKernel *bf16_panel_kernel() { return nullptr; }
}  // namespace kbit

#endif

#include "matrix.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>

#include "../pieces.hpp"
#include "../rows.hpp"

namespace kbit {
namespace {

const void *weight_at(const WeightRows &weights, int64_t at) {
    if (weights.type == WeightType::f32) return static_cast<const float *>(weights.data) + at;
    return static_cast<const uint16_t *>(weights.data) + at;
}

void spread_out(const float *fine, int bits, int held, float *coarse) {
    const int every = 1 << (bits - held);
    for (int j = 0; j < (1 << held); ++j) coarse[j] = fine[std::min(255, (j + 1) * every - 1)];
}

// Whether all are one apart and half-way between whole numbers, exactly.
bool of_integers(const float *given, int count) {
    for (int i = 0; i < count; ++i)
        if (given[i] != given[0] + static_cast<float>(i) || given[i] - std::floor(given[i]) != 0.5f) return false;
    return count > 0;
}

}  // namespace

Boundaries make_boundaries(const float *given, int count, int bits) {
    Boundaries made{};
    made.bits = bits;
    std::fill(made.at, made.at + 256, std::numeric_limits<float>::infinity());
    std::copy(given, given + count, made.at);
    if (bits > 6) spread_out(made.at, bits, 6, made.coarse64);
    if (bits > 4) spread_out(made.at, bits, 4, made.coarse16);
    if (of_integers(given, count)) {
        made.count = count;
        made.lowest = given[0];
    }
    return made;
}

bool block_ranges(const Encoder &encoder, const WeightRows &weights, int64_t block, bool flat, float *low,
                  float *high, int threads) {
    const int64_t rows = flat ? 1 : weights.rows, cols = flat ? weights.rows * weights.cols : weights.cols;
    if (rows <= 0 || cols <= 0) return true;
    const int64_t blocks = (cols + block - 1) / block, all = rows * blocks;
    const int64_t blocks_a_task = std::max<int64_t>(1, kTask / block);
    std::atomic<bool> finite{true};
    parallel_for(static_cast<size_t>((all + blocks_a_task - 1) / blocks_a_task), threads, [&](size_t task) {
        const int64_t begin = static_cast<int64_t>(task) * blocks_a_task;
        bool good = true;
        for (int64_t at = begin; at < std::min(all, begin + blocks_a_task); ++at) {
            const int64_t row = at / blocks, start = at % blocks * block;
            good &= encoder.range(weight_at(weights, row * weights.row_stride + start), weights.type,
                                  static_cast<size_t>(std::min(block, cols - start)), low + at, high + at);
        }
        if (!good) finite = false;
    });
    return finite;
}

void encode_rows(const Encoder &encoder, const Ops &ops, const WeightRows &weights, const Encode &how,
                 const Boundaries &boundaries, uint8_t *out, int threads) {
    const int64_t cols = weights.cols, bytes = stream_bytes(cols, boundaries.bits);
    over_pieces(weights.rows, cols, threads, [&](int64_t row, int64_t start, int64_t n) {
        constexpr int64_t kStep = 1024;  // stays in the first-level cache
        uint8_t codes[kStep];
        for (int64_t at = start; at < start + n; at += kStep) {
            const int64_t m = std::min(kStep, start + n - at);
            for (int64_t done = 0; done < m;) {
                const int64_t place = (how.flat ? row * cols : 0) + at + done, block = place / how.block;
                const int64_t k = std::min(m - done, (block + 1) * how.block - place);
                const int64_t scale = how.flat ? block : row * how.scales_a_row + block;
                encoder.codes(weight_at(weights, row * weights.row_stride + at + done), weights.type,
                              static_cast<size_t>(k), how.scales[scale], how.offsets != nullptr,
                              how.offsets ? how.offsets[scale] : 0.0f, boundaries, codes + done);
                done += k;
            }
            ops.pack(codes, static_cast<size_t>(m), boundaries.bits,
                     out + row * bytes + at / 8 * boundaries.bits);
        }
    });
}

}  // namespace kbit

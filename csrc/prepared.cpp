#include "prepared.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <numeric>
#include <vector>

#include "pool.hpp"

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace kbit {
namespace {

// Large codes in pages of 2 MiB, where the system has them on request and the memory is not a file's: rows are read
// faster than small pages are found. A refusal changes nothing.
void in_large_pages(const Stored &stored) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    constexpr uintptr_t kPage = uintptr_t{1} << 21;
    constexpr int kCollapse = 25;  // MADV_COLLAPSE, of Linux 6.1: at once
    if (stored.rows <= 0) return;
    const auto start = reinterpret_cast<uintptr_t>(stored.codes);
    const uintptr_t first = (start + kPage - 1) / kPage * kPage;
    const uintptr_t last = (start + static_cast<uintptr_t>(stored.rows * stored.row_stride)) / kPage * kPage;
    if (stored.row_stride <= 0 || last <= first) return;
    if (madvise(reinterpret_cast<void *>(first), last - first, MADV_HUGEPAGE) == 0)
        madvise(reinterpret_cast<void *>(first), last - first, kCollapse);
#else
    (void)stored;
#endif
}

// Whether the greatest code occurs.
bool occurs_greatest(const Stored &stored, const Ops &ops, int threads) {
    std::atomic<bool> found{false};
    const uint8_t greatest = static_cast<uint8_t>((1 << stored.bits) - 1);
    parallel_for(static_cast<size_t>(stored.rows), threads, [&](size_t row) {
        constexpr int64_t kStep = 2048;
        uint8_t codes[kStep];
        const uint8_t *from = stored.codes + static_cast<int64_t>(row) * stored.row_stride;
        for (int64_t at = 0; at < stored.cols && !found.load(std::memory_order_relaxed); at += kStep) {
            const int64_t n = std::min(kStep, stored.cols - at);
            ops.unpack(from + at / 8 * stored.bits, static_cast<size_t>(n), stored.bits, codes);
            uint8_t most = 0;
            for (int64_t i = 0; i < n; ++i) most = std::max(most, codes[i]);
            if (most == greatest) found.store(true, std::memory_order_relaxed);
        }
    });
    return found;
}

// Sets `affine`: an integer type's table is. Its last entry may repeat the one before it, since symmetric
// integers leave one code unused; then no weight may use it.
void find_affine(Prepared &weight, const Stored &stored, const Ops &ops, int threads) {
    const int count = 1 << stored.bits;
    const float step = stored.table[1] - stored.table[0];
    weight.affine = false;
    if (!(step > 0) || !std::isfinite(step)) return;
    const float zero = stored.table[0] / step;
    if (std::nearbyint(zero) != zero || std::fabs(zero) > 256) return;
    for (int code = 0; code < count; ++code) {
        if (stored.table[code] == step * (static_cast<float>(code) + zero)) continue;
        if (code < count - 1 || occurs_greatest(stored, ops, threads)) return;
    }
    weight.affine = true;
    weight.step = step;
    weight.zero = zero;
}

void round_table(Prepared &weight, int count) {
    float most = 0;
    for (int code = 0; code < count; ++code) most = std::max(most, std::fabs(weight.table[code]));
    weight.rounded_step = most / 127;
    for (int code = 0; code < 256; ++code) {
        const float value = weight.table[code & (count - 1)];
        const float units = most > 0 ? std::nearbyint(value / most * 127) : 0.0f;
        weight.rounded[code] = static_cast<uint8_t>(static_cast<int>(units) + 128);
    }
}

}  // namespace

Prepared prepare(const Stored &stored, const Ops &ops, int threads) {
    Prepared weight{};
    weight.codes = stored.codes;
    weight.row_stride = stored.row_stride;
    weight.row_bytes = stream_bytes(stored.cols, stored.bits);
    weight.rows = stored.rows;
    weight.cols = stored.cols;
    weight.bits = stored.bits;
    weight.scales = stored.scales;
    weight.offsets = stored.offsets;
    weight.scale_type = stored.scale_type;
    weight.scales_a_row = stored.scales_a_row;
    const int64_t cols = std::max<int64_t>(1, stored.cols);
    weight.block = stored.block;
    if (stored.flat && cols % stored.block == 0) {
        weight.scales_a_row = cols / stored.block;
    } else if (stored.flat) {
        weight.flat_block = stored.block;
        weight.block = std::gcd(stored.block, cols);
    }
    weight.block = std::min(weight.block, cols);
    weight.blocks = (cols + weight.block - 1) / weight.block;
    weight.even = weight.block % 16 == 0 || weight.blocks == 1;
    const int count = 1 << stored.bits;
    for (int code = 0; code < 256; ++code) {
        weight.table[code] = stored.table[code & (count - 1)];
        uint32_t bits;
        std::memcpy(&bits, &weight.table[code], 4);
        weight.words[code] = static_cast<uint16_t>(bits >> 16);
    }
    in_large_pages(stored);
    find_affine(weight, stored, ops, threads);
    round_table(weight, count);
    return weight;
}

void read_blocks(const Prepared &weight, const BlockValues &which, int64_t row, int64_t first, int64_t count,
                 float *out) {
    for (int64_t i = 0; i < count; ++i) {
        const int64_t at = weight.flat_block
                               ? (row * weight.cols + (first + i) * weight.block) / weight.flat_block
                               : row * weight.scales_a_row + first + i;
        out[i] = read_scale(which.data, which.second, weight.scale_type, which.is_signed, at);
    }
}

}  // namespace kbit

#include "stretch.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "openmp.hpp"

namespace kbit {
namespace {

constexpr int64_t kStep = 1024;        // weights at once: codes and values stay in the first-level cache
constexpr int64_t kMostBlocks = kStep / 16 + 1;
constexpr int64_t kTask = 1 << 16;     // weights worth handing to another thread

// False where a value is not exact in bfloat16, or too small for a RowDecoder.
bool split_planes(const float *table, int bits, BytePlanes &planes) {
    for (int i = 0; i < 1 << bits; ++i) {
        uint32_t raw;
        std::memcpy(&raw, table + i, 4);
        if ((raw & 0xffff) != 0 || (table[i] != 0 && std::fabs(table[i]) < 0x1p-24f)) return false;
        planes.low[i] = static_cast<uint8_t>(raw >> 16);
        planes.high[i] = static_cast<uint8_t>(raw >> 24);
    }
    return true;
}

void write(const RowDecoder &wide, const BytePlanes &planes, int bits, const Stretch &from, float *out) {
    wide.to_float(planes, bits, from, out);
}

void write(const RowDecoder &wide, const BytePlanes &planes, int bits, const Stretch &from,
                  uint16_t *out) {
    wide.to_bfloat16(planes, bits, from, out);
}

}  // namespace

RowSource::RowSource(const Ops &ops, const RowDecoder *wide, const Prepared &weight)
    : ops_(ops), weight_(&weight), rows_(weight.rows), cols_(weight.cols), wide_(nullptr), block_(weight.block) {
    const bool one_block = weight.blocks <= 1;
    if (one_block) block_ = std::max<int64_t>(64, (weight.cols + 63) / 64 * 64);
    if (wide != nullptr && block_ % 16 == 0 && split_planes(weight.table, weight.bits, planes_)) wide_ = wide;
}

RowSource::RowSource(const Ops &ops, const uint16_t *dense, int64_t rows, int64_t cols)
    : ops_(ops), weight_(nullptr), dense_(dense), rows_(rows), cols_(cols), wide_(nullptr), block_(0) {}

template <class Out>
void RowSource::in_steps(int64_t row, int64_t start, int64_t n, Out *out) const {
    if (dense_ != nullptr) {
        const uint16_t *from = dense_ + row * cols_ + start;
        if constexpr (sizeof(Out) == 2) {
            std::memcpy(out, from, static_cast<size_t>(n) * 2);
        } else {
            for (int64_t i = 0; i < n; ++i) {
                const uint32_t wide = static_cast<uint32_t>(from[i]) << 16;
                std::memcpy(out + i, &wide, 4);
            }
        }
        return;
    }
    for (int64_t done = 0; done < n; done += kStep) {
        const int64_t m = std::min(kStep, n - done);
        if (wide_ != nullptr && wide(row, start + done, m, out + done)) continue;
        if constexpr (sizeof(Out) == 4) {
            general(row, start + done, m, out + done);
        } else {
            float values[kStep];
            general(row, start + done, m, values);
            ops_.to_bfloat16(values, static_cast<size_t>(m), out + done);
        }
    }
}

template <class Out>
bool RowSource::wide(int64_t row, int64_t start, int64_t n, Out *out) const {
    alignas(64) float scales_room[kMostBlocks + 15], offsets_room[kMostBlocks + 15];
    const int64_t first = start / block_, count = (start + n - 1) / block_ - first + 1;
    Stretch from{};
    from.codes = weight_->codes + row * weight_->row_stride + start / 8 * weight_->bits;
    from.n = static_cast<size_t>(n);
    from.block = static_cast<size_t>(block_);
    from.first_left = static_cast<size_t>((first + 1) * block_ - start);
    from.scales = scales(weight_->scales, row, first, count, scales_room);
    if (from.scales == nullptr) return false;
    if (weight_->offsets.data != nullptr) {
        from.offsets = scales(weight_->offsets, row, first, count, offsets_room);
        if (from.offsets == nullptr) return false;
    }
    write(*wide_, planes_, weight_->bits, from, out);
    return true;
}

// Float32 scales of some blocks of a row; null where one is too small for the wide decoder.
const float *RowSource::scales(const BlockValues &which, int64_t row, int64_t first, int64_t count,
                               float *room) const {
    if (weight_->flat_block == 0 && weight_->scale_type != ScaleType::q8) {
        const int64_t at = row * weight_->scales_a_row + first, size = weight_->scale_type == ScaleType::fp32 ? 4 : 2;
        return wide_->scales(static_cast<const uint8_t *>(which.data) + at * size, static_cast<size_t>(count),
                             weight_->scale_type, room);
    }
    read_blocks(*weight_, which, row, first, count, room);
    return wide_->scales(room, static_cast<size_t>(count), ScaleType::fp32, room);
}

void RowSource::general(int64_t row, int64_t start, int64_t n, float *out) const {
    const Prepared &w = *weight_;
    uint8_t codes[kStep];
    ops_.unpack(w.codes + row * w.row_stride + start / 8 * w.bits, static_cast<size_t>(n), w.bits, codes);
    for (int64_t done = 0; done < n;) {
        const int64_t block = (start + done) / block_;
        const int64_t k = std::min(n - done, (block + 1) * block_ - start - done);
        float scale = 0, offset = 0;
        read_blocks(w, w.scales, row, block, 1, &scale);
        if (w.offsets.data != nullptr) read_blocks(w, w.offsets, row, block, 1, &offset);
        ops_.look_up(codes + done, static_cast<size_t>(k), w.bits, w.table, scale, w.offsets.data != nullptr,
                     offset, out + done);
        done += k;
    }
}

namespace {

template <class Out>
void over_rows(const RowSource &source, int64_t first, int64_t count, Out *out, int threads) {
    const int64_t cols = source.cols();
    if (cols <= 0 || count <= 0) return;
    const int64_t rows = std::max<int64_t>(1, kTask / cols);
    openmp_for(static_cast<size_t>((count + rows - 1) / rows), threads, [&](size_t task) {
        const int64_t from = static_cast<int64_t>(task) * rows, to = std::min(count, from + rows);
        for (int64_t i = from; i < to; ++i) source.decode(first + i, 0, cols, out + i * cols);
    });
}

}  // namespace

void decode_rows_to(const RowSource &source, int64_t first, int64_t count, float *out, int threads) {
    over_rows(source, first, count, out, threads);
}

void decode_rows_to(const RowSource &source, int64_t first, int64_t count, uint16_t *bfloat16, int threads) {
    over_rows(source, first, count, bfloat16, threads);
}

}  // namespace kbit

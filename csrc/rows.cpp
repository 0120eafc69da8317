#include "rows.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <vector>

#include "floats.hpp"
#include "pieces.hpp"

namespace kbit {
namespace {

// `n` bytes with a stride as consecutive bytes: in place where they are, else through `room`.
const uint8_t *consecutive(const uint8_t *from, int64_t stride, int64_t n, std::vector<uint8_t> &room) {
    if (stride == 1) return from;
    room.resize(static_cast<size_t>(n));
    for (int64_t i = 0; i < n; ++i) room[static_cast<size_t>(i)] = from[i * stride];
    return room.data();
}

}  // namespace

float read_scale(const void *scales, const uint16_t *second, ScaleType type, bool is_signed, int64_t at) {
    switch (type) {
        case ScaleType::fp32: return static_cast<const float *>(scales)[at];
        case ScaleType::fp16: return half_to_float(static_cast<const uint16_t *>(scales)[at]);
        case ScaleType::bf16: return bfloat16_to_float(static_cast<const uint16_t *>(scales)[at]);
        default: break;
    }
    const int code = is_signed ? static_cast<const int8_t *>(scales)[at] : static_cast<const uint8_t *>(scales)[at];
    return static_cast<float>(code) * bfloat16_to_float(second[at / kSecondLevelGroup]);
}

uint8_t pack_rows(const Ops &ops, ByteRows codes, int64_t rows, int64_t cols, int bits, uint8_t *out,
                  int threads) {
    std::atomic<uint8_t> seen{0};
    const int64_t bytes = stream_bytes(cols, bits);
    over_pieces(rows, cols, threads, [&](int64_t row, int64_t start, int64_t n) {
        static thread_local std::vector<uint8_t> room;
        const uint8_t *from = codes.data + row * codes.row_stride + start * codes.col_stride;
        from = consecutive(from, codes.col_stride, n, room);
        seen |= ops.pack(from, static_cast<size_t>(n), bits, out + row * bytes + start / 8 * bits);
    });
    return seen;
}

void unpack_rows(const Ops &ops, ByteRows packed, int64_t rows, int64_t cols, int bits, uint8_t *out,
                 int threads) {
    over_pieces(rows, cols, threads, [&](int64_t row, int64_t start, int64_t n) {
        static thread_local std::vector<uint8_t> room;
        const uint8_t *from = packed.data + row * packed.row_stride + start / 8 * bits * packed.col_stride;
        from = consecutive(from, packed.col_stride, stream_bytes(n, bits), room);
        ops.unpack(from, static_cast<size_t>(n), bits, out + row * cols + start);
    });
}

void decode_rows(const Ops &ops, const Decode &what, int threads) {
    over_pieces(what.count, what.cols, threads, [&](int64_t i, int64_t start, int64_t n) {
        constexpr int64_t kStep = 1024;  // stays in the first-level cache
        uint8_t codes[kStep];
        float values[kStep];
        const int64_t row = what.numbers ? what.numbers[i] : what.first + i;
        const uint8_t *from = what.codes.data + row * what.codes.row_stride;
        for (int64_t at = start; at < start + n; at += kStep) {
            const int64_t m = std::min(kStep, start + n - at);
            ops.unpack(from + at / 8 * what.bits, static_cast<size_t>(m), what.bits, codes);
            float *out = what.out_float ? what.out_float + i * what.cols + at : values;
            for (int64_t done = 0; done < m;) {
                const int64_t place = (what.flat ? row * what.cols : 0) + at + done;
                const int64_t block = place / what.block;
                const int64_t k = std::min(m - done, (block + 1) * what.block - place);
                const int64_t scale = what.flat ? block : row * what.row_stride + block;
                const float s = read_scale(what.scales, what.second_scales, what.scale_type, false, scale);
                const float o = what.offsets
                    ? read_scale(what.offsets, what.second_offsets, what.scale_type, true, scale) : 0.0f;
                ops.look_up(codes + done, static_cast<size_t>(k), what.bits, what.table, s,
                            what.offsets != nullptr, o, out + done);
                done += k;
            }
            if (what.out_bfloat16) {
                ops.to_bfloat16(values, static_cast<size_t>(m), what.out_bfloat16 + i * what.cols + at);
            }
        }
    });
}

}  // namespace kbit

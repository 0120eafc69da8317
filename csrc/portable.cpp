// Any processor: eight codes at a time in one 64-bit word.
#include <cstring>

#include "ops.hpp"

namespace kbit {
namespace {

uint64_t low(int bits) { return bits >= 64 ? ~uint64_t{0} : (uint64_t{1} << bits) - 1; }

// Bytes are put together by shifts, so that the stream is the same on a big-endian machine.
uint64_t read(const uint8_t *in, int bytes) {
    uint64_t word = 0;
    for (int b = 0; b < bytes; ++b) word |= uint64_t{in[b]} << (8 * b);
    return word;
}

void write(uint64_t word, int bytes, uint8_t *out) {
    for (int b = 0; b < bytes; ++b) out[b] = static_cast<uint8_t>(word >> (8 * b));
}

// Halve the gaps between fields three times: 8 fields of `bits` in bytes become one field of 8 * bits.
uint64_t squeeze(uint64_t x, int k) {
    x = (x & 0x00ff00ff00ff00ffull) | ((x & 0xff00ff00ff00ff00ull) >> (8 - k));
    x = (x & 0x0000ffff0000ffffull) | ((x & 0xffff0000ffff0000ull) >> (16 - 2 * k));
    return (x & 0x00000000ffffffffull) | ((x & 0xffffffff00000000ull) >> (32 - 4 * k));
}

uint64_t spread(uint64_t x, int k) {
    x = (x & low(4 * k)) | ((x & (low(4 * k) << (4 * k))) << (32 - 4 * k));
    const uint64_t two = low(2 * k) | (low(2 * k) << 32);
    x = (x & two) | ((x & (two << (2 * k))) << (16 - 2 * k));
    const uint64_t one = low(k) * 0x0001000100010001ull;
    return (x & one) | ((x & (one << k)) << (8 - k));
}

uint8_t pack(const uint8_t *codes, size_t n, int bits, uint8_t *out) {
    uint64_t seen = 0;
    size_t i = 0;
    for (; i + 8 <= n; i += 8, out += bits) {
        const uint64_t x = read(codes + i, 8);
        seen |= x;
        write(squeeze(x, bits), bits, out);
    }
    const size_t groups = (n + 31) / 32 * 4;
    for (size_t g = i / 8; g < groups; ++g, out += bits) {
        const size_t left = g * 8 < n ? n - g * 8 : 0;
        const uint64_t x = read(codes + g * 8, static_cast<int>(left));
        seen |= x;
        write(squeeze(x, bits), bits, out);
    }
    seen |= seen >> 32;
    seen |= seen >> 16;
    seen |= seen >> 8;
    return static_cast<uint8_t>(seen);
}

void unpack(const uint8_t *in, size_t n, int bits, uint8_t *codes) {
    size_t i = 0;
    for (; i + 8 <= n; i += 8, in += bits) write(spread(read(in, bits), bits), 8, codes + i);
    if (i < n) write(spread(read(in, bits), bits), static_cast<int>(n - i), codes + i);
}

void look_up(const uint8_t *codes, size_t n, int, const float *table, float scale, bool has_offset,
             float offset, float *out) {
    if (has_offset) {
        for (size_t i = 0; i < n; ++i) out[i] = table[codes[i]] * scale + offset;
    } else {
        for (size_t i = 0; i < n; ++i) out[i] = table[codes[i]] * scale;
    }
}

void to_bfloat16(const float *in, size_t n, uint16_t *out) {
    for (size_t i = 0; i < n; ++i) {
        uint32_t x;
        std::memcpy(&x, in + i, 4);
        const bool nan = (x & 0x7fffffffu) > 0x7f800000u;
        out[i] = nan ? 0x7fc0 : static_cast<uint16_t>((x + 0x7fffu + ((x >> 16) & 1u)) >> 16);
    }
}

float dot(const float *a, const float *b, size_t n) {
    float sums[16] = {};
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        for (size_t j = 0; j < 16; ++j) sums[j] += a[i + j] * b[i + j];
    for (; i < n; ++i) sums[i % 16] += a[i] * b[i];
    for (size_t half = 8; half > 0; half /= 2)
        for (size_t j = 0; j < half; ++j) sums[j] += sums[j + half];
    return sums[0];
}

const Ops kOps = {"portable", pack, unpack, look_up, to_bfloat16, dot};

}  // namespace

const Ops *portable_ops() { return &kOps; }

}  // namespace kbit

// 16-bit floating point to float32. Only for files compiled without a processor's own instructions: what is
// inline here must be the same in all of them.
#pragma once

#include <cstdint>
#include <cstring>

namespace kbit {

inline float half_to_float(uint16_t half) {
    const uint32_t sign = uint32_t{half} >> 15 << 31, exponent = (half >> 10) & 31, fraction = half & 1023;
    uint32_t bits;
    float value;
    if (exponent == 0) {  // zero and subnormals: fraction * 2^-24
        value = static_cast<float>(fraction) * 5.9604644775390625e-8f;
        std::memcpy(&bits, &value, 4);
        bits |= sign;
    } else if (exponent == 31) {
        bits = sign | 0x7f800000u | fraction << 13;
    } else {
        bits = sign | (exponent + 112) << 23 | fraction << 13;
    }
    std::memcpy(&value, &bits, 4);
    return value;
}

inline float bfloat16_to_float(uint16_t raw) {
    const uint32_t bits = uint32_t{raw} << 16;
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
}

}  // namespace kbit

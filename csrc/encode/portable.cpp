// Any processor.
#include <cmath>
#include <cstring>

#include "../floats.hpp"
#include "encoder.hpp"

namespace kbit {
namespace {

struct F32 {
    static float at(const void *weights, size_t i) { return static_cast<const float *>(weights)[i]; }
};
struct Bf16 {
    static float at(const void *weights, size_t i) {
        return bfloat16_to_float(static_cast<const uint16_t *>(weights)[i]);
    }
};
struct Fp16 {
    static float at(const void *weights, size_t i) {
        return half_to_float(static_cast<const uint16_t *>(weights)[i]);
    }
};

template <class Type>
bool range_of(const void *weights, size_t n, float *low, float *high) {
    float least = Type::at(weights, 0), most = least;
    bool finite = true;
    for (size_t i = 0; i < n; ++i) {
        const float w = Type::at(weights, i);
        finite &= std::isfinite(w);
        least = w < least ? w : least;
        most = w > most ? w : most;
    }
    *low = least;
    *high = most;
    return finite;
}

template <class Type>
void codes_of(const void *weights, size_t n, float scale, bool has_offset, float offset, const Boundaries &b,
              uint8_t *codes) {
    for (size_t i = 0; i < n; ++i) {
        float v = Type::at(weights, i);
        if (has_offset) v = v - offset;
        v = scale > 0 ? v / scale : 0.0f;
        unsigned place = 0;
        for (unsigned step = 1u << (b.bits - 1); step; step >>= 1) place += b.at[place + step - 1] < v ? step : 0;
        codes[i] = static_cast<uint8_t>(place);
    }
}

bool range(const void *weights, WeightType type, size_t n, float *low, float *high) {
    switch (type) {
        case WeightType::f32: return range_of<F32>(weights, n, low, high);
        case WeightType::bf16: return range_of<Bf16>(weights, n, low, high);
        default: return range_of<Fp16>(weights, n, low, high);
    }
}

void codes(const void *weights, WeightType type, size_t n, float scale, bool has_offset, float offset,
           const Boundaries &b, uint8_t *out) {
    switch (type) {
        case WeightType::f32: return codes_of<F32>(weights, n, scale, has_offset, offset, b, out);
        case WeightType::bf16: return codes_of<Bf16>(weights, n, scale, has_offset, offset, b, out);
        default: return codes_of<Fp16>(weights, n, scale, has_offset, offset, b, out);
    }
}

const Encoder kEncoder = {range, codes};

}  // namespace

const Encoder *portable_encoder() { return &kEncoder; }

}  // namespace kbit

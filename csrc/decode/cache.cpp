#include "cache.hpp"

#include <algorithm>
#include <cstring>

namespace kbit {

Cache::Cache(int64_t layers, int64_t key_heads, int64_t head_width, int64_t slots, int64_t room, int bits)
    : key_heads_(key_heads), head_width_(head_width), slots_(slots), room_(room), bits_(bits) {
    const auto tokens = static_cast<size_t>(layers * slots * key_heads * room);
    const auto values = tokens * static_cast<size_t>(head_width);
    if (bits == 32) {
        keys32_.resize(values);
        values32_.resize(values);
    } else if (bits == 16) {
        keys16_.resize(values);
        values16_.resize(values);
    } else {
        keys8_.resize(values);
        values8_.resize(values);
        key_scales_.resize(tokens);
        value_scales_.resize(tokens);
    }
}

size_t Cache::bytes() const {
    return 4 * (keys32_.size() + values32_.size()) + 2 * (keys16_.size() + values16_.size()) + keys8_.size() + values8_.size() +
           4 * (key_scales_.size() + value_scales_.size());
}

int64_t Cache::at(int64_t layer, int64_t slot, int64_t head) const {
    return ((layer * slots_ + slot) * key_heads_ + head) * room_;
}

void Cache::write(const Math &math, int64_t layer, int64_t slot, int64_t head, int64_t place, const float *key,
                  const float *value) {
    const int64_t token = at(layer, slot, head) + place, start = token * head_width_;
    if (bits_ == 32) {
        std::copy(key, key + head_width_, keys32_.begin() + start);
        std::copy(value, value + head_width_, values32_.begin() + start);
    } else if (bits_ == 16) {
        math.to_bf16(key, head_width_, keys16_.data() + start);
        math.to_bf16(value, head_width_, values16_.data() + start);
    } else {
        key_scales_[static_cast<size_t>(token)] = math.to_q8(key, head_width_, keys8_.data() + start);
        value_scales_[static_cast<size_t>(token)] = math.to_q8(value, head_width_, values8_.data() + start);
    }
}

void Cache::unpack(int64_t at, int64_t count, float *keys, float *values, int64_t padded) const {
    const int64_t width = head_width_;
    std::fill(keys, keys + 16 * width, 0.0f);
    std::fill(values, values + 16 * padded, 0.0f);
    const auto each = [&](const auto *k, const auto *v, auto widen) {
        for (int64_t t = 0; t < count; ++t) {
            for (int64_t d = 0; d < width; ++d) keys[16 * d + t] = widen(k[t * width + d], key_scales_, at + t);
            for (int64_t d = 0; d < width; ++d)
                values[t * padded + d] = widen(v[t * width + d], value_scales_, at + t);
        }
    };
    if (bits_ == 32) {
        each(keys32(at), values32(at), [](float value, const auto &, int64_t) { return value; });
    } else if (bits_ == 16) {
        each(keys16(at), values16(at), [](uint16_t value, const auto &, int64_t) {
            const uint32_t wide = static_cast<uint32_t>(value) << 16;
            float made;
            std::memcpy(&made, &wide, 4);
            return made;
        });
    } else {
        each(keys8(at), values8(at), [](int8_t value, const auto &scales, int64_t token) {
            return static_cast<float>(value) * scales[static_cast<size_t>(token)];
        });
    }
}

}  // namespace kbit

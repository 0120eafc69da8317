// Keys and values of texts, as a step reads and writes them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "math.hpp"

namespace kbit {

// Keys and values of `slots` texts, up to `room` tokens each, in 32, 16 or 8 bits.
class Cache {
  public:
    Cache(int64_t layers, int64_t key_heads, int64_t head_width, int64_t slots, int64_t room, int bits);
    int64_t room() const { return room_; }
    int64_t slots() const { return slots_; }
    int bits() const { return bits_; }
    size_t bytes() const;
    // Where the tokens of one layer, slot and head begin, in values of head_width.
    int64_t at(int64_t layer, int64_t slot, int64_t head) const;
    void write(const Math &math, int64_t layer, int64_t slot, int64_t head, int64_t place, const float *key,
               const float *value);
    const uint16_t *keys16(int64_t at) const { return keys16_.data() + at * head_width_; }
    const uint16_t *values16(int64_t at) const { return values16_.data() + at * head_width_; }
    const float *keys32(int64_t at) const { return keys32_.data() + at * head_width_; }
    const float *values32(int64_t at) const { return values32_.data() + at * head_width_; }
    const int8_t *keys8(int64_t at) const { return keys8_.data() + at * head_width_; }
    const int8_t *values8(int64_t at) const { return values8_.data() + at * head_width_; }
    const float *key_scales(int64_t at) const { return key_scales_.data() + at; }
    const float *value_scales(int64_t at) const { return value_scales_.data() + at; }

    // Keys and values of `count` tokens from `at` on as float32: a key's value d at keys[16 * d] from the key's own
    // place in tiles of 16, values in rows of `padded`. What the last tile lacks is zero.
    void unpack(int64_t at, int64_t count, float *keys, float *values, int64_t padded) const;

  private:
    int64_t key_heads_, head_width_, slots_, room_;
    int bits_;
    std::vector<float> keys32_, values32_;
    std::vector<uint16_t> keys16_, values16_;
    std::vector<int8_t> keys8_, values8_;
    std::vector<float> key_scales_, value_scales_;
};

}  // namespace kbit

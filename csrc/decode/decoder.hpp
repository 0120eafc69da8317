// One step of a Llama-like model: tokens in, logits out, in one call.
#pragma once

#include <cstdint>
#include <vector>

#include "../product.hpp"
#include "math.hpp"

namespace kbit {

// A weight [rows, cols] as it is stored; exactly one of the three is set. Memory is the caller's.
struct Linear {
    const Prepared *packed = nullptr;
    const uint16_t *bf16 = nullptr;
    const float *f32 = nullptr;
    int64_t rows = 0, cols = 0;
    const float *bias = nullptr;  // [rows] or null
};

struct Layer {
    Linear q, k, v, o, gate, up, down;
    const float *attention_norm = nullptr, *mlp_norm = nullptr;  // [hidden]
    const float *q_norm = nullptr, *k_norm = nullptr;            // [head_width], or null
    int64_t window = 0;  // a token sees this many, itself among them; 0: all
};

struct Shape {
    int64_t hidden, heads, key_heads, head_width, intermediate, vocabulary;
    float eps, scale;  // of the norms; of attention's scores
};

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

  private:
    int64_t key_heads_, head_width_, slots_, room_;
    int bits_;
    std::vector<float> keys32_, values32_;
    std::vector<uint16_t> keys16_, values16_;
    std::vector<int8_t> keys8_, values8_;
    std::vector<float> key_scales_, value_scales_;
};

class Decoder {
  public:
    Decoder(const Shape &shape, Numerics numerics, const std::string &path);

    std::vector<Layer> layers;
    Linear embedding, head;
    const float *norm = nullptr;

    // Reads n tokens: token i is number places[i] of text slots[i]; tokens of one text come in order, and all before
    // them are in the cache. cos and sin: [places, head_width]. logits [n, vocabulary], of token i where wanted[i] is
    // nonzero; others are left as they were.
    void step(Cache &cache, const int64_t *tokens, const int64_t *slots, const int64_t *places,
              const uint8_t *wanted, int n, const float *cos, const float *sin, float *logits, int threads);

  private:
    void multiply(const Linear &weight, const float *x, int n, float *y, int threads) const;
    void embed(int64_t token, float *out) const;
    void attend(const Layer &layer, int64_t number, const Cache &cache, const int64_t *slots,
                const int64_t *places, int n, const float *q, float *out, int threads);

    Shape shape_;
    Numerics numerics_;
    std::string path_;
    const Math &math_;
    std::vector<float> x_, y_, q_, k_, v_, mixed_, gate_, up_, scores_;
};

}  // namespace kbit

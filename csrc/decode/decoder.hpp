// One step of a Llama-like model: tokens in, logits out, in one call.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "cache.hpp"
#include "linear.hpp"
#include "math.hpp"

namespace kbit {

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

// 64-byte aligned memory that only grows.
class Room {
  public:
    char *of(size_t bytes);

  private:
    struct Free {
        void operator()(void *memory) const;
    };
    std::unique_ptr<void, Free> memory_;
    size_t size_ = 0;
};

class Decoder {
  public:
    Decoder(const Shape &shape, Numerics numerics, const std::string &path);
    Decoder(const Decoder &) = delete;
    Decoder &operator=(const Decoder &) = delete;

    std::vector<Layer> layers;
    Linear embedding, head;
    const float *norm = nullptr;

    // Reads n tokens, at most kMostInputs: token i is number places[i] of text slots[i]; tokens of one text come in
    // order, and all before them are in the cache. cos and sin: [places, head_width]. logits [n, vocabulary], of
    // token i where wanted[i] is nonzero; others are left as they were.
    void step(Cache &cache, const int64_t *tokens, const int64_t *slots, const int64_t *places,
              const uint8_t *wanted, int n, const float *cos, const float *sin, float *logits, int threads);

    // Whether `read` runs: products of many rows in panels, for all weights of the layers.
    bool reads() const;
    // Reads n tokens of one text, from place `start` on: each weight is decoded once for all of them. logits
    // [vocabulary] of the last, or null.
    void read(Cache &cache, const int64_t *tokens, int64_t slot, int64_t start, int64_t n, const float *cos,
              const float *sin, float *logits, int threads);

  private:
    size_t prepare(int n);
    void embed(int64_t token, float *out) const;
    void rotate_head(const float *norm, const float *cos, const float *sin, float *at) const;
    void attend(const Layer &layer, int64_t number, const Cache &cache, int64_t slot, int64_t place, int64_t head,
                const float *q, float *scores, float *out) const;
    void attend_block(const Layer &layer, int64_t key_head, int64_t start, int64_t first, int64_t count, int64_t base,
                      int64_t tiles, const float *keys, const float *values, const float *q, float *room,
                      uint16_t *out) const;
    void last_logits(const float *x, float *logits, int threads);

    Shape shape_;
    Numerics numerics_;
    std::string path_;
    const Math &math_;
    std::vector<float> x_, q_, k_, v_, mixed_, gate_, up_, out_;
    std::vector<size_t> prepared_;  // by rows of activations: bytes of their arrangements, 0 where not known yet
    std::vector<Room> rooms_;       // of each thread
};

}  // namespace kbit

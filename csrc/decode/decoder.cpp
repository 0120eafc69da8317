#include "decoder.hpp"

#include <algorithm>
#include <cstring>

#include "../cpu.hpp"
#include "../pool.hpp"

namespace kbit {
namespace {

constexpr int64_t kTaskWeights = 1 << 16;  // of a dense weight: worth handing to another thread
constexpr int64_t kTaskScores = 1 << 12;   // of attention

const Math &math_for(const std::string &path) {
    const std::string name = choose_path(path).name;
    if (name == "portable") return *math_portable();
    if (name == "avx2" && math_avx2()) return *math_avx2();
    if (math_avx512()) return *math_avx512();
    return *math_portable();
}

}  // namespace

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

Decoder::Decoder(const Shape &shape, Numerics numerics, const std::string &path)
    : shape_(shape), numerics_(numerics), path_(path), math_(math_for(path)) {}

void Decoder::multiply(const Linear &weight, const float *x, int n, float *y, int threads) const {
    if (weight.packed) {
        const RowKernel &kernel = kernel_for(*weight.packed, numerics_, n, path_);
        kbit::multiply(*weight.packed, kernel, {x, false, weight.cols, n}, y, weight.rows, threads);
    } else {
        const int64_t step = std::max<int64_t>(1, kTaskWeights / std::max<int64_t>(1, weight.cols));
        const auto tasks = static_cast<size_t>((weight.rows + step - 1) / step);
        parallel_for(tasks, threads, [&](size_t task) {
            const int64_t first = static_cast<int64_t>(task) * step, last = std::min(weight.rows, first + step);
            if (weight.bf16) {
                math_.dense_bf16(weight.bf16, weight.cols, x, weight.cols, n, first, last, y, weight.rows);
            } else {
                math_.dense_f32(weight.f32, weight.cols, x, weight.cols, n, first, last, y, weight.rows);
            }
        });
    }
    if (weight.bias) {
        for (int i = 0; i < n; ++i)
            for (int64_t row = 0; row < weight.rows; ++row) y[i * weight.rows + row] += weight.bias[row];
    }
}

void Decoder::embed(int64_t token, float *out) const {
    const int64_t width = embedding.cols;
    if (embedding.f32) {
        std::memcpy(out, embedding.f32 + token * width, static_cast<size_t>(width) * 4);
    } else if (embedding.bf16) {
        for (int64_t i = 0; i < width; ++i) {
            const uint32_t bits = static_cast<uint32_t>(embedding.bf16[token * width + i]) << 16;
            std::memcpy(out + i, &bits, 4);
        }
    } else {
        const Prepared &weight = *embedding.packed;
        std::vector<uint8_t> codes(static_cast<size_t>(width));
        choose_ops(path_).unpack(weight.codes + token * weight.row_stride, static_cast<size_t>(width), weight.bits,
                                 codes.data());
        std::vector<float> scales(static_cast<size_t>(weight.blocks)), offsets(static_cast<size_t>(weight.blocks));
        read_blocks(weight, weight.scales, token, 0, weight.blocks, scales.data());
        if (weight.offsets.data) read_blocks(weight, weight.offsets, token, 0, weight.blocks, offsets.data());
        for (int64_t i = 0; i < width; ++i) {
            const auto block = static_cast<size_t>(i / weight.block);
            out[i] = weight.table[codes[static_cast<size_t>(i)]] * scales[block] + offsets[block];
        }
    }
}

void Decoder::attend(const Layer &layer, int64_t number, const Cache &cache, const int64_t *slots,
                     const int64_t *places, int n, const float *q, float *out, int threads) {
    const int64_t width = shape_.head_width, group = shape_.heads / shape_.key_heads;
    const auto tasks = static_cast<size_t>(n * shape_.heads);
    int64_t longest = 0;
    for (int i = 0; i < n; ++i) longest = std::max(longest, places[i] + 1);
    scores_.resize(tasks * static_cast<size_t>(longest));
    const int64_t work = static_cast<int64_t>(tasks) * longest;
    parallel_for(tasks, work < kTaskScores ? 1 : threads, [&](size_t task) {
        const int64_t i = static_cast<int64_t>(task) / shape_.heads, head = static_cast<int64_t>(task) % shape_.heads;
        const int64_t last = places[i], first = layer.window ? std::max<int64_t>(0, last + 1 - layer.window) : 0;
        const int64_t count = last + 1 - first, at = cache.at(number, slots[i], head / group) + first;
        const float *query = q + (i * shape_.heads + head) * width;
        float *scores = scores_.data() + task * static_cast<size_t>(longest);
        float *to = out + (i * shape_.heads + head) * width;
        if (cache.bits() == 32) {
            math_.scores_f32(query, cache.keys32(at), width, count, shape_.scale, scores);
            math_.softmax(scores, count);
            math_.mix_f32(scores, cache.values32(at), width, count, to);
        } else if (cache.bits() == 16) {
            math_.scores_bf16(query, cache.keys16(at), width, count, shape_.scale, scores);
            math_.softmax(scores, count);
            math_.mix_bf16(scores, cache.values16(at), width, count, to);
        } else {
            math_.scores_q8(query, cache.keys8(at), cache.key_scales(at), width, count, shape_.scale, scores);
            math_.softmax(scores, count);
            math_.mix_q8(scores, cache.values8(at), cache.value_scales(at), width, count, to);
        }
    });
}

void Decoder::step(Cache &cache, const int64_t *tokens, const int64_t *slots, const int64_t *places,
                   const uint8_t *wanted, int n, const float *cos, const float *sin, float *logits, int threads) {
    const int64_t hidden = shape_.hidden, width = shape_.head_width;
    const int64_t q_width = shape_.heads * width, kv_width = shape_.key_heads * width;
    const auto size = [n](std::vector<float> &room, int64_t each) { room.resize(static_cast<size_t>(n * each)); };
    size(x_, hidden);
    size(y_, hidden);
    size(q_, q_width);
    size(k_, kv_width);
    size(v_, kv_width);
    size(mixed_, q_width);
    size(gate_, shape_.intermediate);
    size(up_, shape_.intermediate);
    for (int i = 0; i < n; ++i) embed(tokens[i], x_.data() + i * hidden);
    for (size_t number = 0; number < layers.size(); ++number) {
        const Layer &layer = layers[number];
        const auto depth = static_cast<int64_t>(number);
        for (int i = 0; i < n; ++i)
            math_.rms_norm(x_.data() + i * hidden, layer.attention_norm, hidden, shape_.eps, y_.data() + i * hidden);
        multiply(layer.q, y_.data(), n, q_.data(), threads);
        multiply(layer.k, y_.data(), n, k_.data(), threads);
        multiply(layer.v, y_.data(), n, v_.data(), threads);
        for (int i = 0; i < n; ++i) {
            const float *c = cos + places[i] * width, *s = sin + places[i] * width;
            for (int64_t head = 0; head < shape_.heads; ++head) {
                float *at = q_.data() + i * q_width + head * width;
                if (layer.q_norm) math_.rms_norm(at, layer.q_norm, width, shape_.eps, at);
                math_.rotate(at, c, s, width);
            }
            for (int64_t head = 0; head < shape_.key_heads; ++head) {
                float *at = k_.data() + i * kv_width + head * width;
                if (layer.k_norm) math_.rms_norm(at, layer.k_norm, width, shape_.eps, at);
                math_.rotate(at, c, s, width);
                cache.write(math_, depth, slots[i], head, places[i], at, v_.data() + i * kv_width + head * width);
            }
        }
        attend(layer, depth, cache, slots, places, n, q_.data(), mixed_.data(), threads);
        multiply(layer.o, mixed_.data(), n, y_.data(), threads);
        for (size_t i = 0; i < static_cast<size_t>(n * hidden); ++i) x_[i] += y_[i];
        for (int i = 0; i < n; ++i)
            math_.rms_norm(x_.data() + i * hidden, layer.mlp_norm, hidden, shape_.eps, y_.data() + i * hidden);
        multiply(layer.gate, y_.data(), n, gate_.data(), threads);
        multiply(layer.up, y_.data(), n, up_.data(), threads);
        math_.gated(gate_.data(), up_.data(), n * shape_.intermediate);
        multiply(layer.down, gate_.data(), n, y_.data(), threads);
        for (size_t i = 0; i < static_cast<size_t>(n * hidden); ++i) x_[i] += y_[i];
    }
    // The head is the largest product of a small model: it reads only what is wanted.
    int count = 0;
    for (int i = 0; i < n; ++i) {
        if (!wanted[i]) continue;
        math_.rms_norm(x_.data() + i * hidden, norm, hidden, shape_.eps, y_.data() + count * hidden);
        ++count;
    }
    if (count == 0) return;
    if (count == n) {
        multiply(head, y_.data(), n, logits, threads);
        return;
    }
    up_.resize(static_cast<size_t>(count * shape_.vocabulary));
    multiply(head, y_.data(), count, up_.data(), threads);
    for (int i = 0, row = 0; i < n; ++i) {
        if (!wanted[i]) continue;
        std::memcpy(logits + i * shape_.vocabulary, up_.data() + row++ * shape_.vocabulary,
                    static_cast<size_t>(shape_.vocabulary) * 4);
    }
}

}  // namespace kbit

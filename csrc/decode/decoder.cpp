#include "decoder.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

#include "../cpu.hpp"

namespace kbit {
namespace {

const Math &math_for(const std::string &path) {
    const std::string name = choose_path(path).name;
    if (name == "portable") return *math_portable();
    if (name == "avx2" && math_avx2()) return *math_avx2();
    if (math_avx512()) return *math_avx512();
    return *math_portable();
}

size_t up(size_t bytes) { return (bytes + 63) / 64 * 64; }

}  // namespace

void Room::Free::operator()(void *memory) const { std::free(memory); }

char *Room::of(size_t bytes) {
    if (bytes > size_) {
        memory_.reset();
        size_ = 0;
        memory_.reset(std::aligned_alloc(64, up(bytes)));
        if (!memory_) throw std::bad_alloc();
        size_ = bytes;
    }
    return static_cast<char *>(memory_.get());
}

size_t Linear::prepare(int n, Numerics numerics, const std::string &path) {
    if (!packed) return 0;
    if (!kernels[n]) kernels[n] = &kernel_for(*packed, numerics, n, path);
    return up(kernels[n]->room(*packed, n));
}

Decoder::Decoder(const Shape &shape, Numerics numerics, const std::string &path)
    : shape_(shape), numerics_(numerics), path_(path), math_(math_for(path)), prepared_(kMostInputs + 1) {}

// The kernels for n rows, and the bytes that the arrangements of one phase need at most.
size_t Decoder::prepare(int n) {
    size_t &most = prepared_[static_cast<size_t>(n)];
    if (most) return most;
    const auto each = [&](Linear &weight) { return weight.prepare(n, numerics_, path_); };
    most = up(1) + each(head);
    for (Layer &layer : layers) {
        most = std::max(most, each(layer.q) + each(layer.k) + each(layer.v));
        most = std::max({most, each(layer.o), each(layer.gate) + each(layer.up), each(layer.down)});
    }
    return most;
}

void Decoder::embed(int64_t token, float *out) const {
    const int64_t width = embedding.cols;
    if (embedding.f32) {
        std::memcpy(out, embedding.f32 + token * width, static_cast<size_t>(width) * 4);
    } else if (embedding.bf16) {
        math_.from_bf16(embedding.bf16 + token * width, width, out);
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

void Decoder::rotate_head(const float *head_norm, const float *cos, const float *sin, float *at) const {
    if (head_norm) math_.rms_norm(at, head_norm, shape_.head_width, shape_.eps, at);
    math_.rotate(at, cos, sin, shape_.head_width);
}

void Decoder::attend(const Layer &layer, int64_t number, const Cache &cache, int64_t slot, int64_t place,
                     int64_t head, const float *q, float *scores, float *out) const {
    const int64_t width = shape_.head_width, group = shape_.heads / shape_.key_heads;
    const int64_t first = layer.window ? std::max<int64_t>(0, place + 1 - layer.window) : 0;
    const int64_t count = place + 1 - first, at = cache.at(number, slot, head / group) + first;
    if (cache.bits() == 32) {
        math_.scores_f32(q, cache.keys32(at), width, count, shape_.scale, scores);
        math_.softmax(scores, count);
        math_.mix_f32(scores, cache.values32(at), width, count, out);
    } else if (cache.bits() == 16) {
        math_.scores_bf16(q, cache.keys16(at), width, count, shape_.scale, scores);
        math_.softmax(scores, count);
        math_.mix_bf16(scores, cache.values16(at), width, count, out);
    } else {
        math_.scores_q8(q, cache.keys8(at), cache.key_scales(at), width, count, shape_.scale, scores);
        math_.softmax(scores, count);
        math_.mix_q8(scores, cache.values8(at), cache.value_scales(at), width, count, out);
    }
}

void Decoder::step(Cache &cache, const int64_t *tokens, const int64_t *slots, const int64_t *places,
                   const uint8_t *wanted, int n, const float *cos, const float *sin, float *logits, int threads) {
    const int64_t hidden = shape_.hidden, width = shape_.head_width, group = shape_.heads / shape_.key_heads;
    const int64_t q_width = shape_.heads * width, kv_width = shape_.key_heads * width;
    const auto size = [n](std::vector<float> &room, int64_t each) { room.resize(static_cast<size_t>(n * each)); };
    size(x_, hidden);
    size(out_, std::max(hidden, shape_.vocabulary));
    size(q_, q_width);
    size(k_, kv_width);
    size(v_, kv_width);
    size(mixed_, q_width);
    size(gate_, shape_.intermediate);
    size(up_, shape_.intermediate);
    std::vector<int> rows;  // that are wanted
    int64_t longest = 0;
    for (int i = 0; i < n; ++i) {
        if (wanted[i]) rows.push_back(i);
        longest = std::max(longest, places[i] + 1);
    }
    const int count = static_cast<int>(rows.size());
    const size_t arranged = std::max(prepare(n), count ? prepare(count) : 0);
    const size_t normed = up(static_cast<size_t>(n * hidden) * 4), scored = up(static_cast<size_t>(longest) * 4);
    rooms_.resize(std::max(rooms_.size(), static_cast<size_t>(std::max(1, threads))));
    for (Room &room : rooms_) room.of(arranged + normed + scored);

    run_team(threads, [&](Team &team, int index) {
        char *room = rooms_[static_cast<size_t>(index)].of(0);
        // Short norms are computed by every thread for itself: it spares a barrier.
        float *y = reinterpret_cast<float *>(room + arranged), *scores = reinterpret_cast<float *>(room + arranged + normed);
        float *x = x_.data(), *out = out_.data();
        const auto norms = [&](const float *weight) {
            for (int i = 0; i < n; ++i) math_.rms_norm(x + i * hidden, weight, hidden, shape_.eps, y + i * hidden);
        };
        const auto product = [&](const Product &what, const float *in, const auto &done) {
            multiply(team, math_, what, in, n, threads, room, done);
            team.barrier();
        };
        const auto nothing = [](int, int64_t, int64_t) {};
        const auto add = [&](int, int64_t first, int64_t last) {
            for (int i = 0; i < n; ++i)
                for (int64_t r = first; r < last; ++r) x[i * hidden + r] += out[i * hidden + r];
        };
        for (size_t i; (i = team.take()) < static_cast<size_t>(n);)
            embed(tokens[i], x + static_cast<int64_t>(i) * hidden);
        team.barrier();
        for (size_t number = 0; number < layers.size(); ++number) {
            const Layer &layer = layers[number];
            const auto depth = static_cast<int64_t>(number);
            norms(layer.attention_norm);
            product({{&layer.q, &layer.k, &layer.v}, {q_.data(), k_.data(), v_.data()}, 3, false}, y, nothing);
            for (int64_t task; (task = static_cast<int64_t>(team.take())) < n * shape_.key_heads;) {
                const int64_t i = task / shape_.key_heads, head = task % shape_.key_heads;
                const float *c = cos + places[i] * width, *s = sin + places[i] * width;
                for (int64_t g = head * group; g < (head + 1) * group; ++g)
                    rotate_head(layer.q_norm, c, s, q_.data() + i * q_width + g * width);
                float *key = k_.data() + i * kv_width + head * width;
                rotate_head(layer.k_norm, c, s, key);
                cache.write(math_, depth, slots[i], head, places[i], key, v_.data() + i * kv_width + head * width);
            }
            team.barrier();
            for (int64_t task; (task = static_cast<int64_t>(team.take())) < n * shape_.heads;) {
                const int64_t i = task / shape_.heads, at = i * q_width + task % shape_.heads * width;
                attend(layer, depth, cache, slots[i], places[i], task % shape_.heads, q_.data() + at, scores,
                       mixed_.data() + at);
            }
            team.barrier();
            product({{&layer.o}, {out}, 1, false}, mixed_.data(), add);
            norms(layer.mlp_norm);
            product({{&layer.gate, &layer.up}, {gate_.data(), up_.data()}, 2, true}, y,
                    [&](int, int64_t first, int64_t last) {
                        for (int i = 0; i < n; ++i) {
                            const int64_t at = i * shape_.intermediate + first;
                            math_.gated(gate_.data() + at, up_.data() + at, last - first);
                        }
                    });
            product({{&layer.down}, {out}, 1, false}, gate_.data(), add);
        }
        // The head is the largest product of a small model: it reads only what is wanted.
        if (count == 0) return;
        for (int j = 0; j < count; ++j)
            math_.rms_norm(x + rows[static_cast<size_t>(j)] * hidden, norm, hidden, shape_.eps, y + j * hidden);
        multiply(team, math_, {{&head}, {count == n ? logits : out}, 1, false}, y, count, threads, room, nothing);
    });
    if (count == n) return;
    for (int j = 0; j < count; ++j)
        std::memcpy(logits + rows[static_cast<size_t>(j)] * shape_.vocabulary, out_.data() + j * shape_.vocabulary,
                    static_cast<size_t>(shape_.vocabulary) * 4);
}

}  // namespace kbit

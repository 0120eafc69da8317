// A prompt: many tokens of one text, on the products of many rows. Activations are bfloat16 between products, sums
// and what layers add up to are float32.
#include <algorithm>
#include <vector>

#include "../cpu.hpp"
#include "../long_product.hpp"
#include "decoder.hpp"

namespace kbit {
namespace {

constexpr int64_t kRowsATask = 16;  // of norms and rotations
constexpr int kParts = 3;  // 16, 32 or 64 columns share a scale

RowSource source_of(const Linear &weight, const Path &path) {
    if (weight.bf16) return RowSource(*path.ops, weight.bf16, weight.rows, weight.cols);
    return RowSource(*path.ops, path.decoder, *weight.packed);
}

// Whether activations are rounded to 8 bits for this weight.
bool in_eight_bits(const Linear &weight, Numerics numerics) { return weight.packed && numerics == Numerics::a8; }

bool in_panels(const Linear &weight, Numerics numerics, const Path &path) {
    if (weight.cols <= 0 || weight.rows <= 0) return false;
    if (in_eight_bits(weight, numerics)) return path.a8_panels && path.a8_panels->serves(*weight.packed);
    return path.panels && (weight.packed || weight.bf16);
}

// Panels of one weight, and what they multiply.
struct Panels {
    const Linear *weight;
    int64_t width, count;
    const EightBitRows *rounded;  // null: bfloat16
};

}  // namespace

bool Decoder::reads() const {
    if (numerics_ == Numerics::f32) return false;
    const Path &path = choose_path(path_);
    for (const Layer &layer : layers)
        for (const Linear *weight : {&layer.q, &layer.k, &layer.v, &layer.o, &layer.gate, &layer.up, &layer.down})
            if (!in_panels(*weight, numerics_, path)) return false;
    return true;
}

// Of kBlock tokens from `first` on (fewer at the end), all query heads of one key head. keys and values: as
// Cache::unpack makes them, from place `base` on.
void Decoder::attend_block(const Layer &layer, int64_t key_head, int64_t start, int64_t first, int64_t count,
                           int64_t base, int64_t tiles, const float *keys, const float *values, const float *q,
                           float *room, uint16_t *out) const {
    const int64_t width = shape_.head_width, padded = (width + 15) / 16 * 16, q_width = shape_.heads * width;
    const int64_t group = shape_.heads / shape_.key_heads;
    const auto least = [&](int64_t place) {
        return layer.window ? std::max<int64_t>(0, place + 1 - layer.window) : int64_t{0};
    };
    const int64_t from = (least(start + first) - base) / 16;                        // tile
    const int64_t until = std::min(tiles, (start + first + count - 1 - base) / 16 + 1);
    const int64_t span = (until - from) * 16, zero = base + from * 16;
    float *mixed = room, *queries = mixed + kBlock * padded, *scores = queries + kBlock * width;
    for (int64_t head = key_head * group; head < (key_head + 1) * group; ++head) {
        const float *at = q + first * q_width + head * width;
        int64_t stride = q_width;
        if (count < kBlock) {  // the last row stands for those that are missing
            for (int64_t r = 0; r < kBlock; ++r)
                std::copy_n(at + std::min(r, count - 1) * q_width, width, queries + r * width);
            at = queries;
            stride = width;
        }
        math_.block_scores(at, stride, keys + from * 16 * width, width, until - from, shape_.scale, scores, span);
        for (int64_t r = 0; r < kBlock; ++r) {
            const int64_t place = start + first + std::min(r, count - 1);
            float *row = scores + r * span;
            const int64_t begin = least(place) - zero, end = place + 1 - zero;
            math_.softmax(row + begin, end - begin);
            std::fill(row, row + begin, 0.0f);
            std::fill(row + end, row + span, 0.0f);
        }
        math_.block_mix(scores, span, values + from * 16 * padded, padded, span, mixed);
        for (int64_t r = 0; r < count; ++r)
            math_.to_bf16(mixed + r * padded, width, out + (first + r) * q_width + head * width);
    }
}

void Decoder::read(Cache &cache, const int64_t *tokens, int64_t slot, int64_t start, int64_t n, const float *cos,
                   const float *sin, float *logits, int threads) {
    const int64_t hidden = shape_.hidden, width = shape_.head_width, padded = (width + 15) / 16 * 16;
    const int64_t heads = shape_.heads, key_heads = shape_.key_heads, group = heads / key_heads;
    const int64_t q_width = heads * width, kv_width = key_heads * width, middle = shape_.intermediate;
    const auto of = [n](int64_t each) { return static_cast<size_t>(n * each); };
    std::vector<float> x(of(hidden)), queries(of(q_width));
    std::vector<uint16_t> y(of(hidden)), q(of(q_width)), k(of(kv_width)), v(of(kv_width)), mixed(of(q_width));
    std::vector<uint16_t> gate(of(middle)), above(of(middle));
    const int64_t end = start + n, most_tiles = (end + 15) / 16 + 1;
    std::vector<float> keys(static_cast<size_t>(key_heads * most_tiles * 16 * width));
    std::vector<float> values(static_cast<size_t>(key_heads * most_tiles * 16 * padded));
    const auto block_room = static_cast<size_t>(kBlock * (padded + width + most_tiles * 16)) * 4;
    const size_t row_room = static_cast<size_t>(2 * width) * 4;
    rooms_.resize(std::max(rooms_.size(), static_cast<size_t>(std::max(1, threads))));
    for (Room &room : rooms_) room.of(std::max(block_room, row_room));
    const Path &path = choose_path(path_);
    Room eighths[kParts];  // of rounded activations, by the columns that share a scale
    for (const Layer &layer : layers)
        for (const Linear *weight : {&layer.q, &layer.k, &layer.v, &layer.o, &layer.gate, &layer.up, &layer.down})
            if (in_eight_bits(*weight, numerics_)) {
                const int part = part_of(*weight->packed);
                eighths[part / 32].of(static_cast<size_t>(eight_bit_room(n, weight->cols, part)));
            }

    run_team(threads, [&](Team &team, int index) {
        float *room = reinterpret_cast<float *>(rooms_[static_cast<size_t>(index)].of(0));
        const auto rows = [&](const auto &body) {
            for (int64_t first; (first = static_cast<int64_t>(team.take()) * kRowsATask) < n;)
                for (int64_t i = first; i < std::min(n, first + kRowsATask); ++i) body(i);
            team.barrier();
        };
        // Panels of several weights in a row; done(first, last) after the panels of all of them where `together`.
        const auto products = [&](std::initializer_list<const Linear *> weights, const uint16_t *in,
                                  std::initializer_list<uint16_t *> outs, bool together, const auto &done) {
            const BfloatRows from{in, n, (*weights.begin())->cols};
            std::vector<Panels> panels;
            EightBitRows rounded[kParts];
            bool is_rounded[kParts] = {};
            int64_t pieces = 0;
            for (const Linear *weight : weights) {
                Panels made{weight, 0, 0, nullptr};
                if (in_eight_bits(*weight, numerics_)) {
                    const int part = part_of(*weight->packed), which = part / 32;  // 16, 32 or 64
                    made.rounded = &rounded[which];
                    if (!is_rounded[which]) {
                        is_rounded[which] = true;
                        rounded[which] = eight_bit_rows(n, weight->cols, part, eighths[which].of(0));
                        const Activations given{in, true, weight->cols, static_cast<int>(n)};
                        rows([&](int64_t i) { path.a8_panels->arrange(given, i, rounded[which]); });
                    }
                    made.width = panel_width(weight->rows, path.a8_panels->widest(weight->cols), path.a8_panels->grain, threads);
                } else {
                    made.width = panel_width(weight->rows, path.panels->widest(weight->cols), path.panels->grain, threads);
                }
                made.count = (weight->rows + made.width - 1) / made.width;
                pieces += made.count;
                panels.push_back(made);
            }
            const auto multiply_panel = [&](size_t w, int64_t first, int64_t last) {
                const Linear &weight = *panels[w].weight;
                uint16_t *out = *(outs.begin() + w);
                if (panels[w].rounded)
                    path.a8_panels->panel(*path.ops, *panels[w].rounded, *weight.packed, weight.bias, out, true, first, last - first);
                else
                    path.panels->panel(from, source_of(weight, path), weight.bias, out, first, last - first);
            };
            if (together) {  // of one shape: the narrowest panels of all
                int64_t width = panels.front().width;
                for (const Panels &each : panels) width = std::min(width, each.width);
                const int64_t all = panels.front().weight->rows;
                for (int64_t first; (first = static_cast<int64_t>(team.take()) * width) < all;) {
                    const int64_t last = std::min(all, first + width);
                    for (size_t w = 0; w < panels.size(); ++w) multiply_panel(w, first, last);
                    done(first, last);
                }
            } else {
                for (int64_t piece; (piece = static_cast<int64_t>(team.take())) < pieces;) {
                    size_t w = 0;
                    for (; piece >= panels[w].count; ++w) piece -= panels[w].count;
                    const int64_t first = piece * panels[w].width, last = std::min(panels[w].weight->rows, first + panels[w].width);
                    multiply_panel(w, first, last);
                    done(first, last);
                }
            }
            team.barrier();
        };
        const auto nothing = [](int64_t, int64_t) {};
        rows([&](int64_t i) {
            embed(tokens[i], x.data() + i * hidden);
            math_.norm_bf16(x.data() + i * hidden, layers.front().attention_norm, hidden, shape_.eps,
                            y.data() + i * hidden);
        });
        for (size_t number = 0; number < layers.size(); ++number) {
            const Layer &layer = layers[number];
            const auto depth = static_cast<int64_t>(number);
            const bool last_layer = number + 1 == layers.size();
            products({&layer.q, &layer.k, &layer.v}, y.data(), {q.data(), k.data(), v.data()}, false, nothing);
            rows([&](int64_t i) {
                const float *c = cos + (start + i) * width, *s = sin + (start + i) * width;
                float *wide = queries.data() + i * q_width;
                math_.from_bf16(q.data() + i * q_width, q_width, wide);
                for (int64_t head = 0; head < heads; ++head) rotate_head(layer.q_norm, c, s, wide + head * width);
                for (int64_t head = 0; head < key_heads; ++head) {
                    math_.from_bf16(k.data() + i * kv_width + head * width, width, room);
                    math_.from_bf16(v.data() + i * kv_width + head * width, width, room + width);
                    rotate_head(layer.k_norm, c, s, room);
                    cache.write(math_, depth, slot, head, start + i, room, room + width);
                }
            });
            const int64_t base = layer.window ? std::max<int64_t>(0, start + 1 - layer.window) / 16 * 16 : 0;
            const int64_t tiles = (end - base + 15) / 16;
            for (int64_t task; (task = static_cast<int64_t>(team.take())) < key_heads * tiles;) {
                const int64_t head = task / tiles, tile = task % tiles, at = base + 16 * tile;
                cache.unpack(cache.at(depth, slot, head) + at, std::min<int64_t>(16, end - at),
                             keys.data() + (head * most_tiles + tile) * 16 * width,
                             values.data() + (head * most_tiles + tile) * 16 * padded, padded);
            }
            team.barrier();
            const int64_t blocks = (n + kBlock - 1) / kBlock;
            for (int64_t task; (task = static_cast<int64_t>(team.take())) < key_heads * blocks;) {
                const int64_t head = task % key_heads, block = blocks - 1 - task / key_heads;  // the longest first
                attend_block(layer, head, start, block * kBlock, std::min<int64_t>(kBlock, n - block * kBlock), base,
                             tiles, keys.data() + head * most_tiles * 16 * width,
                             values.data() + head * most_tiles * 16 * padded, queries.data(), room, mixed.data());
            }
            team.barrier();
            products({&layer.o}, mixed.data(), {y.data()}, false, nothing);
            rows([&](int64_t i) {
                float *at = x.data() + i * hidden;
                math_.add_bf16(at, y.data() + i * hidden, hidden);
                math_.norm_bf16(at, layer.mlp_norm, hidden, shape_.eps, y.data() + i * hidden);
            });
            products({&layer.gate, &layer.up}, y.data(), {gate.data(), above.data()}, true,
                     [&](int64_t first, int64_t last) {
                         for (int64_t i = 0; i < n; ++i)
                             math_.gated_bf16(gate.data() + i * middle + first, above.data() + i * middle + first,
                                              last - first);
                     });
            products({&layer.down}, gate.data(), {y.data()}, false, nothing);
            rows([&](int64_t i) {
                float *at = x.data() + i * hidden;
                math_.add_bf16(at, y.data() + i * hidden, hidden);
                if (!last_layer)
                    math_.norm_bf16(at, layers[number + 1].attention_norm, hidden, shape_.eps, y.data() + i * hidden);
            });
        }
    });
    static_cast<void>(group);
    if (logits) last_logits(x.data() + (n - 1) * hidden, logits, threads);
}

void Decoder::last_logits(const float *x, float *logits, int threads) {
    const size_t arranged = prepare(1);
    for (Room &room : rooms_) room.of(arranged + static_cast<size_t>(shape_.hidden) * 4);
    run_team(threads, [&](Team &team, int index) {
        char *room = rooms_[static_cast<size_t>(index)].of(0);
        float *y = reinterpret_cast<float *>(room + arranged);
        math_.rms_norm(x, norm, shape_.hidden, shape_.eps, y);
        multiply(team, math_, {{&head}, {logits}, 1, false}, y, 1, threads, room, [](int, int64_t, int64_t) {});
    });
}

}  // namespace kbit

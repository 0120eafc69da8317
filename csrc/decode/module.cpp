// `_core.Decoder` and `_core.Cache`: a whole step of a model in one call. All memory is passed by address: the
// Python side has checked shapes and types, and keeps alive what is read.
#include "../binding.hpp"
#include "decoder.hpp"

namespace kbit::binding {
namespace {

Numerics numerics_of(const std::string &name) {
    if (name == "f32") return Numerics::f32;
    if (name == "bf16") return Numerics::bf16;
    check(name == "a8", "numerics must be f32, bf16 or a8, given '" + name + "'");
    return Numerics::a8;
}

const float *floats(uintptr_t address) { return reinterpret_cast<const float *>(address); }

// kind: packed (address of a prepared weight), bf16 or f32.
Linear linear(const std::string &kind, uintptr_t weight, int64_t rows, int64_t cols, uintptr_t bias) {
    Linear made;
    made.rows = rows;
    made.cols = cols;
    made.bias = floats(bias);
    check(weight != 0, "a weight has no address");
    if (kind == "packed") {
        made.packed = reinterpret_cast<const Prepared *>(weight);
        check(made.packed->rows == rows && made.packed->cols == cols, "a packed weight has another shape");
    } else if (kind == "bf16") {
        made.bf16 = reinterpret_cast<const uint16_t *>(weight);
    } else {
        check(kind == "f32", "a weight is packed, bf16 or f32, given '" + kind + "'");
        made.f32 = floats(weight);
    }
    return made;
}

Linear *slot(Decoder &decoder, int64_t layer, const std::string &name) {
    if (layer < 0) return name == "embedding" ? &decoder.embedding : name == "head" ? &decoder.head : nullptr;
    check(layer < static_cast<int64_t>(decoder.layers.size()), "no layer " + text(layer));
    Layer &at = decoder.layers[static_cast<size_t>(layer)];
    if (name == "q") return &at.q;
    if (name == "k") return &at.k;
    if (name == "v") return &at.v;
    if (name == "o") return &at.o;
    if (name == "gate") return &at.gate;
    if (name == "up") return &at.up;
    return name == "down" ? &at.down : nullptr;
}

void set_linear(Decoder &decoder, int64_t layer, const std::string &name, const std::string &kind, uintptr_t weight,
                int64_t rows, int64_t cols, uintptr_t bias) {
    Linear *at = slot(decoder, layer, name);
    check(at != nullptr, "no weight is called '" + name + "'");
    *at = linear(kind, weight, rows, cols, bias);
}

void set_layer(Decoder &decoder, int64_t layer, uintptr_t attention_norm, uintptr_t mlp_norm, uintptr_t q_norm,
               uintptr_t k_norm, int64_t window) {
    check(layer >= 0 && layer < static_cast<int64_t>(decoder.layers.size()), "no layer " + text(layer));
    Layer &at = decoder.layers[static_cast<size_t>(layer)];
    at.attention_norm = floats(attention_norm);
    at.mlp_norm = floats(mlp_norm);
    at.q_norm = floats(q_norm);
    at.k_norm = floats(k_norm);
    at.window = window;
}

using Numbers = nb::ndarray<const int64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Flags = nb::ndarray<const uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

void step(Decoder &decoder, Cache &cache, Numbers tokens, Numbers slots, Numbers places, Flags wanted, uintptr_t cos,
          uintptr_t sin, int64_t positions, uintptr_t logits, int threads) {
    const size_t n = tokens.shape(0);
    check(slots.shape(0) == n && places.shape(0) == n && wanted.shape(0) == n, "a step's arrays differ in length");
    const int64_t vocabulary = decoder.embedding.rows;
    for (size_t i = 0; i < n; ++i) {
        check(tokens.data()[i] >= 0 && tokens.data()[i] < vocabulary, "no token " + text(tokens.data()[i]));
        check(slots.data()[i] >= 0 && slots.data()[i] < cache.slots(), "no slot " + text(slots.data()[i]));
        check(places.data()[i] >= 0 && places.data()[i] < std::min(cache.room(), positions),
              "place " + text(places.data()[i]) + " is beyond the cache");
    }
    check(n <= kMostInputs, "a step takes at most " + text(kMostInputs) + " tokens");
    nb::gil_scoped_release release;
    decoder.step(cache, tokens.data(), slots.data(), places.data(), wanted.data(), static_cast<int>(n), floats(cos),
                 floats(sin), reinterpret_cast<float *>(logits), threads);
}

void read(Decoder &decoder, Cache &cache, Numbers tokens, int64_t slot, int64_t start, uintptr_t cos, uintptr_t sin,
          int64_t positions, uintptr_t logits, int threads) {
    const auto n = static_cast<int64_t>(tokens.shape(0));
    check(decoder.reads(), "this decoder has no products of many rows: step by step");
    check(slot >= 0 && slot < cache.slots(), "no slot " + text(slot));
    check(n > 0 && start >= 0 && start + n <= std::min(cache.room(), positions), "the prompt is beyond the cache");
    for (int64_t i = 0; i < n; ++i)
        check(tokens.data()[i] >= 0 && tokens.data()[i] < decoder.embedding.rows, "no token " + text(tokens.data()[i]));
    nb::gil_scoped_release release;
    decoder.read(cache, tokens.data(), slot, start, n, floats(cos), floats(sin), reinterpret_cast<float *>(logits),
                 threads);
}

}  // namespace

void bind_decoder(nb::module_ &m) {
    nb::class_<Cache>(m, "Cache", "Keys and values of several texts, in 32, 16 or 8 bits.")
        .def(nb::init<int64_t, int64_t, int64_t, int64_t, int64_t, int>(), "layers"_a, "key_heads"_a, "head_width"_a,
             "slots"_a, "room"_a, "bits"_a)
        .def_prop_ro("bytes", &Cache::bytes)
        .def_prop_ro("room", &Cache::room)
        .def_prop_ro("slots", &Cache::slots);
    nb::class_<Decoder>(m, "Decoder", "A step of a Llama-like model in one call.")
        .def(
            "__init__",
            [](Decoder *self, int64_t layers, int64_t hidden, int64_t heads, int64_t key_heads, int64_t head_width,
               int64_t intermediate, int64_t vocabulary, float eps, float scale, uintptr_t norm,
               const std::string &numerics, const std::string &path) {
                check(heads > 0 && key_heads > 0 && heads % key_heads == 0, "heads are not a multiple of key heads");
                new (self) Decoder({hidden, heads, key_heads, head_width, intermediate, vocabulary, eps, scale},
                                   numerics_of(numerics), path);
                self->layers.resize(static_cast<size_t>(layers));
                self->norm = floats(norm);
            },
            nb::kw_only(), "layers"_a, "hidden"_a, "heads"_a, "key_heads"_a, "head_width"_a, "intermediate"_a,
            "vocabulary"_a, "eps"_a, "scale"_a, "norm"_a, "numerics"_a, "path"_a = "")
        .def("set_linear", &set_linear, "layer"_a, "name"_a, "kind"_a, "weight"_a, "rows"_a, "cols"_a, "bias"_a = 0)
        .def("set_layer", &set_layer, "layer"_a, nb::kw_only(), "attention_norm"_a, "mlp_norm"_a, "q_norm"_a = 0,
             "k_norm"_a = 0, "window"_a = 0)
        .def_prop_ro("reads", &Decoder::reads, "Whether `read` runs here.")
        .def("read", &read, "cache"_a, "tokens"_a, "slot"_a, "start"_a, "cos"_a, "sin"_a, "positions"_a, "logits"_a,
             "threads"_a)
        .def("step", &step, "cache"_a, "tokens"_a, "slots"_a, "places"_a, "wanted"_a, "cos"_a, "sin"_a, "positions"_a,
             "logits"_a, "threads"_a);
}

}  // namespace kbit::binding

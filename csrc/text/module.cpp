// The Python face of what reads text in C++: shingles for finding duplicates, context-tree weighting.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/unique_ptr.h>

#include <memory>
#include <stdexcept>
#include <string>

#include "context_tree.hpp"
#include "shingles.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace {

using Words = nb::ndarray<const uint64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Classes = nb::ndarray<const uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using NewWords = nb::ndarray<nb::numpy, uint64_t, nb::ndim<1>>;
using NewFloats = nb::ndarray<nb::numpy, double, nb::ndim<1>>;

void check(bool holds, const std::string &message) {
    if (!holds) throw std::invalid_argument(message);
}

template <class T>
nb::ndarray<nb::numpy, T, nb::ndim<1>> array_of(std::vector<T> values) {
    auto *held = new std::vector<T>(std::move(values));
    nb::capsule owner(held, [](void *p) noexcept { delete static_cast<std::vector<T> *>(p); });
    return {held->data(), {held->size()}, owner};
}

const uint8_t *data_of(const nb::bytes &bytes) { return reinterpret_cast<const uint8_t *>(bytes.c_str()); }

NewWords shingles(const nb::bytes &text, Classes classes, int words) {
    check(words >= 1, "a shingle has at least one word");
    check(classes.shape(0) == 0x110000, "one class for each of 0x110000 code points");
    std::vector<uint64_t> found;
    {
        nb::gil_scoped_release release;
        found = kbit::shingles(data_of(text), static_cast<int64_t>(text.size()), classes.data(), words);
    }
    return array_of(std::move(found));
}

NewWords signature(Words shingles, Words multipliers, Words addends) {
    check(multipliers.shape(0) == addends.shape(0), "as many multipliers as addends");
    std::vector<uint64_t> least(multipliers.shape(0));
    kbit::signature(shingles.data(), static_cast<int64_t>(shingles.shape(0)), multipliers.data(), addends.data(),
                    least.data(), static_cast<int64_t>(least.size()));
    return array_of(std::move(least));
}

std::unique_ptr<kbit::ContextTree> make_tree(int depth, int64_t max_nodes) {
    check(depth >= 0 && depth <= 32, "a depth is 0 to 32 bytes");
    check(max_nodes >= 1, "a tree has room for at least one node");
    return std::make_unique<kbit::ContextTree>(depth, max_nodes);
}

NewFloats code(kbit::ContextTree &tree, const nb::bytes &bytes) {
    std::vector<double> bits(bytes.size());
    {
        nb::gil_scoped_release release;
        tree.code(data_of(bytes), static_cast<int64_t>(bytes.size()), bits.data());
    }
    return array_of(std::move(bits));
}

NewFloats predict(kbit::ContextTree &tree) {
    std::vector<double> probability(256);
    tree.predict(probability.data());
    return array_of(std::move(probability));
}

}  // namespace

NB_MODULE(_text, m) {
    m.doc() = "kbit's C++ core for text";
    m.def("shingles", &shingles, "text"_a, "classes"_a.noconvert(), "words"_a,
          "Sorted hashes of the distinct runs of so many words of a UTF-8 text.");
    m.def("signature", &signature, "shingles"_a.noconvert(), "multipliers"_a.noconvert(), "addends"_a.noconvert(),
          "The least of multiplier * shingle + addend (mod 2^64), for each pair of these.");
    nb::class_<kbit::ContextTree>(m, "ContextTree", "Context-tree weighting over bytes.")
        .def(nb::new_(&make_tree), "depth"_a, "max_nodes"_a)
        .def("copy", [](const kbit::ContextTree &tree) { return std::make_unique<kbit::ContextTree>(tree); },
             "Another tree that has learnt the same.")
        .def("begin", &kbit::ContextTree::begin, "Stand at the beginning of a text.")
        .def("clear", &kbit::ContextTree::clear, "Forget everything.")
        .def("code", &code, "bytes"_a, "Learn bytes; returns the bits each one cost.")
        .def("predict", &predict, "Probability of each byte that can follow.")
        .def("mark", &kbit::ContextTree::mark, "bytes"_a, "Remember what changes from here on.")
        .def("rollback", &kbit::ContextTree::rollback, "Put back what changed since the mark.")
        .def_prop_ro("nodes", &kbit::ContextTree::nodes);
}

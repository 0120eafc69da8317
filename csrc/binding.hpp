// What the files that bind the core to Python share: array types, and checks of arguments.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>

#include "rows.hpp"

namespace kbit::binding {

namespace nb = nanobind;
using namespace nb::literals;

using Bytes = nb::ndarray<const uint8_t, nb::ndim<2>, nb::device::cpu>;
using Table = nb::ndarray<const float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Scales = nb::ndarray<nb::ro, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

inline void check(bool holds, const std::string &message) {
    if (!holds) throw std::invalid_argument(message);
}

inline std::string text(int64_t n) { return std::to_string(n); }

inline void check_bits(int bits) { check(bits >= 1 && bits <= 8, "bits must be 1 to 8, given " + text(bits)); }

inline ScaleType scale_type(const std::string &name) {
    if (name == "fp16") return ScaleType::fp16;
    if (name == "bf16") return ScaleType::bf16;
    if (name == "q8") return ScaleType::q8;
    check(name == "fp32", "scale type must be fp16, bf16, fp32 or q8, given '" + name + "'");
    return ScaleType::fp32;
}

// The second level of `count` scales of type q8, null for other types.
inline const uint16_t *second_level(const std::optional<Scales> &second, ScaleType type, int64_t count) {
    check(second.has_value() == (type == ScaleType::q8), "q8 scales, and only they, have a second level");
    if (!second) return nullptr;
    const int64_t needed = (count + kSecondLevelGroup - 1) / kSecondLevelGroup;
    check(second->dtype() == nb::dtype<uint16_t>() && static_cast<int64_t>(second->shape(0)) >= needed,
          "the second level must be uint16 (raw bfloat16), " + text(needed) + " values");
    return static_cast<const uint16_t *>(second->data());
}

// Views of the scales and offsets of a weight [rows, cols], their types and numbers checked.
struct ScaleViews {
    ScaleType type;
    const void *scales, *offsets;
    const uint16_t *second_scales, *second_offsets;
};

inline ScaleViews view_scales(const Scales &scales, const std::optional<Scales> &offsets,
                              const std::optional<Scales> &second_scales,
                              const std::optional<Scales> &second_offsets, const std::string &name, int64_t rows,
                              int64_t cols, int64_t scales_a_row, int64_t block, bool flat) {
    ScaleViews views{};
    views.type = scale_type(name);
    check(block >= 1, "a block has at least one weight");
    const bool wide = views.type == ScaleType::fp32, coded = views.type == ScaleType::q8;
    const auto dtype = wide ? nb::dtype<float>() : coded ? nb::dtype<uint8_t>() : nb::dtype<uint16_t>();
    check(scales.dtype() == dtype,
          "scales must be " + std::string(wide ? "float32" : coded ? "uint8 (codes)" : "uint16 (raw bits)"));
    const auto count = static_cast<int64_t>(scales.shape(0));
    int64_t needed = 0;
    if (rows > 0 && cols > 0) {
        needed = flat ? (rows * cols + block - 1) / block
                      : (rows - 1) * scales_a_row + (cols + block - 1) / block;
    }
    check(scales_a_row >= 0 && count >= needed,
          "at least " + text(needed) + " scales are needed, given " + text(count));
    views.scales = scales.data();
    views.second_scales = second_level(second_scales, views.type, count);
    if (offsets) {
        check(offsets->dtype() == dtype && offsets->shape(0) == scales.shape(0),
              "offsets must have the type and number of the scales");
        views.offsets = offsets->data();
        views.second_offsets = second_level(second_offsets, views.type, count);
    }
    return views;
}

void bind_weight(nb::module_ &m);
void bind_encoder(nb::module_ &m);
void bind_decoder(nb::module_ &m);
void bind_trellis(nb::module_ &m);

}  // namespace kbit::binding

// `_core.ranges` and `_core.encode`: from weights to codes.
#include "../binding.hpp"
#include "../cpu.hpp"
#include "matrix.hpp"

namespace kbit::binding {
namespace {

using Weights = nb::ndarray<nb::ro, nb::ndim<2>, nb::device::cpu>;
using FloatsOut = nb::ndarray<float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using BytesOut = nb::ndarray<uint8_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

WeightRows view_weights(const Weights &weights, const std::string &type, bool flat) {
    WeightRows view{};
    view.data = weights.data();
    view.rows = static_cast<int64_t>(weights.shape(0));
    view.cols = static_cast<int64_t>(weights.shape(1));
    view.row_stride = weights.stride(0);
    const bool wide = type == "fp32";
    check(wide || type == "bf16" || type == "fp16", "weights are fp32, bf16 or fp16, given '" + type + "'");
    view.type = wide ? WeightType::f32 : type == "bf16" ? WeightType::bf16 : WeightType::fp16;
    check(weights.dtype() == (wide ? nb::dtype<float>() : nb::dtype<uint16_t>()),
          "weights must be float32, or uint16 for raw 16-bit types");
    check(view.cols <= 1 || weights.stride(1) == 1, "weights of a row must be consecutive");
    check(!flat || view.rows <= 1 || view.cols == 0 || view.row_stride == view.cols, "flat blocks need consecutive rows");
    if (flat) view.row_stride = view.cols;
    return view;
}

int64_t count_of(const WeightRows &weights, int64_t block, bool flat) {
    check(block >= 1, "a block has at least one weight");
    if (flat) return (weights.rows * weights.cols + block - 1) / block;
    return weights.rows * ((weights.cols + block - 1) / block);
}

bool ranges(Weights weights, const std::string &type, int64_t block, bool flat, FloatsOut low, FloatsOut high,
            int threads, const std::string &path) {
    const WeightRows view = view_weights(weights, type, flat);
    const int64_t count = count_of(view, block, flat);
    check(static_cast<int64_t>(low.shape(0)) == count && static_cast<int64_t>(high.shape(0)) == count,
          "low and high must have " + text(count) + " values");
    const Encoder &encoder = *choose_path(path).encoder;
    nb::gil_scoped_release release;
    return block_ranges(encoder, view, block, flat, low.data(), high.data(), threads);
}

void encode(Weights weights, const std::string &type, int bits, Table boundaries, Table scales,
            std::optional<Table> offsets, int64_t scales_a_row, int64_t block, bool flat, BytesOut out,
            int threads, const std::string &path) {
    check_bits(bits);
    const WeightRows view = view_weights(weights, type, flat);
    const int64_t bytes = stream_bytes(view.cols, bits), given = static_cast<int64_t>(boundaries.shape(0));
    check(static_cast<int64_t>(out.shape(0)) == view.rows && static_cast<int64_t>(out.shape(1)) == bytes,
          "out must be uint8 [" + text(view.rows) + ", " + text(bytes) + "]");
    check(given < (int64_t{1} << bits), "a table of " + text(bits) + " bits has fewer boundaries than " + text(given));
    const int64_t count = static_cast<int64_t>(scales.shape(0));
    int64_t needed = 0;
    check(block >= 1 && scales_a_row >= 0, "a block has at least one weight");
    if (view.rows > 0 && view.cols > 0)
        needed = flat ? count_of(view, block, true)
                      : (view.rows - 1) * scales_a_row + (view.cols + block - 1) / block;
    check(count >= needed, "at least " + text(needed) + " scales are needed, given " + text(count));
    check(!offsets || static_cast<int64_t>(offsets->shape(0)) == count, "as many offsets as scales are needed");
    const Path &chosen = choose_path(path);
    const Boundaries made = make_boundaries(boundaries.data(), static_cast<int>(given), bits);
    const Encode how{scales.data(), offsets ? offsets->data() : nullptr, scales_a_row, block, flat};
    nb::gil_scoped_release release;
    encode_rows(*chosen.encoder, *chosen.ops, view, how, made, out.data(), threads);
}

}  // namespace

void bind_encoder(nb::module_ &m) {
    m.def("ranges", &ranges, "weights"_a.noconvert(), nb::kw_only(), "type"_a, "block"_a, "flat"_a,
          "low"_a.noconvert(), "high"_a.noconvert(), "threads"_a = 1, "path"_a = "",
          "Least and greatest weight of each block; False where a weight is NaN or infinite.");
    m.def("encode", &encode, "weights"_a.noconvert(), nb::kw_only(), "type"_a, "bits"_a,
          "boundaries"_a.noconvert(), "scales"_a.noconvert(), "offsets"_a.noconvert() = nb::none(),
          "scales_a_row"_a, "block"_a, "flat"_a, "out"_a.noconvert(), "threads"_a = 1, "path"_a = "",
          "Codes of the nearest entries, given scales and offsets as numbers, packed.");
}

}  // namespace kbit::binding

// The Python face of the C++ core. Each concept keeps its own file; this one checks arguments and binds.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "cpu.hpp"
#include "rows.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace {

using Bytes = nb::ndarray<const uint8_t, nb::ndim<2>, nb::device::cpu>;
using BytesOut = nb::ndarray<uint8_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Numbers = nb::ndarray<const int64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Table = nb::ndarray<const float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Scales = nb::ndarray<nb::ro, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Out = nb::ndarray<nb::ndim<2>, nb::c_contig, nb::device::cpu>;

void check(bool holds, const std::string &message) {
    if (!holds) throw std::invalid_argument(message);
}

std::string text(int64_t n) { return std::to_string(n); }

void check_bits(int bits) { check(bits >= 1 && bits <= 8, "bits must be 1 to 8, given " + text(bits)); }

kbit::ByteRows rows_of(const Bytes &array) {
    return {array.data(), array.stride(0), array.stride(1)};
}

void pack(Bytes codes, int bits, BytesOut out, int threads, const std::string &path) {
    check_bits(bits);
    const auto rows = static_cast<int64_t>(codes.shape(0)), cols = static_cast<int64_t>(codes.shape(1));
    const int64_t bytes = kbit::stream_bytes(cols, bits);
    check(static_cast<int64_t>(out.shape(0)) == rows && static_cast<int64_t>(out.shape(1)) == bytes,
          "out must be uint8 [" + text(rows) + ", " + text(bytes) + "] for " + text(cols) + " codes of " +
              text(bits) + " bits a row");
    const kbit::Ops &ops = kbit::choose_ops(path);
    uint8_t seen;
    {
        nb::gil_scoped_release release;
        seen = kbit::pack_rows(ops, rows_of(codes), rows, cols, bits, out.data(), threads);
    }
    check(seen < (1 << bits), "a code does not fit in " + text(bits) + " bits");
}

void unpack(Bytes packed, int bits, BytesOut out, int threads, const std::string &path) {
    check_bits(bits);
    const auto rows = static_cast<int64_t>(out.shape(0)), cols = static_cast<int64_t>(out.shape(1));
    const int64_t bytes = kbit::stream_bytes(cols, bits);
    check(static_cast<int64_t>(packed.shape(0)) == rows && static_cast<int64_t>(packed.shape(1)) == bytes,
          "packed must be uint8 [" + text(rows) + ", " + text(bytes) + "] for " + text(cols) +
              " codes of " + text(bits) + " bits a row");
    const kbit::Ops &ops = kbit::choose_ops(path);
    nb::gil_scoped_release release;
    kbit::unpack_rows(ops, rows_of(packed), rows, cols, bits, out.data(), threads);
}

kbit::ScaleType scale_type(const std::string &name) {
    if (name == "fp16") return kbit::ScaleType::fp16;
    if (name == "bf16") return kbit::ScaleType::bf16;
    if (name == "q8") return kbit::ScaleType::q8;
    check(name == "fp32", "scale type must be fp16, bf16, fp32 or q8, given '" + name + "'");
    return kbit::ScaleType::fp32;
}

// The second level of `count` scales of type q8, null for other types.
const uint16_t *second_level(const std::optional<Scales> &second, kbit::ScaleType type, int64_t count) {
    check(second.has_value() == (type == kbit::ScaleType::q8), "q8 scales, and only they, have a second level");
    if (!second) return nullptr;
    const int64_t needed = (count + kbit::kSecondLevelGroup - 1) / kbit::kSecondLevelGroup;
    check(second->dtype() == nb::dtype<uint16_t>() && static_cast<int64_t>(second->shape(0)) >= needed,
          "the second level must be uint16 (raw bfloat16), " + text(needed) + " values");
    return static_cast<const uint16_t *>(second->data());
}

void decode(Bytes codes, int bits, Table table, Scales scales, std::optional<Scales> offsets,
            const std::string &scale, int64_t scales_a_row, int64_t block, bool flat, int64_t first,
            std::optional<Numbers> numbers, Out out, int threads, const std::string &path,
            std::optional<Scales> second_scales, std::optional<Scales> second_offsets) {
    check_bits(bits);
    const auto rows = static_cast<int64_t>(codes.shape(0));
    const auto count = static_cast<int64_t>(out.shape(0)), cols = static_cast<int64_t>(out.shape(1));
    check(static_cast<int64_t>(codes.shape(1)) == kbit::stream_bytes(cols, bits),
          "codes must have " + text(kbit::stream_bytes(cols, bits)) + " bytes a row");
    check(codes.shape(1) <= 1 || codes.stride(1) == 1, "bytes of a row of codes must be consecutive");
    check(static_cast<int64_t>(table.shape(0)) == (int64_t{1} << bits),
          "the table must have " + text(int64_t{1} << bits) + " values");
    check(block >= 1, "a block has at least one weight");
    kbit::Decode what{};
    what.scale_type = scale_type(scale);
    const bool wide = what.scale_type == kbit::ScaleType::fp32, coded = what.scale_type == kbit::ScaleType::q8;
    const auto scale_dtype = wide ? nb::dtype<float>() : coded ? nb::dtype<uint8_t>() : nb::dtype<uint16_t>();
    check(scales.dtype() == scale_dtype,
          "scales must be " + std::string(wide ? "float32" : coded ? "uint8 (codes)" : "uint16 (raw bits)"));
    what.second_scales = second_level(second_scales, what.scale_type, static_cast<int64_t>(scales.shape(0)));
    int64_t needed = 0;
    if (rows > 0 && cols > 0) {
        needed = flat ? (rows * cols + block - 1) / block
                      : (rows - 1) * scales_a_row + (cols + block - 1) / block;
    }
    check(scales_a_row >= 0 && static_cast<int64_t>(scales.shape(0)) >= needed,
          "at least " + text(needed) + " scales are needed, given " + text(static_cast<int64_t>(scales.shape(0))));
    if (offsets) {
        check(offsets->dtype() == scale_dtype && offsets->shape(0) == scales.shape(0),
              "offsets must have the type and number of the scales");
        what.offsets = offsets->data();
        what.second_offsets = second_level(second_offsets, what.scale_type, static_cast<int64_t>(scales.shape(0)));
    }
    if (numbers) {
        check(static_cast<int64_t>(numbers->shape(0)) == count, "one row number for each row of out");
        for (int64_t i = 0; i < count; ++i) {
            const int64_t row = numbers->data()[i];
            check(row >= 0 && row < rows, "row number " + text(row) + " of " + text(rows) + " rows");
        }
        what.numbers = numbers->data();
    } else {
        check(first >= 0 && count <= rows - first, "rows " + text(first) + " to " + text(first + count) +
                                                       " of " + text(rows) + " rows");
    }
    if (out.dtype() == nb::dtype<float>()) {
        what.out_float = static_cast<float *>(out.data());
    } else {
        check(out.dtype() == nb::dtype<uint16_t>(), "out must be float32, or uint16 for raw bfloat16");
        what.out_bfloat16 = static_cast<uint16_t *>(out.data());
    }
    what.codes = rows_of(codes);
    what.first = first;
    what.count = count;
    what.cols = cols;
    what.bits = bits;
    what.table = table.data();
    what.scales = scales.data();
    what.row_stride = scales_a_row;
    what.block = block;
    what.flat = flat;
    const kbit::Ops &ops = kbit::choose_ops(path);
    nb::gil_scoped_release release;
    kbit::decode_rows(ops, what, threads);
}

std::vector<std::string> paths() {
    std::vector<std::string> names;
    for (const kbit::Ops *ops : kbit::available_ops()) names.emplace_back(ops->name);
    return names;
}

}  // namespace

NB_MODULE(_core, m) {
    m.doc() = "kbit's C++ core";
    m.def("paths", &paths, "Instruction sets that can run here, best first.");
    m.def("path", [] { return std::string(kbit::choose_ops("").name); },
          "The one that is used: KBIT_KERNEL, or the best.");
    m.def("pack", &pack, "codes"_a.noconvert(), "bits"_a, "out"_a.noconvert(), "threads"_a = 1, "path"_a = "",
          "Codes [rows, cols] to rows of a little-endian bit stream, padded to 32 codes.");
    m.def("unpack", &unpack, "packed"_a.noconvert(), "bits"_a, "out"_a.noconvert(), "threads"_a = 1,
          "path"_a = "", "The inverse of pack.");
    m.def("decode", &decode, "codes"_a.noconvert(), nb::kw_only(), "bits"_a, "table"_a.noconvert(),
          "scales"_a.noconvert(), "offsets"_a.noconvert() = nb::none(), "scale_type"_a, "scales_a_row"_a,
          "block"_a, "flat"_a, "first"_a = 0, "numbers"_a.noconvert() = nb::none(), "out"_a.noconvert(),
          "threads"_a = 1, "path"_a = "", "second_scales"_a.noconvert() = nb::none(),
          "second_offsets"_a.noconvert() = nb::none(), "table[code] * scale + offset for some rows.");
}

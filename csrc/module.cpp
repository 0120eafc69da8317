// The Python face of the C++ core. Each concept keeps its own file; this one checks arguments and binds.
#include <nanobind/stl/vector.h>

#include <vector>

#include "binding.hpp"
#include "cpu.hpp"

namespace {

using namespace kbit::binding;

using BytesOut = nb::ndarray<uint8_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Numbers = nb::ndarray<const int64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Out = nb::ndarray<nb::ndim<2>, nb::c_contig, nb::device::cpu>;

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
    kbit::Decode what{};
    const ScaleViews views = view_scales(scales, offsets, second_scales, second_offsets, scale, rows, cols,
                                         scales_a_row, block, flat);
    what.scale_type = views.type;
    what.scales = views.scales;
    what.offsets = views.offsets;
    what.second_scales = views.second_scales;
    what.second_offsets = views.second_offsets;
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
    what.row_stride = scales_a_row;
    what.block = block;
    what.flat = flat;
    const kbit::Ops &ops = kbit::choose_ops(path);
    nb::gil_scoped_release release;
    kbit::decode_rows(ops, what, threads);
}

std::vector<std::string> paths() {
    std::vector<std::string> names;
    for (const kbit::Path &path : kbit::available_paths()) names.emplace_back(path.name);
    return names;
}

}  // namespace

NB_MODULE(_core, m) {
    m.doc() = "kbit's C++ core";
    m.def("paths", &paths, "Instruction sets that can run here, best first.");
    m.def("path", [] { return std::string(kbit::choose_path("").name); },
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
    bind_weight(m);
    bind_encoder(m);
    kbit::binding::bind_decoder(m);
    kbit::binding::bind_trellis(m);
}

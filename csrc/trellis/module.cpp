// `_core.trellis_search` and `_core.trellis_values`.
#include "binding.hpp"
#include "trellis/trellis.hpp"

namespace kbit::binding {
namespace {

using Floats = nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using FloatsOut = nb::ndarray<float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using CodesOut = nb::ndarray<uint8_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Numbers = nb::ndarray<const int64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

void check_trellis(int bits, int window, const Table &table) {
    check_bits(bits);
    // The inner loops take 16 pasts at once.
    check(window >= bits + 4 && window <= 16, "window must be bits + 4 to 16, given " + text(window));
    check(static_cast<int64_t>(table.shape(0)) == (int64_t{1} << window),
          "the table must have " + text(int64_t{1} << window) + " values");
}

void search(Floats values, Floats weights, int bits, int window, Table table, CodesOut codes, int threads) {
    check_trellis(bits, window, table);
    const auto count = static_cast<int64_t>(values.shape(0)), rows = static_cast<int64_t>(values.shape(1));
    check(weights.shape(0) == values.shape(0) && weights.shape(1) == values.shape(1) &&
              codes.shape(0) == values.shape(0) && codes.shape(1) == values.shape(1),
          "values, weights and codes must have one shape");
    check(rows * bits >= window, "a ring of " + text(rows) + " rows is shorter than its window");
    const trellis::Search what{values.data(), weights.data(), count,        rows,
                               bits,          window,         table.data(), codes.data()};
    nb::gil_scoped_release release;
    trellis::search(what, threads);
}

void values(Bytes codes, int bits, int window, Table table, int64_t first, std::optional<Numbers> numbers,
            FloatsOut out, int threads) {
    check_trellis(bits, window, table);
    const auto rows = static_cast<int64_t>(codes.shape(0));
    const auto count = static_cast<int64_t>(out.shape(0)), cols = static_cast<int64_t>(out.shape(1));
    check(static_cast<int64_t>(codes.shape(1)) == stream_bytes(cols, bits),
          "codes must have " + text(stream_bytes(cols, bits)) + " bytes a row");
    if (numbers) {
        check(static_cast<int64_t>(numbers->shape(0)) == count, "one row number for each row of out");
        for (int64_t i = 0; i < count; ++i) {
            const int64_t row = numbers->data()[i];
            check(row >= 0 && row < rows, "row number " + text(row) + " of " + text(rows) + " rows");
        }
    } else {
        check(first >= 0 && count <= rows - first, "rows " + text(first) + " to " + text(first + count) + " of " +
                                                       text(rows) + " rows");
    }
    const trellis::Values what{{codes.data(), codes.stride(0), codes.stride(1)},
                               rows,
                               cols,
                               bits,
                               window,
                               table.data(),
                               first,
                               count,
                               numbers ? numbers->data() : nullptr,
                               out.data()};
    nb::gil_scoped_release release;
    trellis::values(what, threads);
}

}  // namespace

void bind_trellis(nb::module_ &m) {
    m.def("trellis_search", &search, "values"_a.noconvert(), "weights"_a.noconvert(), nb::kw_only(), "bits"_a,
          "window"_a, "table"_a.noconvert(), "codes"_a.noconvert(), "threads"_a = 1,
          "Codes [columns, rows] of least weighted squared error through a trellis that closes to a ring.");
    m.def("trellis_values", &values, "codes"_a.noconvert(), nb::kw_only(), "bits"_a, "window"_a,
          "table"_a.noconvert(), "first"_a = 0, "numbers"_a.noconvert() = nb::none(), "out"_a.noconvert(),
          "threads"_a = 1, "Table values of some rows of trellis-coded weights, not yet scaled.");
}

}  // namespace kbit::binding

// `_core.Weight`: a packed weight, ready to multiply.
#include "binding.hpp"
#include "cpu.hpp"
#include "long_product.hpp"
#include "openmp.hpp"
#include "product.hpp"

namespace kbit::binding {
namespace {

Numerics numerics_of(const std::string &name) {
    if (name == "f32") return Numerics::f32;
    if (name == "bf16") return Numerics::bf16;
    check(name == "a8", "numerics must be f32, bf16 or a8, given '" + name + "'");
    return Numerics::a8;
}

// Holds references to the arrays it reads, so that their memory stays.
class Weight {
  public:
    Weight(Bytes codes, int64_t cols, int bits, Table table, Scales scales, std::optional<Scales> offsets,
           const std::string &scale, int64_t scales_a_row, int64_t block, bool flat, int threads,
           const std::string &path, std::optional<Scales> second_scales, std::optional<Scales> second_offsets)
        : codes_(codes), scales_(scales), offsets_(offsets), second_scales_(second_scales),
          second_offsets_(second_offsets), path_(path) {
        check_bits(bits);
        const auto rows = static_cast<int64_t>(codes.shape(0));
        check(cols >= 0 && static_cast<int64_t>(codes.shape(1)) == stream_bytes(cols, bits),
              "codes must have " + text(stream_bytes(cols, bits)) + " bytes a row");
        check(codes.shape(1) <= 1 || codes.stride(1) == 1, "bytes of a row of codes must be consecutive");
        check(static_cast<int64_t>(table.shape(0)) == (int64_t{1} << bits),
              "the table must have " + text(int64_t{1} << bits) + " values");
        const ScaleViews views = view_scales(scales, offsets, second_scales, second_offsets, scale, rows, cols,
                                             scales_a_row, block, flat);
        Stored stored{};
        stored.codes = codes.data();
        stored.row_stride = codes.stride(0);
        stored.rows = rows;
        stored.cols = cols;
        stored.bits = bits;
        stored.table = table.data();
        stored.scale_type = views.type;
        stored.scales = {views.scales, views.second_scales, false};
        stored.offsets = {views.offsets, views.second_offsets, true};
        stored.scales_a_row = scales_a_row;
        stored.block = block;
        stored.flat = flat;
        const Ops &ops = choose_ops(path);
        nb::gil_scoped_release release;
        prepared_ = prepare(stored, ops, threads);
    }

    // x [n, cols] with `stride` values from row to row, y float32 [n, rows] contiguous, both by address: the
    // caller has checked them (an array's protocol costs more than a small product).
    void multiply(uintptr_t x, bool bfloat16, int n, int64_t stride, uintptr_t y, const std::string &numerics,
                  int threads) const {
        const RowKernel &kernel = kernel_for(prepared_, numerics_of(numerics), n, path_);
        nb::gil_scoped_release release;
        kbit::multiply(prepared_, kernel, {reinterpret_cast<const void *>(x), bfloat16, stride, n},
                       reinterpret_cast<float *>(y), prepared_.rows, threads);
    }

    // Where the core's own loops find it; valid while this object lives.
    uintptr_t address() const { return reinterpret_cast<uintptr_t>(&prepared_); }

    std::string kernel(const std::string &numerics, int n) const {
        return kernel_for(prepared_, numerics_of(numerics), n, path_).name;
    }

    // out = x W^T + bias: x bfloat16 [n, cols], bias float32 [rows] or 0, out bfloat16 [n, rows], by address.
    void long_multiply(uintptr_t x, int64_t n, int64_t stride, uintptr_t bias, uintptr_t out, int threads) const {
        const Path &path = choose_path(path_);
        check(path.panels && prepared_.cols > 0, "this path has no product of many rows: decode and multiply");
        nb::gil_scoped_release release;
        const RowSource source(*path.ops, path.decoder, prepared_);
        long_product(*path.panels, {reinterpret_cast<const uint16_t *>(x), n, stride}, source,
                     reinterpret_cast<const float *>(bias), reinterpret_cast<uint16_t *>(out), threads);
    }

    bool long_a8() const {
        const A8PanelKernel *kernel = choose_path(path_).a8_panels;
        return kernel && kernel->serves(prepared_);
    }

    // The same with 8-bit activations; x and out of one type, bfloat16 or float32.
    void long_multiply_a8(uintptr_t x, bool bfloat16, int64_t n, int64_t stride, uintptr_t bias, uintptr_t out,
                          int threads) const {
        check(long_a8(), "this path has no 8-bit product of many rows of this weight: a few rows at a time");
        const Path &path = choose_path(path_);
        nb::gil_scoped_release release;
        long_product_a8(*path.a8_panels, *path.ops, reinterpret_cast<const void *>(x), bfloat16, n, stride, prepared_,
                        reinterpret_cast<const float *>(bias), reinterpret_cast<void *>(out), bfloat16, threads);
    }

    // Rows [first, first + count) to out, bfloat16 or float32 [count, cols], by address.
    void decode(int64_t first, int64_t count, uintptr_t out, bool bfloat16, int threads) const {
        check(first >= 0 && count >= 0 && count <= prepared_.rows - first,
              "rows " + text(first) + " to " + text(first + count) + " of " + text(prepared_.rows) + " rows");
        const Path &path = choose_path(path_);
        nb::gil_scoped_release release;
        const RowSource source(*path.ops, path.decoder, prepared_);
        if (bfloat16) {
            decode_rows_to(source, first, count, reinterpret_cast<uint16_t *>(out), threads);
        } else {
            decode_rows_to(source, first, count, reinterpret_cast<float *>(out), threads);
        }
    }

  private:
    Bytes codes_;
    Scales scales_;
    std::optional<Scales> offsets_, second_scales_, second_offsets_;
    std::string path_;
    Prepared prepared_;
};

}  // namespace

void bind_weight(nb::module_ &m) {
    nb::class_<Weight>(m, "Weight", "A packed weight, ready to multiply; keeps the arrays it was made from.")
        .def(nb::init<Bytes, int64_t, int, Table, Scales, std::optional<Scales>, const std::string &, int64_t,
                      int64_t, bool, int, const std::string &, std::optional<Scales>, std::optional<Scales>>(),
             "codes"_a.noconvert(), nb::kw_only(), "cols"_a, "bits"_a, "table"_a.noconvert(),
             "scales"_a.noconvert(), "offsets"_a.noconvert() = nb::none(), "scale_type"_a, "scales_a_row"_a,
             "block"_a, "flat"_a, "threads"_a = 1, "path"_a = "", "second_scales"_a.noconvert() = nb::none(),
             "second_offsets"_a.noconvert() = nb::none())
        .def("multiply", &Weight::multiply, "x"_a, "bfloat16"_a, "n"_a, "stride"_a, "y"_a, "numerics"_a,
             "threads"_a = 1, "y = x W^T, by address: x float32 or bfloat16 [n, cols], y float32 [n, rows].")
        .def("long_multiply", &Weight::long_multiply, "x"_a, "n"_a, "stride"_a, "bias"_a, "out"_a, "threads"_a = 1,
             "out = x W^T + bias for many rows, by address: x and out bfloat16, bias float32 or 0.")
        .def("long_multiply_a8", &Weight::long_multiply_a8, "x"_a, "bfloat16"_a, "n"_a, "stride"_a, "bias"_a, "out"_a,
             "threads"_a = 1, "The same with 8-bit activations: x and out float32 or bfloat16, bias float32 or 0.")
        .def_prop_ro("long_a8", &Weight::long_a8, "Whether long_multiply_a8 takes this weight here.")
        .def("decode", &Weight::decode, "first"_a, "count"_a, "out"_a, "bfloat16"_a, "threads"_a = 1,
             "Rows to bfloat16 or float32 [count, cols], by address.")
        .def_prop_ro("address", &Weight::address, "Where a Decoder finds it, while this object lives.")
        .def("kernel", &Weight::kernel, "numerics"_a, "n"_a = 1,
             "Name of the kernel that multiplies n rows with these numerics.");
    m.def("long_products", [](const std::string &path) { return choose_path(path).panels != nullptr; }, "path"_a = "",
          "Whether Weight.long_multiply runs here.");
    m.def("long_workspace_bytes",
          [] {
              const PanelKernel *panels = choose_path("").panels;
              return panels ? panels->workspace_bytes() : int64_t{0};
          },
          "What each thread keeps for long products, at most.");
    m.def("openmp_runtime", [] { return std::string(openmp_runtime()); },
          "File of PyTorch's OpenMP runtime, whose threads do long products; empty: threads of our own do.");
}

}  // namespace kbit::binding

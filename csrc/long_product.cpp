#include "long_product.hpp"

#include <algorithm>

#include "openmp.hpp"
#include "product.hpp"

namespace kbit {
namespace {

constexpr int64_t kRoundedRows = 1024;  // of activations at once

int64_t up(int64_t n) { return (n + 63) / 64 * 64; }

}  // namespace

int64_t eight_bit_room(int64_t count, int64_t cols, int part) {
    const int64_t groups = up(cols) / 64;
    return up(count * groups * 64) + up(count * groups * 4) + up(count * groups * (64 / part) * 4);
}

EightBitRows eight_bit_rows(int64_t count, int64_t cols, int part, void *room) {
    const int64_t groups = up(cols) / 64;
    auto *at = static_cast<uint8_t *>(room);
    auto *quanta = at + up(count * groups * 64);
    return {count, cols, part, groups, at, reinterpret_cast<float *>(quanta),
            reinterpret_cast<float *>(quanta + up(count * groups * 4))};
}

int64_t a8_rows_bytes(int64_t cols) { return eight_bit_room(kRoundedRows, cols, 16); }

int64_t panel_width(int64_t rows, int64_t widest, int64_t grain, int threads) {
    // Panels of like width, as many for each thread.
    const int64_t each = std::max(1, threads);
    const int64_t panels = ((rows + widest - 1) / widest + each - 1) / each * each;
    return ((rows + panels - 1) / panels + grain - 1) / grain * grain;
}

void long_product(const PanelKernel &kernel, const BfloatRows &x, const RowSource &w, const float *bias, uint16_t *out,
                  int threads) {
    const int64_t rows = w.rows();
    if (x.count <= 0 || rows <= 0) return;
    const int64_t width = panel_width(rows, kernel.widest(w.cols()), kernel.grain, threads);
    openmp_for(static_cast<size_t>((rows + width - 1) / width), threads, [&](size_t i) {
        const int64_t first = static_cast<int64_t>(i) * width;
        kernel.panel(x, w, bias, out, first, std::min(width, rows - first));
    });
}

void long_product_a8(const A8PanelKernel &kernel, const Ops &ops, const void *x, bool bfloat16, int64_t count,
                     int64_t stride, const Prepared &w, const float *bias, void *out, bool bfloat16_out, int threads) {
    if (w.rows <= 0) return;
    const int part = part_of(w);
    const int64_t width = panel_width(w.rows, kernel.widest(w.cols), kernel.grain, threads);
    for (int64_t done = 0; done < count; done += kRoundedRows) {
        const int64_t n = std::min(kRoundedRows, count - done);
        const auto *from = static_cast<const char *>(x) + done * stride * (bfloat16 ? 2 : 4);
        const Activations given{from, bfloat16, stride, static_cast<int>(n)};
        const EightBitRows rows =
            eight_bit_rows(n, w.cols, part, scratch(static_cast<size_t>(eight_bit_room(n, w.cols, part))));
        constexpr int64_t kTask = 16;
        openmp_for(static_cast<size_t>((n + kTask - 1) / kTask), threads, [&](size_t task) {
            const auto first = static_cast<int64_t>(task) * kTask;
            for (int64_t row = first; row < std::min(n, first + kTask); ++row) kernel.arrange(given, row, rows);
        });
        auto *to = static_cast<char *>(out) + done * w.rows * (bfloat16_out ? 2 : 4);
        openmp_for(static_cast<size_t>((w.rows + width - 1) / width), threads, [&](size_t i) {
            const int64_t first = static_cast<int64_t>(i) * width;
            kernel.panel(ops, rows, w, bias, to, bfloat16_out, first, std::min(width, w.rows - first));
        });
    }
}

}  // namespace kbit

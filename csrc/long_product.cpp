#include "long_product.hpp"

#include <algorithm>

#include "openmp.hpp"

namespace kbit {

void long_product(const BfloatRows &x, const RowSource &w, const float *bias, uint16_t *out, int threads) {
    const int64_t rows = w.rows(), widest = amx_widest_panel();
    if (x.count <= 0 || rows <= 0) return;
    // Panels of like width, as many for each thread.
    const int64_t each = std::max(1, threads);
    const int64_t panels = ((rows + widest - 1) / widest + each - 1) / each * each;
    const int64_t width = ((rows + panels - 1) / panels + 31) / 32 * 32;
    openmp_for(static_cast<size_t>((rows + width - 1) / width), threads, [&](size_t i) {
        const int64_t first = static_cast<int64_t>(i) * width;
        amx_panel(x, w, bias, out, first, std::min(width, rows - first));
    });
}

}  // namespace kbit

// Packs random codes, unpacks them, and multiplies with every path of this machine against float64: what can be checked
// of the core without Python, such as on another processor. Exit status 1 if anything is wrong.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "cpu.hpp"
#include "pool.hpp"
#include "product.hpp"

using namespace kbit;

namespace {

int wrong = 0;

void check(bool good, const char *path, int bits, int64_t cols, const char *what) {
    if (good) return;
    std::printf("%s, %d bits, %lld columns: %s\n", path, bits, static_cast<long long>(cols), what);
    wrong = 1;
}

void product_of(const Path &path, int bits, int64_t rows, int64_t cols, int64_t block, int n, bool integers) {
    const int64_t bytes = stream_bytes(cols, bits), blocks = (cols + block - 1) / block;
    std::vector<uint8_t> codes(static_cast<size_t>(rows * cols)), packed(static_cast<size_t>(rows * bytes)), back(codes.size());
    for (uint8_t &code : codes) code = static_cast<uint8_t>(std::rand() & ((1 << bits) - 1));
    pack_rows(*path.ops, {codes.data(), cols, 1}, rows, cols, bits, packed.data(), 2);
    unpack_rows(*path.ops, {packed.data(), bytes, 1}, rows, cols, bits, back.data(), 2);
    check(back == codes, path.name, bits, cols, "codes do not come back");
    std::vector<float> table(size_t{1} << bits), scales(static_cast<size_t>(rows * blocks)), x(static_cast<size_t>(n * cols)),
        y(static_cast<size_t>(n * rows));
    for (size_t i = 0; i < table.size(); ++i)
        table[i] = integers ? static_cast<float>(i) - 3 : static_cast<float>(static_cast<int>(i * 37 % 251) - 125) / 128;
    for (float &scale : scales) scale = static_cast<float>(std::rand() % 100 + 1) / 64;
    for (float &value : x) value = static_cast<float>(std::rand() % 2001 - 1000) / 512;
    Stored stored{};
    stored.codes = packed.data();
    stored.row_stride = bytes;
    stored.rows = rows;
    stored.cols = cols;
    stored.bits = bits;
    stored.table = table.data();
    stored.scales.data = scales.data();
    stored.scale_type = ScaleType::fp32;
    stored.scales_a_row = blocks;
    stored.block = block;
    const Prepared weight = prepare(stored, *path.ops, 2);
    const RowKernel &kernel = kernel_for(weight, Numerics::f32, n, path.name);
    multiply(weight, kernel, {x.data(), false, cols, n}, y.data(), rows, 2);
    for (int i = 0; i < n; ++i)
        for (int64_t r = 0; r < rows; ++r) {
            double sum = 0, size = 0;
            for (int64_t c = 0; c < cols; ++c) {
                const double w = double{table[codes[static_cast<size_t>(r * cols + c)]]} *
                                 scales[static_cast<size_t>(r * blocks + c / block)];
                sum += w * x[static_cast<size_t>(i * cols + c)];
                size += std::fabs(w * x[static_cast<size_t>(i * cols + c)]);
            }
            check(std::fabs(sum - y[static_cast<size_t>(i * rows + r)]) <= 1e-5 * size + 1e-6, path.name, bits, cols, "a product is wrong");
        }
}

}  // namespace

int main() {
    int products = 0;
    for (const Path &path : available_paths())
        for (int bits = 1; bits <= 8; ++bits)
            for (const int64_t cols : {1, 33, 64, 200, 1100})
                for (const int64_t block : {16, 64, 48})
                    for (const bool integers : {false, true}) {
                        product_of(path, bits, 5, cols, block, 1 + products % 4, integers);
                        ++products;
                    }
    std::printf("%d products, %s\n", products, wrong ? "WRONG" : "all right");
    return wrong;
}

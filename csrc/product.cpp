#include "product.hpp"

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <new>

#include "cpu.hpp"
#include "openmp.hpp"

namespace kbit {
namespace {

constexpr int64_t kTaskBytes = 1 << 18;     // of codes: long streams, and short enough to share evenly
constexpr int64_t kTaskWeights = 1 << 15;   // worth handing to another thread

bool takes(const RowKernel &kernel, const Prepared &weight, Numerics numerics, int n) {
    // Float32 products of bfloat16 activations are exact, so a float32 kernel serves both.
    const bool same = kernel.numerics == numerics || (numerics == Numerics::bf16 && kernel.numerics == Numerics::f32);
    return same && n >= kernel.least_inputs && kernel.serves(weight);
}

struct Free {
    void operator()(void *memory) const { std::free(memory); }
};

}  // namespace

int64_t rows_a_task(int64_t rows, int64_t row_bytes, int64_t cols, int64_t step, int threads) {
    const int64_t fit = kTaskBytes / std::max<int64_t>(1, row_bytes);
    const int64_t least = kTaskWeights / std::max<int64_t>(1, cols);
    const int64_t each = std::max(1, threads), fair = rows / (2 * each);
    const int64_t most = std::max<int64_t>({std::min(fit, fair), least, 1});
    // As many for each thread: nobody waits for the last one.
    const int64_t tasks = ((rows + most - 1) / most + each - 1) / each * each;
    const int64_t wanted = std::max((rows + tasks - 1) / tasks, least);
    return std::max<int64_t>(1, (wanted + step - 1) / step) * step;
}

const RowKernel &kernel_for(const Prepared &weight, Numerics numerics, int n, const std::string &path) {
    for (const RowKernel *kernel : choose_path(path).kernels)
        if (takes(*kernel, weight, numerics, n)) return *kernel;
    return *choose_path(path).kernels.back();  // not reached: the general kernels take every weight
}

void *scratch(size_t bytes) {
    thread_local std::unique_ptr<void, Free> memory;
    thread_local size_t have = 0;
    if (bytes > have) {
        memory.reset();
        have = 0;
        const size_t size = (bytes + 4095) / 4096 * 4096;
        memory.reset(std::aligned_alloc(64, size));
        if (!memory) throw std::bad_alloc();
        have = size;
    }
    return memory.get();
}

void multiply(const Prepared &weight, const RowKernel &kernel, const Activations &x, float *y, int64_t y_stride,
              int threads) {
    if (weight.rows <= 0 || x.n <= 0) return;
    if (weight.cols <= 0) {
        for (int i = 0; i < x.n; ++i) std::fill(y + i * y_stride, y + i * y_stride + weight.rows, 0.0f);
        return;
    }
    const int64_t step = rows_a_task(weight.rows, weight.row_bytes, weight.cols, kernel.rows_at_once, threads);
    const auto tasks = static_cast<size_t>((weight.rows + step - 1) / step);
    for (int done = 0; done < x.n; done += kMostInputs) {
        Activations part = x;
        part.n = std::min(kMostInputs, x.n - done);
        const int64_t at = done * x.stride;
        part.data = static_cast<const char *>(x.data) + at * (x.bfloat16 ? 2 : 4);
        const Arranged in = kernel.arrange(weight, part, scratch(kernel.room(weight, part.n)));
        float *to = y + done * y_stride;
        openmp_for(tasks, threads, [&](size_t task) {
            const int64_t first = static_cast<int64_t>(task) * step, last = std::min(weight.rows, first + step);
            kernel.rows(weight, in, first, last, to, y_stride);
        });
    }
}

}  // namespace kbit

// Every weight with every instruction set: rows are decoded piece by piece in float32, as they are elsewhere,
// and multiplied with float32 activations. 8-bit activations are rounded first and used as float32.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "cpu.hpp"
#include "row_kernel.hpp"

namespace kbit {
namespace {

constexpr int64_t kRounded = 64;  // activations that share a quantum

size_t room(const Prepared &weight, int n) { return static_cast<size_t>(n) * static_cast<size_t>(weight.cols) * 4; }

float as_float(const Activations &x, int64_t at) {
    if (!x.bfloat16) return static_cast<const float *>(x.data)[at];
    const uint32_t bits = uint32_t{static_cast<const uint16_t *>(x.data)[at]} << 16;
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
}

void round_to_quanta(float *x, int64_t n) {
    for (int64_t start = 0; start < n; start += kRounded) {
        const int64_t end = std::min(n, start + kRounded);
        float most = 0;
        for (int64_t i = start; i < end; ++i) most = std::max(most, std::fabs(x[i]));
        const float times = most > 0 ? 127.0f / most : 0.0f, quantum = most / 127.0f;
        for (int64_t i = start; i < end; ++i) x[i] = std::nearbyint(x[i] * times) * quantum;
    }
}

template <Numerics Kind>
Arranged arrange(const Prepared &weight, const Activations &x, void *where) {
    float *to = static_cast<float *>(where);
    for (int i = 0; i < x.n; ++i) {
        for (int64_t c = 0; c < weight.cols; ++c) to[i * weight.cols + c] = as_float(x, i * x.stride + c);
        if (Kind == Numerics::a8) round_to_quanta(to + i * weight.cols, weight.cols);
    }
    Arranged out{};
    out.n = out.padded = x.n;
    out.x = where;
    return out;
}

template <const Ops *(*Of)(), Numerics Kind>
void rows(const Prepared &weight, const Arranged &x, int64_t first, int64_t last, float *y, int64_t y_stride) {
    constexpr int64_t kStep = 1024;  // stays in the first-level cache
    const Ops &ops = *Of();
    const float *in = static_cast<const float *>(x.x);
    float rounded[256];
    const float *table = weight.table;
    if (Kind == Numerics::a8 && !weight.affine) {
        for (int c = 0; c < 256; ++c) rounded[c] = static_cast<float>(weight.rounded[c] - 128) * weight.rounded_step;
        table = rounded;
    }
    for (int64_t row = first; row < last; ++row) {
        float sums[kMostInputs] = {};
        for (int64_t start = 0; start < weight.cols; start += kStep) {
            uint8_t codes[kStep];
            float values[kStep];
            const int64_t n = std::min(kStep, weight.cols - start);
            ops.unpack(weight.codes + row * weight.row_stride + start / 8 * weight.bits, static_cast<size_t>(n),
                       weight.bits, codes);
            for (int64_t done = 0; done < n;) {
                const int64_t block = (start + done) / weight.block;
                const int64_t k = std::min(n - done, (block + 1) * weight.block - start - done);
                float scale, offset = 0;
                read_blocks(weight, weight.scales, row, block, 1, &scale);
                if (weight.offsets.data) read_blocks(weight, weight.offsets, row, block, 1, &offset);
                ops.look_up(codes + done, static_cast<size_t>(k), weight.bits, table, scale,
                            weight.offsets.data != nullptr, offset, values + done);
                done += k;
            }
            for (int i = 0; i < x.n; ++i) {
                sums[i] += ops.dot(values, in + i * weight.cols + start, static_cast<size_t>(n));
            }
        }
        for (int i = 0; i < x.n; ++i) y[i * y_stride + row] = sums[i];
    }
}

bool takes_all(const Prepared &) { return true; }

template <const Ops *(*Of)(), Numerics Kind>
constexpr RowKernel kKernel = {"general", Kind, 1, 1, takes_all, room, arrange<Kind>, rows<Of, Kind>};

template <const Ops *(*Of)()>
const RowKernel *of(Numerics numerics) {
    switch (numerics) {
        case Numerics::f32: return &kKernel<Of, Numerics::f32>;
        case Numerics::bf16: return &kKernel<Of, Numerics::bf16>;
        default: return &kKernel<Of, Numerics::a8>;
    }
}

}  // namespace

const RowKernel *general_kernel(const Ops &ops, Numerics numerics) {
    if (&ops == avx512_ops()) return of<avx512_ops>(numerics);
    if (&ops == avx2_ops()) return of<avx2_ops>(numerics);
    return of<portable_ops>(numerics);
}

}  // namespace kbit

// Panels of 8-bit products with AVX-512 VNNI. 32 rows of the weight stand in the lanes of two registers, four
// columns beside each other; up to six rows of activations are broadcast four columns at a time. vpdpbusd wants one
// side unsigned: activations are, by 128, and 128 times the sum of the weights is where each sum begins.
#include "a8_panel_kernel.hpp"

#if defined(__AVX512VBMI__) && defined(__AVX512VNNI__) && defined(__AVX512VL__) && defined(__x86_64__)

#include <algorithm>
#include <cstring>

#include "panel_memory.hpp"
#include "transpose.hpp"
#include "vbmi.hpp"

namespace kbit {
namespace {

constexpr int64_t kLanes = 16;
constexpr int64_t kWide = 2 * kLanes;        // rows of w multiplied at once
constexpr int kRows = 6;                     // rows of x: twelve sums in registers, twice
constexpr int64_t kPanelBytes = 1 << 19;     // of weights: half of a second-level cache of a megabyte
constexpr int64_t kMostRows = 256;
constexpr int64_t kChunk = 1024;             // columns unpacked before they are transposed
constexpr int64_t kChunkRow = kChunk + 64;   // not a power of two

// How much integers are lowered by to be signed bytes; their blocks' offsets take it up. The last entry of symmetric ones
// repeats the one before, and its code does not occur.
int above(const Prepared &weight) {
    if (!weight.affine) return 0;
    const float last = weight.table[(1 << weight.bits) - 1] / weight.step;
    return last > 127 ? static_cast<int>(last) - 127 : 0;
}

bool serves(const Prepared &weight) {
    if (weight.cols <= 0 || !weight.even) return false;
    if (!weight.affine) return true;
    return weight.zero - static_cast<float>(above(weight)) >= -128;
}

int64_t widest(int64_t cols) {
    const int64_t bytes = round_up(std::max<int64_t>(cols, 1), 64);
    return std::min(kMostRows, std::max<int64_t>(1, kPanelBytes / bytes / kWide) * kWide);
}

struct Workspace {
    int8_t *weights;   // for each 32 rows [quads of columns][32][4]
    float *scales;     // for each 32 rows [parts][32], times the table's step
    float *offsets;    // the same
    int32_t *starts;   // the same: -128 times the sum of the part's weights
    uint8_t *rows;     // [16, kChunkRow]
    float *blocks;     // of one row
};

int64_t part_count(int64_t cols, int part) { return round_up(cols, 64) / part; }

Workspace workspace(int64_t lanes, int64_t cols, int part) {
    static thread_local PanelMemory memory;
    const int64_t weights = lanes * round_up(cols, 64), each = lanes * part_count(cols, part) * 4;
    const int64_t rows = kLanes * kChunkRow, blocks = round_up(cols / 16 + 2, 16) * 4;
    uint8_t *at = memory.of(weights + 3 * each + rows + 2 * blocks);
    Workspace room{};
    room.weights = reinterpret_cast<int8_t *>(at);
    room.scales = reinterpret_cast<float *>(at + weights);
    room.offsets = reinterpret_cast<float *>(at + weights + each);
    room.starts = reinterpret_cast<int32_t *>(at + weights + 2 * each);
    room.rows = at + weights + 3 * each;
    room.blocks = reinterpret_cast<float *>(at + weights + 3 * each + rows);
    return room;
}

int64_t workspace_bytes(int64_t cols) {
    const int64_t lanes = widest(cols);
    return round_up(lanes * round_up(cols, 64) + 12 * lanes * part_count(cols, 16) + kLanes * kChunkRow +
                        2 * round_up(cols / 16 + 2, 16) * 4,
                    4096);
}

// The weight of each code as a signed byte.
ByteTable<8> signed_table(const Prepared &weight) {
    uint8_t bytes[256];
    for (int code = 0; code < 256; ++code) {
        const int known = code & ((1 << weight.bits) - 1);
        const int value = weight.affine ? known + static_cast<int>(weight.zero) - above(weight) : weight.rounded[known] - 128;
        bytes[code] = static_cast<uint8_t>(static_cast<int8_t>(value));
    }
    ByteTable<8> table;
    table.fill(bytes);
    return table;
}

// Scales (or offsets) of a row, one for each part, times `factor`, to every 32nd float of `to`.
void spread_blocks(const Prepared &w, const BlockValues &which, int64_t row, int part, float factor,
                   const Workspace &room, float *to) {
    read_blocks(w, which, row, 0, w.blocks, room.blocks);
    const int64_t parts = (w.cols + part - 1) / part;
    const int64_t each = w.blocks <= 1 ? parts : w.block / part;
    for (int64_t p = 0, b = 0; p < parts; ++b)
        for (int64_t i = 0; i < each && p < parts; ++i, ++p) to[p * kWide] = room.blocks[b] * factor;
}

void decode_panel(const Ops &ops, const Prepared &w, int64_t first, int64_t count, int part, const Workspace &room) {
    const int64_t width = round_up(w.cols, 64), parts = part_count(w.cols, part);
    const int64_t lanes = round_up(count, kWide), each = lanes * parts;
    const ByteTable<8> table = signed_table(w);
    const float step = w.affine ? w.step : w.rounded_step, lowered = static_cast<float>(above(w));
    std::memset(room.scales, 0, static_cast<size_t>(2 * each) * 4);  // and offsets
    for (int64_t sixteen = 0; sixteen < lanes; sixteen += kLanes) {
        int8_t *to = room.weights + sixteen / kWide * kWide * width + sixteen % kWide * 4;
        const int64_t at = sixteen / kWide * kWide * parts + sixteen % kWide;
        for (int64_t start = 0; start < width; start += kChunk) {
            const int64_t n = std::min(kChunk, w.cols - start), padded = std::min(kChunk, width - start);
            for (int64_t i = 0; i < kLanes; ++i) {
                uint8_t *row = room.rows + i * kChunkRow;
                const int64_t known = sixteen + i < count ? n : 0;
                if (known > 0) {
                    const uint8_t *codes = w.codes + (first + sixteen + i) * w.row_stride + start / 8 * w.bits;
                    ops.unpack(codes, static_cast<size_t>(known), w.bits, row);
                    for (int64_t k = 0; k < known; k += 64)
                        _mm512_storeu_si512(row + k, table(_mm512_loadu_si512(row + k)));
                }
                std::memset(row + known, 0, static_cast<size_t>(padded - known));
            }
            for (int64_t k = 0; k < padded; k += 64)
                transpose_words(room.rows + k, kChunkRow, to + (start + k) / 4 * kWide * 4, kWide * 4);
        }
        for (int64_t i = 0; i < kLanes && sixteen + i < count; ++i) {
            spread_blocks(w, w.scales, first + sixteen + i, part, step, room, room.scales + at + i);
            if (w.offsets.data) spread_blocks(w, w.offsets, first + sixteen + i, part, 1.0f, room, room.offsets + at + i);
            for (int64_t p = 0; lowered > 0 && p < parts; ++p)
                room.offsets[at + i + p * kWide] += lowered * room.scales[at + i + p * kWide];
        }
        // A byte of 128 is -128 as a signed one; as an unsigned one it makes 128 times the sum.
        const __m512i eighths = _mm512_set1_epi8(static_cast<char>(0x80));
        for (int64_t p = 0; p < parts; ++p) {
            __m512i sum = _mm512_setzero_si512();
            for (int64_t k = p * part; k < (p + 1) * part; k += 4)
                sum = _mm512_dpbusd_epi32(sum, eighths, _mm512_load_si512(to + k / 4 * kWide * 4));
            _mm512_storeu_si512(room.starts + at + p * kWide, _mm512_sub_epi32(_mm512_setzero_si512(), sum));
        }
    }
}

struct Output {
    void *at;  // [M, stride] at the first lane
    bool bfloat16;
    int64_t stride, lanes;
    const float *bias;  // at the first lane, or null
};

// Nearest, ties to even; NaN stays one.
inline __m256i to_bfloat16(__m512 value) {
    const __m512i raw = _mm512_castps_si512(value);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(raw, 16), _mm512_set1_epi32(1));
    __m512i rounded = _mm512_srli_epi32(_mm512_add_epi32(raw, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff))), 16);
    const __mmask16 none = _mm512_cmp_ps_mask(value, value, _CMP_UNORD_Q);
    rounded = _mm512_mask_mov_epi32(rounded, none, _mm512_set1_epi32(0x7fc0));
    return _mm512_cvtepi32_epi16(rounded);
}

void write(__m512 made, const Output &to, int m, int v) {
    const int64_t left = to.lanes - kLanes * v, at = m * to.stride + kLanes * v;
    if (left <= 0) return;
    const auto keep = static_cast<__mmask16>(left >= kLanes ? 0xffff : (1u << left) - 1);
    if (to.bias) made = _mm512_add_ps(made, _mm512_maskz_loadu_ps(keep, to.bias + kLanes * v));
    if (to.bfloat16) _mm256_mask_storeu_epi16(static_cast<uint16_t *>(to.at) + at, keep, to_bfloat16(made));
    else _mm512_mask_storeu_ps(static_cast<float *>(to.at) + at, keep, made);
}

// Rows [row, row + M) of x with 32 rows of a panel. P: parts in 64 columns.
template <int M, int P, bool Offsets>
void multiply(const EightBitRows &x, int64_t row, const int8_t *w, const float *scales, const float *offsets,
              const int32_t *starts, const Output &to) {
    constexpr int V = 2, kQuads = 16 / P;
    const int64_t width = 64 * x.groups;
    const uint8_t *in = x.bytes + row * width;
    const float *quanta = x.quanta + row * x.groups, *sums = x.sums + row * x.groups * P;
    __m512 total[M][V];
    for (int m = 0; m < M; ++m)
        for (int v = 0; v < V; ++v) total[m][v] = _mm512_setzero_ps();
    for (int64_t g = 0; g < x.groups; ++g) {
        for (int p = 0; p < P; ++p, scales += kWide, offsets += kWide, starts += kWide) {
            __m512i sum[M][V];
            for (int m = 0; m < M; ++m)
                for (int v = 0; v < V; ++v) sum[m][v] = _mm512_loadu_si512(starts + kLanes * v);
            for (int q = 0; q < kQuads; ++q, in += 4, w += kWide * 4) {
                const __m512i first = _mm512_load_si512(w), second = _mm512_load_si512(w + 64);
                for (int m = 0; m < M; ++m) {
                    int four;
                    std::memcpy(&four, in + m * width, 4);
                    const __m512i units = _mm512_set1_epi32(four);
                    sum[m][0] = _mm512_dpbusd_epi32(sum[m][0], units, first);
                    sum[m][1] = _mm512_dpbusd_epi32(sum[m][1], units, second);
                }
            }
            for (int v = 0; v < V; ++v) {
                const __m512 scale = _mm512_loadu_ps(scales + kLanes * v);
                const __m512 offset = Offsets ? _mm512_loadu_ps(offsets + kLanes * v) : scale;
                for (int m = 0; m < M; ++m) {
                    const __m512 times = _mm512_mul_ps(scale, _mm512_set1_ps(quanta[m * x.groups + g]));
                    total[m][v] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum[m][v]), times, total[m][v]);
                    if constexpr (Offsets)
                        total[m][v] = _mm512_fmadd_ps(offset, _mm512_set1_ps(sums[m * x.groups * P + g * P + p]), total[m][v]);
                }
            }
        }
    }
    for (int m = 0; m < M; ++m)
        for (int v = 0; v < V; ++v) write(total[m][v], to, m, v);
}

template <int P, bool Offsets>
void multiply_rows(int64_t rows, const EightBitRows &x, int64_t row, const int8_t *w, const float *scales,
                   const float *offsets, const int32_t *starts, const Output &to) {
    switch (rows) {
        case 1: return multiply<1, P, Offsets>(x, row, w, scales, offsets, starts, to);
        case 2: return multiply<2, P, Offsets>(x, row, w, scales, offsets, starts, to);
        case 3: return multiply<3, P, Offsets>(x, row, w, scales, offsets, starts, to);
        case 4: return multiply<4, P, Offsets>(x, row, w, scales, offsets, starts, to);
        case 5: return multiply<5, P, Offsets>(x, row, w, scales, offsets, starts, to);
        default: return multiply<6, P, Offsets>(x, row, w, scales, offsets, starts, to);
    }
}

void panel(const Ops &ops, const EightBitRows &x, const Prepared &w, const float *bias, void *out, bool bfloat16,
           int64_t first, int64_t count) {
    const int64_t width = 64 * x.groups, parts = part_count(w.cols, x.part), lanes = round_up(count, kWide);
    const Workspace room = workspace(lanes, w.cols, x.part);
    decode_panel(ops, w, first, count, x.part, room);
    const bool offsets = w.offsets.data != nullptr;
    const auto multiply_them = [&]() {
        const int p = 64 / x.part;
        if (offsets) return p == 1 ? multiply_rows<1, true> : p == 2 ? multiply_rows<2, true> : multiply_rows<4, true>;
        return p == 1 ? multiply_rows<1, false> : p == 2 ? multiply_rows<2, false> : multiply_rows<4, false>;
    }();
    for (int64_t m = 0; m < x.count; m += kRows) {
        for (int64_t lane = 0; lane < lanes; lane += kWide) {
            const int64_t at = m * w.rows + first + lane;
            void *to = bfloat16 ? static_cast<void *>(static_cast<uint16_t *>(out) + at)
                                : static_cast<void *>(static_cast<float *>(out) + at);
            multiply_them(std::min<int64_t>(kRows, x.count - m), x, m, room.weights + lane * width,
                          room.scales + lane * parts, room.offsets + lane * parts, room.starts + lane * parts,
                          {to, bfloat16, w.rows, count - lane, bias ? bias + first + lane : nullptr});
        }
    }
}

void arrange(const Activations &x, int64_t row, const EightBitRows &to) {
    const int in_group = 64 / to.part;
    for (int64_t g = 0; g < to.groups; ++g) {
        __m512 part[4], most = _mm512_setzero_ps();
        __mmask16 numbers = 0xffff;
        for (int q = 0; q < 4; ++q) {
            part[q] = load_activations(x, static_cast<int>(row), g * 64 + 16 * q, to.cols);
            most = _mm512_max_ps(most, _mm512_abs_ps(part[q]));
            numbers &= _mm512_cmp_ps_mask(part[q], part[q], _CMP_ORD_Q);
        }
        // Integers have no NaN: the quantum carries it into every product.
        const float greatest = numbers == 0xffff ? _mm512_reduce_max_ps(most) : __builtin_nanf("");
        const float quantum = greatest / 127.0f;
        to.quanta[row * to.groups + g] = quantum;
        const __m512 times = _mm512_set1_ps(greatest > 0 ? 127.0f / greatest : 0.0f);
        int sums[4];
        for (int q = 0; q < 4; ++q) {
            const __m512i units = _mm512_cvtps_epi32(_mm512_mul_ps(part[q], times));
            const __m128i bytes = _mm512_cvtsepi32_epi8(units);
            sums[q] = _mm512_reduce_add_epi32(_mm512_cvtepi8_epi32(bytes));
            _mm_storeu_si128(reinterpret_cast<__m128i *>(to.bytes + (row * to.groups + g) * 64 + 16 * q),
                             _mm_xor_si128(bytes, _mm_set1_epi8(static_cast<char>(0x80))));
        }
        for (int p = 0; p < in_group; ++p) {
            int sum = 0;
            for (int q = 4 / in_group * p; q < 4 / in_group * (p + 1); ++q) sum += sums[q];
            to.sums[(row * to.groups + g) * in_group + p] = static_cast<float>(sum) * quantum;
        }
    }
}

const A8PanelKernel kKernel = {"a8-vnni", kWide, serves, widest, workspace_bytes, arrange, panel};

}  // namespace

const A8PanelKernel *vnni_panel_kernel() { return &kKernel; }

}  // namespace kbit

#else

namespace kbit {
const A8PanelKernel *vnni_panel_kernel() { return nullptr; }
}  // namespace kbit

#endif

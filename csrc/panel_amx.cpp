// The panel's weights are decoded once, into tiles that stay in the second-level cache; then all rows of the
// input run past them, 32 at a time.
#include "panel_kernel.hpp"

#if defined(__AMX_BF16__) && defined(__AMX_TILE__) && defined(__AVX512BF16__) && defined(__x86_64__) && \
    defined(__linux__)

#include <immintrin.h>

#include <algorithm>
#include <cstring>

#include "panel_memory.hpp"
#include "transpose.hpp"

namespace kbit {
namespace {

constexpr int64_t kTile = 1024;  // bytes of a tile: 16 rows of 64
// Columns of x and w that are multiplied at once: 32 rows of x then stay in the first-level cache.
constexpr int64_t kDepth = 256;
constexpr int64_t kSteps = kDepth / 32;  // a tile is 32 columns deep
constexpr int64_t kPanel = 256;        // rows of w decoded at once ...
constexpr int64_t kSegment = 2048;       // ... and their columns: half a second-level cache
constexpr int64_t kRows = 2048;          // rows of x for which sums of a segment are kept
constexpr int64_t kRow = kDepth + 32;    // of decoded rows before they become tiles; not a power of two

int64_t up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

struct Workspace {
    uint8_t *weights, *x, *sums;
    uint16_t *rows;
};

constexpr int64_t kWeightBytes = kPanel * kSegment * 2, kXBytes = 2 * kSteps * kTile;
constexpr int64_t kRowBytes = 16 * kRow * 2;

Workspace workspace(int64_t sums_bytes) {
    static thread_local PanelMemory memory;
    Workspace w;
    w.weights = memory.of(kWeightBytes + kXBytes + kRowBytes + sums_bytes);
    w.x = w.weights + kWeightBytes;
    w.rows = reinterpret_cast<uint16_t *>(w.x + kXBytes);
    w.sums = w.x + kXBytes + kRowBytes;
    return w;
}

struct __attribute__((packed)) TileConfig {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
};

// Tile registers are the thread's own and cost it at every switch: held for one panel.
struct Tiles {
    Tiles() {
        TileConfig config;
        std::memset(&config, 0, sizeof config);
        config.palette = 1;
        for (int i = 0; i < 8; ++i) {
            config.row_bytes[i] = 64;
            config.rows[i] = 16;
        }
        _tile_loadconfig(&config);
    }
    ~Tiles() { _tile_release(); }
};

// Columns [from, to) of weights [first, first + count) as tiles: for each 32 of them, for each 32 columns, two
// tiles of sixteen.
void decode_panel(const RowSource &w, int64_t first, int64_t count, int64_t from, int64_t to,
                  const Workspace &room) {
    const int64_t steps = up(to - from, 32) / 32;
    for (int64_t start = from; start < to; start += kDepth) {
        const int64_t n = std::min(kDepth, to - start), padded = up(n, 32);
        for (int64_t sixteen = 0; sixteen < up(count, 32); sixteen += 16) {
            for (int64_t i = 0; i < 16; ++i) {
                uint16_t *row = room.rows + i * kRow;
                const int64_t known = sixteen + i < count ? n : 0;
                if (known > 0) w.decode(first + sixteen + i, start, n, row);
                std::fill(row + known, row + padded, uint16_t{0});
            }
            uint8_t *tile = room.weights +
                            ((sixteen / 32 * steps + (start - from) / 32) * 2 + sixteen / 16 % 2) * kTile;
            for (int64_t k = 0; k < padded; k += 32, tile += 2 * kTile)
                transpose_words(room.rows + k, kRow * 2, tile, 64);
        }
    }
}

// Rows [first, first + 32) of x, columns [start, start + n), as two tiles a step; what is missing is zero.
void gather_x(const BfloatRows &x, int64_t first, int64_t start, int64_t n, uint8_t *to) {
    const int64_t steps = up(n, 32) / 32;
    for (int64_t i = 0; i < 32; ++i) {
        uint8_t *at = to + i / 16 * kTile + i % 16 * 64;
        if (first + i >= x.count) {
            for (int64_t s = 0; s < steps; ++s) _mm512_store_si512(at + 2 * s * kTile, _mm512_setzero_si512());
            continue;
        }
        const uint16_t *from = x.data + (first + i) * x.stride + start;
        for (int64_t s = 0; s < steps; ++s) {
            const int64_t left = n - 32 * s;
            const auto keep = static_cast<__mmask32>(left >= 32 ? ~0u : (1u << left) - 1);
            _mm512_store_si512(at + 2 * s * kTile, _mm512_maskz_loadu_epi16(keep, from + 32 * s));
        }
    }
}

// What the next multiplications read, brought nearer meanwhile: some rows, a line of 32 values at each step.
struct Ahead {
    const uint16_t *rows;
    int64_t count, stride;
};

// sums (+)= x w^T for 32 rows of x (or 16), 32 of w and some steps of 32 columns.
template <bool kTwo>
void multiply(const uint8_t *x, const uint8_t *w, int64_t steps, uint8_t *sums, bool first, Ahead ahead) {
    if (first) {
        _tile_zero(0);
        _tile_zero(1);
        if (kTwo) {
            _tile_zero(2);
            _tile_zero(3);
        }
    } else {
        _tile_loadd(0, sums, 64);
        _tile_loadd(1, sums + kTile, 64);
        if (kTwo) {
            _tile_loadd(2, sums + 2 * kTile, 64);
            _tile_loadd(3, sums + 3 * kTile, 64);
        }
    }
    for (int64_t s = 0; s < steps; ++s, x += 2 * kTile, w += 2 * kTile) {
        for (int64_t i = 0; i < ahead.count; ++i) {
            _mm_prefetch(reinterpret_cast<const char *>(ahead.rows + i * ahead.stride + 32 * s), _MM_HINT_T1);
        }
        _tile_loadd(4, x, 64);
        _tile_loadd(6, w, 64);
        _tile_loadd(7, w + kTile, 64);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        if (kTwo) {
            _tile_loadd(5, x + kTile, 64);
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
        }
    }
    _tile_stored(0, sums, 64);
    _tile_stored(1, sums + kTile, 64);
    if (kTwo) {
        _tile_stored(2, sums + 2 * kTile, 64);
        _tile_stored(3, sums + 3 * kTile, 64);
    }
}

// Sums of up to 32 by 32 outputs to bfloat16, with the bias.
void write(const uint8_t *sums, int64_t rows, int64_t width, const float *bias, uint16_t *out, int64_t stride) {
    const auto keep = static_cast<__mmask32>(width >= 32 ? ~0u : (1u << width) - 1);
    __m512 low = _mm512_setzero_ps(), high = low;
    if (bias != nullptr) {
        low = _mm512_maskz_loadu_ps(static_cast<__mmask16>(keep), bias);
        high = _mm512_maskz_loadu_ps(static_cast<__mmask16>(keep >> 16), bias + 16);
    }
    for (int64_t i = 0; i < rows; ++i) {
        const uint8_t *at = sums + i / 16 * 2 * kTile + i % 16 * 64;
        __m512 a = _mm512_load_ps(at), b = _mm512_load_ps(at + kTile);
        if (bias != nullptr) {
            a = _mm512_add_ps(a, low);
            b = _mm512_add_ps(b, high);
        }
        _mm512_mask_storeu_epi16(out + i * stride, keep, reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(b, a)));
    }
}

void panel(const BfloatRows &x, const RowSource &w, const float *bias, uint16_t *out, int64_t first, int64_t count) {
    const int64_t cols = w.cols(), rows = w.rows(), pairs = up(count, 32) / 32;
    const int64_t block_bytes = pairs * 4 * kTile;  // sums of 32 rows
    const bool whole = cols <= kSegment;
    const Workspace room = workspace(whole ? block_bytes : up(std::min(x.count, kRows), 32) / 32 * block_bytes);
    for (int64_t top = 0; top < x.count; top += kRows) {
        const int64_t bottom = std::min(x.count, top + kRows);
        for (int64_t from = 0; from < cols; from += kSegment) {
            const int64_t to = std::min(cols, from + kSegment), steps = up(to - from, 32) / 32;
            if (!whole || top == 0) decode_panel(w, first, count, from, to, room);
            const Tiles tiles;
            for (int64_t m = top; m < bottom; m += 32) {
                uint8_t *sums = room.sums + (whole ? 0 : (m - top) / 32 * block_bytes);
                for (int64_t start = from; start < to; start += kDepth) {
                    const int64_t n = std::min(kDepth, to - start);
                    gather_x(x, m, start, n, room.x);
                    const bool further = start + kDepth < to;
                    const int64_t next_row = further ? m : m + 32, next_start = further ? start + kDepth : from;
                    for (int64_t p = 0; p < pairs; ++p) {
                        const uint8_t *weights = room.weights + (p * steps + (start - from) / 32) * 2 * kTile;
                        const int64_t row = next_row + p * 32 / pairs;
                        const int64_t end = std::min(bottom, next_row + (p + 1) * 32 / pairs);
                        const Ahead ahead{x.data + row * x.stride + next_start, end - row, x.stride};
                        (bottom - m > 16 ? multiply<true> : multiply<false>)(
                            room.x, weights, up(n, 32) / 32, sums + p * 4 * kTile, start == 0, ahead);
                    }
                }
                if (to < cols) continue;
                for (int64_t p = 0; p < pairs; ++p) {
                    const int64_t at = first + 32 * p;
                    write(sums + p * 4 * kTile, std::min<int64_t>(32, bottom - m),
                          std::min<int64_t>(32, first + count - at), bias == nullptr ? nullptr : bias + at,
                          out + m * rows + at, rows);
                }
            }
        }
    }
}

int64_t widest(int64_t) { return kPanel; }

int64_t workspace_bytes() {
    return up(kWeightBytes + kXBytes + kRowBytes + kRows / 32 * (kPanel / 32 * 4 * kTile), 4096);
}

const PanelKernel kKernel = {"amx", 32, widest, workspace_bytes, panel};

}  // namespace

const PanelKernel *amx_panel_kernel() { return &kKernel; }

}  // namespace kbit

#else

namespace kbit {
const PanelKernel *amx_panel_kernel() { return nullptr; }
}  // namespace kbit

#endif

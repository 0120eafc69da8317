// Bfloat16 activations with AMX tiles: 16 rows of the weight, 32 values each, times 32 values of up to 16
// columns. A single row of activations would use one column of 16, so the columns hold blocks: column j has the
// activations of block j and zeros elsewhere. After 16 blocks a tile holds the sums of each block for 16 rows,
// to be multiplied by as many scales. Several rows of activations share the columns. Unpacking, the same as
// elsewhere, is then nearly all that the vector units do.
#include "row_kernel.hpp"

#if defined(__AVX512VBMI__) && defined(__AVX512BF16__) && defined(__AMX_BF16__) && defined(__x86_64__)

#include "vbmi_words.hpp"

namespace kbit {
namespace {

constexpr int kTileRows = 16, kPanels = 2, kPanelRows = kTileRows * kPanels;
constexpr int64_t kTileBytes = 1024;
constexpr int64_t kStepGroups = 2;  // groups unpacked before they are multiplied: 8 KiB of bfloat16

struct alignas(64) TileConfig {
    uint8_t palette = 1, start_row = 0, reserved[14] = {};
    uint16_t columns_bytes[16] = {};
    uint8_t rows[16] = {};
};

// Written out since a compiler's own may not know that they read and write memory (GCC 12's do not say so).
template <int Tile>
inline void load_tile(const void *from) {
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(int64_t{64}), "i"(Tile) : "memory");
}

template <int Tile>
inline void store_tile(void *to) {
    __asm__ volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(to), "r"(int64_t{64}), "i"(Tile) : "memory");
}

// All tiles are 16 rows of 64 bytes: 0 and 1 the sums of two panels, 2 and 3 weights, 4 activations.
class Tiles {
  public:
    Tiles() {
        TileConfig config;
        for (int t = 0; t < 8; ++t) {
            config.rows[t] = kTileRows;
            config.columns_bytes[t] = 64;
        }
        _tile_loadconfig(&config);
    }
    ~Tiles() { _tile_release(); }
    Tiles(const Tiles &) = delete;
    Tiles &operator=(const Tiles &) = delete;
};

// How many rows of activations the columns can hold: as many blocks as one group touches must fit beside them.
int most_inputs(const Prepared &weight) {
    if (weight.blocks == 1 || weight.block % kGroup == 0) return 16;
    const int64_t touched = kGroup % weight.block == 0 ? kGroup / weight.block : (kGroup - 16) / weight.block + 2;
    return touched <= 2 ? 8 : 4;
}

// Columns j * inputs to j * inputs + inputs - 1 are block `first + j` of a chunk: the groups that lie in as many
// consecutive blocks as there is room for. A block that ends inside a group may be cut between two chunks.
struct Columns {
    int shift, inputs, blocks;
    explicit Columns(int n)
        : shift(n <= 1 ? 0 : n <= 2 ? 1 : n <= 4 ? 2 : n <= 8 ? 3 : 4), inputs(1 << shift), blocks(16 / inputs) {}
};

struct Chunk {
    int64_t begin, end, first_block;  // groups, and the block of the first code
};

inline Chunk chunk_from(const Prepared &weight, const Columns &columns, int64_t begin, int64_t groups) {
    const int64_t first = begin * kGroup / weight.block, stop = (first + columns.blocks) * weight.block;
    return {begin, stop >= weight.cols ? groups : stop / kGroup, first};
}

// Arranged activations of one pass: for each group a tile of its even and one of its odd values, row p holding
// values 4p and 4p + 2 (4p + 1 and 4p + 3); then 16 sums for each chunk, one a column.
struct Pass {
    const char *tiles;
    const float *sums;
};

inline int64_t pass_bytes(const Prepared &weight) {
    const int64_t groups = groups_of(weight);  // no more chunks than groups
    return groups * (2 * kTileBytes + 64);
}

inline Pass pass_at(const Prepared &weight, const void *x, int number) {
    const char *start = static_cast<const char *>(x) + number * pass_bytes(weight);
    return {start, reinterpret_cast<const float *>(start + groups_of(weight) * 2 * kTileBytes)};
}

inline int passes_of(const Prepared &weight, int n) {
    const int most = most_inputs(weight);
    return (n + most - 1) / most;
}

size_t room(const Prepared &weight, int n) {
    return static_cast<size_t>(passes_of(weight, n) * pass_bytes(weight)) + rounded_room(weight, n);
}

void arrange_pass(const Prepared &weight, const Activations &x, const Pass &to) {
    const Columns columns(x.n);
    const int64_t groups = groups_of(weight);
    char *tiles = const_cast<char *>(to.tiles);
    float *sums = const_cast<float *>(to.sums);
    if (columns.blocks > 1 || x.n < columns.inputs) __builtin_memset(tiles, 0, static_cast<size_t>(groups * 2 * kTileBytes));
    for (Chunk chunk{0, 0, 0}; chunk.end < groups; sums += 16) {
        chunk = chunk_from(weight, columns, chunk.end, groups);
        for (int j = 0; j < columns.blocks; ++j) {
            const int64_t block = chunk.first_block + j, least = chunk.begin * kGroup, most = chunk.end * kGroup;
            int64_t from = block * weight.block, until = from + weight.block;
            if (weight.blocks == 1 || until > weight.cols) until = weight.cols;
            if (from < least) from = least;
            if (until > most) until = most;
            for (int i = 0; i < columns.inputs; ++i) {
                __m512 sum = _mm512_setzero_ps();
                if (needs_sums(weight) && i < x.n) {
                    for (int64_t c = from; c < until; c += 16) sum = _mm512_add_ps(sum, load_activations(x, i, c, until));
                }
                sums[j * columns.inputs + i] = _mm512_reduce_add_ps(sum);
            }
        }
        for (int64_t g = chunk.begin; g < chunk.end; ++g) {
            int column[4];  // of each 16 codes of the group
            for (int u = 0; u < 4; ++u) {
                const int64_t c = g * kGroup + 16 * u;
                const int64_t block = weight.blocks == 1 || c >= weight.cols ? 0 : c / weight.block - chunk.first_block;
                column[u] = static_cast<int>(block) * columns.inputs;
            }
            uint32_t *even_tile = reinterpret_cast<uint32_t *>(tiles + g * 2 * kTileBytes), *odd_tile = even_tile + 256;
            for (int i = 0; i < x.n; ++i) {
                alignas(64) uint32_t even[16], odd[16];
                __m512i e, o;
                load_words(x, i, g * kGroup, weight.cols, e, o);
                _mm512_store_si512(even, e);
                _mm512_store_si512(odd, o);
                for (int p = 0; p < 16; ++p) {
                    const int at = 16 * p + column[p / 4] + i;
                    even_tile[at] = even[p];
                    odd_tile[at] = odd[p];
                }
            }
        }
    }
}

Arranged arrange(const Prepared &weight, const Activations &given, void *where) {
    const int passes = passes_of(weight, given.n);
    const Activations x = rounded(given, weight.cols, static_cast<char *>(where) + passes * pass_bytes(weight));
    Arranged out{};
    out.n = out.padded = x.n;
    out.groups = groups_of(weight);
    out.x = where;
    for (int pass = 0, done = 0; pass < passes; ++pass) {
        Activations part = x;
        part.n = x.n - done < most_inputs(weight) ? x.n - done : most_inputs(weight);
        part.data = static_cast<const uint16_t *>(x.data) + done * x.stride;
        arrange_pass(weight, part, pass_at(weight, where, pass));
        done += part.n;
    }
    return out;
}

// The scales (or offsets) of a chunk, each in the columns of its block.
inline __m512 chunk_values(const Prepared &weight, const BlockValues &which, int64_t row, int64_t first,
                           const Columns &columns) {
    const int64_t left = weight.blocks - first, count = left < columns.blocks ? left : columns.blocks;
    const __mmask16 keep = static_cast<__mmask16>(low_bits(count));
    __m512 values;
    if (weight.flat_block) {
        alignas(64) float some[16] = {};
        read_blocks(weight, which, row, first, count, some);
        values = _mm512_load_ps(some);
    } else {
        values = load_blocks(which, weight.scale_type, row * weight.scales_a_row + first, keep);
    }
    if (columns.inputs == 1) return values;
    const __m512i lanes = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    return _mm512_permutexvar_ps(_mm512_srli_epi32(lanes, static_cast<unsigned>(columns.shift)), values);
}

// Some groups of a chunk, unpacked together: tiles t * kPanels + p of panel p, t counting groups, then even before
// odd values, then their parts.
struct Step {
    Chunk chunk;
    int64_t begin;
    int groups;
    bool last;  // of its chunk
};

// Walks over the steps of a row, chunk by chunk.
class Steps {
  public:
    Steps(const Prepared &weight, const Columns &columns)
        : weight_(weight), columns_(columns), groups_(groups_of(weight)), chunk_{0, 0, 0} {}
    bool next(Step &step) {
        if (at_ == chunk_.end) {
            if (at_ == groups_) return false;
            chunk_ = chunk_from(weight_, columns_, at_, groups_);
        }
        const int64_t left = chunk_.end - at_;
        step = {chunk_, at_, static_cast<int>(left < kStepGroups ? left : kStepGroups), left <= kStepGroups};
        at_ += step.groups;
        return true;
    }

  private:
    const Prepared &weight_;
    const Columns &columns_;
    const int64_t groups_;
    Chunk chunk_;
    int64_t at_ = 0;
};

// Up to two panels of rows. While a step is unpacked, the tiles of the one before are multiplied: neither waits
// for the other, and what was stored has reached the cache when a tile is loaded from it.
template <class Words>
class Panels {
    static constexpr int K = Words::kBits, kParts = Words::kParts, kGroupTiles = 2 * kParts;
    static constexpr int64_t kPanelBytes = kStepGroups * kGroupTiles * kTileBytes;

  public:
    Panels(const Prepared &weight, const Words &words, const Pass &x, int n, int64_t first, int count)
        : weight_(weight), words_(words), x_(x), columns_(n), first_(first), count_(count),
          chunk_sums_(x.sums) {}

    void multiply() {
        for (int r = 0; r < count_; ++r) _mm512_store_ps(total_[r], _mm512_setzero_ps());
        _tile_zero(0);
        _tile_zero(1);
        Steps steps(weight_, columns_);
        Step now, before{};
        int buffer = 0;
        for (; steps.next(now); before = now, buffer ^= 1) {
            unpack(now, values_[buffer], before, values_[buffer ^ 1]);
            if (before.last) finish(before.chunk);
        }
        for (int t = 0; t < before.groups * kGroupTiles; ++t) multiply_tile(before, values_[buffer ^ 1], t);
        finish(before.chunk);
    }

    void write(int n, float *y, int64_t y_stride) const {
        for (int r = 0; r < count_; ++r) {
            for (int i = 0; i < n; ++i) {
                float sum = 0;
                if (columns_.inputs == 1) sum = _mm512_reduce_add_ps(_mm512_load_ps(total_[r]));
                else for (int c = i; c < 16; c += columns_.inputs) sum += total_[r][c];
                y[i * y_stride + first_ + r] = sum;
            }
        }
    }

  private:
    void unpack(const Step &now, char *values, const Step &before, const char *waiting) {
        const int64_t until = now.begin + now.groups;
        const bool safe = until <= safe_groups<K>(weight_, until);
        if (safe && now.groups == kStepGroups) unpack_rows<kStepGroups>(now, values, before, waiting);
        else unpack_rows<0>(now, values, before, waiting);
    }

    // `Groups` in each row, or where it is 0 as many as the step has, nothing read past the row.
    template <int Groups>
    void unpack_rows(const Step &now, char *values, const Step &before, const char *waiting) {
        const Words words = words_;  // in registers
        const int64_t row_stride = weight_.row_stride, row_bytes = weight_.row_bytes;
        const int count = count_, groups = Groups ? Groups : now.groups;
        const int tiles = before.groups * kGroupTiles;
        const uint8_t *row = weight_.codes + first_ * row_stride;
        for (int r = 0, tile = 0; r < count; ++r, row += row_stride) {
            const uint8_t *from = row + now.begin * 8 * K;
            char *to = values + r / kTileRows * kPanelBytes + r % kTileRows * 64;
            for (int s = 0; s < groups; ++s, from += 8 * K, to += kGroupTiles * kTileBytes) {
                const auto group = words.values(Groups ? load_whole<K>(from) : load_group<K>(from, row + row_bytes));
                for (int p = 0; p < kParts; ++p) {
                    _mm512_store_si512(to + p * kTileBytes, group.even[p]);
                    _mm512_store_si512(to + (kParts + p) * kTileBytes, group.odd[p]);
                }
            }
            for (; tile * count < (r + 1) * tiles; ++tile) multiply_tile(before, waiting, tile);
        }
    }

    void multiply_tile(const Step &step, const char *values, int t) const {
        const char *from = values + t * kTileBytes;
        if (t % kParts == 0) load_tile<4>(x_.tiles + (step.begin * 2 + t / kParts) * kTileBytes);
        load_tile<2>(from);
        _tile_dpbf16ps(0, 2, 4);
        if (count_ > kTileRows) {
            load_tile<3>(from + kPanelBytes);
            _tile_dpbf16ps(1, 3, 4);
        }
    }

    // Scales the sums of a chunk and begins new ones.
    void finish(const Chunk &chunk) {
        alignas(64) float sums[kPanelRows][16];
        store_tile<0>(sums);
        if (count_ > kTileRows) store_tile<1>(sums + kTileRows);
        _tile_zero(0);
        _tile_zero(1);
        const __m512 of_x = _mm512_loadu_ps(chunk_sums_), shift = _mm512_mul_ps(_mm512_set1_ps(words_.zero), of_x);
        const __m512 step = _mm512_set1_ps(words_.step);
        for (int r = 0; r < count_; ++r) {
            const __m512 scale = chunk_values(weight_, weight_.scales, first_ + r, chunk.first_block, columns_);
            __m512 add = _mm512_mul_ps(_mm512_add_ps(_mm512_load_ps(sums[r]), shift), _mm512_mul_ps(scale, step));
            if (weight_.offsets.data) {
                const __m512 offset = chunk_values(weight_, weight_.offsets, first_ + r, chunk.first_block, columns_);
                add = _mm512_fmadd_ps(offset, of_x, add);
            }
            _mm512_store_ps(total_[r], _mm512_add_ps(_mm512_load_ps(total_[r]), add));
        }
        chunk_sums_ += 16;
    }

    alignas(64) char values_[2][kPanels * kPanelBytes];
    alignas(64) float total_[kPanelRows][16];
    const Prepared &weight_;
    const Words words_;
    const Pass x_;
    const Columns columns_;
    const int64_t first_;
    const int count_;
    const float *chunk_sums_;
};

template <class Words>
void rows_of_words(const Prepared &weight, const Arranged &x, int64_t first, int64_t last, float *y, int64_t y_stride) {
    const Words words(weight);
    const Tiles tiles;
    const int most = most_inputs(weight);
    for (int pass = 0, done = 0; done < x.n; ++pass, done += most) {
        const Pass part = pass_at(weight, x.x, pass);
        const int n = x.n - done < most ? x.n - done : most;
        for (int64_t row = first; row < last; row += kPanelRows) {
            const int count = static_cast<int>(last - row < kPanelRows ? last - row : kPanelRows);
            Panels<Words> panels(weight, words, part, n, row, count);
            panels.multiply();
            panels.write(n, y + done * y_stride, y_stride);
        }
    }
}

void rows(const Prepared &weight, const Arranged &x, int64_t first, int64_t last, float *y, int64_t y_stride) {
#define KBIT_WIDTH(K)                                                                              \
    case K:                                                                                        \
        if (weight.affine) rows_of_words<BfloatWords<K, true>>(weight, x, first, last, y, y_stride);     \
        else rows_of_words<BfloatWords<K, false>>(weight, x, first, last, y, y_stride);                  \
        break;
    switch (weight.bits) {
        KBIT_WIDTH(1)
        KBIT_WIDTH(2)
        KBIT_WIDTH(3)
        KBIT_WIDTH(4)
        KBIT_WIDTH(5)
        KBIT_WIDTH(6)
        KBIT_WIDTH(7)
        KBIT_WIDTH(8)
    }
#undef KBIT_WIDTH
}

const RowKernel kKernel = {"amx-bf16", Numerics::bf16, kPanelRows, 2, takes_blocks, room, arrange, rows};

}  // namespace

const RowKernel *amx_bf16_kernel() { return &kKernel; }

}  // namespace kbit

#else

namespace kbit {
const RowKernel *amx_bf16_kernel() { return nullptr; }
}  // namespace kbit

#endif

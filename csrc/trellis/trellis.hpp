// Trellis-coded weights: a weight's value follows from its own code and those of the rows above it.
//
// Column by column the codes are a path through a trellis whose states are the last `window` bits of codes; the
// value at a state is the table's. `search` finds the path of least weighted squared error (Viterbi 1967).
#pragma once

#include <cstdint>

#include "rows.hpp"

namespace kbit::trellis {

// What a search is about: `count` columns of `rows` values each, one after another.
struct Search {
    const float *values;   // [count, rows]
    const float *weights;  // [count, rows], what a squared error of each value costs
    int64_t count, rows;
    int bits, window;
    const float *table;  // [2^window]
    uint8_t *codes;      // [count, rows]
};

// Searches columns first to last - 1. Codes of the last rows are history to the first ones: the path is a ring.
using SearchColumns = void (*)(const Search &what, int64_t first, int64_t last);

SearchColumns search_portable();
SearchColumns search_avx2();    // null where the compiler could not
SearchColumns search_avx512();  // the same

void search(const Search &what, int threads);

// Table values of rows: out[i, c] is the value of row `first + i`, or of row numbers[i].
struct Values {
    ByteRows codes;  // packed
    int64_t rows, cols;
    int bits, window;
    const float *table;
    int64_t first, count;
    const int64_t *numbers;  // null for rows in a run
    float *out;              // [count, cols]
};

void values(const Values &what, int threads);

}  // namespace kbit::trellis

// Rows cut into pieces for a pool of threads.
#pragma once

#include <algorithm>
#include <cstdint>

#include "pool.hpp"

namespace kbit {

constexpr int64_t kPiece = 16384;   // codes of a row handled at once; a multiple of 64
constexpr int64_t kTask = 1 << 16;  // codes worth waking a thread for

// body(row, start, n) for pieces of rows, several to a task where rows are short.
template <class Body>
void over_pieces(int64_t rows, int64_t cols, int threads, const Body &body) {
    if (rows <= 0 || cols <= 0) return;
    const int64_t pieces = (cols + kPiece - 1) / kPiece;
    const int64_t rows_a_task = std::max<int64_t>(1, kTask / cols);
    const int64_t row_tasks = (rows + rows_a_task - 1) / rows_a_task;
    parallel_for(static_cast<size_t>(row_tasks * pieces), threads, [&](size_t task) {
        const int64_t piece = static_cast<int64_t>(task) % pieces, at = static_cast<int64_t>(task) / pieces;
        const int64_t start = piece * kPiece, n = std::min(kPiece, cols - start);
        const int64_t end = std::min(rows, (at + 1) * rows_a_task);
        for (int64_t row = at * rows_a_task; row < end; ++row) body(row, start, n);
    });
}

}  // namespace kbit

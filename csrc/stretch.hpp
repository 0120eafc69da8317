// Stretches of packed rows back to weights, for products with many rows of activations.
#pragma once

#include <cstddef>
#include <cstdint>

#include "ops.hpp"
#include "prepared.hpp"
#include "row_decoder.hpp"

namespace kbit {

// A packed weight and how its rows are decoded here. The weight must outlive it.
class RowSource {
  public:
    // `wide` may be null; it is used where the weight's blocks, table and scales allow.
    RowSource(const Ops &ops, const RowDecoder *wide, const Prepared &weight);
    // A dense weight in bfloat16, for what reads either.
    RowSource(const Ops &ops, const uint16_t *dense, int64_t rows, int64_t cols);
    // Weights [start, start + n) of a row. `start` is a multiple of 64. Nothing is written beyond n.
    void decode(int64_t row, int64_t start, int64_t n, float *out) const { in_steps(row, start, n, out); }
    void decode(int64_t row, int64_t start, int64_t n, uint16_t *bfloat16) const {
        in_steps(row, start, n, bfloat16);
    }
    int64_t rows() const { return rows_; }
    int64_t cols() const { return cols_; }

  private:
    template <class Out>
    void in_steps(int64_t row, int64_t start, int64_t n, Out *out) const;
    template <class Out>
    bool wide(int64_t row, int64_t start, int64_t n, Out *out) const;
    const float *scales(const BlockValues &which, int64_t row, int64_t first, int64_t count, float *room) const;
    void general(int64_t row, int64_t start, int64_t n, float *out) const;

    const Ops &ops_;
    const Prepared *weight_;  // null of a dense one
    const uint16_t *dense_ = nullptr;
    int64_t rows_, cols_;
    const RowDecoder *wide_;  // null where the general decoder is needed
    int64_t block_;           // weights in a block, at least a row where one block is the row
    BytePlanes planes_;
};

// Rows [first, first + count) to bfloat16 or float32 [count, cols], by up to `threads` threads.
void decode_rows_to(const RowSource &source, int64_t first, int64_t count, float *out, int threads);
void decode_rows_to(const RowSource &source, int64_t first, int64_t count, uint16_t *bfloat16, int threads);

}  // namespace kbit

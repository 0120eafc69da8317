// Weights of a step, and products of some of them with the same few rows of activations.
#pragma once

#include <cstdint>
#include <vector>

#include "../product.hpp"
#include "math.hpp"
#include "team.hpp"

namespace kbit {

// A weight [rows, cols] as it is stored; exactly one of the three is set. Memory is the caller's.
struct Linear {
    const Prepared *packed = nullptr;
    const uint16_t *bf16 = nullptr;
    const float *f32 = nullptr;
    int64_t rows = 0, cols = 0;
    const float *bias = nullptr;  // [rows] or null
    const RowKernel *kernels[kMostInputs + 1] = {};  // by rows of activations, of a packed weight; found at first use

    // Finds the kernel for n rows, and gives the bytes that their arrangement needs.
    size_t prepare(int n, Numerics numerics, const std::string &path);
};

// Up to three weights that multiply the same activations.
struct Product {
    const Linear *weights[3];
    float *out[3];  // [n, rows]
    int count;
    bool together;  // a thread that takes rows of one takes the same rows of all
};

// By all threads of a team: each arranges the activations x [n, cols] for itself in `room` (the sum of what
// `prepare` said), once for weights that take them alike, and takes rows until none are left. done(weight number,
// first, last) is called when rows are there, by the thread that made them; of weights together, for the last.
template <class Done>
void multiply(Team &team, const Math &math, const Product &product, const float *x, int n, int threads, char *room,
              const Done &done);

}  // namespace kbit

#include "linear.inc"

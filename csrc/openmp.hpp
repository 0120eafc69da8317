// Loops on the threads of the OpenMP runtime that PyTorch has loaded.
#pragma once

#include <cstddef>
#include <functional>

namespace kbit {

// Like parallel_for, but on PyTorch's own threads where its OpenMP runtime is found in the process, so that
// a loop between two of PyTorch's operators does not compete with threads that still wait, spinning, for the
// next one. Elsewhere, and in a child of a fork, it is parallel_for.
void openmp_for(size_t count, int threads, const std::function<void(size_t)> &body);

// Calls body(index, count) on `count` of those threads at once, count at most `threads`: they may wait for each
// other. False, and nothing done, where there is no such runtime or it is a child of a fork.
bool openmp_together(int threads, const std::function<void(int, int)> &body);

// The file of that runtime, or "" where there is none.
const char *openmp_runtime();

}  // namespace kbit

// A pool of threads for loops over independent pieces.
#pragma once

#include <cstddef>
#include <functional>

namespace kbit {

// Calls body(i) once for each i below count, on up to `threads` threads, this one among them.
// Returns when all are done. body must not throw. After a fork the child starts threads of its own.
// When another Python thread holds the pool, or inside a body, the loop runs on the calling thread alone.
void parallel_for(size_t count, int threads, const std::function<void(size_t)> &body);

}  // namespace kbit

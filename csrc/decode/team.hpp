// Threads that walk through a step together: the same code on each, with barriers between its phases, in place
// of a fork and a join for every product.
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>

namespace kbit {

class Team {
  public:
    // A runtime may give fewer threads than were asked for: the count is told by the first that begins.
    void begin(int count) { count_.store(count, std::memory_order_relaxed); }
    // The next piece of the present phase that nobody has taken, counting from 0.
    size_t take() { return next_.fetch_add(1, std::memory_order_relaxed); }
    // Waits until all threads are here; then a new phase begins, with no piece taken.
    void barrier();

  private:
    alignas(64) std::atomic<size_t> next_{0};
    alignas(64) std::atomic<int> arrived_{0};
    alignas(64) std::atomic<unsigned> phase_{0};
    alignas(64) std::atomic<int> count_{1};
};

// Calls body(team, index) on up to `threads` threads at once: PyTorch's own where its OpenMP runtime is found, so
// that none of a second pool competes with them. Returns when all have ended. The body must not throw.
void run_team(int threads, const std::function<void(Team &, int)> &body);

}  // namespace kbit

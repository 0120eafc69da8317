#include "team.hpp"

#include <thread>
#include <vector>

#include "../openmp.hpp"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace kbit {
namespace {

// Phases end within microseconds of each other. A thread that waits longer gives its processor away, or two
// threads on one busy core would each wait for the other's whole time slice.
constexpr int kSpins = 2000;

void pause() {
#if defined(__x86_64__)
    _mm_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

}  // namespace

void Team::barrier() {
    const int count = count_.load(std::memory_order_relaxed);
    if (count == 1) {
        next_.store(0, std::memory_order_relaxed);
        return;
    }
    const unsigned phase = phase_.load(std::memory_order_relaxed);
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == count) {
        arrived_.store(0, std::memory_order_relaxed);
        next_.store(0, std::memory_order_relaxed);
        phase_.store(phase + 1, std::memory_order_release);
        return;
    }
    for (int spins = 0; phase_.load(std::memory_order_acquire) == phase;) {
        if (spins < kSpins) {
            ++spins;
            pause();
        } else {
            std::this_thread::yield();
        }
    }
}

void run_team(int threads, const std::function<void(Team &, int)> &body) {
    Team team;
    if (threads <= 1) {
        body(team, 0);
        return;
    }
    const bool done = openmp_together(threads, [&](int index, int count) {
        team.begin(count);  // all write the same
        body(team, index);
    });
    if (done) return;
    team.begin(threads);
    std::vector<std::thread> others;
    for (int index = 1; index < threads; ++index) others.emplace_back([&, index] { body(team, index); });
    body(team, 0);
    for (std::thread &other : others) other.join();
}

}  // namespace kbit

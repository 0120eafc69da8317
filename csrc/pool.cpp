#include "pool.hpp"

#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

namespace kbit {
namespace {

thread_local bool in_body = false;

class Pool {
  public:
    Pool() : owner_(getpid()) {}

    bool mine() const { return owner_ == getpid(); }

    void run(size_t count, int threads, const std::function<void(size_t)> &body) {
        std::unique_lock<std::mutex> turn(turn_, std::try_to_lock);
        if (!turn.owns_lock()) {
            for (size_t i = 0; i < count; ++i) body(i);
            return;
        }
        {
            std::lock_guard<std::mutex> lock(mutex_);
            while (workers_ < threads - 1) {
                const int number = workers_;
                std::thread([this, number, since = round_] { work(number, since); }).detach();
                ++workers_;
            }
            body_ = &body;
            count_ = count;
            next_.store(0, std::memory_order_relaxed);
            helpers_ = threads - 1;
            ++round_;
        }
        wake_.notify_all();
        drain(body, count);
        std::unique_lock<std::mutex> lock(mutex_);
        // Only helpers that have begun are waited for: on a busy machine one may not wake for a long time,
        // and what it would have done is done.
        done_.wait(lock, [this] { return active_ == 0; });
        body_ = nullptr;
    }

  private:
    void drain(const std::function<void(size_t)> &body, size_t count) {
        in_body = true;
        for (size_t i; (i = next_.fetch_add(1, std::memory_order_relaxed)) < count;) body(i);
        in_body = false;
    }

    void work(int number, uint64_t since) {
        std::unique_lock<std::mutex> lock(mutex_);
        for (uint64_t seen = since;;) {
            wake_.wait(lock, [&] { return round_ != seen; });
            seen = round_;
            if (number >= helpers_ || body_ == nullptr) continue;
            ++active_;
            const std::function<void(size_t)> *body = body_;
            const size_t count = count_;
            lock.unlock();
            drain(*body, count);
            lock.lock();
            if (--active_ == 0) done_.notify_all();
        }
    }

    const pid_t owner_;
    std::mutex turn_, mutex_;
    std::condition_variable wake_, done_;
    const std::function<void(size_t)> *body_ = nullptr;
    std::atomic<size_t> next_{0};
    size_t count_ = 0;
    int workers_ = 0, helpers_ = 0, active_ = 0;
    uint64_t round_ = 0;
};

// Never freed: a worker may still wait in it when the process ends, and after a fork the parent's pool
// (its locks in any state, its threads gone) must not be touched.
Pool &pool() {
    static std::atomic<Pool *> current{nullptr};
    Pool *seen = current.load();
    while (seen == nullptr || !seen->mine()) {
        Pool *fresh = new Pool;
        if (current.compare_exchange_strong(seen, fresh)) return *fresh;
        delete fresh;
    }
    return *seen;
}

}  // namespace

void parallel_for(size_t count, int threads, const std::function<void(size_t)> &body) {
    if (threads > static_cast<int>(count)) threads = static_cast<int>(count);
    if (threads <= 1 || in_body) {
        for (size_t i = 0; i < count; ++i) body(i);
        return;
    }
    pool().run(count, threads, body);
}

}  // namespace kbit

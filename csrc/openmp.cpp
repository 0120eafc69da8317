#include "openmp.hpp"

#include <atomic>
#include <string>

#include "pool.hpp"

#if defined(__linux__)
#include <dlfcn.h>
#include <link.h>
#include <pthread.h>

#include <cstring>
#endif

namespace kbit {
namespace {

// Fork-join as compilers call it; every OpenMP runtime (GNU's, LLVM's, Intel's) exports it.
using Parallel = void (*)(void (*)(void *), void *, unsigned threads, unsigned flags);

struct Runtime {
    std::string file;
    Parallel parallel = nullptr;
    int (*index)() = nullptr, (*count)() = nullptr;
};

#if defined(__linux__)
std::atomic<bool> forked{false};

int look(dl_phdr_info *info, size_t, void *into) {
    const char *path = info->dlpi_name;
    const char *slash = std::strrchr(path, '/');
    const std::string name = slash ? slash + 1 : path;
    if (name.rfind("libgomp", 0) != 0 && name.rfind("libiomp5", 0) != 0 && name.rfind("libomp", 0) != 0) {
        return 0;
    }
    auto &found = *static_cast<Runtime *>(into);
    found.file = path;
    // More than one may be loaded: PyTorch's own lies in its folder.
    return std::strstr(path, "torch") != nullptr;
}

Runtime find() {
    Runtime found;
    dl_iterate_phdr(look, &found);
    if (found.file.empty()) return found;
    // RTLD_NOLOAD: a handle of what is there; never a second runtime.
    if (void *handle = dlopen(found.file.c_str(), RTLD_LAZY | RTLD_NOLOAD)) {
        found.parallel = reinterpret_cast<Parallel>(dlsym(handle, "GOMP_parallel"));
        found.index = reinterpret_cast<int (*)()>(dlsym(handle, "omp_get_thread_num"));
        found.count = reinterpret_cast<int (*)()>(dlsym(handle, "omp_get_num_threads"));
    }
    // An OpenMP runtime's threads do not live on in a forked child, and it does not notice.
    pthread_atfork(nullptr, nullptr, [] { forked.store(true); });
    return found;
}
#else
constexpr bool forked = false;
Runtime find() { return {}; }
#endif

const Runtime &runtime() {
    static const Runtime found = find();
    return found;
}

struct Loop {
    const std::function<void(size_t)> &body;
    const size_t count;
    std::atomic<size_t> next{0};
};

void drain(void *data) {
    auto &loop = *static_cast<Loop *>(data);
    for (size_t i; (i = loop.next.fetch_add(1, std::memory_order_relaxed)) < loop.count;) loop.body(i);
}

}  // namespace

void openmp_for(size_t count, int threads, const std::function<void(size_t)> &body) {
    if (static_cast<size_t>(threads) > count) threads = static_cast<int>(count);
    if (threads > 1 && runtime().parallel != nullptr && !forked) {
        Loop loop{body, count};
        runtime().parallel(drain, &loop, static_cast<unsigned>(threads), 0);
        return;
    }
    parallel_for(count, threads, body);
}

bool openmp_together(int threads, const std::function<void(int, int)> &body) {
    const Runtime &found = runtime();
    if (found.parallel == nullptr || found.index == nullptr || found.count == nullptr || forked) return false;
    found.parallel(
        [](void *data) {
            (*static_cast<const std::function<void(int, int)> *>(data))(runtime().index(), runtime().count());
        },
        const_cast<std::function<void(int, int)> *>(&body), static_cast<unsigned>(threads), 0);
    return true;
}

const char *openmp_runtime() { return runtime().parallel != nullptr ? runtime().file.c_str() : ""; }

}  // namespace kbit

#include "cpu.hpp"

#include <cstdlib>
#include <stdexcept>

namespace kbit {
namespace {

bool cpu_has_avx2() {
#if defined(__x86_64__) && defined(__GNUC__)
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("fma");
#else
    return false;
#endif
}

bool cpu_has_avx512() {
#if defined(__x86_64__) && defined(__GNUC__)
    return cpu_has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512vbmi");
#else
    return false;
#endif
}

}  // namespace

std::vector<const Ops *> available_ops() {
    std::vector<const Ops *> found;
    if (avx512_ops() && cpu_has_avx512()) found.push_back(avx512_ops());
    if (avx2_ops() && cpu_has_avx2()) found.push_back(avx2_ops());
    found.push_back(portable_ops());
    return found;
}

const Ops &choose_ops(const std::string &name) {
    static const std::vector<const Ops *> found = available_ops();
    std::string wanted = name;
    if (wanted.empty()) {
        const char *forced = std::getenv("KBIT_KERNEL");
        if (forced) wanted = forced;
    }
    if (wanted.empty()) return *found.front();
    std::string names;
    for (const Ops *ops : found) {
        if (wanted == ops->name) return *ops;
        names += (names.empty() ? "" : ", ") + std::string(ops->name);
    }
    throw std::invalid_argument("kernel path '" + wanted + "' cannot run here; available: " + names +
                                " (KBIT_KERNEL or path=)");
}

}  // namespace kbit

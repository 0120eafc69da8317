#include "cpu.hpp"

#include "encode/encoder.hpp"

#include <cstdlib>
#include <initializer_list>
#include <stdexcept>

#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace kbit {
namespace {

#if defined(__x86_64__) && defined(__GNUC__)
bool cpu_has_avx2() {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("fma") &&
           __builtin_cpu_supports("f16c");
}

bool cpu_has_avx512() {
    return cpu_has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}

bool cpu_has_vbmi() { return cpu_has_avx512() && __builtin_cpu_supports("avx512vbmi"); }
bool cpu_has_bf16() { return cpu_has_vbmi() && __builtin_cpu_supports("avx512bf16"); }
bool cpu_has_vnni() { return cpu_has_vbmi() && __builtin_cpu_supports("avx512vnni"); }
#else
bool cpu_has_avx2() { return false; }
bool cpu_has_avx512() { return false; }
bool cpu_has_vbmi() { return false; }
bool cpu_has_bf16() { return false; }
bool cpu_has_vnni() { return false; }
#endif

// Tiles must be asked for: the kernel then saves them for every thread of the process.
bool cpu_has_amx() {
#if defined(__x86_64__) && defined(__linux__) && defined(SYS_arch_prctl)
    unsigned a = 0, b = 0, c = 0, d = 0;
    if (!cpu_has_bf16() || !__get_cpuid_count(7, 0, &a, &b, &c, &d)) return false;
    const bool tiles = (d >> 24 & 1) && (d >> 22 & 1);  // AMX-TILE, AMX-BF16
    constexpr int kRequestPermission = 0x1023, kTileData = 18;
    return tiles && syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
    return false;
#endif
}

Path make_path(const char *name, const Ops *ops, const Encoder *encoder,
               std::initializer_list<const RowKernel *> kernels) {
    Path path{name, ops, {}, encoder, nullptr, nullptr, nullptr};
    for (const RowKernel *kernel : kernels)
        if (kernel) path.kernels.push_back(kernel);
    for (const Numerics numerics : {Numerics::f32, Numerics::bf16, Numerics::a8})
        path.kernels.push_back(general_kernel(*ops, numerics));
    return path;
}

std::vector<Path> find_paths() {
    std::vector<Path> found;
    if (avx512_ops() && cpu_has_vbmi()) {
        const RowKernel *f32 = vbmi_f32_kernel(), *bf16 = cpu_has_bf16() ? vbmi_bf16_kernel() : nullptr;
        const RowKernel *wide = cpu_has_bf16() ? vbmi_wide_kernel() : nullptr;
        const RowKernel *a8 = cpu_has_vnni() ? vbmi_a8_kernel() : nullptr;
        const RowKernel *wide_a8 = cpu_has_vnni() ? vbmi_wide_a8_kernel() : nullptr;
        if ((amx_bf16_kernel() || amx_panel_kernel()) && cpu_has_amx()) {
            found.push_back(make_path("amx", avx512_ops(), avx512_encoder(), {amx_bf16_kernel(), wide, bf16, wide_a8, a8, f32}));
            found.back().panels = amx_panel_kernel();
        }
        found.push_back(make_path("avx512", avx512_ops(), avx512_encoder(), {wide, bf16, wide_a8, a8, f32}));
        if (cpu_has_bf16()) found.back().panels = bf16_panel_kernel();
        for (Path &path : found) {
            if (cpu_has_bf16()) path.decoder = wide_row_decoder();
            if (cpu_has_vnni()) path.a8_panels = vnni_panel_kernel();
        }
    }
    if (avx2_ops() && cpu_has_avx512())
        found.push_back(make_path("avx512bw", avx2_ops(), avx2_encoder(), {avx512bw_f32_kernel()}));
    if (avx2_ops() && cpu_has_avx2())
        found.push_back(make_path("avx2", avx2_ops(), avx2_encoder(), {avx2_f32_kernel()}));
    found.push_back(make_path("portable", portable_ops(), portable_encoder(), {}));
    return found;
}

}  // namespace

const std::vector<Path> &available_paths() {
    static const std::vector<Path> found = find_paths();
    return found;
}

const Path &choose_path(const std::string &name) {
    const std::vector<Path> &found = available_paths();
    std::string wanted = name;
    if (wanted.empty()) {
        const char *forced = std::getenv("KBIT_KERNEL");
        if (forced) wanted = forced;
    }
    if (wanted.empty()) return found.front();
    std::string names;
    for (const Path &path : found) {
        if (wanted == path.name) return path;
        names += (names.empty() ? "" : ", ") + std::string(path.name);
    }
    throw std::invalid_argument("kernel path '" + wanted + "' cannot run here; available: " + names +
                                " (KBIT_KERNEL or path=)");
}

}  // namespace kbit

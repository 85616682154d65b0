// Run-time choice of the instruction set. A kernel is written once, in NAME_kernel.h, over the vector types
// of vector.h; each_isa.h compiles it once per instruction set and MIAFAST_PICK calls the best one of this
// machine:
//
//     #define MIAFAST_KERNEL "sums_kernel.h"       // defines: inline void sums(const float*, ...) { ... }
//     #include "each_isa.h"
//     void sums(const float* x, ...) { MIAFAST_PICK(sums)(x, ...); }
//
// No compiler flag raises the baseline, so one wheel runs everywhere. GCC on x86-64 builds all four; other
// compilers and processors build those that need no target switch. AVX-512's products of bfloat16 and AMX are
// two more above them: a kernel that has a use for them asks which is in use, all others run as for AVX-512.
#pragma once

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#if defined(__GNUC__) && (defined(__x86_64__) || defined(__aarch64__))
#define MIAFAST_VECTOR128 1
#endif
#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__)
#define MIAFAST_AVX 1
#include <cpuid.h>
#endif
#if defined(__x86_64__) && defined(__GNUC__)
#include "intrinsics.h"
#endif
#if defined(MIAFAST_AVX) && defined(__linux__)
#define MIAFAST_AMX 1
#include <sys/syscall.h>
#include <unistd.h>
#endif

#if defined(__GNUC__)
#define MIAFAST_PREFETCH(address) __builtin_prefetch(address, 0, 2)  // any address will do: it is not read
#define MIAFAST_INLINE inline __attribute__((always_inline))  // a call in a loop would spill its registers
#else
#define MIAFAST_PREFETCH(address) static_cast<void>(address)
#define MIAFAST_INLINE inline
#endif

namespace miafast {

enum class Isa : int { scalar, vector128, avx2, avx512, bfloat16, amx };

inline constexpr const char* isa_names[] = {"scalar", "vector128", "avx2", "avx512", "bfloat16", "amx"};

inline bool isa_available(Isa isa) {
    switch (isa) {
        case Isa::scalar:
            return true;
        case Isa::vector128:
#ifdef MIAFAST_VECTOR128
            return true;
#else
            return false;
#endif
#ifdef MIAFAST_AVX
        case Isa::avx2: {
            unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
            const bool f16c = __get_cpuid(1, &eax, &ebx, &ecx, &edx) && (ecx & (1u << 29));
            return f16c && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
        }
        case Isa::avx512:
            return isa_available(Isa::avx2) && __builtin_cpu_supports("avx512f") &&
                   __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                   __builtin_cpu_supports("avx512vl");
#endif
#ifdef MIAFAST_AMX
        case Isa::bfloat16: {
            unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
            const bool pairs = __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) && (eax >> 5 & 1);
            return pairs && isa_available(Isa::avx512);
        }
        case Isa::amx: {
            unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
            const bool amx = __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) &&
                             (edx >> 22 & 1) &&               // bfloat16
                             (edx >> 24 & 1);                 // tiles
            constexpr long request = 0x1023, tile_data = 18;  // ARCH_REQ_XCOMP_PERM: Linux grants it if asked
            return amx && isa_available(Isa::avx512) && syscall(SYS_arch_prctl, request, tile_data) == 0;
        }
#endif
        default:
            return false;
    }
}

inline Isa best_isa() {
    static const Isa best = [] {
        int isa = static_cast<int>(Isa::amx);
        while (!isa_available(static_cast<Isa>(isa))) --isa;
        return static_cast<Isa>(isa);
    }();
    return best;
}

// For tests: kernels use nothing above this.
inline std::atomic<Isa> isa_limit{Isa::amx};

inline Isa isa_in_use() { return std::min(isa_limit.load(std::memory_order_relaxed), best_isa()); }

inline void limit_isa(const std::string& name) {
    for (int isa = 0; isa <= static_cast<int>(Isa::amx); ++isa) {
        if (name == isa_names[isa] && isa_available(static_cast<Isa>(isa))) {
            isa_limit = static_cast<Isa>(isa);
            return;
        }
    }
    throw std::invalid_argument("isa=" + name +
                                " cannot run on this machine; _native.isas() lists what can.");
}

inline std::vector<std::string> isas() {
    std::vector<std::string> names;
    for (int isa = 0; isa <= static_cast<int>(Isa::amx); ++isa) {
        if (isa_available(static_cast<Isa>(isa))) names.emplace_back(isa_names[isa]);
    }
    return names;
}

template <typename Function>
Function pick(Function scalar, Function vector128, Function avx2, Function avx512) {
    switch (isa_in_use()) {
        case Isa::amx:
        case Isa::bfloat16:
        case Isa::avx512:
            return avx512;
        case Isa::avx2:
            return avx2;
        case Isa::vector128:
            return vector128;
        default:
            return scalar;
    }
}

}  // namespace miafast

#if defined(MIAFAST_AVX)
#define MIAFAST_PICK(function)                                                     \
    ::miafast::pick(&::miafast::scalar::function, &::miafast::vector128::function, \
                    &::miafast::avx2::function, &::miafast::avx512::function)
#elif defined(MIAFAST_VECTOR128)
#define MIAFAST_PICK(function)                                                     \
    ::miafast::pick(&::miafast::scalar::function, &::miafast::vector128::function, \
                    &::miafast::vector128::function, &::miafast::vector128::function)
#else
#define MIAFAST_PICK(function) (&::miafast::scalar::function)
#endif

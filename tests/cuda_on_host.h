// Runs CUDA kernels on a processor, a thread for each of a block's and a barrier where they wait, block after
// block: for tests of what they compute. Read before a source of csrc/cuda.
#pragma once

#include <algorithm>
#include <barrier>
#include <cmath>
#include <memory>
#include <thread>
#include <vector>

#define __global__
#define __shared__
#define __noinline__ [[gnu::noinline]]
#define __launch_bounds__(...)

using std::exp, std::fabs, std::log, std::log1p, std::log2, std::max, std::min, std::sqrt;

struct uint4 {
    unsigned int x, y, z, w;
};

struct Place {
    int x = 0, y = 0;
};
thread_local Place threadIdx, blockIdx;
Place blockDim;
alignas(16) uint4 shared_memory[1 << 16];
std::unique_ptr<std::barrier<>> everybody;

inline int __popc(unsigned int x) { return __builtin_popcount(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline void __syncthreads() { everybody->arrive_and_wait(); }
inline void atomicAdd(int* to, int more) { __atomic_fetch_add(to, more, __ATOMIC_RELAXED); }
// Of all threads of a block at once, not of a warp: they must all ask.
template <typename Real>
Real __shfl_xor_sync(unsigned int, Real value, int offset) {
    static Real values[1024];
    const int place = threadIdx.y * blockDim.x + threadIdx.x;
    values[place] = value;
    __syncthreads();
    const Real found = values[place ^ offset];
    __syncthreads();
    return found;
}
template <typename Key>
void atomicMin(Key* to, Key other) {
    Key now = __atomic_load_n(to, __ATOMIC_RELAXED);
    while (other < now &&
           !__atomic_compare_exchange_n(to, &now, other, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
    }
}

template <typename Kernel>
void launch(int blocks, Place block, const Kernel& kernel) {
    blockDim = block;
    everybody = std::make_unique<std::barrier<>>(block.x * block.y);
    std::vector<std::thread> threads;
    for (int y = 0; y < block.y; ++y) {
        for (int x = 0; x < block.x; ++x) {
            threads.emplace_back([=] {
                threadIdx = {x, y};
                for (int i = 0; i < blocks; ++i) {
                    blockIdx = {i, 0};
                    kernel();
                    __syncthreads();  // the next block uses the same shared memory
                }
            });
        }
    }
    for (auto& each : threads) each.join();
}

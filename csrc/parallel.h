// parallel_for over contiguous chunks with std::thread: no OpenMP, so no second runtime in the process.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#ifdef __linux__
#include <sched.h>
#endif

namespace miafast {

// The processors this process may run on: taskset and container limits count.
inline unsigned thread_count() {
#ifdef __linux__
    cpu_set_t allowed;
    if (sched_getaffinity(0, sizeof(allowed), &allowed) == 0) {
        return std::max(1, CPU_COUNT(&allowed));
    }
#endif
    return std::max(1u, std::thread::hardware_concurrency());
}

// Calls body(begin, end) on disjoint chunks that cover [0, size), each but the last a multiple of `grain`
// long, on all processors. A thread that is done takes the next chunk. The first exception is rethrown here.
template <typename Body>
void parallel_for(std::int64_t size, std::int64_t grain, const Body& body) {
    if (size <= 0) return;
    constexpr std::int64_t chunks_per_thread = 8;
    const std::int64_t grains = (size - 1) / grain + 1;
    const std::int64_t threads = std::min<std::int64_t>(thread_count(), grains);
    if (threads <= 1) {
        body(std::int64_t{0}, size);
        return;
    }
    const std::int64_t chunks = std::min(grains, threads * chunks_per_thread);
    std::atomic<std::int64_t> next{0};
    std::exception_ptr error;
    std::mutex error_lock;
    auto work = [&] {
        for (std::int64_t chunk; (chunk = next.fetch_add(1)) < chunks;) {
            const std::int64_t begin = grains / chunks * chunk + std::min(grains % chunks, chunk);
            const std::int64_t end = begin + grains / chunks + (chunk < grains % chunks);
            try {
                body(begin * grain, std::min(size, end * grain));
            } catch (...) {
                const std::lock_guard<std::mutex> guard(error_lock);
                if (!error) error = std::current_exception();
                next = chunks;
            }
        }
    };
    std::vector<std::thread> workers;
    workers.reserve(threads - 1);
    try {
        while (static_cast<std::int64_t>(workers.size()) < threads - 1) workers.emplace_back(work);
    } catch (...) {
        // No more threads to be had, or no memory for one: those that started, and this one, do it all.
    }
    work();
    for (auto& worker : workers) worker.join();
    if (error) std::rethrow_exception(error);
}

}  // namespace miafast

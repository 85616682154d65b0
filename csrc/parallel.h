// parallel_for over contiguous chunks with std::thread: no OpenMP, so no second runtime in the process.
#pragma once

#include <algorithm>
#include <cstdint>
#include <exception>
#include <thread>
#include <vector>

namespace miafast {

inline unsigned thread_count() { return std::max(1u, std::thread::hardware_concurrency()); }

// Calls body(begin, end) on chunks of [0, size) that are multiples of `grain`, on all cores.
// The first exception is rethrown here.
template <typename Body>
void parallel_for(std::int64_t size, std::int64_t grain, const Body& body) {
    const std::int64_t grains = (size + grain - 1) / grain;
    const std::int64_t threads = std::min<std::int64_t>(thread_count(), grains);
    if (threads <= 1) {
        if (size > 0) body(std::int64_t{0}, size);
        return;
    }
    std::vector<std::exception_ptr> errors(threads);
    std::vector<std::thread> workers;
    workers.reserve(threads);
    for (std::int64_t worker = 0; worker < threads; ++worker) {
        const std::int64_t begin = grains * worker / threads * grain;
        const std::int64_t end = std::min(size, grains * (worker + 1) / threads * grain);
        auto run = [&body, &errors, worker, begin, end] {
            try {
                if (begin < end) body(begin, end);
            } catch (...) {
                errors[worker] = std::current_exception();
            }
        };
        if (worker + 1 < threads) {
            workers.emplace_back(run);
        } else {
            run();
        }
    }
    for (auto& worker : workers) worker.join();
    for (auto& error : errors) {
        if (error) std::rethrow_exception(error);
    }
}

}  // namespace miafast

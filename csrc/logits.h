// Where logits and labels lie in memory: any strides, any leading axes, none copied.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include "parallel.h"

namespace miafast {

struct Float16 {
    std::uint16_t bits;
};
struct Bfloat16 {
    std::uint16_t bits;
};

enum class Storage { float16, bfloat16, float32, float64 };

// [..., records, classes]; strides in bytes.
struct Logits {
    const char* data;
    Storage storage;
    std::vector<std::int64_t> lead_shape, lead_strides;
    std::int64_t records, classes, record_stride, class_stride;

    std::int64_t models() const {
        std::int64_t product = 1;
        for (const std::int64_t size : lead_shape) product *= size;
        return product;
    }

    const char* model_start(std::int64_t model) const {
        const char* start = data;
        for (std::size_t axis = lead_shape.size(); axis-- > 0;) {
            start += model % lead_shape[axis] * lead_strides[axis];
            model /= lead_shape[axis];
        }
        return start;
    }
};

// [records] of any integer type; stride in bytes.
struct Labels {
    const char* data;
    std::int64_t stride;
    int bytes;
    bool is_signed;
};

// Calls kernel(model, begin, end) on ranges of records, on all processors. Every kernel returns the first
// record with a bad label or -1; so does this, over all of them.
template <typename Kernel>
std::int64_t for_each_model(const Logits& logits, const Kernel& kernel) {
    constexpr std::int64_t none = std::numeric_limits<std::int64_t>::max();
    const std::int64_t grain = std::max<std::int64_t>(1, 2048 / logits.classes) * 64;  // some 40 microseconds
    std::atomic<std::int64_t> first_bad{none};
    parallel_for(logits.models() * logits.records, grain, [&](std::int64_t begin, std::int64_t end) {
        while (begin < end) {
            const std::int64_t model = begin / logits.records, start = model * logits.records;
            const std::int64_t stop = std::min(end, start + logits.records);
            const std::int64_t bad = kernel(model, begin - start, stop - start);
            std::int64_t known = first_bad;
            while (bad >= 0 && bad < known && !first_bad.compare_exchange_weak(known, bad)) {
            }
            begin = stop;
        }
    });
    return first_bad == none ? -1 : first_bad.load();
}

}  // namespace miafast

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

    // The labels of `count` records from `record` on. One outside [0, classes) is read as 0, and the index of
    // the first such record returned, or -1.
    template <typename Index>
    std::int64_t read(std::int64_t record, std::int64_t count, std::int64_t classes, Index* to) const {
        switch (is_signed ? -bytes : bytes) {
            case -1:
                return read_as<std::int8_t>(record, count, classes, to);
            case -2:
                return read_as<std::int16_t>(record, count, classes, to);
            case -4:
                return read_as<std::int32_t>(record, count, classes, to);
            case -8:
                return read_as<std::int64_t>(record, count, classes, to);
            case 1:
                return read_as<std::uint8_t>(record, count, classes, to);
            case 2:
                return read_as<std::uint16_t>(record, count, classes, to);
            case 4:
                return read_as<std::uint32_t>(record, count, classes, to);
            default:
                return read_as<std::uint64_t>(record, count, classes, to);
        }
    }

  private:
    template <typename Integer, typename Index>
    std::int64_t read_as(std::int64_t record, std::int64_t count, std::int64_t classes, Index* to) const {
        const char* from = data + record * stride;
        std::int64_t bad = 0;
        for (std::int64_t i = 0; i < count; ++i) {
            Integer label;
            std::memcpy(&label, from + i * stride, sizeof(label));
            const bool inside = static_cast<std::uint64_t>(label) < static_cast<std::uint64_t>(classes);
            to[i] = inside ? static_cast<Index>(label) : Index{0};
            bad += !inside;
        }
        for (std::int64_t i = 0; bad && i < count; ++i) {
            Integer label;
            std::memcpy(&label, from + i * stride, sizeof(label));
            if (static_cast<std::uint64_t>(label) >= static_cast<std::uint64_t>(classes)) return record + i;
        }
        return -1;
    }
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

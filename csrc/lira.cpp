#include "lira.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <limits>
#include <map>
#include <mutex>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include "parallel.h"

#define MIAFAST_KERNEL "lira_kernel.h"
#include "each_isa.h"

namespace miafast {

namespace {

// Calls body(begin, end, moments) on chunks of records on all processors; adds the moments up in the records'
// order, so that a result does not depend on which thread was first.
template <typename Body>
void summed_over(std::int64_t records, std::int64_t size, Moments* total, const Body& body) {
    std::mutex lock;
    std::map<std::int64_t, std::vector<Moments>> chunks;
    parallel_for(records, 512, [&](std::int64_t begin, std::int64_t end) {
        std::vector<Moments> moments(size, Moments{});
        body(begin, end, moments.data());
        const std::lock_guard<std::mutex> guard(lock);
        chunks.emplace(begin, std::move(moments));
    });
    for (const auto& [begin, moments] : chunks) {
        for (std::int64_t i = 0; i < size; ++i) {
            total[i].count += moments[i].count;
            total[i].first += moments[i].first;
            total[i].second += moments[i].second;
            total[i].sampling += moments[i].sampling;
        }
    }
}

// Adds a row of in_mask to `to`.
void add_row(const char* __restrict row, std::int64_t stride, std::int64_t count,
             std::uint8_t* __restrict to) {
    if (stride == 1) {
        for (std::int64_t i = 0; i < count; ++i) to[i] += row[i] != 0;
    } else {
        for (std::int64_t i = 0; i < count; ++i) to[i] += row[i * stride] != 0;
    }
}

// Whether records [first, first + count), at most 1024, are IN `wanted` models each.
bool counts_are(std::int64_t wanted, const Shadow& shadow, std::int64_t first, std::int64_t count) {
    std::array<std::int64_t, 1024> counts{};
    std::array<std::uint8_t, 1024> few{};
    for (std::int64_t model = 0; model < shadow.models; ++model) {
        const char* row =
            shadow.in_mask + model * shadow.mask_model_stride + first * shadow.mask_record_stride;
        const char* next = row + count * shadow.mask_record_stride;
        for (std::int64_t at = 0; at < count; at += 64) MIAFAST_PREFETCH(next + at);
        add_row(row, shadow.mask_record_stride, count, few.data());
        if (model % 255 < 254 && model + 1 < shadow.models) continue;
        for (std::int64_t i = 0; i < count; ++i) counts[i] += few[i];
        few.fill(0);
    }
    return std::all_of(counts.begin(), counts.begin() + count, [&](std::int64_t n) { return n == wanted; });
}

}  // namespace

template <typename T>
void lira_sides(const Shadow& shadow, const Target& target, Center center, Pooling pooling,
                const LogTables& logs, const Sides<T>& sides, Moments* moments) {
    const auto kernel = MIAFAST_PICK(sides_of<T>);
    summed_over(shadow.records, 2 * shadow.queries, moments,
                [&](std::int64_t begin, std::int64_t end, Moments* sums) {
                    kernel(shadow, target, center, pooling, logs, begin, end, sides, sums);
                });
}

template <typename T>
void lira_scores(const Sides<T>& sides, std::int64_t records, std::int64_t queries, const Rules<T>& rules,
                 T* scores) {
    const auto kernel = MIAFAST_PICK(scores_of<T>);
    parallel_for(records, 512, [&](std::int64_t begin, std::int64_t end) {
        kernel(sides, records, queries, rules, begin, end, scores);
    });
}

template <typename T>
void lira_at_once(const Shadow& shadow, const Target& target, Center center, const Rules<T>& rules,
                  T* scores) {
    const auto kernel = MIAFAST_PICK(scores_at_once_of<T>);
    parallel_for(shadow.records, 512, [&](std::int64_t begin, std::int64_t end) {
        kernel(shadow, target, center, rules, begin, end, scores);
    });
}

bool has_fixed_counts(const Shadow& shadow) {
    if (shadow.records == 0) return false;
    std::int64_t wanted = 0;
    for (std::int64_t model = 0; model < shadow.models; ++model) {
        wanted += shadow.in_mask[model * shadow.mask_model_stride] != 0;
    }
    if (wanted == 0 || wanted == shadow.models) return false;
    std::atomic<bool> fixed{true};
    parallel_for(shadow.records, 1024, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t first = begin; fixed && first < end; first += 1024) {
            if (!counts_are(wanted, shadow, first, std::min<std::int64_t>(1024, end - first))) fixed = false;
        }
    });
    return fixed;
}

template <typename T>
void lira_leave_one_out_moments(const Shadow& shadow, bool same_counts, Pooling pooling,
                                const LogTables& logs, Moments* moments) {
    const auto kernel = MIAFAST_PICK(left_out_moments_of<T>);
    summed_over(shadow.records, shadow.models * 2 * shadow.queries, moments,
                [&](std::int64_t begin, std::int64_t end, Moments* sums) {
                    kernel(shadow, same_counts, pooling, logs, begin, end, sums);
                });
}

template <typename T>
void lira_leave_one_out(const Shadow& shadow, Center center, bool same_counts,
                        const std::vector<Rules<T>>& rules, T* scores) {
    const auto kernel = MIAFAST_PICK(left_out_scores_of<T>);
    parallel_for(shadow.records, 512, [&](std::int64_t begin, std::int64_t end) {
        kernel(shadow, center, same_counts, rules.data(), begin, end, scores);
    });
}

#define MIAFAST_LIRA(T)                                                                                    \
    template void lira_sides<T>(const Shadow&, const Target&, Center, Pooling, const LogTables&,           \
                                const Sides<T>&, Moments*);                                                \
    template void lira_scores<T>(const Sides<T>&, std::int64_t, std::int64_t, const Rules<T>&, T*);        \
    template void lira_at_once<T>(const Shadow&, const Target&, Center, const Rules<T>&, T*);              \
    template void lira_leave_one_out_moments<T>(const Shadow&, bool, Pooling, const LogTables&, Moments*); \
    template void lira_leave_one_out<T>(const Shadow&, Center, bool, const std::vector<Rules<T>>&, T*);
MIAFAST_LIRA(float)
MIAFAST_LIRA(double)

}  // namespace miafast

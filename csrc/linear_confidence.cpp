// Which records and models a thread takes at a time.
#include "linear_confidence.h"

#include <algorithm>
#include <atomic>
#include <limits>
#include <optional>
#include <type_traits>

#include "bfloat16_pairs.h"

#define MIAFAST_KERNEL "linear_confidence_kernel.h"
#include "each_isa.h"

namespace miafast {
namespace {

constexpr std::int64_t panels_bytes = std::int64_t{16} << 20;  // of inputs in panels, shared by all threads
constexpr std::int64_t hidden_bytes = std::int64_t{2} << 20;   // of a thread's hidden layer or own panels

std::int64_t rounded(std::int64_t size, std::int64_t multiple) {
    return std::max<std::int64_t>(1, (size + multiple - 1) / multiple) * multiple;
}

// Records per piece of work: few enough for its inner layers to stay in the cache and for every thread to
// have work, but not fewer than pay for reading a model's weights.
std::int64_t piece_size(const ConfidenceJob& job, std::int64_t records, bool shared, bool by_tiles) {
    const std::int64_t worth_the_weights = by_tiles ? 2048 : 1024;
    const std::int64_t bytes = job.is_double() ? 8 : 4, threads = thread_count();
    const bool by_few = MIAFAST_PICK(records_pass_by_few)(job, by_tiles);
    std::int64_t widest = shared ? 5 : job.features.classes;  // at least phi's running numbers
    for (std::size_t i = 0; !by_few && i + 1 < job.layers.size(); ++i)
        widest = std::max(widest, job.layers[i].weight.records);
    const std::int64_t even = records / std::max<std::int64_t>(1, threads / job.models);
    const std::int64_t finer =
        std::max(worth_the_weights, records / std::max<std::int64_t>(1, 4 * threads / job.models));
    return std::min({even, finer, std::max(worth_the_weights / 4, hidden_bytes / (widest * bytes))});
}

// Whether the first layers of all models lose nothing as digits beside records of so many.
bool may_be_digits(const ConfidenceJob& job, int parts, const Columns& columns) {
    const auto units_fit = MIAFAST_PICK(digit_units_fit);
    std::atomic<bool> fits{true};
    parallel_for(job.models * job.layers[0].weight.records, 64, [&](std::int64_t first, std::int64_t last) {
        Workspace own;
        if (fits && !units_fit(job, first, last, parts, columns, own)) fits = false;
    });
    return fits;
}

// What all models read of `count` records from `start` on, a multiple of `panel`.
SharedRecords prepare(const ConfidenceJob& job, std::int64_t start, std::int64_t count, std::int64_t panel,
                      Workspace& memory) {
    const std::int64_t features = job.features.classes;
    const std::int64_t grain = rounded((std::int64_t{1} << 17) / features, panel);  // some 50 microseconds
    SharedRecords found;
    for (const Split into : {Split{1, true}, Split{1, false}, Split{3, true}, Split{3, false}}) {
        const std::int64_t words = MIAFAST_PICK(record_words)(job, into);
        if (!words) continue;
        const auto split = MIAFAST_PICK(split_shared);
        auto* to = memory.take<std::uint32_t>(1, rounded(count, panel) * words);
        float* worth = into.digits ? memory.take<float>(2, rounded(count, panel)) : nullptr;
        std::atomic<bool> fits{true};
        parallel_for(count, grain, [&](std::int64_t begin, std::int64_t end) {
            Workspace own;
            if (fits && !split(job, start + begin, start + end, into, own, to + begin * words,
                               worth ? worth + begin : nullptr))
                fits = false;
        });
        if (!fits) continue;
        found.split = {to, into, worth, {}};
        found.by_tiles = true;
        if (!into.digits) return found;
        float* squares = memory.take<float>(3, rounded(features, 64));
        found.split.columns = MIAFAST_PICK(digit_columns)(job, start, start + count, squares);
        if (may_be_digits(job, into.parts, found.split.columns)) return found;
    }
    found = {};
    found.plan = MIAFAST_PICK(plan_entries)(job, start, start + count, memory);
    if (const std::int64_t subsets = found.plan.few ? 0 : MIAFAST_PICK(record_subsets)(job)) {
        const auto find = MIAFAST_PICK(find_shared);
        auto* to = memory.take<std::uint8_t>(4, rounded(count, panel) * subsets);
        std::atomic<bool> fits{true};
        parallel_for(count, grain, [&](std::int64_t begin, std::int64_t end) {
            Workspace own;
            if (fits && !find(job, start + begin, start + end, own, to + begin * subsets)) fits = false;
        });
        if (fits) {
            found.subsets = to;
            return found;
        }
    }
    if (found.plan.some) {
        const auto find = MIAFAST_PICK(find_entries_of);
        const std::int64_t bytes = found.plan.bytes;
        const double common = found.plan.common;
        char* to = memory.take<char>(5, rounded(count, panel) * bytes);
        std::atomic<bool> fits{true};
        parallel_for(count, grain, [&](std::int64_t begin, std::int64_t end) {
            Workspace own;
            if (fits && !find(job, start + begin, start + end, common, own, to + begin * bytes)) fits = false;
        });
        if (fits) {
            found.entries = to;
            return found;
        }
    }
    const auto pack = MIAFAST_PICK(pack_shared);
    const std::int64_t bytes = features * (job.is_double() ? 8 : 4);
    char* to = memory.take<char>(0, rounded(count, panel) * bytes);
    parallel_for(count, grain, [&](std::int64_t begin, std::int64_t end) {
        pack(job, start + begin, start + end, to + begin * bytes);
    });
    found.panels = to;
    return found;
}

}  // namespace

std::int64_t linear_confidence(const ConfidenceJob& job) {
    constexpr std::int64_t none = std::numeric_limits<std::int64_t>::max();
    if (job.models == 0) return -1;
    const auto kernel = MIAFAST_PICK(confidence);
    const std::int64_t panel = MIAFAST_PICK(panel_records)(job.is_double()), bytes = job.is_double() ? 8 : 4;
    const std::int64_t records = job.features.records;
    const bool is_shared = job.features.lead_shape.empty();
    const std::int64_t round =
        is_shared ? rounded(panels_bytes / (job.features.classes * bytes), panel) : records;
    Workspace memory;
    std::atomic<std::int64_t> first_bad{none};
    for (std::int64_t start = 0; start < records; start += round) {
        const std::int64_t stop = std::min(records, start + round);
        SharedRecords all;
        if (is_shared)
            all = prepare(job, start, stop - start, panel, memory);
        else
            all.by_tiles = MIAFAST_PICK(record_words)(job, {1, false}) > 0;
        const std::int64_t words = MIAFAST_PICK(record_words)(job, all.split.into);
        const std::int64_t most = rounded(piece_size(job, stop - start, is_shared, all.by_tiles), panel);
        const std::int64_t pieces = (stop - start + most - 1) / most;
        const std::int64_t size = rounded((stop - start + pieces - 1) / pieces, panel);
        parallel_for(job.models * pieces, 1, [&](std::int64_t begin, std::int64_t end) {
            Workspace own;
            for (std::int64_t piece = begin; piece < end; ++piece) {
                const std::int64_t offset = piece % pieces * size, from = start + offset;
                SharedRecords some = all;
                if (all.panels)
                    some.panels =
                        static_cast<const char*>(all.panels) + offset * job.features.classes * bytes;
                if (all.entries)
                    some.entries = static_cast<const char*>(all.entries) + offset * all.plan.bytes;
                if (all.subsets) some.subsets += offset * MIAFAST_PICK(record_subsets)(job);
                if (all.split.words) some.split.words += offset * words;
                if (all.split.worth) some.split.worth += offset;
                const std::int64_t bad =
                    kernel(job, piece / pieces, from, std::min(stop, from + size), some, own);
                std::int64_t known = first_bad;
                while (bad >= 0 && bad < known && !first_bad.compare_exchange_weak(known, bad)) {
                }
            }
        });
    }
    return first_bad == none ? -1 : first_bad.load();
}

}  // namespace miafast

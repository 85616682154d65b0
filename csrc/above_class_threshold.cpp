#include "above_class_threshold.h"

#include <cmath>
#include <limits>

#include "parallel.h"

namespace miafast {
namespace {

// One class's threshold. Whole numbers throughout, so that what is equal is equal.
template <typename Kept>
double best_threshold(const FallingSignals& table, std::int64_t begin, std::int64_t end, const Kept& kept) {
    constexpr double none = std::numeric_limits<double>::quiet_NaN();
    std::int64_t members = 0, others = 0, last = -1;
    for (std::int64_t i = begin; i < end; ++i) {
        const bool counts = kept(i);
        members += counts && table.is_in[i];
        others += counts && !table.is_in[i];
        last = counts ? i : last;
    }
    if (members == 0 || others == 0 || std::isnan(table.signals[last])) return none;
    std::int64_t advantage = 0, best = std::numeric_limits<std::int64_t>::min();
    double threshold = none, before = none;
    const auto consider = [&] {
        if (advantage <= best) return;
        best = advantage;
        threshold = before;
    };
    for (std::int64_t i = begin; i <= last; ++i) {
        if (!kept(i)) continue;
        const double signal = table.signals[i];
        if (before > signal) consider();  // the last of equals
        advantage += table.is_in[i] ? others : -members;
        before = signal;
    }
    consider();
    return threshold;
}

}  // namespace

void class_thresholds(const FallingSignals& table, const std::int32_t* beside, bool leave_one_out,
                      std::int64_t targets, double* thresholds) {
    parallel_for(targets * table.classes, 1, [&](std::int64_t first, std::int64_t last) {
        for (std::int64_t each = first; each < last; ++each) {
            const auto target = static_cast<std::int32_t>(each / table.classes);
            const std::int64_t own = each % table.classes, begin = table.ends[own], end = table.ends[own + 1];
            const std::int32_t* also = beside != nullptr ? beside + target * table.size : nullptr;
            if (!leave_one_out)
                thresholds[each] = best_threshold(table, begin, end, [](std::int64_t) { return true; });
            else if (also == nullptr)
                thresholds[each] = best_threshold(table, begin, end,
                                                  [&](std::int64_t i) { return table.models[i] != target; });
            else
                thresholds[each] = best_threshold(table, begin, end, [&](std::int64_t i) {
                    return table.models[i] != target && table.models[i] != also[table.records[i]];
                });
        }
    });
}

}  // namespace miafast

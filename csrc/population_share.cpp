#include "population_share.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "parallel.h"

namespace miafast {
namespace {

constexpr std::int64_t grain = 1024;  // records

// How many of z, ascending, are below x, and half of those that equal it. The number of steps depends on the
// size alone and no step branches, so searches of several records overlap.
template <typename Signal>
double count_below(Signal x, const std::vector<Signal>& z) {
    const Signal* first = z.data();
    for (std::size_t size = z.size(); size > 1;) {
        const std::size_t half = size / 2;
        first += first[half - 1] <= x ? half : 0;
        size -= half;
    }
    const Signal* const above = first + (*first <= x);
    const Signal* equal = above;
    if (equal != z.data() && equal[-1] == x) --equal;
    if (equal != z.data() && equal[-1] == x) equal = std::lower_bound(z.data(), equal, x);
    return static_cast<double>(equal - z.data()) + static_cast<double>(above - equal) / 2;
}

template <typename Signal>
Signal share(const Signal* x, std::int64_t queries, const std::vector<Signal>& sorted, const Signal* itself) {
    const double others =
        static_cast<double>(sorted.size()) - (itself != nullptr);  // negative: not all finite
    double sum = 0.0;
    for (std::int64_t query = 0; query < queries; ++query) {
        if (!std::isfinite(x[query]) || others <= 0.0) return std::numeric_limits<Signal>::quiet_NaN();
        double below = count_below(x[query], sorted);
        if (itself != nullptr) below -= *itself < x[query] ? 1.0 : *itself == x[query] ? 0.5 : 0.0;
        sum += below / others;
    }
    return static_cast<Signal>(sum / static_cast<double>(queries));
}

}  // namespace

template <typename Signal>
void population_share(const Signal* x, const Signal* z, const std::int64_t* where, const RmiaShape& shape,
                      Signal* shares) {
    const auto sorted_of = [&](std::int64_t lead) {
        const Signal* const own = z + lead * shape.population;
        std::vector<Signal> sorted(own, own + shape.population);
        const bool finite =
            std::all_of(own, own + shape.population, [](Signal each) { return std::isfinite(each); });
        if (!finite) sorted.clear();
        std::sort(sorted.begin(), sorted.end());
        return sorted;
    };
    const auto score = [&](std::int64_t lead, const std::vector<Signal>& sorted, std::int64_t begin,
                           std::int64_t end) {
        for (std::int64_t record = begin; record < end; ++record) {
            const std::int64_t at = lead * shape.records + record;
            const bool inside = where != nullptr && where[record] >= 0;
            const Signal* const itself = inside ? z + lead * shape.population + where[record] : nullptr;
            shares[at] = share(x + at * shape.queries, shape.queries, sorted, itself);
        }
    };
    if (shape.leads >= static_cast<std::int64_t>(thread_count())) {
        parallel_for(shape.leads, 1, [&](std::int64_t first, std::int64_t last) {
            for (std::int64_t lead = first; lead < last; ++lead)
                score(lead, sorted_of(lead), 0, shape.records);
        });
        return;
    }
    for (std::int64_t lead = 0; lead < shape.leads; ++lead) {
        const auto sorted = sorted_of(lead);
        parallel_for(shape.records, grain,
                     [&](std::int64_t begin, std::int64_t end) { score(lead, sorted, begin, end); });
    }
}

template void population_share(const float*, const float*, const std::int64_t*, const RmiaShape&, float*);
template void population_share(const double*, const double*, const std::int64_t*, const RmiaShape&, double*);

}  // namespace miafast

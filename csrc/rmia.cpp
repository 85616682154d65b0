// RMIA's pairwise test. Subtraction rounds in order, so `x - z >= least` is true for all of the sorted
// population up to some place and false after it, infinities included: a search with the comparison itself
// finds the matrix's count.
#include "rmia.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "parallel.h"

namespace miafast {
namespace {

constexpr std::int64_t kGrain = 1024;

template <typename Ratio>
inline bool dominates(Ratio x, Ratio z, double least) {
    return static_cast<double>(x) - static_cast<double>(z) >= least;
}

// How many of z, ascending, x dominates. The number of steps depends on the size alone and no step branches,
// so searches of several records overlap.
template <typename Ratio>
inline std::int64_t count_dominated(Ratio x, const Ratio* z, std::int64_t size, double least) {
    const Ratio* first = z;
    while (size > 1) {
        const std::int64_t half = size / 2;
        first += dominates(x, first[half - 1], least) ? half : 0;
        size -= half;
    }
    return first - z + (size == 1 && dominates(x, *first, least));
}

// More than half of the queries dominate z if and only if their lower median does. NaN if any is.
template <typename Ratio>
Ratio lower_median(const Ratio* x, std::int64_t queries, std::vector<Ratio>& room) {
    if (queries == 1) return *x;
    room.assign(x, x + queries);
    for (const Ratio each : room) {
        if (std::isnan(each)) return each;
    }
    const auto middle = room.begin() + (queries - 1) / 2;
    std::nth_element(room.begin(), middle, room.end());
    return *middle;
}

template <typename Ratio>
std::vector<Ratio> sorted_numbers(const Ratio* z, std::int64_t size) {
    std::vector<Ratio> kept;
    kept.reserve(size);
    std::copy_if(z, z + size, std::back_inserter(kept), [](Ratio each) { return !std::isnan(each); });
    std::sort(kept.begin(), kept.end());
    return kept;
}

template <typename Ratio>
void score_records(const Ratio* x, std::int64_t begin, std::int64_t end, std::int64_t queries, const Ratio* z,
                   const std::vector<Ratio>& sorted, const std::int64_t* where, double least, Ratio* shares) {
    std::vector<Ratio> room;
    const auto size = static_cast<std::int64_t>(sorted.size());
    for (std::int64_t record = begin; record < end; ++record) {
        const Ratio middle = lower_median(x + record * queries, queries, room);
        std::int64_t wins = count_dominated(middle, sorted.data(), size, least), against = size;
        if (where != nullptr && where[record] >= 0) {
            const Ratio itself = z[where[record]];
            wins -= dominates(middle, itself, least);
            against -= !std::isnan(itself);
        }
        shares[record] = std::isnan(middle) || against == 0
                             ? std::numeric_limits<Ratio>::quiet_NaN()
                             : static_cast<Ratio>(static_cast<double>(wins) / static_cast<double>(against));
    }
}

}  // namespace

template <typename Ratio>
void rmia(const Ratio* x, const Ratio* z, const std::int64_t* where, double least, const RmiaShape& shape,
          Ratio* shares) {
    const std::int64_t row = shape.records * shape.queries;
    const auto score = [&](std::int64_t lead, const std::vector<Ratio>& sorted, std::int64_t begin,
                           std::int64_t end) {
        score_records(x + lead * row, begin, end, shape.queries, z + lead * shape.population, sorted, where,
                      least, shares + lead * shape.records);
    };
    if (shape.leads >= static_cast<std::int64_t>(thread_count())) {
        parallel_for(shape.leads, 1, [&](std::int64_t first, std::int64_t last) {
            for (std::int64_t lead = first; lead < last; ++lead) {
                const auto sorted = sorted_numbers(z + lead * shape.population, shape.population);
                score(lead, sorted, 0, shape.records);
            }
        });
        return;
    }
    for (std::int64_t lead = 0; lead < shape.leads; ++lead) {
        const auto sorted = sorted_numbers(z + lead * shape.population, shape.population);
        parallel_for(shape.records, kGrain,
                     [&](std::int64_t begin, std::int64_t end) { score(lead, sorted, begin, end); });
    }
}

template void rmia(const float*, const float*, const std::int64_t*, double, const RmiaShape&, float*);
template void rmia(const double*, const double*, const std::int64_t*, double, const RmiaShape&, double*);

}  // namespace miafast

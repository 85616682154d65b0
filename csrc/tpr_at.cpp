// Members found at a few false-alarm budgets without a sort: a sampled pivot keeps the few non-members that matter,
// a selection among them finds the highest score that a threshold must stay above, and a last pass counts members.
#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

#include "parallel.h"

namespace miafast {
namespace {

constexpr std::int64_t kBlock = 2048;  // survivors of a block stay in the first-level cache
constexpr std::int64_t kGrain = 1 << 15;

// A score that about `rank` non-members exceed, on the safe side; minus infinity where a sample cannot tell.
template <typename Score>
Score choose_pivot(const Score* scores, const bool* is_member, std::int64_t size, double share) {
    constexpr Score lowest = -std::numeric_limits<Score>::infinity();
    if (size < (1 << 16)) return lowest;
    std::vector<Score> sample;
    std::uint64_t position = 0;
    for (int draw = 0; draw < (1 << 15); ++draw) {
        position += 0x9E3779B97F4A7C15u;  // golden-ratio steps: evenly spread, in step with no period of the data
        const auto i = static_cast<std::int64_t>((position >> 32) * static_cast<std::uint64_t>(size) >> 32);
        if (!is_member[i] && scores[i] == scores[i]) sample.push_back(scores[i]);
    }
    const double drawn = static_cast<double>(sample.size());
    const double rank = drawn * share + 5 * std::sqrt(drawn * share) + 5;
    if (rank >= drawn) return lowest;
    const auto at = sample.begin() + static_cast<std::int64_t>(rank);
    std::nth_element(sample.begin(), at, sample.end(), std::greater<Score>());
    return *at;
}

template <typename Score>
struct Candidates {
    std::vector<Score> above;  // non-members above the pivot
    std::int64_t at_pivot = 0;
};

template <typename Score>
Candidates<Score> gather(const Score* scores, const bool* is_member, std::int64_t size, Score pivot) {
    Candidates<Score> found;
    std::int64_t nan_count = 0;
    std::mutex lock;
    parallel_for(size, kGrain, [&](std::int64_t begin, std::int64_t end) {
        std::vector<Score> above;
        std::array<Score, kBlock> block;
        std::int64_t at_pivot = 0, nan = 0;
        for (; begin < end; begin += kBlock) {
            std::int64_t kept = 0;
            for (std::int64_t i = begin; i < std::min(begin + kBlock, end); ++i) {
                const Score score = scores[i];
                block[kept] = score;
                kept += !is_member[i] & (score > pivot);
                at_pivot += !is_member[i] & (score == pivot);
                nan += score != score;
            }
            above.insert(above.end(), block.begin(), block.begin() + kept);
        }
        const std::lock_guard<std::mutex> guard(lock);
        found.above.insert(found.above.end(), above.begin(), above.end());
        found.at_pivot += at_pivot;
        nan_count += nan;
    });
    if (nan_count > 0) {
        throw std::invalid_argument("scores holds " + std::to_string(nan_count) +
                                    " NaN; drop these records from scores and from is_member.");
    }
    return found;
}

// How many members score above each limit.
template <typename Score>
std::vector<std::int64_t> count_above(const Score* scores, const bool* is_member, std::int64_t size,
                                      const std::vector<Score>& limits) {
    const Score least = *std::min_element(limits.begin(), limits.end());
    std::vector<std::int64_t> counts(limits.size());
    std::mutex lock;
    parallel_for(size, kGrain, [&](std::int64_t begin, std::int64_t end) {
        std::vector<std::int64_t> mine(limits.size());
        std::array<Score, kBlock> block;
        for (; begin < end; begin += kBlock) {
            std::int64_t kept = 0;
            for (std::int64_t i = begin; i < std::min(begin + kBlock, end); ++i) {
                block[kept] = scores[i];
                kept += is_member[i] & (scores[i] > least);
            }
            for (std::size_t limit = 0; limit < limits.size(); ++limit) {
                std::int32_t above = 0;
                for (std::int64_t i = 0; i < kept; ++i) above += block[i] > limits[limit];
                mine[limit] += above;
            }
        }
        const std::lock_guard<std::mutex> guard(lock);
        for (std::size_t limit = 0; limit < limits.size(); ++limit) counts[limit] += mine[limit];
    });
    return counts;
}

}  // namespace

// For each number of allowed false positives (0 … non_members - 1), how many members a threshold can find.
template <typename Score>
std::vector<std::int64_t> tpr_at(const Score* scores, const bool* is_member, std::int64_t size,
                                 const std::vector<std::int64_t>& allowed) {
    if (allowed.empty()) return {};
    std::vector<std::size_t> order(allowed.size());
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
    std::sort(order.begin(), order.end(), [&](auto one, auto other) { return allowed[one] > allowed[other]; });
    const std::int64_t most = allowed[order.front()];
    const std::int64_t non_members = size - std::count(is_member, is_member + size, true);

    Score pivot = choose_pivot(scores, is_member, size, static_cast<double>(most + 1) / non_members);
    auto found = gather(scores, is_member, size, pivot);
    if (most >= static_cast<std::int64_t>(found.above.size()) + found.at_pivot) {  // an unlucky sample
        pivot = -std::numeric_limits<Score>::infinity();
        found = gather(scores, is_member, size, pivot);
    }
    std::vector<Score> limits(allowed.size(), pivot);
    auto end = found.above.end();
    for (std::size_t which : order) {
        if (allowed[which] >= static_cast<std::int64_t>(found.above.size())) continue;  // the pivot itself
        const auto at = found.above.begin() + allowed[which];
        if (at < end) std::nth_element(found.above.begin(), at, end, std::greater<Score>());
        end = at;
        limits[which] = *at;
    }
    return count_above(scores, is_member, size, limits);
}

template std::vector<std::int64_t> tpr_at(const float*, const bool*, std::int64_t, const std::vector<std::int64_t>&);
template std::vector<std::int64_t> tpr_at(const double*, const bool*, std::int64_t, const std::vector<std::int64_t>&);

}  // namespace miafast

// Members found at a few false-alarm budgets without a sort: a sampled pivot keeps the few non-members that
// matter, a selection among them finds the highest score that a threshold must stay above, and a last pass
// counts members.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "parallel.h"
#include "roc_counts.h"
#include "simd.h"

namespace miafast {
namespace {

constexpr std::int64_t kBlock = 2048;  // survivors of a block stay in the first-level cache
constexpr std::int64_t kGrain = 1 << 15;
constexpr std::int64_t kLanes = 16;

// A score that about `rank` non-members exceed, on the safe side; minus infinity where a sample cannot tell.
template <typename Score>
Score choose_pivot(const Score* scores, const std::uint8_t* is_member, std::int64_t size, double share) {
    constexpr Score lowest = -std::numeric_limits<Score>::infinity();
    if (size < (1 << 16)) return lowest;
    std::vector<Score> sample;
    std::uint64_t position = 0;
    for (int draw = 0; draw < (1 << 15); ++draw) {
        position +=
            0x9E3779B97F4A7C15u;  // golden-ratio steps: evenly spread, in step with no period of the data
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

// Copies to `out` (with room for kLanes more) the scores of the members, or of the non-members, that are not
// below `least`; `strictly` leaves out `least` itself. NaN is not below anything. Returns how many.
template <bool members, bool strictly, typename Score>
std::int64_t filter_portable(const Score* scores, const std::uint8_t* is_member, std::int64_t size,
                             Score least, Score* out) {
    std::int64_t kept = 0;
    for (std::int64_t i = 0; i < size; ++i) {
        const Score score = scores[i];
        out[kept] = score;
        kept += ((is_member[i] != 0) == members) & !(strictly ? score <= least : score < least);
    }
    return kept;
}

#ifdef MIAFAST_AVX
#define MIAFAST_AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,popcnt")))

template <bool members, bool strictly>
MIAFAST_AVX512 std::int64_t filter_avx512(const double* scores, const std::uint8_t* is_member,
                                          std::int64_t size, double least, double* out) {
    constexpr int not_below = strictly ? _CMP_NLE_UQ : _CMP_NLT_UQ;
    const __m512d bound = _mm512_set1_pd(least);
    double* to = out;
    std::int64_t i = 0;
    for (; i + 64 <= size; i += 64) {
        const __m512i mask = _mm512_loadu_si512(is_member + i);
        std::uint64_t side = _mm512_test_epi8_mask(mask, mask);
        if (!members) side = ~side;
        for (int lane = 0; lane < 64; lane += 8) {
            const __m512d score = _mm512_loadu_pd(scores + i + lane);
            const __mmask8 keep =
                _mm512_cmp_pd_mask(score, bound, not_below) & static_cast<__mmask8>(side >> lane);
            _mm512_storeu_pd(to, _mm512_maskz_compress_pd(keep, score));
            to += __builtin_popcount(keep);
        }
    }
    return to - out + filter_portable<members, strictly>(scores + i, is_member + i, size - i, least, to);
}

template <bool members, bool strictly>
MIAFAST_AVX512 std::int64_t filter_avx512(const float* scores, const std::uint8_t* is_member,
                                          std::int64_t size, float least, float* out) {
    constexpr int not_below = strictly ? _CMP_NLE_UQ : _CMP_NLT_UQ;
    const __m512 bound = _mm512_set1_ps(least);
    float* to = out;
    std::int64_t i = 0;
    for (; i + 64 <= size; i += 64) {
        const __m512i mask = _mm512_loadu_si512(is_member + i);
        std::uint64_t side = _mm512_test_epi8_mask(mask, mask);
        if (!members) side = ~side;
        for (int lane = 0; lane < 64; lane += 16) {
            const __m512 score = _mm512_loadu_ps(scores + i + lane);
            const __mmask16 keep =
                _mm512_cmp_ps_mask(score, bound, not_below) & static_cast<__mmask16>(side >> lane);
            _mm512_storeu_ps(to, _mm512_maskz_compress_ps(keep, score));
            to += __builtin_popcount(keep);
        }
    }
    return to - out + filter_portable<members, strictly>(scores + i, is_member + i, size - i, least, to);
}
#endif

// Calls keep(survivors, count) with what `filter_portable` describes, block by block.
template <bool members, bool strictly, typename Score, typename Keep>
void for_each_block(const Score* scores, const std::uint8_t* is_member, std::int64_t begin, std::int64_t end,
                    Score least, const Keep& keep) {
    auto* filter = &filter_portable<members, strictly, Score>;
#ifdef MIAFAST_AVX
    if (isa_in_use() >= Isa::avx512) filter = &filter_avx512<members, strictly>;
#endif
    std::array<Score, kBlock + kLanes> survivors;
    for (; begin < end; begin += kBlock) {
        const std::int64_t size = std::min(kBlock, end - begin);
        keep(survivors.data(), filter(scores + begin, is_member + begin, size, least, survivors.data()));
    }
}

template <typename Score>
bool any_nan(const Score* scores, std::int64_t size) {
    int nan = 0;
    for (std::int64_t i = 0; i < size; ++i) nan |= scores[i] != scores[i];
    return nan != 0;
}

// Non-members that score at least `pivot`.
template <typename Score>
std::vector<Score> gather(const Score* scores, const std::uint8_t* is_member, std::int64_t size,
                          Score pivot) {
    std::vector<Score> found;
    std::mutex lock;
    parallel_for(size, kGrain, [&](std::int64_t begin, std::int64_t end) {
        std::vector<Score> mine;
        for_each_block<false, false>(
            scores, is_member, begin, end, pivot,
            [&](const Score* kept, std::int64_t count) { mine.insert(mine.end(), kept, kept + count); });
        const std::lock_guard<std::mutex> guard(lock);
        found.insert(found.end(), mine.begin(), mine.end());
    });
    return found;
}

// How many members score above each limit, and whether a member's score is NaN.
template <typename Score>
std::pair<std::vector<std::int64_t>, bool> count_above(const Score* scores, const std::uint8_t* is_member,
                                                       std::int64_t size, const std::vector<Score>& limits) {
    const Score least = *std::min_element(limits.begin(), limits.end());
    std::vector<std::int64_t> counts(limits.size());
    bool has_nan = false;
    std::mutex lock;
    parallel_for(size, kGrain, [&](std::int64_t begin, std::int64_t end) {
        std::vector<std::int64_t> mine(limits.size());
        bool nan = false;
        for_each_block<true, true>(scores, is_member, begin, end, least,
                                   [&](const Score* kept, std::int64_t count) {
                                       nan |= any_nan(kept, count);
                                       for (std::size_t limit = 0; limit < limits.size(); ++limit) {
                                           std::int64_t above = 0;
                                           for (std::int64_t i = 0; i < count; ++i)
                                               above += kept[i] > limits[limit];
                                           mine[limit] += above;
                                       }
                                   });
        const std::lock_guard<std::mutex> guard(lock);
        for (std::size_t limit = 0; limit < limits.size(); ++limit) counts[limit] += mine[limit];
        has_nan |= nan;
    });
    return {counts, has_nan};
}

// The score that `rank` others precede in descending order; afterwards `scores` holds those at or above it.
// A sample brackets it first, so that the exact selection sees a few per cent of the scores.
template <typename Score>
Score select(std::vector<Score>& scores, std::int64_t rank) {
    const auto size = static_cast<std::int64_t>(scores.size());
    std::int64_t above = 0, kept = 0;
    std::unique_ptr<Score[]> bracket(new Score[size]);
    constexpr std::int64_t sampled = 2048;
    if (size > 8 * sampled) {
        std::array<Score, sampled> sample;
        for (std::int64_t i = 0; i < sampled; ++i) sample[i] = scores[i * size / sampled];
        std::sort(sample.begin(), sample.end(), std::greater<Score>());
        const double share = static_cast<double>(rank) / size, middle = share * sampled;
        const double margin = 4 * std::sqrt(sampled * share * (1 - share)) + 2;
        const Score high = sample[static_cast<std::int64_t>(std::max(0.0, middle - margin))];
        const Score low = sample[static_cast<std::int64_t>(std::min(sampled - 1.0, middle + margin))];
        for (const Score score : scores) {
            above += score > high;
            bracket[kept] = score;
            kept += (score <= high) & (score >= low);
        }
    }
    if (rank < above || rank >= above + kept) {  // few scores, or an unlucky sample
        std::copy(scores.begin(), scores.end(), bracket.get());
        above = 0;
        kept = size;
    }
    Score* const at = bracket.get() + (rank - above);
    std::nth_element(bracket.get(), at, bracket.get() + kept, std::greater<Score>());
    std::int64_t reached = 0;
    for (std::int64_t i = 0; i < size; ++i) {
        const Score score = scores[i];
        scores[reached] = score;
        reached += score >= *at;
    }
    scores.resize(reached);
    return *at;
}

template <typename Score>
[[noreturn]] void refuse_nan(const Score* scores, std::int64_t size) {
    std::int64_t count = 0;
    for (std::int64_t i = 0; i < size; ++i) count += scores[i] != scores[i];
    throw std::invalid_argument("scores holds " + std::to_string(count) +
                                " NaN; drop these records from scores and from is_member.");
}

}  // namespace

template <typename Score>
std::vector<std::int64_t> tpr_at(const Score* scores, const std::uint8_t* is_member, std::int64_t size,
                                 std::int64_t non_members, const std::vector<std::int64_t>& allowed) {
    std::vector<std::size_t> order(allowed.size());
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
    std::sort(order.begin(), order.end(),
              [&](auto one, auto other) { return allowed[one] > allowed[other]; });
    const std::int64_t most = allowed[order.front()];
    Score pivot = choose_pivot(scores, is_member, size, static_cast<double>(most + 1) / non_members);
    auto found = gather(scores, is_member, size, pivot);
    if (most >= static_cast<std::int64_t>(found.size())) {  // an unlucky sample
        pivot = -std::numeric_limits<Score>::infinity();
        found = gather(scores, is_member, size, pivot);
    }
    if (any_nan(found.data(), found.size())) refuse_nan(scores, size);
    std::vector<Score> limits(allowed.size());
    for (std::size_t which : order) limits[which] = select(found, allowed[which]);
    const auto [counts, has_nan] = count_above(scores, is_member, size, limits);
    if (has_nan) refuse_nan(scores, size);
    return counts;
}

template std::vector<std::int64_t> tpr_at(const float*, const std::uint8_t*, std::int64_t, std::int64_t,
                                          const std::vector<std::int64_t>&);
template std::vector<std::int64_t> tpr_at(const double*, const std::uint8_t*, std::int64_t, std::int64_t,
                                          const std::vector<std::int64_t>&);

}  // namespace miafast

// Exact ROC counts. Scores become integer keys that ascend as scores descend. A sample of them splits all
// keys into ranges small enough for the cache; members and non-members of a range are radix-sorted apart and
// merged in place.
#include "roc_counts.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "parallel.h"

namespace miafast {
namespace {

constexpr int kDigit = 11;
constexpr std::size_t kBuckets = std::size_t{1} << kDigit;
constexpr int kCellBits = 16;
constexpr std::size_t kMostRanges = 128;  // times two classes: an id fits a byte

template <typename Score>
using KeyOf = std::conditional_t<sizeof(Score) == 8, std::uint64_t, std::uint32_t>;

template <typename Score>
inline KeyOf<Score> to_key(Score score) {
    using Key = KeyOf<Score>;
    constexpr Key sign = Key{1} << (8 * sizeof(Key) - 1);
    score += Score{0};  // -0 becomes +0: they tie
    Key bits;
    std::memcpy(&bits, &score, sizeof bits);
    const Key negative =
        -(bits >> (8 * sizeof(Key) - 1));  // all ones or none: a branch here would be a coin flip
    return ~(bits ^ (negative | sign));
}

template <typename Score>
inline Score to_score(KeyOf<Score> key) {
    using Key = KeyOf<Score>;
    constexpr Key sign = Key{1} << (8 * sizeof(Key) - 1);
    const Key bits = (key & sign) ? key : (~key ^ sign);
    Score score;
    std::memcpy(&score, &bits, sizeof score);
    return score;
}

// Where keys are cut into ranges of about equal counts: a table over equal cells of most of a sample's span.
// Equal keys share a cell, so ties share a range.
template <typename Key>
struct Cuts {
    std::vector<std::uint8_t> range;  // [cells]
    Key low = 0, high = 0;
    int shift = 0;
    std::size_t ranges = 1;

    std::size_t cell_of(Key key) const { return (std::clamp(key, low, high) - low) >> shift; }
};

template <typename Score>
Cuts<KeyOf<Score>> choose_cuts(const Score* scores, std::int64_t size) {
    Cuts<KeyOf<Score>> cuts;
    while (cuts.ranges < kMostRanges && cuts.ranges << 16 < static_cast<std::size_t>(size)) cuts.ranges *= 2;
    std::vector<KeyOf<Score>> sample(cuts.ranges > 1 ? 64 * cuts.ranges : 0);
    std::uint64_t position = 0;
    for (auto& key : sample) {
        position +=
            0x9E3779B97F4A7C15u;  // golden-ratio steps: evenly spread, in step with no period of the data
        key = to_key(scores[(position >> 32) * static_cast<std::uint64_t>(size) >> 32]);
    }
    std::sort(sample.begin(), sample.end());
    const std::size_t outliers = sample.size() / 512;
    if (!sample.empty()) {
        cuts.low = sample[outliers];
        cuts.high = sample[sample.size() - 1 - outliers];
    }
    while ((cuts.high - cuts.low) >> cuts.shift >> kCellBits > 0) ++cuts.shift;
    cuts.range.resize(cuts.cell_of(cuts.high) + 1);
    std::size_t cell = 0;
    for (std::size_t i = 0; i < sample.size(); ++i) {
        const auto range = static_cast<std::uint8_t>(i * cuts.ranges / sample.size());
        for (; cell <= cuts.cell_of(sample[i]); ++cell) cuts.range[cell] = range;
    }
    return cuts;
}

// Stable scatter by `passes` digits above `shift`, from `keys` through `one` and `other`; returns where the
// result is.
template <int passes, typename Key>
Key* radix(const Key* keys, Key* one, Key* other, std::size_t size, int shift) {
    std::array<std::array<std::uint32_t, kBuckets>, passes> starts;
    for (auto& each : starts) each.fill(0);
    for (std::size_t i = 0; i < size; ++i) {
        const Key digits = keys[i] >> shift;
        for (int pass = 0; pass < passes; ++pass)
            ++starts[pass][(digits >> (pass * kDigit)) & (kBuckets - 1)];
    }
    for (int pass = 0; pass < passes; ++pass) {
        auto& next = starts[pass];
        std::uint32_t start = 0;
        for (auto& count : next) start += std::exchange(count, start);
        const int digit = shift + pass * kDigit;
        for (std::size_t i = 0; i < size; ++i) {
            const Key key = keys[i];
            one[next[(key >> digit) & (kBuckets - 1)]++] = key;
        }
        keys = one;
        std::swap(one, other);
    }
    return other;
}

// Ascending order by the leading bits in which these keys differ, then repair of the few runs that agree in
// them. Returns the sorted keys, in `one` or `other`.
template <typename Key>
Key* sort_keys(const Key* keys, Key* one, Key* other, std::size_t size) {
    Key differing = 0;
    for (std::size_t i = 0; i < size; ++i) differing |= keys[i] ^ keys[0];
    int bits = 0;
    while (bits < static_cast<int>(8 * sizeof(Key)) && differing >> bits > 0) ++bits;
    if (size < 256 || bits == 0) {
        std::copy(keys, keys + size, one);
        std::sort(one, one + size);
        return one;
    }
    const int passes = std::min((bits + kDigit - 1) / kDigit, size > (1u << 17) ? 3 : 2);
    const int shift = std::max(0, bits - passes * kDigit);
    Key* const sorted = passes == 1   ? radix<1>(keys, one, other, size, shift)
                        : passes == 2 ? radix<2>(keys, one, other, size, shift)
                                      : radix<3>(keys, one, other, size, shift);
    for (std::size_t i = 1; shift > 0 && i < size; ++i) {
        if (sorted[i] >= sorted[i - 1]) continue;
        std::size_t begin = i - 1, end = i + 1;
        while (begin > 0 && sorted[begin - 1] >> shift == sorted[i] >> shift) --begin;
        while (end < size && sorted[end] >> shift == sorted[i] >> shift) ++end;
        std::sort(sorted + begin, sorted + end);
        i = end - 1;
    }
    return sorted;
}

// One range: merges the two sorted classes into thresholds and running counts; returns how many distinct
// scores.
template <typename Score>
std::int64_t merge(const KeyOf<Score>* members, std::int64_t member_count, const KeyOf<Score>* non_members,
                   std::int64_t non_member_count, Score* thresholds, std::int64_t* false_positives,
                   std::int64_t* true_positives, std::int64_t false_before, std::int64_t true_before) {
    using Key = KeyOf<Score>;
    std::int64_t i = 0, j = 0, entry = -1;
    Key last = 0;
    auto write = [&](Key key) {
        entry += (key != last) | (entry < 0);
        last = key;
        thresholds[entry] = to_score<Score>(key);
        false_positives[entry] = false_before + j;
        true_positives[entry] = true_before + i;
    };
    while (i < member_count && j < non_member_count) {
        const Key member = members[i], non_member = non_members[j];
        i += member <= non_member;
        j += non_member <= member;
        write(std::min(member, non_member));
    }
    while (i < member_count) {
        const Key key = members[i++];
        write(key);
    }
    while (j < non_member_count) {
        const Key key = non_members[j++];
        write(key);
    }
    return entry + 1;
}

}  // namespace

// Until the merge writes a range, false_positives holds its keys and true_positives the range of every score.
template <typename Score>
std::int64_t roc_counts(const Score* scores, const bool* is_member, std::int64_t size, Score* thresholds,
                        std::int64_t* false_positives, std::int64_t* true_positives) {
    using Key = KeyOf<Score>;
    const auto cuts = choose_cuts(scores, size);
    const std::size_t ranges = cuts.ranges;
    const std::int64_t chunks = std::clamp<std::int64_t>(size >> 16, 1, thread_count());
    auto* ids = reinterpret_cast<std::uint8_t*>(true_positives);

    std::vector<std::array<std::int64_t, 2 * kMostRanges>> counts(chunks);
    std::atomic<std::int64_t> nan_count{0};
    auto for_each_chunk = [&](const auto& body) {
        parallel_for(chunks, 1, [&](std::int64_t first, std::int64_t last) {
            for (std::int64_t chunk = first; chunk < last; ++chunk) {
                body(chunk, size * chunk / chunks, size * (chunk + 1) / chunks);
            }
        });
    };
    for_each_chunk([&](std::int64_t chunk, std::int64_t begin, std::int64_t end) {
        const auto mine = cuts;  // copies, because bytes stored through `ids` might alias anything shared
        std::array<std::int64_t, 2 * kMostRanges> count{};
        std::int64_t nan = 0;
        for (std::int64_t i = begin; i < end; ++i) {
            const Score score = scores[i];
            nan += score != score;
            const unsigned id = 2u * mine.range[mine.cell_of(to_key(score))] + !is_member[i];
            ids[i] = static_cast<std::uint8_t>(id);
            ++count[id];
        }
        counts[chunk] = count;
        nan_count += nan;
    });
    if (nan_count > 0) {
        throw std::invalid_argument("scores holds " + std::to_string(nan_count) +
                                    " NaN; drop these records from scores and from is_member.");
    }

    struct Range {
        std::int64_t begin = 0, members = 0, non_members = 0, true_before = 0, false_before = 0, distinct = 0;
    };
    std::vector<Range> found(ranges);
    std::vector<std::array<Key*, 2 * kMostRanges>> next(chunks);
    std::int64_t members = 0, non_members = 0;
    for (std::size_t range = 0; range < ranges; ++range) {
        Range& here = found[range];
        here.begin = members + non_members;
        here.true_before = members;
        here.false_before = non_members;
        Key* keys = reinterpret_cast<Key*>(false_positives + here.begin);
        for (std::size_t id : {2 * range, 2 * range + 1}) {
            for (std::int64_t chunk = 0; chunk < chunks; ++chunk) {
                next[chunk][id] = keys;
                keys += counts[chunk][id];
                (id % 2 ? here.non_members : here.members) += counts[chunk][id];
            }
        }
        members += here.members;
        non_members += here.non_members;
    }
    for_each_chunk([&](std::int64_t chunk, std::int64_t begin, std::int64_t end) {
        auto to = next[chunk];
        for (std::int64_t i = begin; i < end; ++i) *to[ids[i]]++ = to_key(scores[i]);
    });

    std::atomic<std::size_t> queue{0};
    parallel_for(chunks, 1, [&](std::int64_t, std::int64_t) {
        std::vector<Key> one, other;
        for (std::size_t range = queue++; range < ranges; range = queue++) {
            Range& here = found[range];
            const std::int64_t total = here.members + here.non_members;
            one.resize(std::max<std::size_t>(one.size(), total));
            other.resize(one.size());
            const Key* keys = reinterpret_cast<const Key*>(false_positives + here.begin);
            const Key* sorted_members = sort_keys(keys, one.data(), other.data(), here.members);
            const Key* sorted_others = sort_keys(keys + here.members, one.data() + here.members,
                                                 other.data() + here.members, here.non_members);
            here.distinct = merge(sorted_members, here.members, sorted_others, here.non_members,
                                  thresholds + here.begin, false_positives + here.begin,
                                  true_positives + here.begin, here.false_before, here.true_before);
        }
    });

    auto close_gaps = [&](auto* values) {
        std::int64_t filled = 0;
        for (const Range& here : found) {
            if (filled != here.begin)
                std::memmove(values + filled, values + here.begin, here.distinct * sizeof *values);
            filled += here.distinct;
        }
    };
    parallel_for(ranges > 1 ? 3 : 0, 1, [&](std::int64_t first, std::int64_t last) {
        for (std::int64_t output = first; output < last; ++output) {
            if (output == 0) close_gaps(false_positives);
            if (output == 1) close_gaps(thresholds);
            if (output == 2) close_gaps(true_positives);
        }
    });
    std::int64_t distinct = 0;
    for (const Range& here : found) distinct += here.distinct;
    return distinct;
}

template std::int64_t roc_counts(const float*, const bool*, std::int64_t, float*, std::int64_t*,
                                 std::int64_t*);
template std::int64_t roc_counts(const double*, const bool*, std::int64_t, double*, std::int64_t*,
                                 std::int64_t*);

}  // namespace miafast

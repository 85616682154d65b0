// Exact ROC counts. Scores become integer keys that ascend as scores descend. A sample of them splits all keys into
// ranges small enough for the cache; members and non-members of a range are radix-sorted apart and merged in place.
#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>
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
constexpr int kMostLevels = 7;  // 128 ranges and two classes: an id fits a byte

template <typename Score>
using KeyOf = std::conditional_t<sizeof(Score) == 8, std::uint64_t, std::uint32_t>;

template <typename Score>
inline KeyOf<Score> to_key(Score score) {
    using Key = KeyOf<Score>;
    constexpr Key sign = Key{1} << (8 * sizeof(Key) - 1);
    score += Score{0};  // -0 becomes +0: they tie
    Key bits;
    std::memcpy(&bits, &score, sizeof bits);
    return (bits & sign) ? bits : ~(bits | sign);
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

// Where keys are cut: range r holds the keys with exactly r splitters at or below them, so ties share a range.
template <typename Key>
struct Splitters {
    std::array<Key, std::size_t{1} << kMostLevels> at{};
    int levels = 0;

    std::size_t ranges() const { return std::size_t{1} << levels; }

    unsigned range_of(Key key) const {
        unsigned range = 0;
        for (unsigned step = 1u << levels >> 1; step > 0; step >>= 1) {
            range += at[range + step - 1] <= key ? step : 0;
        }
        return range;
    }
};

template <typename Score>
Splitters<KeyOf<Score>> choose_splitters(const Score* scores, std::int64_t size) {
    Splitters<KeyOf<Score>> splitters;
    while (splitters.levels < kMostLevels && (std::int64_t{1} << (16 + splitters.levels)) < size) ++splitters.levels;
    if (splitters.levels == 0) return splitters;
    const std::size_t per_range = 64, ranges = splitters.ranges();
    std::vector<KeyOf<Score>> sample(ranges * per_range);
    std::uint64_t position = 0;
    for (auto& key : sample) {
        position += 0x9E3779B97F4A7C15u;  // golden-ratio steps: evenly spread, in step with no period of the data
        key = to_key(scores[static_cast<std::int64_t>((position >> 32) * static_cast<std::uint64_t>(size) >> 32)]);
    }
    std::sort(sample.begin(), sample.end());
    for (std::size_t range = 1; range < ranges; ++range) splitters.at[range - 1] = sample[range * per_range];
    return splitters;
}

// Ascending order by the leading bits that distinguish these keys, then repair of the few runs that agree in them.
// Returns the sorted keys: `keys` or `spare`.
template <typename Key>
Key* sort_keys(Key* keys, Key* spare, std::size_t size) {
    if (size < 256) {
        std::sort(keys, keys + size);
        return keys;
    }
    const auto [least, most] = std::minmax_element(keys, keys + size);
    const Key low = *least;
    int bits = 0;
    while (bits < static_cast<int>(8 * sizeof(Key)) && (*most - low) >> bits > 0) ++bits;
    const int passes = std::min((bits + kDigit - 1) / kDigit, size > (1u << 17) ? 3 : 2);
    const int shift = std::max(0, bits - passes * kDigit);
    std::array<std::array<std::uint32_t, kBuckets>, 3> starts;
    for (int pass = 0; pass < passes; ++pass) starts[pass].fill(0);
    for (std::size_t i = 0; i < size; ++i) {
        Key digits = (keys[i] - low) >> shift;
        for (int pass = 0; pass < passes; ++pass, digits >>= kDigit) ++starts[pass][digits & (kBuckets - 1)];
    }
    for (int pass = 0; pass < passes; ++pass) {
        std::uint32_t start = 0;
        for (auto& count : starts[pass]) start += std::exchange(count, start);
        const int pass_shift = shift + pass * kDigit;
        for (std::size_t i = 0; i < size; ++i) {
            const Key key = keys[i];
            spare[starts[pass][((key - low) >> pass_shift) & (kBuckets - 1)]++] = key;
        }
        std::swap(keys, spare);
    }
    for (std::size_t i = 1; shift > 0 && i < size; ++i) {
        if (keys[i] >= keys[i - 1]) continue;
        const Key run = (keys[i] - low) >> shift;
        std::size_t begin = i - 1, end = i + 1;
        while (begin > 0 && (keys[begin - 1] - low) >> shift == run) --begin;
        while (end < size && (keys[end] - low) >> shift == run) ++end;
        std::sort(keys + begin, keys + end);
        i = end - 1;
    }
    return keys;
}

// One range: merges the two sorted classes into thresholds and running counts; returns how many distinct scores.
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

// Fills the three outputs (each of room for `size` entries) and returns the number of distinct scores.
// Until the merge writes a range, false_positives holds its keys and true_positives the range of every score.
template <typename Score>
std::int64_t roc_counts(const Score* scores, const bool* is_member, std::int64_t size, Score* thresholds,
                        std::int64_t* false_positives, std::int64_t* true_positives) {
    using Key = KeyOf<Score>;
    const auto splitters = choose_splitters(scores, size);
    const std::size_t ranges = splitters.ranges();
    const std::int64_t chunks = std::clamp<std::int64_t>(size >> 16, 1, thread_count());
    auto* ids = reinterpret_cast<std::uint8_t*>(true_positives);

    std::vector<std::array<std::int64_t, std::size_t{2} << kMostLevels>> counts(chunks);
    std::atomic<std::int64_t> nan_count{0};
    auto for_each_chunk = [&](const auto& body) {
        parallel_for(chunks, 1, [&](std::int64_t first, std::int64_t last) {
            for (std::int64_t chunk = first; chunk < last; ++chunk) {
                body(chunk, size * chunk / chunks, size * (chunk + 1) / chunks);
            }
        });
    };
    for_each_chunk([&](std::int64_t chunk, std::int64_t begin, std::int64_t end) {
        auto& count = counts[chunk];
        count.fill(0);
        std::int64_t nan = 0;
        for (std::int64_t i = begin; i < end; ++i) {
            nan += scores[i] != scores[i];
            const unsigned id = 2 * splitters.range_of(to_key(scores[i])) + !is_member[i];
            ids[i] = static_cast<std::uint8_t>(id);
            ++count[id];
        }
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
    std::vector<std::array<Key*, std::size_t{2} << kMostLevels>> next(chunks);
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
        std::vector<Key> keys, spare;
        for (std::size_t range = queue++; range < ranges; range = queue++) {
            Range& here = found[range];
            const std::int64_t total = here.members + here.non_members;
            keys.resize(std::max<std::size_t>(keys.size(), total));
            spare.resize(keys.size());
            std::memcpy(keys.data(), false_positives + here.begin, total * sizeof(Key));
            const Key* sorted_members = sort_keys(keys.data(), spare.data(), here.members);
            const Key* sorted_others =
                sort_keys(keys.data() + here.members, spare.data() + here.members, here.non_members);
            here.distinct = merge(sorted_members, here.members, sorted_others, here.non_members, thresholds + here.begin,
                                  false_positives + here.begin, true_positives + here.begin, here.false_before,
                                  here.true_before);
        }
    });

    auto close_gaps = [&](auto* values) {
        std::int64_t filled = 0;
        for (const Range& here : found) {
            if (filled != here.begin) std::memmove(values + filled, values + here.begin, here.distinct * sizeof *values);
            filled += here.distinct;
        }
    };
    parallel_for(ranges > 1 ? 3 : 0, 1, [&](std::int64_t first, std::int64_t last) {
        for (std::int64_t output = first; output < last; ++output) {
            if (output == 0) close_gaps(thresholds);
            if (output == 1) close_gaps(false_positives);
            if (output == 2) close_gaps(true_positives);
        }
    });
    std::int64_t distinct = 0;
    for (const Range& here : found) distinct += here.distinct;
    return distinct;
}

template std::int64_t roc_counts(const float*, const bool*, std::int64_t, float*, std::int64_t*, std::int64_t*);
template std::int64_t roc_counts(const double*, const bool*, std::int64_t, double*, std::int64_t*, std::int64_t*);

}  // namespace miafast

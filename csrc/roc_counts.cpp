// Exact ROC counts. Scores become integer keys that ascend as scores descend. A sample of them splits all
// keys into ranges small enough for the cache, none of which holds both signs: so the sign bit is free to say
// which are members'. A range is radix-sorted and counted up.
#include "roc_counts.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "parallel.h"
#include "score_keys.h"
#include "simd.h"

namespace miafast {
namespace {

constexpr int kCellBits = 15;
constexpr std::size_t kMostRanges = 128;  // of each sign: an id fits a byte
constexpr std::size_t kMostIds = 2 * kMostRanges;

// Equal cells of most of a sample's span of keys.
template <typename Key>
struct Cells {
    Key low = 0, high = 0;
    int shift = 0;

    std::size_t of(Key key) const { return (std::clamp(key, low, high) - low) >> shift; }
};

// Where keys are cut into ranges of about equal counts: a table over cells. Equal keys share a cell, so ties
// share a range.
template <typename Key>
struct Cuts {
    Cells<Key> cells;
    std::vector<std::uint8_t> range;  // [cells]
    std::size_t ranges = 1;
};

template <typename Score>
Cuts<KeyOf<Score>> choose_cuts(const Score* scores, std::int64_t size) {
    Cuts<KeyOf<Score>> cuts;
    auto& cells = cuts.cells;
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
        cells.low = sample[outliers];
        cells.high = sample[sample.size() - 1 - outliers];
    }
    while ((cells.high - cells.low) >> cells.shift >> kCellBits > 0) ++cells.shift;
    cuts.range.resize(cells.of(cells.high) + 1);
    std::size_t cell = 0;
    for (std::size_t i = 0; i < sample.size(); ++i) {
        const auto range = static_cast<std::uint8_t>(i * cuts.ranges / sample.size());
        for (; cell <= cells.of(sample[i]); ++cell) cuts.range[cell] = range;
    }
    return cuts;
}

using Counts = std::array<std::int64_t, 2 * kMostIds>;  // non-members and members of every range

// Writes the range of every score; returns how many there are. What the loop reads of `cuts` is copied,
// because bytes stored through `ids` might alias it.
template <typename Score>
Counts classify(const Score* scores, const std::uint8_t* is_member, std::int64_t size,
                const Cuts<KeyOf<Score>>& cuts, std::uint8_t* ids, std::int64_t* nan_count) {
    using Key = KeyOf<Score>;
    const std::uint8_t* const range = cuts.range.data();
    const auto cells = cuts.cells;
    Counts counts{};
    std::int64_t nan = 0;
    for (std::int64_t i = 0; i < size; ++i) {
        nan += scores[i] != scores[i];
        const Key key = to_key(scores[i]);
        const std::size_t sign = key >> kSignBit<Key>;
        const std::size_t id = range[cells.of(key)] + sign * kMostRanges;
        ids[i] = static_cast<std::uint8_t>(id);
        ++counts[2 * id + (is_member[i] != 0)];
    }
    *nan_count = nan;
    return counts;
}

// Sends every score to its range, as its key without the sign and its class behind.
template <typename Score>
void scatter(const Score* scores, const std::uint8_t* is_member, std::int64_t size, const std::uint8_t* ids,
             std::array<KeyOf<Score>*, kMostIds> to) {
    for (std::int64_t i = 0; i < size; ++i) {
        KeyOf<Score>*& next = to[ids[i]];
        MIAFAST_PREFETCH(next + 16);
        *next++ = static_cast<KeyOf<Score>>(to_key(scores[i]) << 1 | (is_member[i] != 0));
    }
}

// One range's sorted keys, classes in their last bits, become thresholds and running counts; returns how many
// distinct scores.
template <typename Score>
std::int64_t count_up(const KeyOf<Score>* keys, std::int64_t size, KeyOf<Score> sign, Score* thresholds,
                      std::int64_t* false_positives, std::int64_t* true_positives, std::int64_t false_before,
                      std::int64_t true_before) {
    std::int64_t entry = 0;
    for (std::int64_t i = 0; i < size; ++i) {
        const KeyOf<Score> key = keys[i];
        true_before += key & 1;
        false_before += 1 - (key & 1);
        thresholds[entry] = to_score<Score>((key >> 1) | sign);
        false_positives[entry] = false_before;
        true_positives[entry] = true_before;
        entry += i + 1 == size || (key ^ keys[i + 1]) > 1;
    }
    return entry;
}

}  // namespace

// Until a range is counted up, false_positives holds its keys and true_positives the range of every score.
template <typename Score>
std::int64_t roc_counts(const Score* scores, const std::uint8_t* is_member, std::int64_t size,
                        Score* thresholds, std::int64_t* false_positives, std::int64_t* true_positives) {
    using Key = KeyOf<Score>;
    const auto cuts = choose_cuts(scores, size);
    const std::int64_t chunks = std::clamp<std::int64_t>(size >> 16, 1, thread_count());
    auto* ids = reinterpret_cast<std::uint8_t*>(true_positives);

    std::vector<Counts> counts(chunks);
    std::vector<std::int64_t> nan(chunks);
    auto for_each_chunk = [&](const auto& body) {
        parallel_for(chunks, 1, [&](std::int64_t first, std::int64_t last) {
            for (std::int64_t chunk = first; chunk < last; ++chunk) {
                const std::int64_t begin = size * chunk / chunks;
                body(chunk, begin, size * (chunk + 1) / chunks - begin);
            }
        });
    };
    for_each_chunk([&](std::int64_t chunk, std::int64_t begin, std::int64_t count) {
        counts[chunk] = classify(scores + begin, is_member + begin, count, cuts, ids + begin, &nan[chunk]);
    });
    const std::int64_t nan_count = std::accumulate(nan.begin(), nan.end(), std::int64_t{0});
    if (nan_count > 0) {
        throw std::invalid_argument("scores holds " + std::to_string(nan_count) +
                                    " NaN; drop these records from scores and from is_member.");
    }

    struct Range {
        std::int64_t begin = 0, size = 0, true_before = 0, distinct = 0;
    };
    std::vector<Range> found(kMostIds);
    std::vector<std::array<Key*, kMostIds>> next(chunks);
    std::int64_t before = 0, members = 0;
    for (std::size_t id = 0; id < kMostIds; ++id) {
        Range& here = found[id];
        here.begin = before;
        here.true_before = members;
        for (std::int64_t chunk = 0; chunk < chunks; ++chunk) {
            next[chunk][id] = reinterpret_cast<Key*>(false_positives + here.begin) + here.size;
            here.size += counts[chunk][2 * id] + counts[chunk][2 * id + 1];
            members += counts[chunk][2 * id + 1];
        }
        before += here.size;
    }
    for_each_chunk([&](std::int64_t chunk, std::int64_t begin, std::int64_t count) {
        scatter(scores + begin, is_member + begin, count, ids + begin, next[chunk]);
    });

    std::atomic<std::size_t> queue{0};
    parallel_for(chunks, 1, [&](std::int64_t, std::int64_t) {
        std::vector<Key> one, other;
        for (std::size_t id = queue++; id < kMostIds; id = queue++) {
            Range& here = found[id];
            one.resize(std::max<std::size_t>(one.size(), here.size));
            other.resize(one.size());
            const Key* keys = sort_keys(reinterpret_cast<const Key*>(false_positives + here.begin),
                                        one.data(), other.data(), here.size);
            here.distinct =
                count_up(keys, here.size, Key{id >= kMostRanges} << kSignBit<Key>, thresholds + here.begin,
                         false_positives + here.begin, true_positives + here.begin,
                         here.begin - here.true_before, here.true_before);
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
    parallel_for(3, 1, [&](std::int64_t first, std::int64_t last) {
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

template std::int64_t roc_counts(const float*, const std::uint8_t*, std::int64_t, float*, std::int64_t*,
                                 std::int64_t*);
template std::int64_t roc_counts(const double*, const std::uint8_t*, std::int64_t, double*, std::int64_t*,
                                 std::int64_t*);

}  // namespace miafast

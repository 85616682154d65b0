// Every target's scores are sorted, so that one walk along the curve finds them all.
#include "auc_components.h"

#include <algorithm>
#include <mutex>
#include <utility>
#include <vector>

#include "parallel.h"
#include "score_keys.h"

namespace miafast {
namespace {

// Calls visit(record, score) for a target's records, best score first.
class Ranking {
  public:
    template <typename Score, typename Visit>
    void walk(const Score* scores, std::int64_t records, const Visit& visit) {
        if (sizeof(Score) == 4 && records >> 31 == 0) {  // key and place are one number
            for (auto* each : {&keys_, &one_, &other_}) each->resize(records);
            for (std::int64_t i = 0; i < records; ++i)
                keys_[i] = std::uint64_t{to_key(scores[i])} << 32 | static_cast<std::uint32_t>(i) << 1;
            const std::uint64_t* sorted = sort_keys(keys_.data(), one_.data(), other_.data(), records);
            for (std::int64_t i = 0; i < records; ++i) {
                const auto record = static_cast<std::int64_t>((sorted[i] & 0xffffffffu) >> 1);
                visit(record, scores[record]);
            }
        } else {
            pairs_.resize(records);
            for (std::int64_t i = 0; i < records; ++i) pairs_[i] = {to_key(scores[i]), i};
            std::sort(pairs_.begin(), pairs_.end());
            for (const auto& each : pairs_) visit(each.second, scores[each.second]);
        }
    }

  private:
    std::vector<std::uint64_t> keys_, one_, other_;
    std::vector<std::pair<std::uint64_t, std::int64_t>> pairs_;
};

// The first threshold from `at` on that is at most the score, in growing steps; the last one if there is
// none.
template <typename Score>
std::int64_t seek(const Curve<Score>& curve, std::int64_t at, Score score) {
    const std::int64_t last = curve.distinct - 1;
    std::int64_t step = 1;
    while (at + step <= last && curve.thresholds[at + step] > score) {
        at += step;
        step *= 2;
    }
    std::int64_t end = std::min(at + step, last);
    while (at < end) {
        const std::int64_t middle = at + (end - at) / 2;
        if (curve.thresholds[middle] > score)
            at = middle + 1;
        else
            end = middle;
    }
    return at;
}

}  // namespace

template <typename Score>
void auc_components(const Score* scores, const std::uint8_t* is_member, std::int64_t targets,
                    std::int64_t records, const Curve<Score>& curve, std::int64_t* of_members,
                    std::int64_t* of_others) {
    std::mutex lock;
    parallel_for(targets, 1, [&](std::int64_t first, std::int64_t last) {
        Ranking ranking;
        std::vector<std::int64_t> members(records), others(records);
        for (std::int64_t target = first; target < last; ++target) {
            const std::uint8_t* const inside = is_member + target * records;
            std::int64_t at = 0;
            ranking.walk(scores + target * records, records, [&](std::int64_t record, Score score) {
                at = seek(curve, at, score);
                const auto& counts = inside[record] ? curve.false_positives : curve.true_positives;
                (inside[record] ? members : others)[record] += counts[at] + (at > 0 ? counts[at - 1] : 0);
            });
        }
        const std::lock_guard<std::mutex> guard(lock);
        for (std::int64_t i = 0; i < records; ++i) {
            of_members[i] += members[i];
            of_others[i] += others[i];
        }
    });
}

template void auc_components(const float*, const std::uint8_t*, std::int64_t, std::int64_t,
                             const Curve<float>&, std::int64_t*, std::int64_t*);
template void auc_components(const double*, const std::uint8_t*, std::int64_t, std::int64_t,
                             const Curve<double>&, std::int64_t*, std::int64_t*);

}  // namespace miafast

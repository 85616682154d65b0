#pragma once

#include <cstdint>

namespace miafast {

// The ROC of all scores together, one entry per distinct score, best first: see roc_counts.h.
template <typename Score>
struct Curve {
    std::int64_t distinct;
    const Score* thresholds;
    const std::int64_t *false_positives, *true_positives;
};

// scores and is_member [targets, records]. Adds up by record, over the targets that it is a member of, twice
// the non-members that outscore it (of_members), and over the others twice the members that do (of_others);
// ties count half. Both are [records], zeroed. A score that the curve does not have counts as one of its
// neighbours.
template <typename Score>
void auc_components(const Score* scores, const std::uint8_t* is_member, std::int64_t targets,
                    std::int64_t records, const Curve<Score>& curve, std::int64_t* of_members,
                    std::int64_t* of_others);

}  // namespace miafast

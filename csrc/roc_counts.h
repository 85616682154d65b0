// Exact ROC counts and true-positive counts at a few false-alarm budgets, for float and double scores. A
// member is any byte of is_member but 0: NumPy's bool may hold others than 1.
#pragma once

#include <cstdint>
#include <vector>

namespace miafast {

// Fills the three outputs (each with room for `size` entries) and returns the number of distinct scores.
template <typename Score>
std::int64_t roc_counts(const Score* scores, const std::uint8_t* is_member, std::int64_t size,
                        Score* thresholds, std::int64_t* false_positives, std::int64_t* true_positives);

// For each number of allowed false positives (0 … non_members - 1), how many members a threshold can find.
template <typename Score>
std::vector<std::int64_t> tpr_at(const Score* scores, const std::uint8_t* is_member, std::int64_t size,
                                 std::int64_t non_members, const std::vector<std::int64_t>& allowed);

}  // namespace miafast

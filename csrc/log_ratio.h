// log(p_target / mean p) over shadow models: one target, or every model left out in turn.
#pragma once

#include "lira.h"

namespace miafast {

// p is (mean over IN + mean over OUT) / 2 online, and ((1 + a) * mean over OUT + 1 - a) / 2 offline.
struct RatioRule {
    bool online;
    double a, temperature;
};

// Ratios [records][queries].
template <typename T>
void log_ratio(const Shadow& shadow, const Target& target, const RatioRule& rule, T* ratios);

// Ratios [models][records][queries]. With same_counts the side that the left-out model is not on lacks one
// model too, the next one cyclically.
template <typename T>
void log_ratio_leave_one_out(const Shadow& shadow, bool same_counts, const RatioRule& rule, T* ratios);

}  // namespace miafast

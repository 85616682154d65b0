// Thresholds of classes that separate shadows' members best, every model left out in turn.
#pragma once

#include <cstdint>

namespace miafast {

// Signals of all models and records, class after class, falling within each, NaN last.
struct FallingSignals {
    const double* signals;
    const bool* is_in;
    const std::int32_t *models, *records;
    const std::int64_t* ends;    // [classes + 1] where classes begin
    std::int64_t classes, size;  // size: of a row of `beside`
};

// thresholds [targets, classes]: of the signals but target `t`'s own, and but those that beside [targets,
// size] names for their record, the largest at or above which calling members is right most often, IN and OUT
// counting alike. NaN where either has no signal, or one is NaN. Without leave_one_out all signals count, for
// one target.
void class_thresholds(const FallingSignals& table, const std::int32_t* beside, bool leave_one_out,
                      std::int64_t targets, double* thresholds);

}  // namespace miafast

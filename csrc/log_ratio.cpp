#include "log_ratio.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>
#include <vector>

#include "parallel.h"

#define MIAFAST_KERNEL "log_ratio_kernel.h"
#include "each_isa.h"

namespace miafast {

template <typename T>
void log_ratio(const Shadow& shadow, const Target& target, const RatioRule& rule, T* ratios) {
    const auto kernel = MIAFAST_PICK(ratios_of<T>);
    parallel_for(shadow.records, 512, [&](std::int64_t begin, std::int64_t end) {
        kernel(shadow, target, rule, begin, end, ratios);
    });
}

template <typename T>
void log_ratio_leave_one_out(const Shadow& shadow, bool same_counts, const RatioRule& rule, T* ratios) {
    const auto kernel = MIAFAST_PICK(left_out_ratios_of<T>);
    parallel_for(shadow.records, 64, [&](std::int64_t begin, std::int64_t end) {
        kernel(shadow, same_counts, rule, begin, end, ratios);
    });
}

#define MIAFAST_LOG_RATIO(T)                                                        \
    template void log_ratio<T>(const Shadow&, const Target&, const RatioRule&, T*); \
    template void log_ratio_leave_one_out<T>(const Shadow&, bool, const RatioRule&, T*);
MIAFAST_LOG_RATIO(float)
MIAFAST_LOG_RATIO(double)

}  // namespace miafast

// The recursion that audits a trade-off function in one run.
#pragma once

#include <cstdint>

namespace miafast {

// miafast.ops.f_dp_excess for `audits` audits; without deltas `level` is mu of Gaussian DP, else epsilon.
void f_dp_excess(std::int64_t audits, const std::int64_t* right, const double* level, const double* delta,
                 std::int64_t guesses, std::int64_t canaries, double alpha, double* excess);

}  // namespace miafast

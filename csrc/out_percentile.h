#pragma once

#include <string>

#include "against_shadows.h"

namespace miafast {

// Where the target's loss lies among the OUT models': smooth is none, linear, loss or logit.
template <typename T>
void out_percentile(const AgainstShadows<T>& job, const std::string& smooth, double variance_floor,
                    double largest_loss);

}  // namespace miafast

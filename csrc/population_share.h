// How many of a population have a lower signal than each record, by one sort and a search per signal.
#pragma once

#include <cstdint>

#include "rmia.h"

namespace miafast {

// shares: of the z of the same row, how many are below x, ties counting half; the mean over queries. where:
// as for rmia. NaN where a number is not finite, or there is no other z.
template <typename Signal>
void population_share(const Signal* x, const Signal* z, const std::int64_t* where, const RmiaShape& shape,
                      Signal* shares);

}  // namespace miafast

// RMIA's pairwise test by one sort of the population and a search per record.
#pragma once

#include <cstdint>

namespace miafast {

// Shapes of x [leads, records, queries], z [leads, population] and shares [leads, records], all dense.
struct RmiaShape {
    std::int64_t leads, records, queries, population;
};

// shares: of the z that are not NaN, how many have x - z >= least for more than half of the queries, in
// doubles. where: [records] where a record itself stands in the population, -1 for nowhere; null: nowhere.
template <typename Ratio>
void rmia(const Ratio* x, const Ratio* z, const std::int64_t* where, double least, const RmiaShape& shape,
          Ratio* shares);

}  // namespace miafast

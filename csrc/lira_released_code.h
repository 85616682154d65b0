#pragma once

#include "against_shadows.h"

namespace miafast {

// LiRA as its authors' released code computes it, higher = member. kept [targets, 2]: so many of a record's
// first models in use are OUT and IN data. total: one standard deviation over all records' IN data (offline:
// OUT data).
template <typename T>
void lira_released_code(const AgainstShadows<T>& job, const std::int64_t* kept, bool online, bool total);

}  // namespace miafast

#pragma once

#include "against_shadows.h"

namespace miafast {

// The usual loss minus the target's: usual is the mean over OUT models or, online, midway between both sides'
// means.
template <typename T>
void difficulty(const AgainstShadows<T>& job, bool online);

}  // namespace miafast

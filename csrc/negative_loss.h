// Minus the loss of the label from its phi: log p = -softplus(-phi), averaged over queries.
#pragma once

#include "logits.h"

namespace miafast {

// phi [..., records, queries], its queries where logits have classes, to scores [..., records]; NaN where phi
// is not finite.
template <typename T>
void negative_loss(const Logits& phi, T* scores);

}  // namespace miafast

#pragma once

#include <cstdint>

#include "logits.h"

namespace miafast {

// phi [models, records] of logits [models, records, classes]: float, or double for double logits. Returns the
// first record whose label is outside the classes (its phi then means nothing), or -1.
std::int64_t logit_confidence(const Logits& logits, const Labels& labels, void* phi);

}  // namespace miafast

#pragma once

#include <cstdint>

#include "logits.h"

namespace miafast {

// [models, records] each: phi, loss, confidence, entropy, modified_entropy, margin (float, or double for
// double logits), and correct.
struct SignalsArrays {
    void* floating[6];
    bool* correct;
};

// Fills the arrays from logits [models, records, classes]. Returns the first record whose label is outside
// the classes (its signals then mean nothing), or -1.
std::int64_t signals(const Logits& logits, const Labels& labels, const SignalsArrays& arrays);

}  // namespace miafast

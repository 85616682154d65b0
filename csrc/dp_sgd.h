// Differentially private training steps of small multilayer perceptrons, on top of those without privacy.
#pragma once

#include "mlp_steps.h"

namespace miafast {

// `first`, `second` and what belongs to batches, optimisers and dropout are not used; `batch` is how many
// records are worked on at a time.
struct DpJob : MlpJob {
    const std::uint8_t* in_mask;  // [models, records]
    const std::uint32_t* keys2;   // [models, 2]
    double sample_rate;
    float clip, learning_rate, expected_batch;
    const float* noise;             // [steps] standard deviation of what is added to the sum of gradients
    bool clips_batch;               // clip the mean gradient instead of each record's: a known mistake
    std::int64_t canaries;          // in gradient space: `clip` along one parameter each
    const std::int64_t* places;     // [canaries] which parameter
    const std::uint8_t* canary_in;  // [models, canaries]
};

// One of 2^32 draws; two hashes, so that streams of different keys do not overlap shifted.
inline std::uint32_t draw(std::uint32_t key, std::uint32_t key2, std::uint32_t place) {
    return mix(mix(place ^ key) + key2);
}

void dp_sgd_steps(const DpJob& job);

}  // namespace miafast

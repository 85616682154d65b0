#include "signals.h"

#include <algorithm>
#include <type_traits>
#include <vector>

namespace miafast {

// The signals of up to 64 records, and their largest other logit.
template <typename T>
struct SignalsBlock {
    alignas(64) T largest[64], phi[64], loss[64], confidence[64], entropy[64],
        modified_entropy[64], margin[64], correct[64];
};

}  // namespace miafast

#define MIAFAST_KERNEL "signals_kernel.h"
#include "each_isa.h"

namespace miafast {

std::int64_t signals(const Logits& logits, const Labels& labels, const SignalsArrays& arrays) {
    const auto kernel = MIAFAST_PICK(signals);
    return for_each_model(logits, [&](std::int64_t model, std::int64_t begin, std::int64_t end) {
        return kernel(logits, logits.model_start(model), labels, begin, end, model * logits.records, arrays);
    });
}

}  // namespace miafast

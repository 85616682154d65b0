#include "logit_confidence.h"

#include <algorithm>
#include <type_traits>
#include <vector>

#define MIAFAST_KERNEL "logit_confidence_kernel.h"
#include "each_isa.h"

namespace miafast {

std::int64_t logit_confidence(const Logits& logits, const Labels& labels, void* phi) {
    const auto kernel = MIAFAST_PICK(logit_confidence);
    const std::int64_t bytes = logits.storage == Storage::float64 ? 8 : 4;
    return for_each_model(logits, [&](std::int64_t model, std::int64_t begin, std::int64_t end) {
        return kernel(logits, logits.model_start(model), labels, begin, end,
                      static_cast<char*>(phi) + model * logits.records * bytes);
    });
}

}  // namespace miafast

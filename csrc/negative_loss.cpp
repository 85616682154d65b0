#include "negative_loss.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "lira.h"
#include "parallel.h"

#define MIAFAST_KERNEL "negative_loss_kernel.h"
#include "each_isa.h"

namespace miafast {

template <typename T>
void negative_loss(const Logits& phi, T* scores) {
    const auto kernel = MIAFAST_PICK(negative_losses_of<T>);
    for_each_model(phi, [&](std::int64_t model, std::int64_t begin, std::int64_t end) {
        kernel(phi, model, begin, end, scores);
        return std::int64_t{-1};
    });
}

template void negative_loss(const Logits&, float*);
template void negative_loss(const Logits&, double*);

}  // namespace miafast

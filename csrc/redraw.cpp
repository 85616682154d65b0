// Redraws features. A shuffle's first k steps touch 2k places of the order at most; they are put back after
// each record, so that no record pays for its length.
#include "redraw.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "mlp_steps.h"
#include "parallel.h"

namespace miafast {
constexpr std::uint32_t kGolden = 0x9e3779b1u;
}

#define MIAFAST_KERNEL "redraw_kernel.h"
#include "each_isa.h"

namespace miafast {
namespace {

constexpr std::int64_t kGrain = 1 << 20;  // values: what fits a core's cache is not worth another thread

double uniform(std::uint32_t key, std::int64_t slot) {
    return mix(key ^ (static_cast<std::uint32_t>(slot) * kGolden)) * 0x1p-32;
}

template <typename Value>
void redraw_record(Value* x, std::int64_t k, std::uint32_t key, const double* low, const double* high,
                   const std::int32_t* places, std::int32_t* order) {
    for (std::int64_t place = 0; place < k; ++place) {
        const std::int32_t chosen = order[places[place]];
        order[places[place]] = order[place];
        x[chosen] = low == nullptr ? static_cast<Value>(1 - x[chosen])
                                   : static_cast<Value>(low[chosen] + (high[chosen] - low[chosen]) *
                                                                          uniform(key, 2 * place + 2));
    }
    for (std::int64_t place = 0; place < k; ++place) order[places[place]] = places[place];
}

}  // namespace

template <typename Value>
void redraw(const Value* x, const std::int64_t* k, const std::uint32_t* keys, const double* low,
            const double* high, std::int64_t records, std::int64_t features, Value* redrawn) {
    const auto draw = MIAFAST_PICK(draw_places);
    const std::int64_t grain = kGrain / std::clamp<std::int64_t>(features, 1, kGrain);
    parallel_for(records, grain, [&](std::int64_t begin, std::int64_t end) {
        std::vector<std::int32_t> order(features), places(features);
        std::iota(order.begin(), order.end(), 0);
        for (std::int64_t record = begin; record < end; ++record) {
            Value* const own = redrawn + record * features;
            std::copy_n(x + record * features, features, own);
            const std::uint32_t key = mix(keys[record]);
            draw(key, static_cast<std::int32_t>(k[record]), static_cast<std::uint32_t>(features),
                 places.data());
            redraw_record(own, k[record], key, low, high, places.data(), order.data());
        }
    });
}

template void redraw(const std::uint8_t*, const std::int64_t*, const std::uint32_t*, const double*,
                     const double*, std::int64_t, std::int64_t, std::uint8_t*);
template void redraw(const float*, const std::int64_t*, const std::uint32_t*, const double*, const double*,
                     std::int64_t, std::int64_t, float*);
template void redraw(const double*, const std::int64_t*, const std::uint32_t*, const double*, const double*,
                     std::int64_t, std::int64_t, double*);

}  // namespace miafast

// Redraws features. A shuffle's first k steps touch 2k places of the order at most; they are put back after
// each record, so that no record pays for its length.
#include "redraw.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "mlp_steps.h"
#include "parallel.h"

namespace miafast {
namespace {

constexpr std::int64_t kGrain = 256;
constexpr std::uint32_t kGolden = 0x9e3779b1u;

// As hash_of in miafast/ops/redraw.py; `key` is mixed already.
inline std::uint32_t draw(std::uint32_t key, std::int64_t slot) {
    return mix(key ^ (static_cast<std::uint32_t>(slot) * kGolden));
}

inline std::int64_t below(std::uint32_t drawn, std::int64_t count) {
    return static_cast<std::int64_t>(
        (static_cast<std::uint64_t>(drawn) * static_cast<std::uint64_t>(count)) >> 32);
}

template <typename Value>
void redraw_record(Value* x, std::int64_t k, std::uint32_t key, const double* low, const double* high,
                   std::int64_t features, std::vector<std::int32_t>& order,
                   std::vector<std::int64_t>& moved) {
    for (std::int64_t place = 0; place < k; ++place) {
        const std::int64_t other = place + below(draw(key, 2 * place + 1), features - place);
        const std::int32_t chosen = order[other];
        order[other] = order[place];
        moved[place] = other;
        if (low == nullptr) {
            x[chosen] = Value{1} - x[chosen];
        } else {
            const double share = draw(key, 2 * place + 2) * 0x1p-32;
            x[chosen] = static_cast<Value>(low[chosen] + (high[chosen] - low[chosen]) * share);
        }
    }
    for (std::int64_t place = 0; place < k; ++place) {
        order[moved[place]] = static_cast<std::int32_t>(moved[place]);
    }
}

}  // namespace

template <typename Value>
void redraw(const Value* x, const std::int64_t* k, const std::uint32_t* keys, const double* low,
            const double* high, std::int64_t records, std::int64_t features, Value* redrawn) {
    parallel_for(records, kGrain, [&](std::int64_t begin, std::int64_t end) {
        std::vector<std::int32_t> order(features);
        std::vector<std::int64_t> moved(features);
        std::iota(order.begin(), order.end(), 0);
        for (std::int64_t record = begin; record < end; ++record) {
            Value* const own = redrawn + record * features;
            std::copy_n(x + record * features, features, own);
            redraw_record(own, k[record], mix(keys[record]), low, high, features, order, moved);
        }
    });
}

template void redraw(const float*, const std::int64_t*, const std::uint32_t*, const double*, const double*,
                     std::int64_t, std::int64_t, float*);
template void redraw(const double*, const std::int64_t*, const std::uint32_t*, const double*, const double*,
                     std::int64_t, std::int64_t, double*);

}  // namespace miafast

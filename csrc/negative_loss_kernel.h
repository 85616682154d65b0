// Blocks of records, one per lane, in double whatever phi is stored in: rounded once, scores keep phi's
// order. Read by negative_loss.cpp once per instruction set.
// clang-format off: each needs those before it
#include "tile.h"
#include "lira_lanes.h"
// clang-format on

// NaN where x is not finite.
MIAFAST_INLINE F64 log_p_of(F64 x) { return min(x, F64{}) - log1p(exp(-abs(x))) + (x - x); }

template <typename T>
inline void negative_losses_of(const Logits& phi, std::int64_t model, std::int64_t begin, std::int64_t end,
                               T* scores) {
    constexpr std::int64_t most = 512;
    alignas(64) double x[most] = {}, sum[most];
    const char* const start = phi.model_start(model);
    scores += model * phi.records;
    for (std::int64_t first = begin; first < end; first += most) {
        const std::int64_t count = std::min(most, end - first), queries = phi.classes;
        std::fill_n(sum, most, 0.0);
        for (std::int64_t query = 0; query < queries; ++query) {
            copy_signals(phi.storage, start + first * phi.record_stride + query * phi.class_stride,
                         phi.record_stride, count, x);
            for (std::int64_t at = 0; at < count; at += lanes<F64>) {
                store<F64>(sum + at, load<F64>(sum + at) + log_p_of(load<F64>(x + at)));
            }
        }
        for (std::int64_t at = 0; at < count; ++at) {
            scores[first + at] = static_cast<T>(sum[at] / static_cast<double>(queries));
        }
    }
}

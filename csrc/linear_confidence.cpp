// Which records and models a thread takes at a time.
#include "linear_confidence.h"

#include <algorithm>
#include <atomic>
#include <limits>
#include <optional>
#include <type_traits>

#include "amx.h"

#define MIAFAST_KERNEL "linear_confidence_kernel.h"
#include "each_isa.h"

namespace miafast {
namespace {

constexpr std::int64_t panels_bytes = std::int64_t{16} << 20;  // of inputs in panels, shared by all threads
constexpr std::int64_t hidden_bytes = std::int64_t{2} << 20;   // of a thread's hidden layer or own panels

std::int64_t rounded(std::int64_t size, std::int64_t multiple) {
    return std::max<std::int64_t>(1, (size + multiple - 1) / multiple) * multiple;
}

// Records per piece of work: few enough for its inner layers to stay in the cache and for every thread to
// have work, but not fewer than pay for reading a model's weights.
std::int64_t piece_size(const ConfidenceJob& job, std::int64_t records, bool shared) {
    constexpr std::int64_t worth_the_weights = 1024;
    const std::int64_t bytes = job.is_double() ? 8 : 4, threads = thread_count();
    std::int64_t widest = shared ? 1 : job.features.classes;
    for (std::size_t i = 0; i + 1 < job.layers.size(); ++i)
        widest = std::max(widest, job.layers[i].weight.records);
    const std::int64_t even = records / std::max<std::int64_t>(1, threads / job.models);
    const std::int64_t finer =
        std::max(worth_the_weights, records / std::max<std::int64_t>(1, 4 * threads / job.models));
    return std::min({even, finer, std::max(worth_the_weights / 4, hidden_bytes / (widest * bytes))});
}

}  // namespace

std::int64_t linear_confidence(const ConfidenceJob& job) {
    constexpr std::int64_t none = std::numeric_limits<std::int64_t>::max();
    if (job.models == 0) return -1;
    const auto pack = MIAFAST_PICK(pack_shared);
    const auto kernel = MIAFAST_PICK(confidence);
    const std::int64_t panel = MIAFAST_PICK(panel_records)(job.is_double()), bytes = job.is_double() ? 8 : 4;
    const std::int64_t records = job.features.records, features = job.features.classes;
    const bool shared = job.features.lead_shape.empty();
    const std::int64_t record_bytes = features * bytes, words = MIAFAST_PICK(words_of_pairs)(job);
    const std::int64_t grain = rounded((std::int64_t{1} << 17) / std::max<std::int64_t>(1, features),
                                       panel);  // some 50 microseconds
    const std::int64_t round = shared ? rounded(panels_bytes / record_bytes, panel) : records;
    Workspace memory;
    std::atomic<std::int64_t> first_bad{none};
    for (std::int64_t start = 0; start < records; start += round) {
        const std::int64_t stop = std::min(records, start + round);
        char* packed = shared ? memory.take<char>(0, rounded(stop - start, panel) * record_bytes) : nullptr;
        std::uint32_t* pairs =
            shared ? memory.take<std::uint32_t>(1, rounded(stop - start, panel) * words) : nullptr;
        std::atomic<bool> fits{shared};
        if (shared)
            parallel_for(stop - start, grain, [&](std::int64_t begin, std::int64_t end) {
                if (!pack(job, start + begin, start + end, packed + begin * record_bytes,
                          pairs + begin * words))
                    fits = false;
            });
        if (!fits) pairs = nullptr;
        const std::int64_t most = rounded(piece_size(job, stop - start, shared), panel);
        const std::int64_t pieces = (stop - start + most - 1) / most;
        const std::int64_t size = rounded((stop - start + pieces - 1) / pieces, panel);
        parallel_for(job.models * pieces, 1, [&](std::int64_t begin, std::int64_t end) {
            Workspace own;
            for (std::int64_t piece = begin; piece < end; ++piece) {
                const std::int64_t offset = piece % pieces * size, from = start + offset;
                const std::int64_t bad = kernel(job, piece / pieces, from, std::min(stop, from + size),
                                                packed ? packed + offset * record_bytes : nullptr,
                                                pairs ? pairs + offset * words : nullptr, own);
                std::int64_t known = first_bad;
                while (bad >= 0 && bad < known && !first_bad.compare_exchange_weak(known, bad)) {
                }
            }
        });
    }
    return first_bad == none ? -1 : first_bad.load();
}

}  // namespace miafast

// Lays the references out for the kernel, and shares records among threads.
#include "neighbour_share.h"

#include <limits>

#include "parallel.h"

#define MIAFAST_KERNEL "neighbour_share_kernel.h"
#include "each_isa.h"

namespace miafast {
namespace {

constexpr std::int64_t kGrain = 32;  // records whose counts stay in the cache

void pack(NeighbourJob& job) {
    const std::int64_t abreast = kReferencesAbreast, blocks = job.blocks();
    job.reference.assign(blocks * job.models * job.classes * abreast, 0.0f);
    // Places left over in the last block are nobody's neighbours, wherever a radius puts the least product.
    job.reference_norm.assign(blocks * job.rows * abreast, std::numeric_limits<float>::quiet_NaN());
    for (std::int64_t place = 0; place < job.references; ++place) {
        const std::int64_t block = place / abreast, lane = place % abreast, record = job.chosen[place];
        for (std::int64_t model = 0; model < job.models; ++model) {
            const float* const from = job.features + (model * job.records + record) * job.classes;
            float* const to =
                job.reference.data() + (block * job.models + model) * job.classes * abreast + lane;
            for (std::int64_t i = 0; i < job.classes; ++i) to[i * abreast] = from[i];
        }
        for (std::int64_t row = 0; row < job.rows; ++row) {
            job.reference_norm[(block * job.rows + row) * abreast + lane] =
                job.norms[row * job.records + record];
        }
    }
}

}  // namespace

void neighbour_counts(NeighbourJob& job, std::int64_t* counts) {
    pack(job);
    const auto kernel = MIAFAST_PICK(count_neighbours);
    parallel_for(job.records, kGrain, [&](std::int64_t begin, std::int64_t end) {
        NeighbourRoom room;
        for (std::int64_t at = begin; at < end; at += kGrain) {
            kernel(job, at, std::min(end, at + kGrain), room, counts);
        }
    });
}

}  // namespace miafast

// How many reference records lie within a cosine distance of every record, leaving out one model in turn.
#pragma once

#include <cstdint>
#include <vector>

namespace miafast {

constexpr std::int64_t kReferencesAbreast = 16;  // a multiple of every instruction set's lanes

// Features are all models' side by side. Row r leaves out model r; with one row none is left out.
struct NeighbourJob {
    std::int64_t models, records, classes, rows, references;
    const float* features;              // [models, records, classes]
    const float* least;                 // [rows, records] norm times the least cosine of a neighbour
    const float* norms;                 // [rows, records]
    const std::int64_t* chosen;         // [references] records
    std::vector<float> reference;       // [blocks, models, classes, abreast], filled by neighbour_counts
    std::vector<float> reference_norm;  // [blocks, rows, abreast], infinite where there is no reference

    std::int64_t blocks() const { return (references + kReferencesAbreast - 1) / kReferencesAbreast; }
};

// A thread's own memory.
struct NeighbourRoom {
    std::vector<float> own, least, parts, counts;
};

// counts: [rows, records], a reference counting itself.
void neighbour_counts(NeighbourJob& job, std::int64_t* counts);

}  // namespace miafast

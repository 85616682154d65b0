// Products of some records with blocks of references: a model's part of each product is kept until all are
// summed, so that leaving it out is one subtraction. Compiled once per instruction set.

constexpr int kTogether = 8;  // records that share each load of a reference

// A block of references against kTogether records, whose features lie model after model in `own`; model m's
// part goes to parts[m][record], the sums over all models to totals[record].
inline void neighbour_parts(const NeighbourJob& job, const float* own, const float* reference, float* parts,
                            F32* totals) {
    const std::int64_t width = job.models * job.classes;
    for (int i = 0; i < kTogether; ++i) totals[i] = F32{};
    for (std::int64_t model = 0; model < job.models; ++model) {
        F32 sums[kTogether] = {};
        for (std::int64_t at = model * job.classes; at < (model + 1) * job.classes; ++at) {
            const F32 of_reference = load<F32>(reference + at * kReferencesAbreast);
            for (int i = 0; i < kTogether; ++i) sums[i] += broadcast<F32>(own[i * width + at]) * of_reference;
        }
        for (int i = 0; i < kTogether; ++i) {
            store<F32>(parts + (model * kTogether + i) * lanes<F32>, sums[i]);
            totals[i] += sums[i];
        }
    }
}

// counts[record][row] lanes of whole numbers as floats.
inline void neighbour_verdicts(const NeighbourJob& job, const float* norm, const float* least,
                               const float* parts, const F32* totals, float* counts) {
    for (std::int64_t row = 0; row < job.rows; ++row) {
        const F32 of_reference = load<F32>(norm + row * kReferencesAbreast);
        for (int i = 0; i < kTogether; ++i) {
            F32 product = totals[i];
            if (job.rows > 1) product -= load<F32>(parts + (row * kTogether + i) * lanes<F32>);
            const F32 enough = broadcast<F32>(least[i * job.rows + row]) * of_reference;
            float* const count = counts + (i * job.rows + row) * lanes<F32>;
            store<F32>(count, load<F32>(count) + select(product >= enough, broadcast<F32>(1.0f), F32{}));
        }
    }
}

// counts [rows, records] for records [begin, end).
inline void count_neighbours(const NeighbourJob& job, std::int64_t begin, std::int64_t end,
                             NeighbourRoom& room, std::int64_t* counts) {
    const std::int64_t width = job.models * job.classes, size = end - begin;
    const std::int64_t padded = (size + kTogether - 1) / kTogether * kTogether;
    room.own.assign(padded * width, 0.0f);
    room.least.assign(padded * job.rows, 0.0f);
    room.parts.resize(job.models * kTogether * lanes<F32>);
    room.counts.assign(padded * job.rows * lanes<F32>, 0.0f);
    for (std::int64_t record = 0; record < size; ++record) {
        for (std::int64_t model = 0; model < job.models; ++model) {
            const float* const from = job.features + (model * job.records + begin + record) * job.classes;
            std::copy_n(from, job.classes, room.own.data() + record * width + model * job.classes);
        }
        for (std::int64_t row = 0; row < job.rows; ++row) {
            room.least[record * job.rows + row] = job.least[row * job.records + begin + record];
        }
    }
    F32 totals[kTogether];
    for (std::int64_t block = 0; block < job.blocks(); ++block) {
        for (std::int64_t record = 0; record < padded; record += kTogether) {
            for (std::int64_t lane = 0; lane < kReferencesAbreast; lane += lanes<F32>) {
                neighbour_parts(job, room.own.data() + record * width,
                                job.reference.data() + block * width * kReferencesAbreast + lane,
                                room.parts.data(), totals);
                neighbour_verdicts(job,
                                   job.reference_norm.data() + block * job.rows * kReferencesAbreast + lane,
                                   room.least.data() + record * job.rows, room.parts.data(), totals,
                                   room.counts.data() + record * job.rows * lanes<F32>);
            }
        }
    }
    for (std::int64_t record = 0; record < size; ++record) {
        for (std::int64_t row = 0; row < job.rows; ++row) {
            const float* const lane = room.counts.data() + (record * job.rows + row) * lanes<F32>;
            float sum = 0.0f;
            for (int i = 0; i < lanes<F32>; ++i) sum += lane[i];
            counts[row * job.records + begin + record] = static_cast<std::int64_t>(sum);
        }
    }
}

// phi of the last of some layers' outputs, compiled once per instruction set. Outputs come in blocks of
// units: a hidden layer's are activated and kept, the last one's reduced to a running largest and a running
// sum per record.
#include "linear_product.h"

template <typename T>
inline void activate(bool tanh, const T* from, std::int64_t size, T* to) {
    using V = VectorOf<T>;
    for (std::int64_t i = 0; i < size; i += lanes<V>) {
        const V x = load<V>(from + i);
        store<V>(to + i, tanh ? Number<V>{1} - Number<V>{2} / (exp(x + x) + Number<V>{1}) : max(V{}, x));
    }
}

// Of every record so far: the label's output, the largest other one, where it came first, and the sum of
// exponentials relative to it.
template <typename T>
struct Running {
    using Index = typename Of<T>::Signed;
    T *of_label, *largest, *sum;
    Index *where, *label;

    Running(Workspace& memory, std::int64_t size)
        : of_label(memory.take<T>(0, size)),
          largest(memory.take<T>(1, size)),
          sum(memory.take<T>(2, size)),
          where(memory.take<Index>(3, size)),
          label(memory.take<Index>(4, size)) {
        std::fill(of_label, of_label + size, T{0});
        std::fill(largest, largest + size, -std::numeric_limits<T>::infinity());
        std::fill(sum, sum + size, T{0});
        std::fill(where, where + size, Index{1});  // were all others -infinity, the label is first if it is 0
        std::fill(label, label + size, Index{0});
    }
};

// The finite number that exponentials are taken relative to: an infinite output then counts 1, and the sum is
// NaN only where an output is.
template <typename V>
inline V finite(V largest) {
    constexpr auto limit = std::numeric_limits<Number<V>>::max();
    return min(broadcast<V>(limit), max(broadcast<V>(-limit), largest));
}

// A tile of outputs [block.first, + units) of the panel whose first record is `at`.
template <typename T>
inline void reduce_outputs(const UnitBlock& block, std::int64_t at, const Running<T>& running, T* tile) {
    using V = VectorOf<T>;
    using Index = typename Of<V>::SignedV;
    using Step = typename Of<V>::Signed;
    constexpr std::int64_t width = panel_width<T>;
    for (std::int64_t i = 0; i < width; ++i) {
        const std::int64_t row = running.label[at + i] - block.first;
        if (row < 0 || row >= block.units) continue;
        running.of_label[at + i] = tile[row * width + i];
        tile[row * width + i] = -std::numeric_limits<T>::infinity();
    }
    for (std::int64_t i = 0; i < width; i += lanes<V>) {
        const V before = load<V>(running.largest + at + i);
        V largest = before;
        Index where = load_index<V>(running.where + at + i);
        for (std::int64_t row = 0; row < block.units; ++row) {
            const V z = load<V>(tile + row * width + i);
            const auto larger = z > largest;
            where = larger ? Index{} + static_cast<Step>(block.first + row) : where;
            largest = max(z, largest);
        }
        const V shift = finite(largest);
        V sum = V{};
        for (std::int64_t row = 0; row < block.units; ++row)
            sum += exp_clamped(min(V{}, load<V>(tile + row * width + i) - shift));
        sum += load<V>(running.sum + at + i) * exp_clamped(finite(before) - shift);
        store<V>(running.sum + at + i, sum);
        store<V>(running.largest + at + i, largest);
        std::memcpy(running.where + at + i, &where, sizeof(where));
    }
}

template <typename T>
inline void finish_outputs(const Running<T>& running, std::int64_t count, T* phi, bool* correct) {
    using V = VectorOf<T>;
    T result[64];
    for (std::int64_t begin = 0; begin < count; begin += 64) {
        const std::int64_t size = std::min<std::int64_t>(64, count - begin);
        for (std::int64_t i = 0; i < size; i += lanes<V>) {
            const V largest = load<V>(running.largest + begin + i), sum = load<V>(running.sum + begin + i);
            const V margin = load<V>(running.of_label + begin + i) - largest;
            const auto infinite = abs(largest) == broadcast<V>(std::numeric_limits<T>::infinity());
            store<V>(result + i, select(infinite & (sum == sum), margin, margin - log(sum)));
        }
        std::memcpy(phi + begin, result, size * sizeof(T));
        for (std::int64_t i = begin; i < begin + size; ++i) {
            const T own = running.of_label[i], other = running.largest[i];
            correct[i] = running.sum[i] == running.sum[i] &&
                         (own > other || (own == other && running.label[i] < running.where[i]));
        }
    }
}

// Records [begin, end) of one model; without panels this packs them.
template <typename T>
inline std::int64_t confidence_of(const ConfidenceJob& job, std::int64_t model, std::int64_t begin,
                                  std::int64_t end, Panels<T> panels, Workspace& memory) {
    constexpr std::int64_t width = panel_width<T>;
    const std::int64_t count = end - begin, padded = (count + width - 1) / width * width;
    const Logits& x = job.features;
    if (!panels.numbers) {
        T* own = memory.take<T>(5, padded * x.classes);
        for (std::int64_t at = 0; at < count; at += width)
            pack_panel(x, x.model_start(model) + (begin + at) * x.record_stride, std::min(width, count - at),
                       own + at * x.classes);
        panels.numbers = own;
    }
    const Running<T> running(memory, padded);
    const std::int64_t bad =
        read_labels(job.labels, begin, count, job.layers.back().weight.records, running.label);
    T* tile = memory.take<T>(6, groups_in_block * product_rows * width);
    for (std::size_t number = 0; number < job.layers.size(); ++number) {
        const Affine& layer = job.layers[number];
        const std::int64_t units = layer.weight.records, most = groups_in_block * product_rows;
        const std::int64_t blocks = (units + most - 1) / most, block_units = (units + blocks - 1) / blocks;
        const bool is_last = number + 1 == job.layers.size();
        T* hidden = is_last ? nullptr : memory.take<T>(9 + number % 2, padded * units);
        for (std::int64_t first = 0; first < units; first += block_units) {
            const std::int64_t size = std::min(block_units, units - first);
            const BlockProduct<T> product(layer, model, first, size, panels, memory);
            for (std::int64_t at = 0; at < padded; at += width) {
                product.multiply(at, tile);
                if (is_last)
                    reduce_outputs(product.block(), at, running, tile);
                else
                    activate(job.tanh, tile, size * width, hidden + at * units + first * width);
            }
        }
        panels = {hidden, nullptr};
    }
    const std::int64_t place = model * x.records + begin;
    finish_outputs(running, count, static_cast<T*>(job.phi) + place, job.correct + place);
    return bad;
}

inline std::int64_t panel_records(bool is_double) {
    return is_double ? panel_width<double> : panel_width<float>;
}

// Words of one record's pairs, 0 where AMX takes none.
inline std::int64_t words_of_pairs([[maybe_unused]] const ConfidenceJob& job) {
#if MIAFAST_PAIRS
    if (!job.is_double() && amx_available()) return pair_words(job.features.classes);
#endif
    return 0;
}

// The panels of records [begin, end) that all models share; begin is a multiple of the panel. Returns whether
// their pairs, if any are wanted, hold them too.
inline bool pack_shared(const ConfidenceJob& job, std::int64_t begin, std::int64_t end, void* panels,
                        [[maybe_unused]] std::uint32_t* pairs) {
    const Logits& x = job.features;
    const std::int64_t width = panel_records(job.is_double());
    bool fits = words_of_pairs(job) > 0;
    for (std::int64_t at = begin; at < end; at += width) {
        const char* first = x.data + at * x.record_stride;
        const std::int64_t count = std::min(width, end - at), place = (at - begin) * x.classes;
        if (job.is_double()) {
            pack_panel(x, first, count, static_cast<double*>(panels) + place);
            continue;
        }
        float* panel = static_cast<float*>(panels) + place;
        pack_panel(x, first, count, panel);
#if MIAFAST_PAIRS
        fits = fits && fits_pairs(panel, width * x.classes);
        if (fits) pair_panel(panel, x.classes, pairs + (at - begin) * pair_words(x.classes));
#endif
    }
    return fits;
}

inline std::int64_t confidence(const ConfidenceJob& job, std::int64_t model, std::int64_t begin,
                               std::int64_t end, const void* panels, const std::uint32_t* pairs,
                               Workspace& memory) {
    if (job.is_double())
        return confidence_of<double>(job, model, begin, end, {static_cast<const double*>(panels), nullptr},
                                     memory);
    return confidence_of<float>(job, model, begin, end, {static_cast<const float*>(panels), pairs}, memory);
}

#undef MIAFAST_PAIRS

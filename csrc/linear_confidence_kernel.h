// phi of the last of some layers' outputs, compiled once per instruction set. Outputs come in blocks of
// units: a hidden layer's are activated and kept, the last one's reduced to a running largest and a running
// sum per record.
#include "linear_product.h"
#include "linear_sparse.h"
#include "linear_subsets.h"

#if MIAFAST_VECTOR_BYTES == 64 && defined(MIAFAST_AMX)
#define MIAFAST_TILES 1
#else
#define MIAFAST_TILES 0
#endif

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

// Outputs [units][width] of units [first, + units) and the records from `at` on.
template <std::int64_t width, typename T>
inline void reduce_outputs(std::int64_t first, std::int64_t units, std::int64_t at, const Running<T>& running,
                           T* outputs) {
    using V = VectorOf<T>;
    using Index = typename Of<V>::SignedV;
    using Step = typename Of<V>::Signed;
    for (std::int64_t i = 0; i < width; ++i) {
        const std::int64_t row = running.label[at + i] - first;
        if (row < 0 || row >= units) continue;
        running.of_label[at + i] = outputs[row * width + i];
        outputs[row * width + i] = -std::numeric_limits<T>::infinity();
    }
    for (std::int64_t i = 0; i < width; i += lanes<V>) {
        const V before = load<V>(running.largest + at + i);
        V largest = before;
        Index where = load_index<V>(running.where + at + i);
        for (std::int64_t row = 0; row < units; ++row) {
            const V z = load<V>(outputs + row * width + i);
            const auto larger = z > largest;
            where = larger ? Index{} + static_cast<Step>(first + row) : where;
            largest = max(z, largest);
        }
        const V shift = finite(largest);
        V sum = V{};
        for (std::int64_t row = 0; row < units; ++row)
            sum += exp_clamped(min(V{}, load<V>(outputs + row * width + i) - shift));
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

// What a layer's outputs become, block after block: the panels that the next layer reads, or phi.
template <typename T>
struct Outputs {
    std::int64_t units, records;
    const Running<T>& running;
    T *hidden, *tile;  // the last layer has no hidden

    // Units [first, + size), of which `product` gives tiles.
    template <typename Product>
    void take(const Product& product, std::int64_t first, std::int64_t size) const {
        constexpr std::int64_t width = panel_width<T>;
        for (std::int64_t at = 0; at < records; at += width) {
            product.multiply(at, hidden ? hidden + at * units + first * width : tile);
            if (!hidden) reduce_outputs<width>(first, size, at, running, tile);
        }
    }
};

// A layer of records that are known as `Product` needs them, so many units after the other; returns whether
// the weights allow it.
template <typename Product, typename T, typename Known>
inline bool take_known(const Affine& layer, std::int64_t model, std::int64_t most, Activation then,
                       const Known& known, const Outputs<T>& outputs, Workspace& memory) {
    for (std::int64_t first = 0; first < outputs.units; first += most) {
        const std::int64_t size = std::min(most, outputs.units - first);
        const Product product(layer, model, first, size, then, known, outputs.records, memory);
        if (!product.fits()) return false;
        outputs.take(product, first, size);
    }
    return true;
}

// Records [begin, end) of one model; of what all models share, panels or, where inputs are 0 or 1, their
// subsets or, where most are one value, the others. Without any this packs panels.
template <typename T>
inline std::int64_t confidence_of(const ConfidenceJob& job, std::int64_t model, std::int64_t begin,
                                  std::int64_t end, const SharedRecords& shared, Workspace& memory) {
    const T* panels = static_cast<const T*>(shared.panels);
    Entries<T> entries{static_cast<const Entry<T>*>(shared.entries), static_cast<T>(shared.plan.common)};
    [[maybe_unused]] const std::uint8_t* subsets = shared.subsets;
    constexpr std::int64_t width = panel_width<T>;
    const std::int64_t count = end - begin, padded = (count + width - 1) / width * width;
    const Logits& x = job.features;
    if (!panels && !entries.first && !subsets) {
        T* own = memory.take<T>(5, padded * x.classes);
        for (std::int64_t at = 0; at < count; at += width)
            pack_panel(x, x.model_start(model) + (begin + at) * x.record_stride, std::min(width, count - at),
                       own + at * x.classes);
        panels = own;
    }
    const Running<T> running(memory, padded);
    const std::int64_t bad =
        read_labels(job.labels, begin, count, job.layers.back().weight.records, running.label);
    T* tile = memory.take<T>(6, groups_in_block * product_rows * width);
    for (std::size_t number = 0; number < job.layers.size(); ++number) {
        const Affine& layer = job.layers[number];
        const std::int64_t units = layer.weight.records;
        const bool is_last = number + 1 == job.layers.size();
        const Activation then = is_last ? Activation::none : job.tanh ? Activation::tanh : Activation::relu;
        T* hidden = is_last ? nullptr : memory.take<T>(9 + number % 2, padded * units);
        const Outputs<T> outputs{units, padded, running, hidden, tile};
        bool known = false, fits = true;
#if MIAFAST_VECTOR_BYTES
        if (subsets) {
            known = true;
            fits = take_known<SubsetProduct<T>>(layer, model, table_units<T>, then, subsets, outputs, memory);
        }
#endif
        if (entries.first) {
            known = true;
            fits = take_known<SparseProduct<T>>(layer, model, width, then, entries, outputs, memory);
        }
        if (!fits) return confidence_of<T>(job, model, begin, end, {}, memory);
        const std::int64_t most = groups_in_block * product_rows, blocks = (units + most - 1) / most,
                           block_units = (units + blocks - 1) / blocks;
        for (std::int64_t first = 0; !known && first < units; first += block_units) {
            const std::int64_t size = std::min(block_units, units - first);
            outputs.take(BlockProduct<T>(layer, model, first, size, then, panels, memory), first, size);
        }
        panels = hidden;
        entries.first = nullptr;
        subsets = nullptr;
    }
    const std::int64_t place = model * x.records + begin;
    finish_outputs(running, count, static_cast<T*>(job.phi) + place, job.correct + place);
    return bad;
}

inline std::int64_t panel_records(bool is_double) {
    return is_double ? panel_width<double> : panel_width<float>;
}

// The panels of records [begin, end) that all models share; begin is a multiple of the panel.
template <typename T>
inline void pack_shared_of(const Logits& x, std::int64_t begin, std::int64_t end, T* panels) {
    constexpr std::int64_t width = panel_width<T>;
    for (std::int64_t at = begin; at < end; at += width) {
        pack_panel(x, x.data + at * x.record_stride, std::min(width, end - at), panels);
        panels += width * x.classes;
    }
}

inline void pack_shared(const ConfidenceJob& job, std::int64_t begin, std::int64_t end, void* panels) {
    if (job.is_double())
        pack_shared_of(job.features, begin, end, static_cast<double*>(panels));
    else
        pack_shared_of(job.features, begin, end, static_cast<float*>(panels));
}

// The most frequent of some numbers, which are sorted meanwhile.
template <typename T>
inline T most_frequent(T* values, std::int64_t size) {
    std::sort(values, values + size);
    std::int64_t begin = 0, longest = 0;
    T found{};
    for (std::int64_t i = 0; i < size; ++i) {
        if (values[i] != values[begin]) begin = i;
        if (i - begin + 1 > longest) {
            longest = i - begin + 1;
            found = values[i];
        }
    }
    return found;
}

// Which value, 0 or the first record's most frequent, most inputs of some of records [begin, end) are, and
// what share is not.
template <typename T>
inline double share_uncommon(const Logits& x, std::int64_t begin, std::int64_t end, Workspace& memory,
                             double& common) {
    constexpr std::int64_t width = panel_width<T>, most = 16;  // panels
    T *panel = memory.take<T>(0, x.classes * width), *row = memory.take<T>(1, x.classes);
    std::int64_t seen = 0, others[2] = {0, 0};
    T values[2] = {};
    for (std::int64_t at = begin; at < end; at += std::max(width, (end - begin) / most)) {
        const std::int64_t size = std::min(width, end - at);
        pack_panel(x, x.data + at * x.record_stride, size, panel);
        if (at == begin) {
            for (std::int64_t k = 0; k < x.classes; ++k) row[k] = panel[k * width];
            const T usual = all_finite(row, x.classes) ? most_frequent(row, x.classes) : T{0};
            if (std::abs(usual) < T{0x1p64}) values[1] = usual;
        }
        for (std::int64_t k = 0; k < x.classes; ++k)
            for (std::int64_t i = 0; i < size; ++i)
                for (int which = 0; which < 2; ++which)
                    others[which] += panel[k * width + i] != values[which];
        seen += x.classes * size;
    }
    const int best = others[1] < others[0];
    common = static_cast<double>(values[best]);
    return static_cast<double>(others[best]) / static_cast<double>(std::max<std::int64_t>(seen, 1));
}

// How records [begin, end) are multiplied, should most of their inputs be one value.
inline EntryPlan plan_entries(const ConfidenceJob& job, std::int64_t begin, std::int64_t end,
                              Workspace& memory) {
    const Logits& x = job.features;
    const bool is_double = job.is_double();
    const std::int64_t room = entry_room(x), panel_bytes = panel_width<float> * sizeof(float);
    if (room >> 31 || job.layers[0].weight.records < (is_double ? lanes<F64> : lanes<F32>)) return {};
    EntryPlan plan;
    const double share =
        (is_double ? share_uncommon<double> : share_uncommon<float>)(x, begin, end, memory, plan.common);
    plan.bytes = room * static_cast<std::int64_t>(is_double ? sizeof(Entry<double>) : sizeof(Entry<float>));
    plan.few = share <= few_entries;
    plan.some = share <= (x.classes * panel_bytes <= near_bytes ? most_entries_near : most_entries);
    return plan;
}

inline bool find_entries_of(const ConfidenceJob& job, std::int64_t begin, std::int64_t end, double common,
                            Workspace& memory, void* entries) {
    const Logits& x = job.features;
    const char* first = x.data + begin * x.record_stride;
    if (job.is_double())
        return find_entries(x, first, end - begin, common, memory, static_cast<Entry<double>*>(entries));
    return find_entries(x, first, end - begin, static_cast<float>(common), memory,
                        static_cast<Entry<float>*>(entries));
}

// Subsets of a record's inputs, should they be 0 or 1; 0 where they are multiplied all the same.
inline std::int64_t record_subsets([[maybe_unused]] const ConfidenceJob& job) {
#if MIAFAST_VECTOR_BYTES
    const bool pays = job.features.records >= 64 && 2 * job.layers[0].weight.records >= lanes<F32>;
    return pays ? subsets_of(job.features.classes) : 0;
#else
    return 0;
#endif
}

// The subsets of records [begin, end) that all models share; returns whether their inputs are 0 or 1.
inline bool find_shared([[maybe_unused]] const ConfidenceJob& job, [[maybe_unused]] std::int64_t begin,
                        [[maybe_unused]] std::int64_t end, [[maybe_unused]] Workspace& memory,
                        [[maybe_unused]] std::uint8_t* subsets) {
#if MIAFAST_VECTOR_BYTES
    const Logits& x = job.features;
    const char* first = x.data + begin * x.record_stride;
    return job.is_double() ? find_subsets<double>(x, first, end - begin, memory, subsets)
                           : find_subsets<float>(x, first, end - begin, memory, subsets);
#else
    return false;
#endif
}

#if MIAFAST_TILES
#include "linear_amx.h"
#endif

// Words of one record that AMX, or AVX-512's products of bfloat16, multiplies; 0 where neither does.
inline std::int64_t record_words([[maybe_unused]] const ConfidenceJob& job, [[maybe_unused]] Split into) {
#if MIAFAST_TILES
    if (!job.is_double() && isa_in_use() >= Isa::bfloat16 && tiles_pay(job) &&
        (!into.digits || digits_pay(job)))
        return panel_words(job.features.classes, into) / tile_side;
#endif
    return 0;
}

// Whether few records go through all layers before the next do, so that their hidden layers stay in the
// cache.
inline bool records_pass_by_few([[maybe_unused]] const ConfidenceJob& job, [[maybe_unused]] bool by_tiles) {
#if MIAFAST_TILES
    return by_tiles && weights_stay(job);
#else
    return false;
#endif
}

// The same records for AMX, and what a digit of each is worth; returns whether it can multiply them so.
inline bool split_shared([[maybe_unused]] const ConfidenceJob& job, [[maybe_unused]] std::int64_t begin,
                         [[maybe_unused]] std::int64_t end, [[maybe_unused]] Split into,
                         [[maybe_unused]] Workspace& memory, [[maybe_unused]] std::uint32_t* words,
                         [[maybe_unused]] float* worth) {
#if MIAFAST_TILES
    const Logits& x = job.features;
    const char* first = x.data + begin * x.record_stride;
    return into.digits ? digit_records(x, first, end - begin, into.parts, memory, words, worth)
                       : split_records(x, first, end - begin, into.parts, memory, words);
#else
    return false;
#endif
}

// Columns of the records, of which `squares` keeps [features, rounded up to 64].
inline Columns digit_columns([[maybe_unused]] const ConfidenceJob& job, [[maybe_unused]] std::int64_t begin,
                             [[maybe_unused]] std::int64_t end, [[maybe_unused]] float* squares) {
#if MIAFAST_TILES
    return columns_of(job.features, begin, end, squares);
#else
    return {};
#endif
}

// Whether the first layer's units [begin, end), of one model after the other, lose nothing as digits beside
// records of so many.
inline bool digit_units_fit([[maybe_unused]] const ConfidenceJob& job, [[maybe_unused]] std::int64_t begin,
                            [[maybe_unused]] std::int64_t end, [[maybe_unused]] int parts,
                            [[maybe_unused]] const Columns& columns, [[maybe_unused]] Workspace& memory) {
#if MIAFAST_TILES
    const Logits& weight = job.layers[0].weight;
    for (std::int64_t stop; begin < end; begin = stop) {
        const std::int64_t model = begin / weight.records, first = begin % weight.records;
        stop = std::min(end, begin - first + weight.records);
        if (!units_may_be_digits(weight, model, first, stop - begin, parts, columns, memory)) return false;
    }
#endif
    return true;
}

inline std::int64_t confidence(const ConfidenceJob& job, std::int64_t model, std::int64_t begin,
                               std::int64_t end, const SharedRecords& shared, Workspace& memory) {
#if MIAFAST_TILES
    if (shared.by_tiles) {
        const auto bad = confidence_by_tiles(job, model, begin, end, shared.split, memory);
        if (bad) return *bad;
    }
#endif
    return job.is_double() ? confidence_of<double>(job, model, begin, end, shared, memory)
                           : confidence_of<float>(job, model, begin, end, shared, memory);
}

#undef MIAFAST_TILES

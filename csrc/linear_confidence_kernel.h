// Layers of many records and the phi of the last one's outputs, compiled once per instruction set; one lane
// per record. Records lie in panels [width][panel_width]: what a layer writes is what the next one reads.
// Outputs come in blocks of units: a hidden layer's are activated and kept, the last one's reduced to a
// running largest and a running sum per record.
#include "tile.h"

inline constexpr int product_rows = 6;  // units and vectors of records in registers
inline constexpr int product_vectors = MIAFAST_VECTOR_BYTES == 16 || MIAFAST_VECTOR_BYTES == 32 ? 2 : 4;
inline constexpr std::int64_t product_depth = 128;  // a panel's slice stays in the first-level cache
inline constexpr std::int64_t groups_in_block = 16;

template <typename T>
inline constexpr std::int64_t panel_width = product_vectors * lanes<VectorOf<T>>;

// `count` records from `first` on as a panel; lanes past them are 0.
template <typename Stored, typename T>
inline void pack_panel_of(const Logits& x, const char* first, std::int64_t count, T* panel) {
    constexpr std::int64_t width = panel_width<T>;
    const std::int64_t filled = fill_vectors<Stored>(x, first, count, width, panel);
    for (std::int64_t k = 0; k < x.classes; ++k) {
        T* to = panel + k * width;
        copy_row<Stored>(first + k * x.class_stride + filled * x.record_stride, x.record_stride,
                         count - filled, to + filled);
        std::fill(to + count, to + width, T{0});
    }
}

// Some of a layer's units, as groups of at most product_rows of nearly the same size.
struct UnitBlock {
    std::int64_t first, units, groups;

    std::int64_t begin_of(std::int64_t group) const {
        return units / groups * group + std::min(units % groups, group);
    }
};

// Group after group [width][rows].
template <typename Stored, typename T>
inline void pack_weights_of(const Logits& weight, const char* start, const UnitBlock& block, T* to) {
    for (std::int64_t group = 0; group < block.groups; ++group) {
        const std::int64_t begin = block.begin_of(group), rows = block.begin_of(group + 1) - begin;
        for (std::int64_t row = 0; row < rows; ++row) {
            const char* from = start + (block.first + begin + row) * weight.record_stride;
            for (std::int64_t k = 0; k < weight.classes; ++k)
                to[k * rows + row] = number_at<Stored>(from + k * weight.class_stride);
        }
        to += rows * weight.classes;
    }
}

template <typename T>
inline void pack_panel(const Logits& x, const char* first, std::int64_t count, T* panel) {
    if constexpr (sizeof(T) == 8) {
        pack_panel_of<double>(x, first, count, panel);
    } else if (x.storage == Storage::float32) {
        pack_panel_of<float>(x, first, count, panel);
    } else if (x.storage == Storage::bfloat16) {
        pack_panel_of<Bfloat16>(x, first, count, panel);
    } else {
        pack_panel_of<Float16>(x, first, count, panel);
    }
}

template <typename T>
inline void pack_weights(const Logits& weight, const char* start, const UnitBlock& block, T* to) {
    if constexpr (sizeof(T) == 8) {
        pack_weights_of<double>(weight, start, block, to);
    } else if (weight.storage == Storage::float32) {
        pack_weights_of<float>(weight, start, block, to);
    } else if (weight.storage == Storage::bfloat16) {
        pack_weights_of<Bfloat16>(weight, start, block, to);
    } else {
        pack_weights_of<Float16>(weight, start, block, to);
    }
}

// tile [ROWS][panel_width] = bias, or the tile, + weight [depth][ROWS] times the panel's [depth][panel_width].
template <int ROWS, typename T>
inline void multiply_group(const T* weight, const T* bias, const T* panel, std::int64_t depth, T* tile) {
    using V = VectorOf<T>;
    constexpr std::int64_t width = panel_width<T>;
    V sums[ROWS][product_vectors];
    for (int row = 0; row < ROWS; ++row)
        for (int v = 0; v < product_vectors; ++v)
            sums[row][v] = bias ? broadcast<V>(bias[row]) : load<V>(tile + row * width + v * lanes<V>);
    for (std::int64_t k = 0; k < depth; ++k) {
        V right[product_vectors];
        for (int v = 0; v < product_vectors; ++v) right[v] = load<V>(panel + k * width + v * lanes<V>);
        for (int row = 0; row < ROWS; ++row) {
            const V left = broadcast<V>(weight[k * ROWS + row]);
            for (int v = 0; v < product_vectors; ++v) sums[row][v] += left * right[v];
        }
    }
    for (int row = 0; row < ROWS; ++row)
        for (int v = 0; v < product_vectors; ++v)
            store<V>(tile + row * width + v * lanes<V>, sums[row][v]);
}

// tile [units][panel_width] of one block and one panel.
template <typename T>
inline void multiply_block(const UnitBlock& block, const T* weight, const T* bias, const T* panel,
                           std::int64_t inner, T* tile) {
    for (std::int64_t k = 0; k < inner; k += product_depth) {
        const std::int64_t depth = std::min(product_depth, inner - k);
        const T* slice = panel + k * panel_width<T>;
        for (std::int64_t group = 0; group < block.groups; ++group) {
            const std::int64_t begin = block.begin_of(group), rows = block.begin_of(group + 1) - begin;
            const T *left = weight + begin * inner + k * rows, *start = k ? nullptr : bias + begin;
            T* to = tile + begin * panel_width<T>;
            switch (rows) {
                case 1:
                    multiply_group<1>(left, start, slice, depth, to);
                    break;
                case 2:
                    multiply_group<2>(left, start, slice, depth, to);
                    break;
                case 3:
                    multiply_group<3>(left, start, slice, depth, to);
                    break;
                case 4:
                    multiply_group<4>(left, start, slice, depth, to);
                    break;
                case 5:
                    multiply_group<5>(left, start, slice, depth, to);
                    break;
                default:
                    multiply_group<product_rows>(left, start, slice, depth, to);
            }
        }
    }
}

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

// Records [begin, end) of one model. `packed` are their panels, or null where this is to pack them.
template <typename T>
inline std::int64_t confidence_of(const ConfidenceJob& job, std::int64_t model, std::int64_t begin,
                                  std::int64_t end, const T* packed, Workspace& memory) {
    constexpr std::int64_t width = panel_width<T>;
    const std::int64_t count = end - begin, padded = (count + width - 1) / width * width;
    const Logits& x = job.features;
    if (!packed) {
        T* own = memory.take<T>(5, padded * x.classes);
        for (std::int64_t at = 0; at < count; at += width)
            pack_panel(x, x.model_start(model) + (begin + at) * x.record_stride, std::min(width, count - at),
                       own + at * x.classes);
        packed = own;
    }
    const Running<T> running(memory, padded);
    const std::int64_t bad =
        read_labels(job.labels, begin, count, job.layers.back().weight.records, running.label);
    T* tile = memory.take<T>(6, groups_in_block * product_rows * width);
    for (std::size_t number = 0; number < job.layers.size(); ++number) {
        const Logits &weight = job.layers[number].weight, &bias = job.layers[number].bias;
        const std::int64_t inner = weight.classes, units = weight.records;
        const std::int64_t groups = (units + product_rows - 1) / product_rows;
        const std::int64_t blocks = (groups + groups_in_block - 1) / groups_in_block;
        const std::int64_t block_units = (units + blocks - 1) / blocks;
        T* weights = memory.take<T>(7, block_units * inner);
        T* biases = memory.take<T>(8, block_units);
        const bool is_last = number + 1 == job.layers.size();
        T* hidden = is_last ? nullptr : memory.take<T>(9 + number % 2, padded * units);
        for (std::int64_t first = 0; first < units; first += block_units) {
            const std::int64_t size = std::min(block_units, units - first);
            const UnitBlock block{first, size, (size + product_rows - 1) / product_rows};
            pack_weights(weight, weight.model_start(model), block, weights);
            std::fill(biases, biases + size, T{0});
            if (bias.data) {
                Logits some = bias;
                some.classes = size;
                pack_weights(some, bias.model_start(model) + first * bias.class_stride, {0, 1, 1}, biases);
            }
            for (std::int64_t at = 0; at < padded; at += width) {
                multiply_block(block, weights, biases, packed + at * inner, inner, tile);
                if (is_last)
                    reduce_outputs(block, at, running, tile);
                else
                    activate(job.tanh, tile, size * width, hidden + at * units + first * width);
            }
        }
        packed = hidden;
    }
    const std::int64_t place = model * x.records + begin;
    finish_outputs(running, count, static_cast<T*>(job.phi) + place, job.correct + place);
    return bad;
}

inline std::int64_t panel_records(bool is_double) {
    return is_double ? panel_width<double> : panel_width<float>;
}

// The panels of records [begin, end) that all models share; begin is a multiple of the panel.
inline void pack_shared(const ConfidenceJob& job, std::int64_t begin, std::int64_t end, void* to) {
    const Logits& x = job.features;
    const std::int64_t width = panel_records(job.is_double());
    for (std::int64_t at = begin; at < end; at += width) {
        const char* first = x.data + at * x.record_stride;
        const std::int64_t count = std::min(width, end - at), place = (at - begin) * x.classes;
        if (job.is_double())
            pack_panel(x, first, count, static_cast<double*>(to) + place);
        else
            pack_panel(x, first, count, static_cast<float*>(to) + place);
    }
}

inline std::int64_t confidence(const ConfidenceJob& job, std::int64_t model, std::int64_t begin,
                               std::int64_t end, const void* packed, Workspace& memory) {
    if (job.is_double())
        return confidence_of(job, model, begin, end, static_cast<const double*>(packed), memory);
    return confidence_of(job, model, begin, end, static_cast<const float*>(packed), memory);
}

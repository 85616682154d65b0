// Layers of many records and the phi of the last one's outputs, compiled once per instruction set; one lane
// per record. Records lie in panels [width][panel_width]: what a layer writes is what the next one reads.
// Outputs come in blocks of units: a hidden layer's are activated and kept, the last one's reduced to a
// running largest and a running sum per record.
#include "tile.h"

inline constexpr int product_rows = 6;  // units and vectors of records in registers
inline constexpr int product_vectors = MIAFAST_VECTOR_BYTES == 16 || MIAFAST_VECTOR_BYTES == 32 ? 2 : 4;
inline constexpr std::int64_t product_depth = 128;   // a panel's slice stays in the first-level cache
inline constexpr std::int64_t groups_in_block = 16;  // 96 units: whole AMX tiles too

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

// Inputs that bfloat16 holds exactly (bits, small whole numbers, bfloat16 itself) go through AMX, with
// float32 weights as the exact sum of three bfloat16 numbers: no digit is lost, and it is several times
// faster.
#if MIAFAST_VECTOR_BYTES == 64 && defined(MIAFAST_AMX)
// Words of one record in a panel of pairs.
inline std::int64_t pair_words(std::int64_t width) { return (width + 31) / 32 * 16; }

// Whether every number is finite and a bfloat16 number.
inline bool fits_pairs(const float* panels, std::int64_t size) {
    U32 outside = U32{};
    for (std::int64_t i = 0; i < size; i += lanes<F32>) {
        const U32 bits = bits_as<U32>(load<F32>(panels + i));
        outside |= (bits & 0xffffu) | bits_as<U32>((bits & 0x7f800000u) == 0x7f800000u);
    }
    std::uint32_t any = 0;
    for (int lane = 0; lane < lanes<F32>; ++lane) any |= outside[lane];
    return any == 0;
}

inline void pair_panel(const float* panel, std::int64_t width, std::uint32_t* to) {
    constexpr std::int64_t records = panel_width<float>;
    for (std::int64_t word = 0; word < pair_words(width); ++word, to += records)
        for (std::int64_t i = 0; i < records; i += lanes<F32>) {
            const float *low = panel + 2 * word * records + i, *high = low + records;
            U32 pair = 2 * word < width ? bits_as<U32>(load<F32>(low)) >> 16 : U32{};
            if (2 * word + 1 < width) pair |= bits_as<U32>(load<F32>(high));
            std::memcpy(to + i, &pair, sizeof(pair));
        }
}

// Rows [padded units][pair_words] of one part after the other; returns how many parts there are. `row` is
// room for one row of numbers.
template <typename Stored>
inline std::int64_t pair_weights(const Logits& weight, const char* start, std::int64_t units, float* row,
                                 std::uint32_t* words) {
    constexpr int parts = std::is_same_v<Stored, Bfloat16> ? 1 : 3;
    const std::int64_t length = 2 * pair_words(weight.classes), part = (units + 15) / 16 * 16 * length;
    auto* to = reinterpret_cast<std::uint16_t*>(words);
    for (int i = 0; i < parts; ++i) std::fill(to + i * part + units * length, to + (i + 1) * part, 0);
    std::fill(row + weight.classes, row + length, 0.0f);
    for (std::int64_t unit = 0; unit < units; ++unit, to += length) {
        copy_row<Stored>(start + unit * weight.record_stride, weight.class_stride, weight.classes, row);
        for (std::int64_t k = 0; k < length; k += lanes<F32>) {
            F32 rest = load<F32>(row + k);  // a NaN keeps a bit in the upper half
            rest = select(rest == rest, rest, broadcast<F32>(std::numeric_limits<float>::quiet_NaN()));
            for (int i = 0; i < parts; ++i) {
                const U32 upper = bits_as<U32>(rest) & 0xffff0000u;
                const __m256i half = _mm512_cvtepi32_epi16((__m512i)(upper >> 16));
                _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + i * part + k), half);
                const auto infinite = (upper & 0x7f800000u) == 0x7f800000u;
                rest = select(infinite, F32{}, rest - bits_as<F32>(upper));
            }
        }
    }
    return parts;
}
#endif

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

// tile [ROWS][panel_width] = bias, or the tile, + weight [depth][ROWS] times the panel's
// [depth][panel_width].
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
        for (int v = 0; v < product_vectors; ++v) store<V>(tile + row * width + v * lanes<V>, sums[row][v]);
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

// The panels of some records, and where AMX takes them, their pairs.
template <typename T>
struct Panels {
    const T* numbers;
    const std::uint32_t* pairs;
};

// A block of a layer's units of one model, ready to be multiplied with panel after panel.
template <typename T>
class BlockProduct {
  public:
    BlockProduct(const Affine& layer, std::int64_t model, std::int64_t first, std::int64_t units,
                 const Panels<T>& panels, Workspace& memory)
        : block_{first, units, (units + product_rows - 1) / product_rows},
          inner_(layer.weight.classes),
          panels_(panels),
          biases_(memory.take<T>(7, units)) {
        const Logits& weight = layer.weight;
        std::fill(biases_, biases_ + units, T{0});
        if (layer.bias.data) {
            Logits some = layer.bias;
            some.classes = units;
            pack_weights(some, some.model_start(model) + first * some.class_stride, {0, 1, 1}, biases_);
        }
        const char* start = weight.model_start(model);
#if MIAFAST_VECTOR_BYTES == 64 && defined(MIAFAST_AMX)
        if (panels.pairs) {
            const std::int64_t size = (units + 15) / 16 * 16 * pair_words(inner_);
            std::uint32_t* words = memory.take<std::uint32_t>(8, 3 * size);
            auto* row = memory.take<float>(11, 2 * pair_words(inner_));
            start += first * weight.record_stride;
            const std::int64_t parts = weight.storage == Storage::float32
                                           ? pair_weights<float>(weight, start, units, row, words)
                                       : weight.storage == Storage::bfloat16
                                           ? pair_weights<Bfloat16>(weight, start, units, row, words)
                                           : pair_weights<Float16>(weight, start, units, row, words);
            operand_ = {words, pair_words(inner_), parts, size};
            tiles_.emplace();
            return;
        }
#endif
        T* weights = memory.take<T>(8, units * inner_);
        pack_weights(weight, start, block_, weights);
        weights_ = weights;
    }

    const UnitBlock& block() const { return block_; }

    // tile [units][panel_width] of the panel whose first record is `at`.
    void multiply(std::int64_t at, T* tile) const {
#if MIAFAST_VECTOR_BYTES == 64 && defined(MIAFAST_AMX)
        if constexpr (sizeof(T) == 4) {
            if (panels_.pairs) {
                const std::int64_t rows = (block_.units + 15) / 16 * 16, words = pair_words(inner_);
                for (std::int64_t unit = 0; unit < block_.units; ++unit)
                    std::fill_n(tile + unit * panel_width<T>, panel_width<T>, biases_[unit]);
                multiply_tiles(rows, panel_width<T>, 2 * words, operand_,
                               {panels_.pairs + at * words, panel_width<T>}, tile, panel_width<T>, true);
                return;
            }
        }
#endif
        multiply_block(block_, weights_, biases_, panels_.numbers + at * inner_, inner_, tile);
    }

  private:
    UnitBlock block_;
    std::int64_t inner_;
    Panels<T> panels_;
    T* biases_;
    const T* weights_ = nullptr;
#if MIAFAST_VECTOR_BYTES == 64 && defined(MIAFAST_AMX)
    AmxOperand operand_{};
    std::optional<AmxTiles> tiles_;
#endif
};

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
#if MIAFAST_VECTOR_BYTES == 64 && defined(MIAFAST_AMX)
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
#if MIAFAST_VECTOR_BYTES == 64 && defined(MIAFAST_AMX)
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

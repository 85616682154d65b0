// Products of layers with many records, one lane per record. Records lie in panels [width][panel_width]: what
// a layer writes is what the next one reads. Read inside an instruction set's namespace, after vector.h; so
// no include guard.
#include "tile.h"

inline constexpr int product_rows = 6;  // units and vectors of records in registers
inline constexpr int product_vectors = MIAFAST_VECTOR_BYTES == 16 || MIAFAST_VECTOR_BYTES == 32 ? 2 : 4;
inline constexpr std::int64_t product_depth = 128;  // a panel's slice stays in the first-level cache
inline constexpr std::int64_t groups_in_block = 16;

template <typename T>
inline constexpr std::int64_t panel_width = product_vectors * lanes<VectorOf<T>>;

// What follows a layer.
enum class Activation { none, relu, tanh };

// By its series where the quotient would leave few digits of a small number.
template <typename V>
inline V tanh(V x) {
    using T = Number<V>;
    const V square = x * x, quotient = T{1} - T{2} / (exp(x + x) + T{1});
    V sum = broadcast<V>(T(-1382.0 / 155925));
    for (double term : {62.0 / 2835, -17.0 / 315, 2.0 / 15, -1.0 / 3, 1.0}) sum = sum * square + T(term);
    const auto small = square < broadcast<V>(sizeof(T) == 4 ? T(0.0625) : T(0.00390625));
    return select(small, sum * x, quotient);
}

template <typename V>
inline V activated(bool is_tanh, V x) {
    return is_tanh ? tanh(x) : max(V{}, x);
}

template <typename T>
inline void activate(bool tanh, std::int64_t size, T* values) {
    using V = VectorOf<T>;
    for (std::int64_t i = 0; i < size; i += lanes<V>)
        store<V>(values + i, activated(tanh, load<V>(values + i)));
}

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

template <typename T>
inline bool all_finite(const T* values, std::int64_t size) {
    using V = VectorOf<T>;
    V rest{};  // stays 0, or is NaN
    std::int64_t i = 0;
    for (; i + lanes<V> <= size; i += lanes<V>) rest += load<V>(values + i) - load<V>(values + i);
    T last = sum_of_lanes(rest);
    for (; i < size; ++i) last += values[i] - values[i];
    return last == 0;
}

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
// [depth][panel_width]; of which ReLU where asked.
template <int ROWS, typename T>
inline void multiply_group(const T* weight, const T* bias, const T* panel, std::int64_t depth, bool relu,
                           T* tile) {
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
            store<V>(tile + row * width + v * lanes<V>, relu ? max(V{}, sums[row][v]) : sums[row][v]);
}

// tile [units][panel_width] of one block and one panel.
template <typename T>
inline void multiply_block(const UnitBlock& block, const T* weight, const T* bias, const T* panel,
                           std::int64_t inner, Activation then, T* tile) {
    for (std::int64_t k = 0; k < inner; k += product_depth) {
        const std::int64_t depth = std::min(product_depth, inner - k);
        const T* slice = panel + k * panel_width<T>;
        const bool relu = then == Activation::relu && k + depth == inner;
        for (std::int64_t group = 0; group < block.groups; ++group) {
            const std::int64_t begin = block.begin_of(group), rows = block.begin_of(group + 1) - begin;
            const T *left = weight + begin * inner + k * rows, *start = k ? nullptr : bias + begin;
            T* to = tile + begin * panel_width<T>;
            switch (rows) {
                case 1:
                    multiply_group<1>(left, start, slice, depth, relu, to);
                    break;
                case 2:
                    multiply_group<2>(left, start, slice, depth, relu, to);
                    break;
                case 3:
                    multiply_group<3>(left, start, slice, depth, relu, to);
                    break;
                case 4:
                    multiply_group<4>(left, start, slice, depth, relu, to);
                    break;
                case 5:
                    multiply_group<5>(left, start, slice, depth, relu, to);
                    break;
                default:
                    multiply_group<product_rows>(left, start, slice, depth, relu, to);
            }
        }
    }
    if (then == Activation::tanh) activate(true, block.units * panel_width<T>, tile);
}

// A block of a layer's units of one model, ready to be multiplied with panel after panel of records.
template <typename T>
class BlockProduct {
  public:
    BlockProduct(const Affine& layer, std::int64_t model, std::int64_t first, std::int64_t units,
                 Activation then, const T* panels, Workspace& memory)
        : block_{first, units, (units + product_rows - 1) / product_rows},
          inner_(layer.weight.classes),
          then_(then),
          panels_(panels),
          biases_(memory.take<T>(7, units)),
          weights_(memory.take<T>(8, units * inner_)) {
        std::fill(biases_, biases_ + units, T{0});
        if (layer.bias.data) {
            Logits some = layer.bias;
            some.classes = units;
            pack_weights(some, some.model_start(model) + first * some.class_stride, {0, 1, 1}, biases_);
        }
        pack_weights(layer.weight, layer.weight.model_start(model), block_, weights_);
    }

    // tile [units][panel_width] of the panel of records from `at` on, activated.
    void multiply(std::int64_t at, T* tile) const {
        multiply_block(block_, weights_, biases_, panels_ + at * inner_, inner_, then_, tile);
    }

  private:
    UnitBlock block_;
    std::int64_t inner_;
    Activation then_;
    const T* panels_;
    T *biases_, *weights_;
};

// Some of a layer's units of one model, of which records keep sums side by side: lanes are units here.
template <typename T>
class UnitLanes {
  public:
    // Whether the weights allow it; else there are no sums.
    bool fits() const { return fits_; }

    // tile [units][panel_width] of the panel of records from `at` on, activated.
    void multiply(std::int64_t at, T* tile) const { turn(sums_ + at * length_, tile); }

  protected:
    void turn(const T* sums, T* tile) const {
        constexpr std::int64_t bytes = sizeof(T);
        const Storage storage = bytes == 8 ? Storage::float64 : Storage::float32;
        const Logits rows{nullptr, storage, {}, {}, panel_width<T>, units_, length_ * bytes, bytes};
        pack_panel(rows, reinterpret_cast<const char*>(sums), panel_width<T>, tile);
        if (then_ != Activation::none) activate(then_ == Activation::tanh, units_ * panel_width<T>, tile);
    }

    UnitLanes(const Affine& layer, std::int64_t model, std::int64_t first, std::int64_t units,
              Activation then, std::int64_t records, std::int64_t length, Workspace& memory)
        : units_(units),
          length_(length),
          then_(then),
          biases_(memory.take<T>(7, panel_width<T>)),
          weights_(memory.take<T>(8, layer.weight.classes * panel_width<T>)),
          sums_(memory.take<T>(11, records * length)) {
        const Logits& weight = layer.weight;
        std::fill(biases_, biases_ + panel_width<T>, T{0});
        if (layer.bias.data) {
            Logits some = layer.bias;
            some.classes = units;
            pack_weights(some, some.model_start(model) + first * some.class_stride, {0, 1, 1}, biases_);
        }
        pack_panel(weight, weight.model_start(model) + first * weight.record_stride, units, weights_);
    }

    std::int64_t units_, length_;
    Activation then_;
    T *biases_, *weights_, *sums_;  // [panel_width], [inner][panel_width], [records][length]
    bool fits_ = false;
};

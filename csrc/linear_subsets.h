// A first layer of inputs that are 0 or 1, by sums of subsets of its weights; lanes are units here. Part of
// linear_confidence_kernel.h.
#if MIAFAST_VECTOR_BYTES
#include "subset_sums.h"

template <typename Mask>
inline bool any_lane(Mask mask) {
    const Mask none{};
    return std::memcmp(&mask, &none, sizeof(mask)) != 0;
}

// Units that a table holds.
template <typename T>
inline constexpr std::int64_t table_units = subset_vectors * lanes<VectorOf<T>>;

// Which subsets the fives of inputs of records [first, + count) are: [records][fives]. Returns whether all
// inputs are 0 or 1.
template <typename T>
inline bool find_subsets(const Logits& x, const char* first, std::int64_t count, Workspace& memory,
                         std::uint8_t* to) {
    using V = VectorOf<T>;
    constexpr std::int64_t width = panel_width<T>;
    const std::int64_t fives = subsets_of(x.classes);
    T* panel = memory.take<T>(0, fives * subset_size * width);
    std::fill(panel + x.classes * width, panel + fives * subset_size * width, T{0});
    typename Of<V>::SignedV others{};
    for (std::int64_t at = 0; at < count;
         at += width, first += width * x.record_stride, to += width * fives) {
        pack_panel(x, first, std::min(width, count - at), panel);
        for (std::int64_t five = 0; five < fives; ++five)
            for (std::int64_t i = 0; i < width; i += lanes<V>) {
                V subset{};
                for (std::int64_t k = subset_size; k-- > 0;) {
                    const V bit = load<V>(panel + (five * subset_size + k) * width + i);
                    others |= (bit != V{}) & (bit != broadcast<V>(T{1}));
                    subset = subset + subset + bit;
                }
                for (std::int64_t lane = 0; lane < lanes<V>; ++lane)
                    to[(i + lane) * fives + five] = static_cast<std::uint8_t>(subset[lane]);
            }
        if (any_lane(others)) return false;
    }
    return true;
}

// Some of a first layer's units of one model, no more than a table holds, for records that are known as
// subsets.
template <typename T>
class SubsetProduct {
  public:
    SubsetProduct(const Affine& layer, std::int64_t model, std::int64_t first, std::int64_t units,
                  Activation then, const std::uint8_t* subsets, std::int64_t records, Workspace& memory)
        : units_(units), then_(then), sums_(memory.take<T>(11, records * length)) {
        const Logits& weight = layer.weight;
        T *biases = memory.take<T>(7, length), *weights = memory.take<T>(8, weight.classes * width);
        V* tables = memory.take<V>(12, slice_vectors<V>);
        std::fill(biases, biases + length, T{0});
        if (layer.bias.data) {
            Logits some = layer.bias;
            some.classes = units;
            pack_weights(some, some.model_start(model) + first * some.class_stride, {0, 1, 1}, biases);
        }
        pack_panel(weight, weight.model_start(model) + first * weight.record_stride, units, weights);
        if (!(fits_ = sums_fit(weights, weight.classes * width))) return;
        (units > lanes<V> ? multiply_bits<2, V, T>
                          : multiply_bits<1, V, T>)({subsets, records, subsets_of(weight.classes)},
                                                    weight.classes, weights, width, biases, 0, sums_, length,
                                                    tables);
    }

    // Whether the weights are finite, and no sum of a few is not.
    bool fits() const { return fits_; }

    // tile [units][panel_width] of the panel of records from `at` on, activated.
    void multiply(std::int64_t at, T* tile) const {
        constexpr std::int64_t bytes = sizeof(T);
        const Storage storage = bytes == 8 ? Storage::float64 : Storage::float32;
        const Logits rows{nullptr, storage, {}, {}, width, units_, length * bytes, bytes};
        pack_panel(rows, reinterpret_cast<const char*>(sums_ + at * length), width, tile);
        if (then_ != Activation::none) activate(then_ == Activation::tanh, units_ * width, tile);
    }

  private:
    using V = VectorOf<T>;
    static constexpr std::int64_t width = panel_width<T>, length = table_units<T>;

    std::int64_t units_;
    Activation then_;
    T* sums_;  // [records][length]
    bool fits_;

    static bool sums_fit(const T* weights, std::int64_t size) {
        const V limit = broadcast<V>(std::numeric_limits<T>::max() / (2 * subset_size));
        typename Of<V>::SignedV outside{};
        for (std::int64_t i = 0; i < size; i += lanes<V>) outside |= ~(abs(load<V>(weights + i)) < limit);
        return !any_lane(outside);
    }
};
#endif

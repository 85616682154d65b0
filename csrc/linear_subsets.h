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
class SubsetProduct : public UnitLanes<T> {
  public:
    SubsetProduct(const Affine& layer, std::int64_t model, std::int64_t first, std::int64_t units,
                  Activation then, const std::uint8_t* subsets, std::int64_t records, Workspace& memory)
        : UnitLanes<T>(layer, model, first, units, then, records, table_units<T>, memory) {
        const std::int64_t inner = layer.weight.classes;
        if (!sums_fit(this->weights_, inner * width)) return;
        this->fits_ = true;
        V* tables = memory.take<V>(12, slice_vectors<V>);
        (units > lanes<V> ? multiply_bits<2, V, T>
                          : multiply_bits<1, V, T>)({subsets, records, subsets_of(inner)}, inner,
                                                    this->weights_, width, this->biases_, 0, this->sums_,
                                                    table_units<T>, tables);
    }

  private:
    using V = VectorOf<T>;
    static constexpr std::int64_t width = panel_width<T>;

    // Whether the weights are finite, and no sum of a few is not.
    static bool sums_fit(const T* weights, std::int64_t size) {
        const V limit = broadcast<V>(std::numeric_limits<T>::max() / (2 * subset_size));
        typename Of<V>::SignedV outside{};
        for (std::int64_t i = 0; i < size; i += lanes<V>) outside |= ~(abs(load<V>(weights + i)) < limit);
        return !any_lane(outside);
    }
};
#endif

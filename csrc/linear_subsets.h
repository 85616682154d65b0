// A first layer of inputs that are 0 or 1, without multiplying: a unit's weights of five inputs have 32 sums,
// which are made once per model and looked up for every record. One addition so does the work of five
// products, with fewer roundings. Arlazarov, Dinic, Kronrod and Faradzhev 1970, "the method of the four
// Russians".
//
// Lanes are units here. As many fives as keep their tables in the first-level cache are a slice; all records
// pass a slice before the next. Part of linear_confidence_kernel.h.

#if MIAFAST_VECTOR_BYTES
inline constexpr std::int64_t subset_inputs = 5, subset_sums = 1 << subset_inputs, subset_vectors = 2;
inline constexpr std::int64_t slice_bytes = 28 << 10;

inline std::int64_t subset_groups(std::int64_t inputs) {
    return (inputs + subset_inputs - 1) / subset_inputs;
}

template <typename T>
inline constexpr std::int64_t table_length = subset_vectors * lanes<VectorOf<T>>;
template <typename T>
inline constexpr std::int64_t table_size = subset_sums * table_length<T>;
template <typename T>
inline constexpr std::int64_t slice_groups =
    slice_bytes / static_cast<std::int64_t>(table_size<T> * sizeof(T));

template <typename Mask>
inline bool any_lane(Mask mask) {
    Mask none{};
    return std::memcmp(&mask, &none, sizeof(mask)) != 0;
}

// Where in the tables of their slice the sums of records [first, + count) are, in bytes: per panel
// [groups][panel_width]. Returns whether all inputs are 0 or 1.
template <typename T>
inline bool subset_places(const Logits& x, const char* first, std::int64_t count, Workspace& memory,
                          std::uint16_t* to) {
    using V = VectorOf<T>;
    constexpr std::int64_t width = panel_width<T>;
    const std::int64_t groups = subset_groups(x.classes);
    T* panel = memory.take<T>(0, groups * subset_inputs * width);
    std::fill(panel + x.classes * width, panel + groups * subset_inputs * width, T{0});
    for (std::int64_t at = 0; at < count; at += width, first += width * x.record_stride) {
        pack_panel(x, first, std::min(width, count - at), panel);
        typename Of<V>::SignedV others{};
        for (std::int64_t group = 0; group < groups; ++group, to += width)
            for (std::int64_t i = 0; i < width; i += lanes<V>) {
                V subset = broadcast<V>(static_cast<T>(group % slice_groups<T>));
                for (std::int64_t k = subset_inputs; k-- > 0;) {
                    const V bit = load<V>(panel + (group * subset_inputs + k) * width + i);
                    others |= (bit != V{}) & (bit != broadcast<V>(T{1}));
                    subset = subset + subset + bit;
                }
                T places[lanes<V>];
                store<V>(places, subset * static_cast<T>(table_size<T> / subset_sums * sizeof(T)));
                for (std::int64_t lane = 0; lane < lanes<V>; ++lane)
                    to[i + lane] = static_cast<std::uint16_t>(static_cast<std::int32_t>(places[lane]));
            }
        if (any_lane(others)) return false;
    }
    return true;
}

// Sums of all subsets of the weights [inputs][panel_width] of so many inputs.
template <int vectors, typename T>
inline void sum_subsets(const T* weights, std::int64_t inputs, T* table) {
    using V = VectorOf<T>;
    constexpr std::int64_t length = subset_vectors * lanes<V>;
    for (int v = 0; v < vectors; ++v) {
        T* sums = table + v * lanes<V>;
        store<V>(sums, V{});
        for (std::int64_t k = 0; k < inputs; ++k) {
            const V weight = load<V>(weights + k * panel_width<T> + v * lanes<V>);
            for (std::int64_t subset = 0; subset < 1 << k; ++subset)
                store<V>(sums + ((1 << k) + subset) * length, load<V>(sums + subset * length) + weight);
        }
    }
}

// sums [records][table_length] = `start`, or the sums, + what is looked up in so many tables.
template <int vectors, typename T>
MIAFAST_INLINE void add_subsets(const T* tables, std::int64_t groups, const std::uint16_t* places,
                                std::int64_t all_groups, const T* start, std::int64_t records, T* sums) {
    using V = VectorOf<T>;
    constexpr std::int64_t width = panel_width<T>;
    for (std::int64_t at = 0; at < records; at += width, places += all_groups * width)
        for (std::int64_t i = 0; i < width; ++i, sums += table_length<T>) {
            V sum[vectors];
            for (int v = 0; v < vectors; ++v) sum[v] = load<V>((start ? start : sums) + v * lanes<V>);
            for (std::int64_t group = 0; group < groups; ++group) {
                const char* place = reinterpret_cast<const char*>(tables) + places[group * width + i];
                for (int v = 0; v < vectors; ++v)
                    sum[v] += load<V>(reinterpret_cast<const T*>(place) + v * lanes<V>);
            }
            for (int v = 0; v < vectors; ++v) store<V>(sums + v * lanes<V>, sum[v]);
        }
}

// Some of a first layer's units of one model, no more than a table holds, for records whose places are known.
template <typename T>
class SubsetProduct {
  public:
    SubsetProduct(const Affine& layer, std::int64_t model, std::int64_t first, std::int64_t units,
                  const std::uint16_t* places, std::int64_t records, Workspace& memory)
        : units_(units), sums_(memory.take<T>(11, records * length)) {
        const Logits& weight = layer.weight;
        T *biases = memory.take<T>(7, length), *weights = memory.take<T>(8, weight.classes * width),
          *tables = memory.take<T>(12, slice_groups<T> * table_size<T>);
        std::fill(biases, biases + length, T{0});
        if (layer.bias.data) {
            Logits some = layer.bias;
            some.classes = units;
            pack_weights(some, some.model_start(model) + first * some.class_stride, {0, 1, 1}, biases);
        }
        pack_panel(weight, weight.model_start(model) + first * weight.record_stride, units, weights);
        if (!(fits_ = subsets_fit(weights, weight.classes * width))) return;
        (units > lanes<V> ? look_up<2> : look_up<1>)(weights, weight.classes, biases, places, records, tables,
                                                     sums_);
    }

    // Whether the weights are finite, and no sum of a few is not.
    bool fits() const { return fits_; }

    // tile [units][panel_width] of the panel of records from `at` on.
    void multiply(std::int64_t at, T* tile) const {
        constexpr std::int64_t bytes = sizeof(T);
        const Storage storage = bytes == 8 ? Storage::float64 : Storage::float32;
        const Logits rows{nullptr, storage, {}, {}, width, units_, length * bytes, bytes};
        pack_panel(rows, reinterpret_cast<const char*>(sums_ + at * length), width, tile);
    }

  private:
    using V = VectorOf<T>;
    static constexpr std::int64_t width = panel_width<T>, length = table_length<T>;

    std::int64_t units_;
    T* sums_;
    bool fits_;

    static bool subsets_fit(const T* weights, std::int64_t size) {
        const V limit = broadcast<V>(std::numeric_limits<T>::max() / (2 * subset_sums));
        typename Of<V>::SignedV outside{};
        for (std::int64_t i = 0; i < size; i += lanes<V>) outside |= ~(abs(load<V>(weights + i)) < limit);
        return !any_lane(outside);
    }

    template <int vectors>
    static void look_up(const T* weights, std::int64_t inputs, const T* biases, const std::uint16_t* places,
                        std::int64_t records, T* tables, T* sums) {
        const std::int64_t all = subset_groups(inputs);
        for (std::int64_t first = 0; first < all; first += slice_groups<T>) {
            const std::int64_t groups = std::min(slice_groups<T>, all - first);
            for (std::int64_t group = 0; group < groups; ++group) {
                const std::int64_t input = (first + group) * subset_inputs;
                sum_subsets<vectors>(weights + input * width, std::min(subset_inputs, inputs - input),
                                     tables + group * table_size<T>);
            }
            const T* start = first ? nullptr : biases;
            const std::uint16_t* from = places + first * width;
            if (groups == slice_groups<T>)
                add_subsets<vectors>(tables, slice_groups<T>, from, all, start, records, sums);
            else
                add_subsets<vectors>(tables, groups, from, all, start, records, sums);
        }
    }
};
#endif

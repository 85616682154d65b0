// A first layer of inputs that are mostly one value (0, or what an image's border is), by those that are not:
// W x = W (x - value) + value times W's sums. Lanes are units here. Part of linear_confidence_kernel.h.

// Records whose inputs are entries up to this share take less time than by subsets, if they are bits, and
// than by panels: there it depends on whether a model's weights stay in the first-level cache.
inline constexpr double few_entries = 0.125, most_entries = 0.375, most_entries_near = 0.625;
inline constexpr std::int64_t near_bytes = 32 << 10;

// An input that is not the common value, less that.
template <typename T>
struct Entry {
    std::int32_t input;
    T value;
};

// Room for the entries of a record.
inline std::int64_t entry_room(const Logits& x) { return x.classes + 1; }

// The entries of records [first, + count). A panel's begin where it has room for all, one record's after the
// other's; an entry past all inputs ends each. Returns whether that costs no digits: not where a value is
// left out that a record has nowhere, whose own may be small beside it.
template <typename T>
inline bool find_entries(const Logits& x, const char* first, std::int64_t count, T common, Workspace& memory,
                         Entry<T>* to) {
    constexpr std::int64_t width = panel_width<T>;
    const std::int64_t room = entry_room(x);
    T* panel = memory.take<T>(0, x.classes * width);
    auto* found = memory.take<Entry<T>>(1, width * room);
    for (std::int64_t at = 0; at < count; at += width, first += width * x.record_stride, to += width * room) {
        const std::int64_t size = std::min(width, count - at);
        pack_panel(x, first, size, panel);
        Entry<T>* next[width];
        for (std::int64_t i = 0; i < width; ++i) next[i] = found + i * room;
        for (std::int64_t k = 0; k < x.classes; ++k)
            for (std::int64_t i = 0; i < width; ++i) {
                const T value = panel[k * width + i];
                *next[i] = {static_cast<std::int32_t>(k), value - common};
                next[i] += value != common;
            }
        Entry<T>* end = to;
        for (std::int64_t i = 0; i < width; ++i) {
            if (common != 0 && i < size && next[i] == found + i * room + x.classes) return false;
            *next[i] = {static_cast<std::int32_t>(x.classes), 0};
            end = std::copy(found + i * room, next[i] + 1, end);
        }
    }
    return true;
}

template <typename T>
struct Entries {
    const Entry<T>* first;
    T common;
};

// Some of a first layer's units of one model, no more than a panel is wide, for records that are known as
// entries.
template <typename T>
class SparseProduct : public UnitLanes<T> {
  public:
    SparseProduct(const Affine& layer, std::int64_t model, std::int64_t first, std::int64_t units,
                  Activation then, const Entries<T>& entries, std::int64_t, Workspace& memory)
        : UnitLanes<T>(layer, model, first, units, then, width, width, memory),
          room_(entry_room(layer.weight)),
          inner_(static_cast<std::int32_t>(layer.weight.classes)),
          entries_(entries.first) {
        this->fits_ = all_finite(this->weights_, inner_ * width);  // 0 times those would not be 0
        if (entries.common == T{0} || !this->fits_) return;
        for (std::int64_t i = 0; i < width; i += lanes<V>) {
            V sum{};
            for (std::int64_t k = 0; k < inner_; ++k) sum += load<V>(this->weights_ + k * width + i);
            store<V>(this->biases_ + i, load<V>(this->biases_ + i) + entries.common * sum);
        }
        this->fits_ = all_finite(this->biases_, width);
    }

    // tile [units][panel_width] of the panel of records from `at` on, activated.
    void multiply(std::int64_t at, T* tile) const {
        const Entry<T>* const from = entries_ + at * room_;
        if (this->units_ > 3 * lanes<V>)
            add<4>(from);
        else if (this->units_ > 2 * lanes<V>)
            add<3>(from);
        else if (this->units_ > lanes<V>)
            add<2>(from);
        else
            add<1>(from);
        this->turn(this->sums_, tile);
    }

  private:
    using V = VectorOf<T>;
    static constexpr std::int64_t width = panel_width<T>;

    std::int64_t room_;
    std::int32_t inner_;
    const Entry<T>* entries_;

    template <int most>
    void add(const Entry<T>* entry) const {
        constexpr int vectors = std::min(most, product_vectors);
        for (std::int64_t record = 0; record < width; ++record, ++entry) {
            V sums[vectors];
            for (int v = 0; v < vectors; ++v) sums[v] = load<V>(this->biases_ + v * lanes<V>);
            for (; entry->input < inner_; ++entry) {
                const T* const row = this->weights_ + entry->input * width;
                const V value = broadcast<V>(entry->value);
                for (int v = 0; v < vectors; ++v) sums[v] += value * load<V>(row + v * lanes<V>);
            }
            for (int v = 0; v < vectors; ++v) store<V>(this->sums_ + record * width + v * lanes<V>, sums[v]);
        }
    }
};

// Medians of both sides of a block of records, and what they become without one signal. Read inside an
// instruction set's namespace, after lira_sums.h; so no include guard and no includes.

// Batcher's merge exchange (Knuth, algorithm 5.2.2M): pairs to compare and exchange, in order.
inline std::vector<std::pair<int, int>> sorting_network(int size) {
    std::vector<std::pair<int, int>> pairs;
    int top = 1;
    while (top * 2 < size) top *= 2;
    for (int p = top; size > 1 && p > 0; p /= 2) {
        int q = top, r = 0, d = p;
        for (;;) {
            for (int i = 0; i + d < size; ++i) {
                if ((i & p) == r) pairs.emplace_back(i, i + d);
            }
            if (q == p) break;
            d = q - p;
            q /= 2;
            r = p;
        }
    }
    return pairs;
}

template <typename T>
class Medians {
    using V = VectorOf<T>;

    Arena arena_;
    std::vector<std::pair<int, int>> network_;
    T* column_;  // [models][lanes]

  public:
    Both<double> center;
    // Halves of the signals around the middle: those of ranks (n - 2) / 2, one up, (n - 1) / 2, one up.
    std::vector<Both<double>> middle;

    Medians(std::int64_t models, std::int64_t most)
        : network_(sorting_network(static_cast<int>(models))),
          column_(arena_.take<T>((models + 2) * lanes<V>)),
          center(arena_, most),
          middle(4, Both<double>(arena_, most)) {
        for (auto& each : middle) each = Both<double>(arena_, most);
    }

    // Sorts every lane's signals of a side, others last, and keeps the middle ones.
    void find(const Sums<T>& sums) {
        for (std::int64_t lane = 0; lane < sums.width; lane += lanes<V>) {
            for (const int side : {in, out}) {
                fill(sums, lane, side);
                for (const auto& [low, high] : network_) {
                    const V a = load<V>(column_ + low * lanes<V>), b = load<V>(column_ + high * lanes<V>);
                    store<V>(column_ + low * lanes<V>, min(a, b));
                    store<V>(column_ + high * lanes<V>, max(a, b));
                }
                for (int i = 0; i < lanes<V>; ++i) keep_middle(sums, lane + i, side, i);
            }
        }
    }

    // The median of the lanes' own sides without x.
    template <typename Mask>
    F64 without(F64 x, const Mask& mask, std::int64_t lane) const {
        const auto own = [&](int each) {
            return select(mask, load<F64>(middle[each][in] + lane), load<F64>(middle[each][out] + lane));
        };
        const F64 low = own(0), high = own(2);
        return select(x <= 2.0 * low, own(1), low) + select(x <= 2.0 * high, own(3), high);
    }

  private:
    void fill(const Sums<T>& sums, std::int64_t lane, int side) {
        const V others = broadcast<V>(std::numeric_limits<T>::infinity());
        for (std::size_t model = 0; model < sums.rows.size(); ++model) {
            const auto mask = load_mask<V>(sums.masks[model] + lane);
            const V x = min(load<V>(sums.rows[model] + lane), others);  // others for NaN
            store<V>(column_ + model * lanes<V>,
                     side == in ? select(mask, x, others) : select(mask, others, x));
        }
    }

    void keep_middle(const Sums<T>& sums, std::int64_t lane, int side, int i) {
        const std::int64_t n = sums.counts[side][lane], last = std::max<std::int64_t>(n - 1, 0);
        const auto half_at = [&](std::int64_t rank) {
            return static_cast<double>(column_[std::clamp<std::int64_t>(rank, 0, last) * lanes<V> + i]) / 2;
        };
        center[side][lane] = n ? half_at((n - 1) / 2) + half_at(n / 2) : std::nan("");
        const std::int64_t low = (n - 2) / 2, high = (n - 1) / 2;
        const double kept[4] = {half_at(low), half_at(low + 1), half_at(high), half_at(high + 1)};
        for (int each = 0; each < 4; ++each) middle[each][side][lane] = kept[each];
    }
};

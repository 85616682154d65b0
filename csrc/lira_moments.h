// Moments over a block's records of what a variance rule pools. Read inside an instruction set's namespace,
// after lira_left_out.h and lira_density.h; so no include guard and no includes.

// One side's moments, a sum per lane.
struct WideMoments {
    F64 count{}, first{}, second{}, sampling{};

    // Adds a vector of lanes.
    template <typename T>
    void add(const Measured<T>& measured, int side, std::int64_t begin, Pooling pooling,
             const LogTables& logs) {
        using V = VectorOf<T>;
        const std::int32_t* counts = measured.counts[side];
        const T *squares = measured.squares[side], *offset = measured.offset[side];
        T log_squares[lanes<V>];
        if (pooling == Pooling::log_squares) {
            const V floor = broadcast<V>(static_cast<T>(logs.floor));
            store<V>(log_squares, log_of_normal(max(floor, load<V>(squares + begin))));
        }
        for (int part = 0; part < lanes<V>; part += lanes<F64>) {
            const std::int64_t lane = begin + part;
            const F64 n = load_count(counts + lane), around = load_wide(squares + lane), none{};
            const auto known = n >= broadcast<F64>(pooling == Pooling::log_squares ? 2.0 : 1.0);
            if (pooling == Pooling::squares) {
                count += select(known, n - 1.0, none);
                first += select(known, around, none);
            } else if (pooling == Pooling::log_squares) {
                const F64 shift = look_up<F64>(logs.shift, counts + lane);
                const F64 e = select(known, load_wide(log_squares + part) + shift + 0.0 * around, none);
                count += select(known, broadcast<F64>(1.0), none);
                first += e;
                second += e * e;
                sampling += look_up<F64>(logs.sampling, counts + lane);
            } else {
                const F64 away = load_wide(offset + lane);
                count += n;
                first += select(known, n * away, none);
                second += select(known, n * away * away + around, none);
            }
        }
    }

    void add_to(Moments* sums) const {
        sums->count += sum_of_lanes(count);
        sums->first += sum_of_lanes(first);
        sums->second += sum_of_lanes(second);
        sums->sampling += sum_of_lanes(sampling);
    }
};

// Adds one side's lanes to the moments that a variance rule asks for.
template <typename T>
inline void add_moments(const Measured<T>& measured, int side, std::int64_t width, Pooling pooling,
                        const LogTables& logs, Moments* sums) {
    WideMoments wide;
    for (std::int64_t lane = 0; lane < width; lane += lanes<VectorOf<T>>) {
        wide.add(measured, side, lane, pooling, logs);
    }
    wide.add_to(sums);
}

// Moments of both sides over a block, every model left out in turn.
template <typename T>
class LeftOutMoments {
    Arena arena_;
    const Pooling pooling_;
    const LogTables& logs_;
    WideMoments* sums_;  // [models][2]

  public:
    LeftOutMoments(std::int64_t models, Pooling pooling, const LogTables& logs)
        : pooling_(pooling), logs_(logs), sums_(arena_.take<WideMoments>(2 * models)) {
        std::fill_n(sums_, 2 * models, WideMoments{});
    }

    // Adds what is left without a model in lanes [begin, end).
    void add(LeftOut<T>& block, std::int64_t model, std::int64_t begin, std::int64_t end) {
        block.measure(model, begin, end);
        for (const int side : {in, out}) {
            WideMoments wide = sums_[2 * model + side];
            for (std::int64_t lane = begin; lane < end; lane += lanes<VectorOf<T>>) {
                wide.add(block.measured, side, lane, pooling_, logs_);
            }
            sums_[2 * model + side] = wide;
        }
    }

    void take(std::int64_t model, Moments* of_in, Moments* of_out) {
        for (const int side : {in, out}) {
            WideMoments& each = sums_[2 * model + side];
            each.add_to(side == in ? of_in : of_out);
            each = {};
        }
    }
};

// Moments of log squares, every model of a block left out in turn, from the last down to model 0: what they
// are at first, and by how much the records change them whose own side lost a signal. One logarithm per model
// and record.
template <typename T>
class LeftOutLogs {
    using V = VectorOf<T>;

    struct Change {
        V first[2]{}, second[2]{}, sampling[2]{};
    };

    Arena arena_;
    const LogTables& logs_;
    const bool same_counts_;
    Both<T> after_, lost_;  // shift, and the change of e's sampling variance, of one model less
    Both<T> now_;           // e: of all models or, with same counts, without the last one that was left out
    Moments total_[2];
    Change* changes_;  // [models]

  public:
    LeftOutLogs(std::int64_t most, std::int64_t models, const LogTables& logs, bool same_counts)
        : logs_(logs),
          same_counts_(same_counts),
          after_(arena_, most),
          lost_(arena_, most),
          now_(arena_, most),
          changes_(arena_.take<Change>(models)) {
        std::fill_n(changes_, models, Change{});
    }

    // Of a block that was just read; false if some of its records have too few models for this, or squares
    // that are finite at most without a model.
    bool read(const LeftOut<T>& block) {
        const Sums<T>& sums = block.sums;
        std::int32_t fewest = sums.count == sums.width ? 3 : 0;
        for (const int side : {in, out}) {
            fewest = std::min(fewest, *std::min_element(sums.counts[side], sums.counts[side] + sums.width));
        }
        if (fewest < 3 || !block.all_finite()) return false;
        for (const int side : {in, out}) {
            total_[side] = {static_cast<double>(sums.width), 0, 0, 0};
            for (std::int64_t lane = 0; lane < sums.width; ++lane) {
                const std::int32_t n = sums.counts[side][lane];
                after_[side][lane] = static_cast<T>(logs_.shift[n - 1]);
                lost_[side][lane] = static_cast<T>(logs_.sampling[n - 1] - logs_.sampling[n]);
                total_[side].sampling += logs_.sampling[n - same_counts_];
            }
            if (same_counts_) continue;
            for (std::int64_t lane = 0; lane < sums.width; lane += lanes<V>) {
                T shift[lanes<V>], squares[lanes<V>];
                for (int i = 0; i < lanes<V>; ++i) {
                    shift[i] = static_cast<T>(logs_.shift[sums.counts[side][lane + i]]);
                    squares[i] = static_cast<T>(sums.squares[side][lane + i]);
                }
                store<V>(now_[side] + lane, log_of(load<V>(squares)) + load<V>(shift));
            }
            add_now(side, 0, sums.width);
        }
        return true;
    }

    // Before some vectors' models are left out, as LeftOut's start().
    void start(LeftOut<T>& block, std::int64_t begin, std::int64_t end) {
        if (!same_counts_) return;
        block.start(begin, end, [&](const Row<T>& first) {
            for (std::int64_t lane = begin; lane < end; lane += lanes<V>) {
                const auto mask = load_mask<V>(first.mask + lane);
                keep(lane, mask, without(block, first, lane, mask));
            }
        });
        for (const int side : {in, out}) add_now(side, begin, end);
    }

    // Adds what is left without a model in lanes [begin, end).
    void add(LeftOut<T>& block, std::int64_t model, std::int64_t begin, std::int64_t end) {
        const Row<T> row = block.row(model);
        Change to = changes_[model];
        for (std::int64_t lane = begin; lane < end; lane += lanes<V>) {
            const auto mask = load_mask<V>(row.mask + lane);
            const V e = without(block, row, lane, mask), now = own(now_, lane, mask);
            const V change = e - now, of_square = change * (e + now);
            const auto add_to = [&](V* sums, V more) {
                sums[in] = select(mask, sums[in] + more, sums[in]);
                sums[out] = select(mask, sums[out], sums[out] + more);
            };
            add_to(to.first, change);
            add_to(to.second, of_square);
            if (same_counts_) {
                keep(lane, mask, e);
            } else {
                add_to(to.sampling, own(lost_, lane, mask));
            }
        }
        changes_[model] = to;
    }

    // The moments of a block whose vectors have all been added; from the last model down.
    void take(std::int64_t model, Moments* of_in, Moments* of_out) {
        for (const int side : {in, out}) {
            const Change& change = changes_[model];
            Moments now = total_[side];
            now.first += sum_of_lanes(change.first[side]);
            now.second += sum_of_lanes(change.second[side]);
            now.sampling += sum_of_lanes(change.sampling[side]);
            if (same_counts_) total_[side] = now;
            Moments* to = side == in ? of_in : of_out;
            to->count += now.count;
            to->first += now.first;
            to->second += now.second;
            to->sampling += now.sampling;
        }
        changes_[model] = {};
    }

  private:
    template <typename Mask>
    static V own(const Both<T>& of, std::int64_t lane, const Mask& mask) {
        return select(mask, load<V>(of[in] + lane), load<V>(of[out] + lane));
    }

    template <typename Mask>
    void keep(std::int64_t lane, const Mask& mask, V e) {
        store_where(mask, now_[in] + lane, e);
        store_where_not(mask, now_[out] + lane, e);
    }

    // e of a model's own side without its signal.
    template <typename Mask>
    MIAFAST_INLINE V without(LeftOut<T>& block, const Row<T>& row, std::int64_t lane, const Mask& mask) {
        return log_of(block.squares_left(row, lane, mask)) + own(after_, lane, mask);
    }

    void add_now(int side, std::int64_t begin, std::int64_t end) {
        F64 first{}, second{};
        for (std::int64_t lane = begin; lane < end; lane += lanes<F64>) {
            const F64 e = load_wide(now_[side] + lane);
            first += e;
            second += e * e;
        }
        total_[side].first += sum_of_lanes(first);
        total_[side].second += sum_of_lanes(second);
    }

    V log_of(V squares) const {
        return log_of_normal(max(broadcast<V>(static_cast<T>(logs_.floor)), squares));
    }
};

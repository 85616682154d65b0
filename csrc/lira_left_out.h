// Every model of a block in turn measured against the others: what sums and squares become without one
// signal, in the results' own precision, and in double where little is left. Read inside an instruction
// set's namespace, after lira_median.h; so no include guard and no includes.

// One vector of `Measured`.
template <typename V>
struct Left {
    V distance_in, distance_out, squares_in, squares_out;
};

// One signal per lane, on one side, that is to be left out: a model's, or a model's of the lane's own.
template <typename T>
struct Row {
    const T* signals;
    const std::uint8_t* mask;
    std::int64_t model;
    const std::int32_t* models;  // in place of `model`, or null
};

template <typename T>
class LeftOut {
    using V = VectorOf<T>;

    Arena arena_;
    // A shift is far if its square is so many times the squares left: in the results' own precision shifts
    // never are, for of those n signals and the squares left, at least 1/16, it is 15 / n (n - 1) at most.
    static constexpr int far_ = 16;
    const bool same_counts_, total_;
    const double pivot_;
    std::optional<Medians<T>> medians_;
    // The centre is near + rest, so that x - near - rest loses no digits of x. Without one of its n signals,
    // d away from it, a side's centre is n / (n - 1) d away from that signal: gain. Where the centre is not
    // finite, a finite signal is in its place: squares are NaN until the signal that spoils them is left out.
    Both<T> near_, rest_, squares_, gain_, offset_;
    // With same counts: where the centre is from that of all models, and the squares, without the last one
    // of the side that was left out. Of a far shift the rest, which a T has no digits for, is kept too.
    Both<T> shift_now_, shift_rest_, squares_now_;
    // With same counts: the first model on the other side than model 0.
    T* other_signals_;
    std::uint8_t* other_mask_;
    std::int32_t* other_models_;

  public:
    Sums<T> sums;
    Measured<T> measured;

    LeftOut(const Shadow& shadow, Center center, Pooling pooling, bool same_counts)
        : same_counts_(same_counts),
          total_(pooling == Pooling::total),
          pivot_(total_ ? first_signal(shadow) : 0.0),
          near_(arena_, Sums<T>::records_for(shadow)),
          rest_(arena_, Sums<T>::records_for(shadow)),
          squares_(arena_, Sums<T>::records_for(shadow)),
          gain_(arena_, Sums<T>::records_for(shadow)),
          offset_(arena_, Sums<T>::records_for(shadow)),
          shift_now_(arena_, Sums<T>::records_for(shadow)),
          shift_rest_(arena_, Sums<T>::records_for(shadow)),
          squares_now_(arena_, Sums<T>::records_for(shadow)),
          other_signals_(arena_.take<T>(Sums<T>::records_for(shadow))),
          other_mask_(arena_.take<std::uint8_t>(Sums<T>::records_for(shadow))),
          other_models_(arena_.take<std::int32_t>(Sums<T>::records_for(shadow))),
          sums(shadow),
          measured(arena_, Sums<T>::records_for(shadow)) {
        if (center == Center::median) medians_.emplace(shadow.models, sums.most);
    }

    // Reads a block.
    void read(std::int64_t first, std::int64_t count, std::int64_t query) {
        sums.read(first, count, query);
        if (medians_) medians_->find(sums);
        for (const int side : {in, out}) {
            make_finite(of_all(side), side);
            for (std::int64_t lane = 0; lane < sums.width; ++lane) {
                const double center = of_all(side)[lane], n = sums.counts[side][lane];
                near_[side][lane] = static_cast<T>(center);
                rest_[side][lane] = static_cast<T>(center - near_[side][lane]);
                squares_[side][lane] = static_cast<T>(sums.squares[side][lane]);
                gain_[side][lane] = static_cast<T>(n / std::max(n - 1, 1.0));
                offset_[side][lane] = static_cast<T>(center - pivot_);
            }
            std::fill_n(shift_now_[side], sums.width, T{0});
            std::copy_n(squares_[side], sums.width, squares_now_[side]);
        }
    }

    Row<T> row(std::int64_t model) const { return {sums.rows[model], sums.masks[model], model, nullptr}; }

    // Calls body(row) with rows that hold the first model of each side, before some vectors' models are left
    // out from the last down to model 0: with same counts that is where the other side begins.
    template <typename Body>
    void start(std::int64_t begin, std::int64_t end, const Body& body) {
        if (!same_counts_) return;
        find_other(begin, end);
        body(Row<T>{other_signals_, other_mask_, 0, other_models_});
        body(row(0));
    }

    void start(std::int64_t begin, std::int64_t end) {
        start(begin, end, [&](const Row<T>& first) {
            for (std::int64_t lane = begin; lane < end; lane += lanes<V>) leave_out(first, lane);
            count(0, begin, end);
        });
    }

    // What this model's signals are, at one vector, against the others' . With same counts the other side
    // lacks a model too: the next one cyclically, what was left of whose side without it is still at hand.
    MIAFAST_INLINE Left<V> leave_out(const Row<T>& row, std::int64_t lane) {
        const std::uint8_t* mask_at = row.mask + lane;
        const T* at = row.signals + lane;
        MIAFAST_PREFETCH(at + sums.width);  // the next block's, which is read while this one is computed with
        MIAFAST_PREFETCH(mask_at + sums.width);
        const auto mask = load_mask<V>(mask_at);
        const V x = load<V>(at);
        const V d_in = x - load<V>(near_[in] + lane) - load<V>(rest_[in] + lane);
        const V d_out = x - load<V>(near_[out] + lane) - load<V>(rest_[out] + lane);
        const V all_in = load<V>(squares_[in] + lane), all_out = load<V>(squares_[out] + lane);
        const V d = select(mask, d_in, d_out), around = select(mask, all_in, all_out);
        const V away = d * select(mask, load<V>(gain_[in] + lane), load<V>(gain_[out] + lane));
        const V left = around - d * away;
        if (medians_ || !all_at_least(left, T{0.0625} * around) || (same_counts_ && far(mask, lane))) {
            leave_out_in_double(row, lane);
            return {load<V>(measured.distance[in] + lane), load<V>(measured.distance[out] + lane),
                    load<V>(measured.squares[in] + lane), load<V>(measured.squares[out] + lane)};
        }
        if (total_) store_offset(lane, mask, d - away);
        if (!same_counts_) {
            return {select(mask, away, d_in), select(mask, d_out, away), select(mask, left, all_in),
                    select(mask, all_out, left)};
        }
        const V shift_in = load<V>(shift_now_[in] + lane), shift_out = load<V>(shift_now_[out] + lane);
        const V squares_in = select(mask, left, load<V>(squares_now_[in] + lane));
        const V squares_out = select(mask, load<V>(squares_now_[out] + lane), left);
        store_one(mask, squares_now_, lane, left);
        store_one(mask, shift_now_, lane, d - away);
        return {select(mask, away, d_in - shift_in), select(mask, d_out - shift_out, away), squares_in,
                squares_out};
    }

    // Whether a model was left out of the other side that had moved its centre by far.
    template <typename Mask>
    MIAFAST_INLINE bool far(const Mask& mask, std::int64_t lane) const {
        const auto other = [&](const Both<T>& of) {
            return select(mask, load<V>(of[out] + lane), load<V>(of[in] + lane));
        };
        const V shift = other(shift_now_);
        return !all_at_least(far_ * other(squares_now_), shift * shift);
    }

    // Whether all squares of a block that was read are finite.
    bool all_finite() const {
        V zero{};
        for (const int side : {in, out}) {
            for (std::int64_t lane = 0; lane < sums.width; lane += lanes<V>)
                zero += T{0} * load<V>(squares_[side] + lane);
        }
        return sum_of_lanes(zero) == 0;
    }

    // Only the squares of the model's own side without its signal.
    template <typename Mask>
    MIAFAST_INLINE V squares_left(const Row<T>& row, std::int64_t lane, const Mask& mask) {
        const T* at = row.signals + lane;
        MIAFAST_PREFETCH(at + sums.width);
        MIAFAST_PREFETCH(row.mask + lane + sums.width);
        const auto own = [&](const Both<T>& of) {
            return select(mask, load<V>(of[in] + lane), load<V>(of[out] + lane));
        };
        const V d = load<V>(at) - own(near_) - own(rest_), around = own(squares_);
        const V left = around - d * (d * own(gain_));
        if (all_at_least(left, T{0.0625} * around)) return left;
        leave_out_in_double(row, lane);
        return own(measured.squares);
    }

    // leave_out() of lanes [begin, end), and the models that it is against, kept in `measured`.
    void measure(std::int64_t model, std::int64_t begin, std::int64_t end) {
        for (std::int64_t lane = begin; lane < end; lane += lanes<V>) {
            const Left<V> left = leave_out(row(model), lane);
            store<V>(measured.distance[in] + lane, left.distance_in);
            store<V>(measured.distance[out] + lane, left.distance_out);
            store<V>(measured.squares[in] + lane, left.squares_in);
            store<V>(measured.squares[out] + lane, left.squares_out);
        }
        count(model, begin, end);
    }

    // Models of both sides, in lanes [begin, end), without the one left out and, with same counts, its
    // counterpart.
    void count(std::int64_t model, std::int64_t begin, std::int64_t end) {
        const std::uint8_t* __restrict mask = sums.masks[model];
        const std::int32_t* __restrict all_in = sums.counts[in], * __restrict all_out = sums.counts[out];
        std::int32_t* __restrict to_in = measured.counts[in], * __restrict to_out = measured.counts[out];
        const std::int32_t always = same_counts_;
        for (std::int64_t lane = begin; lane < end; ++lane) {
            const std::int32_t own = mask[lane] != 0;
            to_in[lane] = std::max(all_in[lane] - (always | own), 0);
            to_out[lane] = std::max(all_out[lane] - (always | (1 - own)), 0);
        }
    }

  private:
    double* of_all(int side) const { return medians_ ? medians_->center[side] : sums.mean[side]; }

    // A finite signal in place of centres that are not finite, and of those of no models.
    void make_finite(double* center, int side) const {
        F64 sum{};
        for (std::int64_t lane = 0; lane < sums.width; lane += lanes<F64>)
            sum += 0.0 * load<F64>(center + lane);
        if (sum_of_lanes(sum) == 0) return;
        for (std::int64_t lane = 0; lane < sums.width; ++lane) {
            if (!std::isfinite(center[lane])) center[lane] = sums.finite_signal(lane, side);
        }
    }

    // Offsets of both centres from the pivot; `shift` is what the own side's centre moved by.
    template <typename Mask>
    void store_offset(std::int64_t lane, const Mask& mask, V shift) {
        const V now_in = same_counts_ ? load<V>(shift_now_[in] + lane) : V{};
        const V now_out = same_counts_ ? load<V>(shift_now_[out] + lane) : V{};
        store<V>(measured.offset[in] + lane, load<V>(offset_[in] + lane) + select(mask, shift, now_in));
        store<V>(measured.offset[out] + lane, load<V>(offset_[out] + lane) + select(mask, now_out, shift));
    }

    // One vector's lanes, one after the other.
    void leave_out_in_double(const Row<T>& row, std::int64_t begin) {
        for (std::int64_t lane = begin; lane < begin + lanes<V>; lane += lanes<F64>) {
            const auto mask = load_mask<F64>(row.mask + lane);
            const F64 x = load_wide(row.signals + lane);
            const auto own = [&](const Both<double>& of) {
                return select(mask, load<F64>(of[in] + lane), load<F64>(of[out] + lane));
            };
            const F64 n =
                select(mask, load_count(sums.counts[in] + lane), load_count(sums.counts[out] + lane));
            const F64 mean = own(sums.mean), around = own(sums.squares), d = x - mean, step = d / (n - 1.0);
            const F64 left = around - d * (d + step);
            F64 center = mean - step;
            if (medians_) center = medians_->without(x, mask, lane);
            const F64 squares = max(F64{}, left);
            keep(lane, mask, x, center, squares);
            if (!all_at_least(left, 1e-5 * around)) repair(row, lane, center, squares);
        }
    }

    // One vector of `measured`, from its own sides' centres and squares.
    template <typename Mask>
    void keep(std::int64_t lane, const Mask& mask, F64 x, F64 center, F64 squares) {
        const auto both = [&](const Both<T>& of, F64 own, F64 other) {
            store_narrow(of[in] + lane, select(mask, own, other));
            store_narrow(of[out] + lane, select(mask, other, own));
        };
        const auto other = [&](const auto& of) {
            return select(mask, load_wide(of[out] + lane), load_wide(of[in] + lane));
        };
        const auto now = [&](const auto& of) {
            return select(mask, load_wide(of[in] + lane), load_wide(of[out] + lane));
        };
        const Both<double>& all = medians_ ? medians_->center : sums.mean;
        F64 shift{};
        if (same_counts_) {
            shift = other(shift_now_);
            const auto is_far = far_ * other(squares_now_) < shift * shift;
            shift += select(is_far, other(shift_rest_), F64{});
        }
        both(measured.distance, x - center, x - other(all) - shift);
        both(measured.squares, squares, other(squares_now_));
        both(measured.offset, center - pivot_, other(offset_) + shift);
        if (!same_counts_) return;
        const F64 moved = center - now(all);
        both(shift_now_, moved, other(shift_now_));
        both(shift_rest_, moved - now(shift_now_), other(shift_rest_));
        both(squares_now_, squares, other(squares_now_));
    }

    // Where taking a model out left next to nothing of the squares, or it alone may have spoilt them, they
    // are added up anew.
    void repair(const Row<T>& row, std::int64_t begin, F64 centers, F64 left) {
        double center[lanes<F64>], squares[lanes<F64>];
        store<F64>(center, centers);
        store<F64>(squares, left);
        for (std::int64_t i = 0, lane = begin; i < lanes<F64>; ++i, ++lane) {
            const int own = row.mask[lane] != 0 ? in : out;
            if (lane >= sums.count || sums.counts[own][lane] < 2) continue;
            const double x = row.signals[lane];
            if (!(squares[i] < 1.1e-5 * sums.squares[own][lane]) && std::isfinite(x * x)) continue;
            double mean;
            sums.describe_exactly(lane, own, row.models ? row.models[lane] : row.model, &mean, &squares[i]);
            if (!medians_) center[i] = mean;
            measured.distance[own][lane] = static_cast<T>(x - center[i]);
            measured.squares[own][lane] = static_cast<T>(squares[i]);
            measured.offset[own][lane] = static_cast<T>(center[i] - pivot_);
            if (!same_counts_) continue;
            const double moved = center[i] - of_all(own)[lane];
            shift_now_[own][lane] = static_cast<T>(moved);
            shift_rest_[own][lane] = static_cast<T>(moved - shift_now_[own][lane]);
            squares_now_[own][lane] = static_cast<T>(squares[i]);
        }
    }

    // Finds the first model on the other side than model 0, which no lane lacks but those beyond the records.
    void find_other(std::int64_t begin, std::int64_t end) {
        const std::uint8_t* first = sums.masks[0];
        for (std::int64_t lane = begin; lane < end; ++lane) {
            other_mask_[lane] = first[lane] == 0;
            other_models_[lane] = 0;
        }
        bool all = false;
        for (std::int32_t model = 1; !all && model < static_cast<std::int32_t>(sums.rows.size()); ++model) {
            all = find_other_in(model, begin, std::min(end, sums.count));
        }
        for (std::int64_t lane = begin; lane < end; ++lane) {
            other_signals_[lane] = sums.rows[other_models_[lane]][lane];
        }
    }

    bool find_other_in(std::int32_t model, std::int64_t begin, std::int64_t end) {
        const std::uint8_t* __restrict mask = sums.masks[model];
        const std::uint8_t* __restrict other = other_mask_;
        std::int32_t* __restrict to = other_models_;
        std::int32_t fewest = 1;
        for (std::int64_t lane = begin; lane < end; ++lane) {
            to[lane] = to[lane] == 0 && (mask[lane] != 0) == (other[lane] != 0) ? model : to[lane];
            fewest = std::min(fewest, to[lane]);
        }
        return fewest == 1;
    }

    // One side's numbers, the other's kept.
    template <typename Mask>
    static void store_one(const Mask& mask, const Both<T>& to, std::int64_t lane, V x) {
        store_where(mask, to[in] + lane, x);
        store_where_not(mask, to[out] + lane, x);
    }
};

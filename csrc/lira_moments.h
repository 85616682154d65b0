// Moments over a block's records of what a variance rule pools. Read inside an instruction set's namespace,
// after lira_left_out.h and lira_density.h; so no include guard and no includes.

// Adds one side's lanes to the moments that a variance rule asks for.
template <typename T>
inline void add_moments(const Measured<T>& measured, int side, std::int64_t width, Pooling pooling,
                        const LogTables& logs, Moments* sums) {
    using V = VectorOf<T>;
    const std::int32_t* counts = measured.counts[side];
    const T *squares = measured.squares[side], *offset = measured.offset[side];
    F64 count{}, first{}, second{}, sampling{};
    T log_squares[lanes<V>];
    for (std::int64_t begin = 0; begin < width; begin += lanes<V>) {
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
    sums->count += sum_of_lanes(count);
    sums->first += sum_of_lanes(first);
    sums->second += sum_of_lanes(second);
    sums->sampling += sum_of_lanes(sampling);
}

// Moments of log squares, every model of a block left out in turn: what all models give, and by how much the
// records change that the left-out model's own side of which lost a signal. One logarithm per model and
// record.
template <typename T>
class LeftOutLogs {
    using V = VectorOf<T>;

    Arena arena_;
    const LogTables& logs_;
    const bool same_counts_;
    Both<T> all_, after_, lost_;  // e; shift, and the change of e's sampling variance, of one model less
    Both<T> now_;                 // with same counts: e without the last one of the side that was left out
    Moments total_[2];

  public:
    LeftOutLogs(std::int64_t most, const LogTables& logs, bool same_counts)
        : logs_(logs),
          same_counts_(same_counts),
          all_(arena_, most),
          after_(arena_, most),
          lost_(arena_, most),
          now_(arena_, most) {}

    // Of a block that was just read; false if some of its records have too few models for this.
    bool read(const LeftOut<T>& block) {
        const Sums<T>& sums = block.sums;
        std::int32_t fewest = sums.count == sums.width ? 3 : 0;
        for (const int side : {in, out}) {
            fewest = std::min(fewest, *std::min_element(sums.counts[side], sums.counts[side] + sums.width));
        }
        if (fewest < 3) return false;
        for (const int side : {in, out}) {
            Moments& total = total_[side] = {static_cast<double>(sums.width), 0, 0, 0};
            for (std::int64_t lane = 0; lane < sums.width; ++lane) {
                const std::int32_t n = sums.counts[side][lane];
                all_[side][lane] = static_cast<T>(sums.squares[side][lane]);
                after_[side][lane] = static_cast<T>(logs_.shift[n - 1]);
                lost_[side][lane] = static_cast<T>(logs_.sampling[n - 1] - logs_.sampling[n]);
                now_[side][lane] = static_cast<T>(logs_.shift[n]);
                total.sampling += logs_.sampling[n - same_counts_];
            }
            for (std::int64_t lane = 0; lane < sums.width; lane += lanes<V>) {
                store<V>(all_[side] + lane, log_of(load<V>(all_[side] + lane)) + load<V>(now_[side] + lane));
                store<V>(now_[side] + lane,
                         log_of(load<V>(block.measured.squares[side] + lane)) + load<V>(after_[side] + lane));
            }
            for (std::int64_t lane = 0; lane < sums.width; ++lane) {
                const double e = all_[side][lane];
                total.first += e;
                total.second += e * e;
            }
        }
        return true;
    }

    // Adds what block.leave_out(model) has just measured.
    void add(const LeftOut<T>& block, std::int64_t model, Moments* of_in, Moments* of_out) {
        V first[2]{}, second[2]{}, sampling[2]{};
        const std::uint8_t* mask_bytes = block.sums.masks[model];
        for (std::int64_t lane = 0; lane < block.sums.width; lane += lanes<V>) {
            const auto mask = load_mask<V>(mask_bytes + lane);
            const auto own = [&](const Both<T>& of) {
                return select(mask, load<V>(of[in] + lane), load<V>(of[out] + lane));
            };
            const V e = log_of(own(block.measured.squares)) + own(after_);
            if (same_counts_) {
                const V all_in = load<V>(all_[in] + lane), all_out = load<V>(all_[out] + lane);
                const V now_in = select(mask, e, load<V>(now_[in] + lane));
                const V now_out = select(mask, load<V>(now_[out] + lane), e);
                store<V>(now_[in] + lane, now_in);
                store<V>(now_[out] + lane, now_out);
                first[in] += now_in - all_in;
                first[out] += now_out - all_out;
                second[in] += (now_in - all_in) * (now_in + all_in);
                second[out] += (now_out - all_out) * (now_out + all_out);
            } else {
                const V all = own(all_), change = e - all, of_square = change * (e + all);
                first[in] = select(mask, first[in] + change, first[in]);
                first[out] = select(mask, first[out], first[out] + change);
                second[in] = select(mask, second[in] + of_square, second[in]);
                second[out] = select(mask, second[out], second[out] + of_square);
                sampling[in] = select(mask, sampling[in] + load<V>(lost_[in] + lane), sampling[in]);
                sampling[out] = select(mask, sampling[out], sampling[out] + load<V>(lost_[out] + lane));
            }
        }
        for (const int side : {in, out}) {
            Moments* to = side == in ? of_in : of_out;
            to->count += total_[side].count;
            to->first += total_[side].first + sum_of_lanes(first[side]);
            to->second += total_[side].second + sum_of_lanes(second[side]);
            to->sampling += total_[side].sampling + sum_of_lanes(sampling[side]);
        }
    }

  private:
    V log_of(V squares) const {
        const V floor = broadcast<V>(static_cast<T>(logs_.floor));
        return log_of_normal(max(floor, squares)) + T{0} * squares;
    }
};

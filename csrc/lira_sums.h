// Mean and squares of the signals of some records on both sides, one lane per record. A block's signals are
// read from memory once and stay in the second-level cache; what is added up is added up in double. Read
// inside an instruction set's namespace, after lira_lanes.h; so no include guard and no includes.

template <typename T>
class Sums {
    static constexpr std::int64_t whole = 16;  // lanes are padded to a multiple of any vector
    static constexpr int at_once = 8;          // models

    Arena arena_;
    const Shadow& shadow_;
    std::uint8_t *few_, *mask_tile_ = nullptr;
    T* tile_ = nullptr;
    double* start_;

  public:
    const std::int64_t most;
    std::int64_t count = 0, width = 0;  // records, and lanes: the last ones may be padding
    std::vector<const T*> rows;
    std::vector<const std::uint8_t*> masks;
    Both<std::int32_t> counts;
    Both<double> mean, squares;

    // A block's signals of all models and queries fit the second-level cache.
    static std::int64_t records_for(const Shadow& shadow) {
        const std::int64_t fitting =
            (1 << 19) / (shadow.models * shadow.queries * static_cast<std::int64_t>(sizeof(T)));
        return std::clamp<std::int64_t>(fitting, 4 * whole, 1024) / whole * whole;
    }

    explicit Sums(const Shadow& shadow)
        : shadow_(shadow),
          few_(arena_.take<std::uint8_t>(records_for(shadow))),
          start_(arena_.take<double>(records_for(shadow))),
          most(records_for(shadow)),
          rows(shadow.models),
          masks(shadow.models),
          counts(arena_, most),
          mean(arena_, most),
          squares(arena_, most) {}

    // Reads the masks and signals of records [first, first + number) and sums them up.
    void read(std::int64_t first, std::int64_t number, std::int64_t query) {
        count = number;
        width = (count + whole - 1) / whole * whole;
        for (std::int64_t model = 0; model < shadow_.models; ++model) {
            masks[model] = mask_row(model, first);
            rows[model] = signal_row(model, first, query);
        }
        count_models();
        add_up();
    }

    // A finite signal of a side, or 0 where there is none.
    double finite_signal(std::int64_t lane, int side) const {
        for (std::size_t model = 0; model < rows.size(); ++model) {
            const bool used = (masks[model][lane] != 0) == (side == in);
            if (used && std::isfinite(rows[model][lane])) return rows[model][lane];
        }
        return 0;
    }

    // Mean and squares of one lane in two passes, without one model (or -1), where one pass cancels.
    void describe_exactly(std::int64_t lane, int side, std::int64_t without, double* center,
                          double* around) const {
        double start = 0, sum = 0;
        std::int64_t n = 0;
        const auto used = [&](std::int64_t model) {
            return model != without && (masks[model][lane] != 0) == (side == in);
        };
        for (std::int64_t model = 0; model < shadow_.models; ++model) {
            if (!used(model)) continue;
            if (n++ == 0) start = rows[model][lane];
            sum += rows[model][lane] - start;
        }
        const double shift = sum / static_cast<double>(n);
        *around = 0;
        for (std::int64_t model = 0; model < shadow_.models; ++model) {
            if (!used(model)) continue;
            const double x = rows[model][lane] - start - shift;
            *around += x * x;
        }
        *center = start + shift;
    }

  private:
    // Lanes of one vector whose squares cancelled in one pass.
    void add_up_exactly(std::int64_t begin, int side) {
        for (std::int64_t lane = begin; lane < begin + lanes<F64>; ++lane) {
            const double shift = mean[side][lane] - start_[lane];
            if (counts[side][lane] * shift * shift > 1e3 * squares[side][lane]) {
                describe_exactly(lane, side, -1, &mean[side][lane], &squares[side][lane]);
            }
        }
    }

    const std::uint8_t* mask_row(std::int64_t model, std::int64_t first) {
        const char* from =
            shadow_.in_mask + model * shadow_.mask_model_stride + first * shadow_.mask_record_stride;
        if (shadow_.mask_record_stride == 1 && count == width) {
            return reinterpret_cast<const std::uint8_t*>(from);
        }
        if (!mask_tile_) mask_tile_ = arena_.take<std::uint8_t>(most * shadow_.models);
        std::uint8_t* to = mask_tile_ + model * most;
        for (std::int64_t lane = 0; lane < count; ++lane) {
            to[lane] = static_cast<std::uint8_t>(from[lane * shadow_.mask_record_stride]);
        }
        std::fill(to + count, to + width, std::uint8_t{0});
        return to;
    }

    const T* signal_row(std::int64_t model, std::int64_t first, std::int64_t query) {
        const char* from = shadow_.phi + model * shadow_.model_stride + first * shadow_.record_stride +
                           query * shadow_.query_stride;
        constexpr Storage own = sizeof(T) == 4 ? Storage::float32 : Storage::float64;
        if (shadow_.storage == own && shadow_.record_stride == sizeof(T) && count == width) {
            return reinterpret_cast<const T*>(from);
        }
        if (!tile_) tile_ = arena_.take<T>(most * shadow_.models);
        T* to = tile_ + model * most;
        copy_signals(shadow_.storage, from, shadow_.record_stride, count, to);
        std::fill(to + count, to + width, T{0});
        return to;
    }

    void count_models() {
        std::fill_n(counts[in], width, 0);
        for (std::int64_t begin = 0; begin < shadow_.models; begin += 255) {
            std::memset(few_, 0, width);
            const std::int64_t end = std::min(shadow_.models, begin + 255);
            for (std::int64_t model = begin; model < end; ++model) add_ones(masks[model], width, few_);
            for (std::int64_t lane = 0; lane < width; ++lane) counts[in][lane] += few_[lane];
        }
        for (std::int64_t lane = 0; lane < width; ++lane) {
            const auto models = static_cast<std::int32_t>(shadow_.models);
            counts[out][lane] = lane < count ? models - counts[in][lane] : 0;
        }
    }

    static void add_ones(const std::uint8_t* __restrict mask, std::int64_t width,
                         std::uint8_t* __restrict to) {
        for (std::int64_t lane = 0; lane < width; ++lane) to[lane] += mask[lane] != 0;
    }

    // Sums and squares of both sides in one pass, around the first model's signal; then means and squares.
    void add_up() {
        for (std::int64_t lane = 0; lane < width; ++lane) {
            const double x = rows[0][lane];
            start_[lane] = std::isfinite(x) ? x : 0.0;
        }
        for (const int side : {in, out}) {
            std::fill_n(mean[side], width, 0.0);
            std::fill_n(squares[side], width, 0.0);
        }
        std::int64_t model = 0;
        for (; model + at_once <= shadow_.models; model += at_once) add_models<at_once>(model);
        for (; model < shadow_.models; ++model) add_models<1>(model);
        for (const int side : {in, out}) {
            for (std::int64_t lane = 0; lane < width; lane += lanes<F64>) divide(lane, side);
        }
    }

    // Adds some models' signals to the sums; asks meanwhile for the next models', after the last ones for the
    // first ones' of the next block, and for the next block's masks, which are counted before anything else.
    template <int models>
    void add_models(std::int64_t first) {
        const T* row[models];
        const std::uint8_t* mask_row[models];
        for (int step = 0; step < models; ++step) {
            row[step] = rows[first + step];
            mask_row[step] = masks[first + step];
        }
        const bool last = first + 2 * models > shadow_.models;
        const T* const* next_row = &rows[last ? 0 : first + models];
        const std::int64_t ahead = last ? width : 0;
        constexpr std::int64_t line = 64 / sizeof(T);
        for (std::int64_t lane = 0; lane < width; lane += lanes<F64>) {
            if (lane % line == 0) {
                for (int step = 0; step < models; ++step) MIAFAST_PREFETCH(next_row[step] + ahead + lane);
            }
            if (lane % 64 == 0) {
                for (int step = 0; step < models; ++step) MIAFAST_PREFETCH(mask_row[step] + width + lane);
            }
            const F64 start = load<F64>(start_ + lane);
            F64 in_sum = load<F64>(mean[in] + lane), in_squares = load<F64>(squares[in] + lane);
            F64 out_sum = load<F64>(mean[out] + lane), out_squares = load<F64>(squares[out] + lane);
            for (int step = 0; step < models; ++step) {
                const F64 x = load_wide(row[step] + lane) - start, square = x * x;
                const auto mask = load_mask<F64>(mask_row[step] + lane);
                in_sum = select(mask, in_sum + x, in_sum);
                in_squares = select(mask, in_squares + square, in_squares);
                out_sum = select(mask, out_sum, out_sum + x);
                out_squares = select(mask, out_squares, out_squares + square);
            }
            store<F64>(mean[in] + lane, in_sum);
            store<F64>(squares[in] + lane, in_squares);
            store<F64>(mean[out] + lane, out_sum);
            store<F64>(squares[out] + lane, out_squares);
        }
    }

    void divide(std::int64_t lane, int side) {
        const F64 n = load_count(counts[side] + lane), sum = load<F64>(mean[side] + lane);
        const F64 shift = sum / n, spent = sum * shift;
        const F64 around = select(n > broadcast<F64>(1), load<F64>(squares[side] + lane) - spent, 0.0 * sum);
        store<F64>(mean[side] + lane, load<F64>(start_ + lane) + shift);
        store<F64>(squares[side] + lane, around);
        if (any(spent > 1e4 * around)) add_up_exactly(lane, side);
    }
};

// Mean and squares of the signals of some records on both sides, one lane per record. A block's signals are
// read from memory once and stay in the second-level cache; what is added up is added up in double. Read
// inside an instruction set's namespace, after lira_lanes.h; so no include guard and no includes.

template <typename T>
class Sums {
    static constexpr std::int64_t whole = 16;  // lanes are padded to a multiple of any vector

    Arena arena_;
    const Shadow& shadow_;
    std::uint8_t *few_, *mask_tile_ = nullptr;
    T* tile_ = nullptr;

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
        for (std::int64_t lane = 0; lane < width; lane += whole) {
            for (std::int64_t part = 0; part < whole; part += 2 * lanes<F64>) add_up(lane + part);
        }
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
            const double first = rows[0][lane];
            const double shift = mean[side][lane] - (std::isfinite(first) ? first : 0.0);
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

    // Sums and squares of two vectors of lanes around the first model's signal, into mean and squares. Every
    // model's row is elsewhere in memory: the next block's part of it is asked for in time.
    void add_up(std::int64_t lane) {
        F64 start[2], sum[2][2]{}, square[2][2]{};
        for (int half = 0; half < 2; ++half) {
            const F64 x = load_wide(rows[0] + lane + half * lanes<F64>);
            start[half] = select(x - x == F64{}, x, F64{});
        }
        for (std::int64_t model = 0; model < shadow_.models; ++model) {
            const T* row = rows[model] + lane;
            const std::uint8_t* mask_bytes = masks[model] + lane;
            MIAFAST_PREFETCH(row + width);
            if (lane % 64 == 0) MIAFAST_PREFETCH(mask_bytes + width);
            for (int half = 0; half < 2; ++half) {
                const F64 x = load_wide(row + half * lanes<F64>) - start[half], squared = x * x;
                const auto mask = load_mask<F64>(mask_bytes + half * lanes<F64>);
                sum[in][half] = select(mask, sum[in][half] + x, sum[in][half]);
                sum[out][half] = select(mask, sum[out][half], sum[out][half] + x);
                square[in][half] = select(mask, square[in][half] + squared, square[in][half]);
                square[out][half] = select(mask, square[out][half], square[out][half] + squared);
            }
        }
        for (const int side : {in, out}) {
            for (int half = 0; half < 2; ++half) {
                const std::int64_t at = lane + half * lanes<F64>;
                const F64 n = load_count(counts[side] + at), shift = sum[side][half] / n;
                const F64 spent = sum[side][half] * shift;
                const F64 around =
                    select(n > broadcast<F64>(1), square[side][half] - spent, 0.0 * sum[side][half]);
                store<F64>(mean[side] + at, start[half] + shift);
                store<F64>(squares[side] + at, around);
                if (any(spent > 1e4 * around)) add_up_exactly(at, side);
            }
        }
    }
};

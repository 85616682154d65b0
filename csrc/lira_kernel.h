// LiRA on blocks of records, one record per lane. A block's signals are read from memory once and stay in the
// second-level cache; whatever is added up is added up in double. Read by lira.cpp once per instruction set.
#include "lira_density.h"
#include "tile.h"

// lanes<F64> numbers or counts as doubles, and their bytes of in_mask as a mask for select().
#if MIAFAST_VECTOR_BYTES == 64
inline F64 load_wide(const double* from) { return load<F64>(from); }
inline F64 load_wide(const float* from) { return (F64)_mm512_maskz_cvtps_pd(0xff, _mm256_loadu_ps(from)); }
inline void store_narrow(double* to, F64 x) { store<F64>(to, x); }
inline void store_narrow(float* to, F64 x) { _mm256_storeu_ps(to, _mm512_maskz_cvtpd_ps(0xff, (__m512d)x)); }
inline I64 load_mask(const std::uint8_t* from) {
    const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(from));
    return (I64)_mm512_maskz_cvtepu8_epi64(0xff, bytes) != I64{};
}
inline F64 load_count(const std::int32_t* from) {
    const __m256i counts = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
    return (F64)_mm512_maskz_cvtepi32_pd(0xff, counts);
}
#elif MIAFAST_VECTOR_BYTES == 32
inline F64 load_wide(const double* from) { return load<F64>(from); }
inline F64 load_wide(const float* from) { return (F64)_mm256_cvtps_pd(_mm_loadu_ps(from)); }
inline void store_narrow(double* to, F64 x) { store<F64>(to, x); }
inline void store_narrow(float* to, F64 x) { _mm_storeu_ps(to, _mm256_cvtpd_ps((__m256d)x)); }
inline I64 load_mask(const std::uint8_t* from) {
    return (I64)_mm256_cvtepu8_epi64(_mm_loadu_si32(from)) != I64{};
}
inline F64 load_count(const std::int32_t* from) {
    return (F64)_mm256_cvtepi32_pd(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
}
#elif MIAFAST_VECTOR_BYTES == 16
inline F64 load_wide(const double* from) { return load<F64>(from); }
inline F64 load_wide(const float* from) { return F64{from[0], from[1]}; }
inline void store_narrow(double* to, F64 x) { store<F64>(to, x); }
inline void store_narrow(float* to, F64 x) {
    to[0] = static_cast<float>(x[0]);
    to[1] = static_cast<float>(x[1]);
}
inline I64 load_mask(const std::uint8_t* from) { return I64{-(from[0] != 0), -(from[1] != 0)}; }
inline F64 load_count(const std::int32_t* from) {
    return F64{static_cast<double>(from[0]), static_cast<double>(from[1])};
}
#else
inline double load_wide(const double* from) { return *from; }
inline double load_wide(const float* from) { return *from; }
inline void store_narrow(double* to, double x) { *to = x; }
inline void store_narrow(float* to, double x) { *to = static_cast<float>(x); }
inline std::int64_t load_mask(const std::uint8_t* from) { return *from != 0; }
inline double load_count(const std::int32_t* from) { return *from; }
#endif

template <typename T>
inline void copy_signals(Storage storage, const char* from, std::int64_t stride, std::int64_t count, T* to) {
    switch (storage) {
        case Storage::float16:
            if constexpr (sizeof(T) == 4) {
                copy_row<Float16>(from, stride, count, to);
            } else {
                for (std::int64_t i = 0; i < count; ++i) to[i] = number_at<Float16>(from + i * stride);
            }
            return;
        case Storage::bfloat16:
            return copy_row<Bfloat16>(from, stride, count, to);
        case Storage::float32:
            return copy_row<float>(from, stride, count, to);
        case Storage::float64:
            return copy_row<double>(from, stride, count, to);
    }
}

// What signals are counted from in Pooling::total, so that a large mean costs no digits.
inline double first_signal(const Shadow& shadow) {
    double first = 0;
    copy_signals(shadow.storage, shadow.phi, shadow.record_stride, 1, &first);
    return std::isfinite(first) ? first : 0.0;
}

inline void prefetch(const void* place) {
#if defined(__GNUC__)
    __builtin_prefetch(place);
#else
    (void)place;
#endif
}

inline bool any(I64 mask) {
    std::int64_t lane[lanes<F64>];
    std::memcpy(lane, &mask, sizeof(mask));
    std::int64_t found = 0;
    for (int i = 0; i < lanes<F64>; ++i) found |= lane[i];
    return found != 0;
}

// Memory for a thread's blocks, every array on a cache line of its own.
class Arena {
  public:
    template <typename U>
    U* take(std::int64_t count) {
        pieces_.emplace_back(count * sizeof(U) + 64);
        const auto address = reinterpret_cast<std::uintptr_t>(pieces_.back().data());
        return reinterpret_cast<U*>((address + 63) / 64 * 64);
    }

  private:
    std::vector<std::vector<char>> pieces_;
};

constexpr int in = 0, out = 1;

// One number per lane on each side.
template <typename U>
struct Both {
    U* side[2];
    Both(Arena& arena, std::int64_t width) : side{arena.take<U>(width), arena.take<U>(width)} {}
    U* operator[](int which) const { return side[which]; }
};

// What a target is measured against, per side: its distance from the centre, the squares, the models.
template <typename T>
struct Measured {
    Both<T> distance, squares, offset;  // offset: of the centre from the pivot, for Pooling::total
    Both<std::int32_t> counts;
    Measured(Arena& arena, std::int64_t width)
        : distance(arena, width), squares(arena, width), offset(arena, width), counts(arena, width) {}
};

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

// The signals of some records for one query, and what they say: one lane per record.
template <typename T>
class Block {
    using V = VectorOf<T>;
    static constexpr std::int64_t whole = 16;  // lanes are padded to a multiple of any vector

  public:
    // A block's signals of all models and queries fit the second-level cache.
    static std::int64_t records_for(const Shadow& shadow) {
        const std::int64_t fitting =
            (1 << 19) / (shadow.models * shadow.queries * static_cast<std::int64_t>(sizeof(T)));
        return std::clamp<std::int64_t>(fitting, 4 * whole, 1024) / whole * whole;
    }

    Block(const Shadow& shadow, Center center, Pooling pooling, bool same_counts)
        : shadow_(shadow),
          median_(center == Center::median),
          same_counts_(same_counts),
          total_(pooling == Pooling::total),
          pivot_(total_ ? first_signal(shadow) : 0.0),
          most_(records_for(shadow)),
          rows_(shadow.models),
          masks_(shadow.models),
          tile_(arena_.take<T>(most_ * shadow.models)),
          mask_tile_(arena_.take<std::uint8_t>(most_ * shadow.models)),
          few_(arena_.take<std::uint8_t>(most_)),
          start_(arena_.take<double>(most_)),
          counts_(arena_, most_),
          mean_(arena_, most_),
          squares_(arena_, most_),
          gain_(arena_, most_),
          center_(arena_, most_),
          center_now_(arena_, most_),
          squares_now_(arena_, most_),
          measured(arena_, most_) {
        if (!median_) return;
        network_ = sorting_network(static_cast<int>(shadow.models));
        column_ = arena_.take<T>((shadow.models + 2) * lanes<V>);
        for (auto& each : middle_) each = {arena_.take<double>(most_), arena_.take<double>(most_)};
    }

    // Reads the masks and signals of records [first, first + count) and sums them up.
    void read(std::int64_t first, std::int64_t count, std::int64_t query) {
        count_ = count;
        width_ = (count + whole - 1) / whole * whole;
        for (std::int64_t model = 0; model < shadow_.models; ++model) {
            masks_[model] = mask_row(model, first);
            rows_[model] = signal_row(model, first, query);
        }
        count_models();
        add_up();
        if (median_) find_medians();
        for (const int side : {in, out}) {
            const double* centers = median_ ? center_[side] : mean_[side];
            std::memcpy(center_now_[side], centers, width_ * sizeof(double));
            std::memcpy(squares_now_[side], squares_[side], width_ * sizeof(double));
        }
    }

    std::int64_t width() const { return width_; }

    // `measured` is one target's, given as doubles by lane, against all models.
    void measure(const double* target) {
        for (const int side : {in, out}) {
            for (std::int64_t lane = 0; lane < width_; ++lane) {
                const double center = center_now_[side][lane];
                measured.distance[side][lane] = static_cast<T>(target[lane] - center);
                measured.squares[side][lane] = static_cast<T>(squares_[side][lane]);
                measured.offset[side][lane] = static_cast<T>(mean_[side][lane] - pivot_);
                measured.counts[side][lane] = counts_[side][lane];
            }
        }
    }

    // To be called before leave_out() goes from the last model down to model 0. With same counts it goes down
    // once from where every lane has met an IN and an OUT model, to know the first of each.
    void begin_at_the_last() {
        if (!same_counts_) return;
        for (std::int64_t model = first_of_both(); model >= 0; --model) leave_out(model);
    }

    // `measured` becomes this model's against the others. With same counts the other side lacks a model too:
    // the next one cyclically, whose own statistics without it are still in center_now_ and squares_now_.
    void leave_out(std::int64_t model) {
        const T* row = rows_[model];
        const std::uint8_t* mask_bytes = masks_[model];
        I64 doubtful{};
        for (std::int64_t lane = 0; lane < width_; lane += lanes<F64>) {
            const I64 mask = load_mask(mask_bytes + lane);
            const F64 x = load_wide(row + lane);
            const F64 mean = own(mask, mean_, lane), around = own(mask, squares_, lane);
            const F64 d = x - mean, step = d * own(mask, gain_, lane);
            const F64 rest = around - d * (d + step);
            doubtful |= (rest < 1e-5 * around);
            const F64 squares = max(F64{}, rest);  // NaN stays NaN
            F64 center = mean - step;
            if (median_) {
                center = select(x <= 2.0 * own(mask, middle_[0], lane), own(mask, middle_[1], lane),
                                own(mask, middle_[0], lane)) +
                         select(x <= 2.0 * own(mask, middle_[2], lane), own(mask, middle_[3], lane),
                                own(mask, middle_[2], lane));
            }
            keep(lane, x, select(mask, center, load<F64>(center_now_[in] + lane)),
                 select(mask, squares, load<F64>(squares_now_[in] + lane)), in);
            keep(lane, x, select(mask, load<F64>(center_now_[out] + lane), center),
                 select(mask, load<F64>(squares_now_[out] + lane), squares), out);
        }
        count_others(mask_bytes, 1, counts_[in], measured.counts[in]);
        count_others(mask_bytes, 0, counts_[out], measured.counts[out]);
        if (any(doubtful)) repair(model);
    }

  private:
    const std::uint8_t* mask_row(std::int64_t model, std::int64_t first) {
        const char* from =
            shadow_.in_mask + model * shadow_.mask_model_stride + first * shadow_.mask_record_stride;
        if (shadow_.mask_record_stride == 1 && count_ == width_) {
            return reinterpret_cast<const std::uint8_t*>(from);
        }
        std::uint8_t* to = mask_tile_ + model * most_;
        for (std::int64_t lane = 0; lane < count_; ++lane) {
            to[lane] = static_cast<std::uint8_t>(from[lane * shadow_.mask_record_stride]);
        }
        std::fill(to + count_, to + width_, std::uint8_t{0});
        return to;
    }

    const T* signal_row(std::int64_t model, std::int64_t first, std::int64_t query) {
        const char* from = shadow_.phi + model * shadow_.model_stride + first * shadow_.record_stride +
                           query * shadow_.query_stride;
        constexpr Storage own = sizeof(T) == 4 ? Storage::float32 : Storage::float64;
        if (shadow_.storage == own && shadow_.record_stride == sizeof(T) && count_ == width_) {
            return reinterpret_cast<const T*>(from);
        }
        T* to = tile_ + model * most_;
        copy_signals(shadow_.storage, from, shadow_.record_stride, count_, to);
        std::fill(to + count_, to + width_, T{0});
        return to;
    }

    void count_models() {
        std::fill_n(counts_[in], width_, 0);
        for (std::int64_t begin = 0; begin < shadow_.models; begin += 255) {
            std::memset(few_, 0, width_);
            const std::int64_t end = std::min(shadow_.models, begin + 255);
            for (std::int64_t model = begin; model < end; ++model) add_ones(masks_[model], width_, few_);
            for (std::int64_t lane = 0; lane < width_; ++lane) counts_[in][lane] += few_[lane];
        }
        for (std::int64_t lane = 0; lane < width_; ++lane) {
            const auto models = static_cast<std::int32_t>(shadow_.models);
            counts_[out][lane] = lane < count_ ? models - counts_[in][lane] : 0;
        }
    }

    static void add_ones(const std::uint8_t* __restrict mask, std::int64_t width,
                         std::uint8_t* __restrict to) {
        for (std::int64_t lane = 0; lane < width; ++lane) to[lane] += mask[lane] != 0;
    }

    // Mean and squares of both sides in one pass, around the first model's signal.
    void add_up() {
        for (std::int64_t lane = 0; lane < width_; ++lane) {
            const double x = rows_[0][lane];
            start_[lane] = std::isfinite(x) ? x : 0.0;
        }
        for (const int side : {in, out}) {
            std::fill_n(mean_[side], width_, 0.0);
            std::fill_n(squares_[side], width_, 0.0);
        }
        std::int64_t model = 0;
        for (; model + 4 <= shadow_.models; model += 4) add_models<4>(model);
        for (; model < shadow_.models; ++model) add_models<1>(model);
        for (const int side : {in, out}) {
            double *mean = mean_[side], *squares = squares_[side], *gain = gain_[side];
            const std::int32_t* counts = counts_[side];
            std::int64_t doubtful = 0;
            for (std::int64_t lane = 0; lane < width_; ++lane) {
                const double n = counts[lane], sum = mean[lane], shift = sum / n;
                const double around = n > 1 ? squares[lane] - sum * shift : 0 * sum;
                doubtful += sum * shift > 1e4 * around;
                mean[lane] = start_[lane] + shift;
                squares[lane] = around;
                gain[lane] = 1 / (n - 1);
            }
            for (std::int64_t lane = 0; doubtful && lane < width_; ++lane) {
                const double shift = mean[lane] - start_[lane];
                if (counts[lane] * shift * shift > 1e3 * squares[lane]) {
                    describe_exactly(lane, side, -1, &mean[lane], &squares[lane]);
                }
            }
        }
    }

    template <int models>
    void add_models(std::int64_t first) {
        for (std::int64_t lane = 0; lane < width_; lane += lanes<F64>) {
            const F64 start = load<F64>(start_ + lane);
            F64 in_sum = load<F64>(mean_[in] + lane), in_squares = load<F64>(squares_[in] + lane);
            F64 out_sum = load<F64>(mean_[out] + lane), out_squares = load<F64>(squares_[out] + lane);
            for (int step = 0; step < models; ++step) {
                if (first + models + step < shadow_.models) {
                    prefetch(rows_[first + models + step] + lane);
                    prefetch(masks_[first + models + step] + lane);
                }
                const F64 x = load_wide(rows_[first + step] + lane) - start;
                const I64 mask = load_mask(masks_[first + step] + lane);
                const F64 square = x * x;
                in_sum = select(mask, in_sum + x, in_sum);
                in_squares = select(mask, in_squares + square, in_squares);
                out_sum = select(mask, out_sum, out_sum + x);
                out_squares = select(mask, out_squares, out_squares + square);
            }
            store<F64>(mean_[in] + lane, in_sum);
            store<F64>(squares_[in] + lane, in_squares);
            store<F64>(mean_[out] + lane, out_sum);
            store<F64>(squares_[out] + lane, out_squares);
        }
    }

    // Mean and squares of one lane in two passes, without one model (or -1), where one pass cancels.
    void describe_exactly(std::int64_t lane, int side, std::int64_t without, double* mean,
                          double* squares) const {
        double start = 0, sum = 0, around = 0;
        std::int64_t n = 0;
        const auto used = [&](std::int64_t model) {
            return model != without && (masks_[model][lane] != 0) == (side == in);
        };
        for (std::int64_t model = 0; model < shadow_.models; ++model) {
            if (!used(model)) continue;
            if (n++ == 0) start = rows_[model][lane];
            sum += rows_[model][lane] - start;
        }
        const double shift = sum / static_cast<double>(n);
        for (std::int64_t model = 0; model < shadow_.models; ++model) {
            if (!used(model)) continue;
            const double x = rows_[model][lane] - start - shift;
            around += x * x;
        }
        *mean = start + shift;
        *squares = around;
    }

    // Sorts every lane's signals of a side, others last, and keeps the middle ones.
    void find_medians() {
        const auto models = shadow_.models;
        for (std::int64_t lane = 0; lane < width_; lane += lanes<V>) {
            for (const int side : {in, out}) {
                for (std::int64_t model = 0; model < models; ++model) {
                    T* to = column_ + model * lanes<V>;
                    for (int i = 0; i < lanes<V>; ++i) {
                        const bool used = (masks_[model][lane + i] != 0) == (side == in);
                        to[i] = used ? rows_[model][lane + i] : std::numeric_limits<T>::infinity();
                    }
                }
                for (const auto& [low, high] : network_) {
                    const V a = load<V>(column_ + low * lanes<V>), b = load<V>(column_ + high * lanes<V>);
                    store<V>(column_ + low * lanes<V>, min(a, b));
                    store<V>(column_ + high * lanes<V>, max(a, b));
                }
                for (int i = 0; i < lanes<V>; ++i) keep_middle(lane + i, side, i);
            }
        }
    }

    void keep_middle(std::int64_t lane, int side, int i) {
        const std::int64_t n = counts_[side][lane], last = std::max<std::int64_t>(n - 1, 0);
        const auto half_at = [&](std::int64_t rank) {
            return static_cast<double>(column_[std::clamp<std::int64_t>(rank, 0, last) * lanes<V> + i]) / 2;
        };
        center_[side][lane] = n ? half_at((n - 1) / 2) + half_at(n / 2) : std::nan("");
        const std::int64_t low = (n - 2) / 2, high = (n - 1) / 2;
        const double kept[4] = {half_at(low), half_at(low + 1), half_at(high), half_at(high + 1)};
        for (int each = 0; each < 4; ++each) middle_[each][side][lane] = kept[each];
    }

    // The last of every lane's first IN and first OUT model.
    std::int64_t first_of_both() {
        std::memset(few_, 0, width_);
        for (std::int64_t model = 0; model < shadow_.models; ++model) {
            int seen = 3;
            for (std::int64_t lane = 0; lane < width_; ++lane) {
                few_[lane] |= masks_[model][lane] != 0 ? 1 : 2;
                seen &= lane < count_ ? few_[lane] : 3;
            }
            if (seen == 3) return model;
        }
        return shadow_.models - 1;
    }

    // Models of a side without the one left out, which is on it where mask == on; without its counterpart.
    void count_others(const std::uint8_t* __restrict mask, int on, const std::int32_t* __restrict counts,
                      std::int32_t* __restrict to) const {
        const std::int32_t always = same_counts_;
        const std::int64_t width = width_;
        for (std::int64_t lane = 0; lane < width; ++lane) {
            to[lane] = std::max(counts[lane] - (always | ((mask[lane] != 0) == on)), 0);
        }
    }

    F64 own(I64 mask, const Both<double>& of, std::int64_t lane) const {
        return select(mask, load<F64>(of[in] + lane), load<F64>(of[out] + lane));
    }

    F64 own(I64 mask, const std::array<double*, 2>& of, std::int64_t lane) const {
        return select(mask, load<F64>(of[in] + lane), load<F64>(of[out] + lane));
    }

    void keep(std::int64_t lane, F64 x, F64 center, F64 squares, int side) {
        store_narrow(measured.distance[side] + lane, x - center);
        store_narrow(measured.squares[side] + lane, squares);
        if (total_) store_narrow(measured.offset[side] + lane, center - pivot_);
        if (same_counts_) {
            store<F64>(center_now_[side] + lane, center);
            store<F64>(squares_now_[side] + lane, squares);
        }
    }

    // Where taking a model out left next to nothing of the squares, they are added up anew.
    void repair(std::int64_t model) {
        for (std::int64_t lane = 0; lane < count_; ++lane) {
            const int side = masks_[model][lane] != 0 ? in : out;
            const double x = rows_[model][lane], d = x - mean_[side][lane], around = squares_[side][lane];
            if (counts_[side][lane] < 2 || !(around - d * d * (1 + gain_[side][lane]) < 1.1e-5 * around))
                continue;
            double mean, squares;
            describe_exactly(lane, side, model, &mean, &squares);
            measured.squares[side][lane] = static_cast<T>(squares);
            if (same_counts_) squares_now_[side][lane] = squares;
            if (median_) continue;
            measured.distance[side][lane] = static_cast<T>(x - mean);
            measured.offset[side][lane] = static_cast<T>(mean - pivot_);
            if (same_counts_) center_now_[side][lane] = mean;
        }
    }

    Arena arena_;
    const Shadow& shadow_;
    const bool median_, same_counts_, total_;
    const double pivot_;
    const std::int64_t most_;
    std::int64_t count_ = 0, width_ = 0;
    std::vector<const T*> rows_;
    std::vector<const std::uint8_t*> masks_;
    T* tile_;
    std::uint8_t *mask_tile_, *few_;
    double* start_;
    Both<std::int32_t> counts_;
    Both<double> mean_, squares_, gain_, center_, center_now_, squares_now_;
    std::vector<std::pair<int, int>> network_;
    T* column_ = nullptr;
    // Halves of the signals around the middle: those of ranks (n - 2) / 2, one up, (n - 1) / 2, one up.
    std::array<std::array<double*, 2>, 4> middle_{};

  public:
    Measured<T> measured;
};

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

template <typename V, typename T>
inline V density_at(const SideRule<T>& rule, const Measured<T>& measured, int side, std::int64_t lane,
                    std::int64_t query, T floor) {
    return log_density<V>(rule, rule.above[query], floor, load<V>(measured.distance[side] + lane),
                          load<V>(measured.squares[side] + lane), measured.counts[side] + lane);
}

// Scores of some lanes, added to `to`.
template <typename T>
inline void add_scores(const Measured<T>& measured, std::int64_t width, std::int64_t query,
                       const Rules<T>& rules, T* to) {
    using V = VectorOf<T>;
    for (std::int64_t lane = 0; lane < width; lane += lanes<V>) {
        V score;
        if (rules.verdict == Verdict::difference) {
            score = density_at<V>(rules.in, measured, in, lane, query, rules.floor) -
                    density_at<V>(rules.out, measured, out, lane, query, rules.floor);
        } else if (rules.verdict == Verdict::minus_density) {
            score = -density_at<V>(rules.out, measured, out, lane, query, rules.floor);
        } else {
            score = log_lower_tail<V>(rules.out, rules.out.above[query], rules.floor,
                                      load<V>(measured.distance[out] + lane),
                                      load<V>(measured.squares[out] + lane), measured.counts[out] + lane);
        }
        store<V>(to + lane, load<V>(to + lane) + score);
    }
}

// The sides of records [begin, end), and the moments of both sides over them.
template <typename T>
void sides_of(const Shadow& shadow, const Target& target, Center center, Pooling pooling,
              const LogTables& logs, std::int64_t begin, std::int64_t end, const Sides<T>& sides,
              Moments* moments) {
    Arena arena;
    Block<T> block(shadow, center, pooling, false);
    const std::int64_t most = Block<T>::records_for(shadow), records = shadow.records;
    double* signals = arena.take<double>(most);
    for (std::int64_t first = begin; first < end; first += most) {
        const std::int64_t count = std::min(most, end - first);
        for (std::int64_t query = 0; query < shadow.queries; ++query) {
            block.read(first, count, query);
            std::fill(signals, signals + most, 0.0);
            copy_signals(target.storage,
                         target.phi + first * target.record_stride + query * target.query_stride,
                         target.record_stride, count, signals);
            block.measure(signals);
            for (const int side : {in, out}) {
                const std::int64_t plane = side * shadow.queries + query, at = plane * records + first;
                std::memcpy(sides.distance + at, block.measured.distance[side], count * sizeof(T));
                std::memcpy(sides.squares + at, block.measured.squares[side], count * sizeof(T));
                std::memcpy(sides.counts + side * records + first, block.measured.counts[side],
                            count * sizeof(std::int32_t));
                if (pooling == Pooling::none) continue;
                add_moments(block.measured, side, block.width(), pooling, logs, moments + plane);
            }
        }
    }
}

// Scores of records [begin, end) from their sides.
template <typename T>
void scores_of(const Sides<T>& sides, std::int64_t records, std::int64_t queries, const Rules<T>& rules,
               std::int64_t begin, std::int64_t end, T* scores) {
    constexpr std::int64_t most = 512;
    Arena arena;
    const Measured<T> padded(arena, most);
    T* sum = arena.take<T>(most);
    for (std::int64_t first = begin; first < end; first += most) {
        const std::int64_t count = std::min(most, end - first), width = (count + 15) / 16 * 16;
        std::fill(sum, sum + most, T{0});
        for (std::int64_t query = 0; query < queries; ++query) {
            for (const int side : {in, out}) {
                const std::int64_t at = (side * queries + query) * records + first;
                std::memcpy(padded.distance[side], sides.distance + at, count * sizeof(T));
                std::memcpy(padded.squares[side], sides.squares + at, count * sizeof(T));
                std::memcpy(padded.counts[side], sides.counts + side * records + first,
                            count * sizeof(std::int32_t));
                std::fill(padded.distance[side] + count, padded.distance[side] + width, T{0});
                std::fill(padded.squares[side] + count, padded.squares[side] + width, T{0});
                std::fill(padded.counts[side] + count, padded.counts[side] + width, 0);
            }
            add_scores(padded, width, query, rules, sum);
        }
        for (std::int64_t lane = 0; lane < count; ++lane) {
            scores[first + lane] = sum[lane] / static_cast<T>(queries);
        }
    }
}

// Moments [models][2][queries] over records [begin, end), every model left out in turn.
template <typename T>
void left_out_moments_of(const Shadow& shadow, bool same_counts, Pooling pooling, const LogTables& logs,
                         std::int64_t begin, std::int64_t end, Moments* moments) {
    Block<T> block(shadow, Center::mean, pooling, same_counts);
    const std::int64_t most = Block<T>::records_for(shadow);
    for (std::int64_t first = begin; first < end; first += most) {
        for (std::int64_t query = 0; query < shadow.queries; ++query) {
            block.read(first, std::min(most, end - first), query);
            block.begin_at_the_last();
            for (std::int64_t model = shadow.models; model-- > 0;) {
                block.leave_out(model);
                Moments* of_model = moments + 2 * shadow.queries * model + query;
                add_moments(block.measured, in, block.width(), pooling, logs, of_model);
                add_moments(block.measured, out, block.width(), pooling, logs, of_model + shadow.queries);
            }
        }
    }
}

// Scores [models][records] of records [begin, end), every model left out in turn.
template <typename T>
void left_out_scores_of(const Shadow& shadow, Center center, bool same_counts, const Rules<T>* rules,
                        std::int64_t begin, std::int64_t end, T* scores) {
    Block<T> block(shadow, center, Pooling::none, same_counts);
    const std::int64_t most = Block<T>::records_for(shadow), models = shadow.models;
    Arena arena;
    T* sums = arena.take<T>(shadow.queries > 1 ? models * most : most);
    for (std::int64_t first = begin; first < end; first += most) {
        const std::int64_t count = std::min(most, end - first);
        std::fill(sums, sums + (shadow.queries > 1 ? models * most : 0), T{0});
        for (std::int64_t query = 0; query < shadow.queries; ++query) {
            block.read(first, count, query);
            block.begin_at_the_last();
            for (std::int64_t model = models; model-- > 0;) {
                block.leave_out(model);
                T* sum = sums + (shadow.queries > 1 ? model * most : 0);
                if (shadow.queries == 1) std::fill(sum, sum + most, T{0});
                add_scores(block.measured, block.width(), query, rules[model], sum);
                if (query + 1 < shadow.queries) continue;
                T* to = scores + model * shadow.records + first;
                if (shadow.queries == 1) {
                    std::memcpy(to, sum, count * sizeof(T));
                    continue;
                }
                for (std::int64_t lane = 0; lane < count; ++lane) {
                    to[lane] = sum[lane] / static_cast<T>(shadow.queries);
                }
            }
        }
    }
}

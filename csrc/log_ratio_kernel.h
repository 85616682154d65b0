// log(p_target / mean p) on blocks of records, one record per lane, in double. p and 1 - p are both summed as
// they are: neither loses digits, for each has the digits of the smaller one of the two. Only where every
// model's p is below e^-575 the sum is made anew on the log scale. Read by log_ratio.cpp once per instruction
// set.
// clang-format off: each needs those before it
#include "tile.h"
#include "lira_lanes.h"
// clang-format on

constexpr double kTiny = 1e-250;  // terms of e^-708 and less, which are clamped, are nothing beside it

// A model's p, q = 1 - p and log p; NaN where x is not finite.
struct Likely {
    F64 p, q, log_p;
};

MIAFAST_INLINE Likely likely(F64 x) {
    const F64 broken = x - x;
    const F64 odds = exp_clamped(-abs(x));
    const F64 larger = 1.0 / (1.0 + odds) + broken, smaller = odds * larger;
    const auto above = x > F64{};
    return {select(above, larger, smaller), select(above, smaller, larger),
            min(x, F64{}) - log1p(odds) + broken};
}

// log p from whichever of p and q = 1 - p is the smaller.
MIAFAST_INLINE F64 log_of(F64 p, F64 q) {
    const auto surely = q < broadcast<F64>(0.5);
    const F64 odds = select(surely, q / (1.0 - q), F64{});
    return select(surely, -log1p(odds), log_of_normal(p)) + (p - p);
}

// Sums over models of both sides at every lane.
struct SideSums {
    Both<double> p, q, models;
    SideSums(Arena& arena, std::int64_t width) : p(arena, width), q(arena, width), models(arena, width) {}
    void clear(std::int64_t width) const {
        for (const int side : {in, out}) {
            for (const Both<double>& each : {p, q, models}) std::fill_n(each[side], width, 0.0);
        }
    }
};

// What a target is compared with at one vector: means over the sides, by the rule.
struct Mixed {
    F64 p, q;
};

MIAFAST_INLINE Mixed mixed(F64 in_p, F64 in_q, F64 in_models, F64 out_p, F64 out_q, F64 out_models,
                           const RatioRule& rule) {
    out_p /= out_models;
    out_q /= out_models;
    if (rule.online) return {0.5 * (in_p / in_models + out_p), 0.5 * (in_q / in_models + out_q)};
    const double half = 0.5 * (1.0 + rule.a);
    return {half * out_p + 0.5 * (1.0 - rule.a), half * out_q};
}

// A block's rows, one at a time, in double.
class Rows {
    static constexpr std::int64_t whole = 16;  // lanes are padded to a multiple of any vector
    Arena arena_;
    const Shadow& shadow_;
    const RatioRule& rule_;

  public:
    const std::int64_t most;
    std::int64_t first = 0, count = 0, width = 0, query = 0;
    double* x;
    std::uint8_t* mask;

    Rows(const Shadow& shadow, const RatioRule& rule, std::int64_t block)
        : shadow_(shadow),
          rule_(rule),
          most(block / whole * whole),
          x(arena_.take<double>(most)),
          mask(arena_.take<std::uint8_t>(most)) {}

    void start(std::int64_t record, std::int64_t end, std::int64_t of_query) {
        first = record;
        count = std::min(most, end - record);
        width = (count + whole - 1) / whole * whole;
        query = of_query;
        std::fill_n(x, most, 0.0);
        std::fill_n(mask, most, std::uint8_t{0});
    }

    void read(std::int64_t model) {
        read_signals(shadow_.storage, phi(model, 0), shadow_.record_stride);
        copy_mask(in_mask(model, 0));
    }

    void read(const Target& target) {
        read_signals(target.storage, target.phi + first * target.record_stride + query * target.query_stride,
                     target.record_stride);
    }

    bool is_in(std::int64_t model, std::int64_t lane) const { return *in_mask(model, lane) != 0; }

    // log mean p of one lane by the rule, where all p are tiny: log p is x there. Without two models, or -1.
    double log_of_tiny(std::int64_t lane, std::int64_t without, std::int64_t nor) const {
        double largest = -std::numeric_limits<double>::infinity(), sum[2] = {0, 0}, models[2] = {0, 0};
        for (const bool adding : {false, true}) {
            for (std::int64_t model = 0; model < shadow_.models; ++model) {
                const int side = is_in(model, lane) ? in : out;
                if (model == without || model == nor || (side == in && !rule_.online)) continue;
                double value = 0;
                copy_signals(shadow_.storage, phi(model, lane), shadow_.record_stride, 1, &value);
                value /= rule_.temperature;
                if (!adding) {
                    largest = std::max(largest, value);
                    continue;
                }
                sum[side] += std::exp(value - largest);
                ++models[side];
            }
        }
        const double out_mean = sum[out] / models[out];
        return largest + std::log(rule_.online ? 0.5 * (sum[in] / models[in] + out_mean) : out_mean);
    }

    // The next model, cyclically, on the other side.
    std::int64_t counterpart(std::int64_t model, std::int64_t lane) const {
        std::int64_t next = model;
        do next = (next + 1) % shadow_.models;
        while (is_in(next, lane) == is_in(model, lane));
        return next;
    }

  private:
    const char* phi(std::int64_t model, std::int64_t lane) const {
        return shadow_.phi + model * shadow_.model_stride + (first + lane) * shadow_.record_stride +
               query * shadow_.query_stride;
    }

    const char* in_mask(std::int64_t model, std::int64_t lane) const {
        return shadow_.in_mask + model * shadow_.mask_model_stride +
               (first + lane) * shadow_.mask_record_stride;
    }

    void copy_mask(const char* from) {
        if (shadow_.mask_record_stride == 1) {
            std::memcpy(mask, from, count);
        } else {
            for (std::int64_t lane = 0; lane < count; ++lane) {
                mask[lane] = static_cast<std::uint8_t>(from[lane * shadow_.mask_record_stride]);
            }
        }
    }

    void read_signals(Storage storage, const char* from, std::int64_t stride) {
        copy_signals(storage, from, stride, count, x);
        if (rule_.temperature == 1.0) return;
        for (std::int64_t lane = 0; lane < count; ++lane) x[lane] /= rule_.temperature;
    }
};

// A value on its own side of one vector.
template <typename Mask>
MIAFAST_INLINE void add_to(const Both<double>& sums, std::int64_t lane, const Mask& mask, F64 value) {
    store<F64>(sums[in] + lane, load<F64>(sums[in] + lane) + select(mask, value, F64{}));
    store<F64>(sums[out] + lane, load<F64>(sums[out] + lane) + select(mask, F64{}, value));
}

// Lanes of one vector whose mean p is tiny.
inline void repair(const Rows& rows, std::int64_t begin, F64 log_p, F64 mean_p, std::int64_t without,
                   bool same_counts, double* ratio) {
    double target[lanes<F64>], p[lanes<F64>];
    store<F64>(target, log_p);
    store<F64>(p, mean_p);
    for (std::int64_t i = 0, lane = begin; i < lanes<F64> && lane < rows.count; ++i, ++lane) {
        if (!(p[i] < kTiny)) continue;
        ratio[lane] =
            target[i] - rows.log_of_tiny(lane, without, same_counts ? rows.counterpart(without, lane) : -1);
    }
}

MIAFAST_INLINE void compare(const Rows& rows, std::int64_t lane, F64 log_p, Mixed mean, std::int64_t without,
                            bool same_counts, double* ratio) {
    store<F64>(ratio + lane, log_p - log_of(mean.p, mean.q));
    if (any(mean.p < broadcast<F64>(kTiny))) repair(rows, lane, log_p, mean.p, without, same_counts, ratio);
}

template <typename T>
inline void keep(const Rows& rows, std::int64_t queries, const double* ratio, T* to) {
    to += rows.first * queries + rows.query;
    for (std::int64_t lane = 0; lane < rows.count; ++lane) to[lane * queries] = static_cast<T>(ratio[lane]);
}

// Adds a model's row to the sums.
inline void add_row(const Rows& rows, const SideSums& sums) {
    for (std::int64_t lane = 0; lane < rows.width; lane += lanes<F64>) {
        const Likely one = likely(load<F64>(rows.x + lane));
        const auto mask = load_mask<F64>(rows.mask + lane);
        add_to(sums.p, lane, mask, one.p);
        add_to(sums.q, lane, mask, one.q);
        add_to(sums.models, lane, mask, broadcast<F64>(1.0));
    }
}

inline void compare_target(const Rows& rows, const SideSums& sums, const RatioRule& rule, double* ratio) {
    for (std::int64_t lane = 0; lane < rows.width; lane += lanes<F64>) {
        const Mixed mean = mixed(load<F64>(sums.p[in] + lane), load<F64>(sums.q[in] + lane),
                                 load<F64>(sums.models[in] + lane), load<F64>(sums.p[out] + lane),
                                 load<F64>(sums.q[out] + lane), load<F64>(sums.models[out] + lane), rule);
        compare(rows, lane, likely(load<F64>(rows.x + lane)).log_p, mean, -1, false, ratio);
    }
}

template <typename T>
void ratios_of(const Shadow& shadow, const Target& target, const RatioRule& rule, std::int64_t begin,
               std::int64_t end, T* ratios) {
    Arena arena;
    Rows rows(shadow, rule, 512);
    const SideSums sums(arena, rows.most);
    double* ratio = arena.take<double>(rows.most);
    for (std::int64_t query = 0; query < shadow.queries; ++query) {
        for (std::int64_t first = begin; first < end; first += rows.most) {
            rows.start(first, end, query);
            sums.clear(rows.width);
            for (std::int64_t model = 0; model < shadow.models; ++model) {
                rows.read(model);
                add_row(rows, sums);
            }
            rows.read(target);
            compare_target(rows, sums, rule, ratio);
            keep(rows, shadow.queries, ratio, ratios);
        }
    }
}

// A block of which every model in turn is left out. Sums without one model are those before it plus those
// after it, for a difference would lose the digits of what is small beside it.
class Turns {
    Arena arena_;
    const RatioRule& rule_;
    const bool same_counts_;
    const std::int64_t models_;
    Rows rows_;
    SideSums all_;    // over all models; while those are read, over the ones before
    SideSums rest_;   // without each side's first model
    SideSums after_;  // over the models after the one left out
    SideSums now_;    // what the other side is: without its next model with same counts, else all of it
    double *p_, *q_, *log_p_, *before_p_, *before_q_, *ratio_;  // [models][most], the last [most]
    std::uint8_t* mask_;

  public:
    // A block fits the second-level cache.
    static std::int64_t records_for(const Shadow& shadow) {
        return std::clamp<std::int64_t>((1 << 19) / (41 * shadow.models), 16, 512);
    }

    Turns(const Shadow& shadow, bool same_counts, const RatioRule& rule)
        : rule_(rule),
          same_counts_(same_counts),
          models_(shadow.models),
          rows_(shadow, rule, records_for(shadow)),
          all_(arena_, rows_.most),
          rest_(arena_, rows_.most),
          after_(arena_, rows_.most),
          now_(arena_, rows_.most),
          p_(arena_.take<double>(rows_.most * models_)),
          q_(arena_.take<double>(rows_.most * models_)),
          log_p_(arena_.take<double>(rows_.most * models_)),
          before_p_(arena_.take<double>(rows_.most * models_)),
          before_q_(arena_.take<double>(rows_.most * models_)),
          ratio_(arena_.take<double>(rows_.most)),
          mask_(arena_.take<std::uint8_t>(rows_.most * models_)) {}

    std::int64_t most() const { return rows_.most; }

    // Reads a block.
    void read(std::int64_t first, std::int64_t end, std::int64_t query) {
        rows_.start(first, end, query);
        for (const SideSums* each : {&all_, &rest_, &after_}) each->clear(rows_.width);
        for (std::int64_t model = 0; model < models_; ++model) {
            rows_.read(model);
            add(model);
        }
        const SideSums& others = same_counts_ ? rest_ : all_;
        for (const int side : {in, out}) {
            std::copy_n(others.p[side], rows_.width, now_.p[side]);
            std::copy_n(others.q[side], rows_.width, now_.q[side]);
        }
    }

    // Leaves out a model, the last one first.
    template <typename T>
    void leave_out(std::int64_t model, std::int64_t queries, T* to) {
        for (std::int64_t lane = 0; lane < rows_.width; lane += lanes<F64>) leave_out_at(model, lane);
        keep(rows_, queries, ratio_, to);
    }

  private:
    void add(std::int64_t model) {
        const std::int64_t row = model * rows_.most;
        std::copy_n(rows_.mask, rows_.width, mask_ + row);
        for (std::int64_t lane = 0; lane < rows_.width; lane += lanes<F64>) {
            const Likely one = likely(load<F64>(rows_.x + lane));
            const auto mask = load_mask<F64>(rows_.mask + lane);
            store<F64>(p_ + row + lane, one.p);
            store<F64>(q_ + row + lane, one.q);
            store<F64>(log_p_ + row + lane, one.log_p);
            store<F64>(before_p_ + row + lane, own(all_.p, lane, mask));
            store<F64>(before_q_ + row + lane, own(all_.q, lane, mask));
            if (same_counts_) {
                const auto first = own(all_.models, lane, mask) == F64{};
                add_to(rest_.p, lane, mask, select(first, F64{}, one.p));
                add_to(rest_.q, lane, mask, select(first, F64{}, one.q));
            }
            add_to(all_.p, lane, mask, one.p);
            add_to(all_.q, lane, mask, one.q);
            add_to(all_.models, lane, mask, broadcast<F64>(1.0));
        }
    }

    MIAFAST_INLINE void leave_out_at(std::int64_t model, std::int64_t lane) {
        const std::int64_t at = model * rows_.most + lane;
        const auto mask = load_mask<F64>(mask_ + at);
        const F64 p = load<F64>(before_p_ + at) + own(after_.p, lane, mask);
        const F64 q = load<F64>(before_q_ + at) + own(after_.q, lane, mask);
        const F64 in_p = select(mask, p, load<F64>(now_.p[in] + lane));
        const F64 in_q = select(mask, q, load<F64>(now_.q[in] + lane));
        const F64 out_p = select(mask, load<F64>(now_.p[out] + lane), p);
        const F64 out_q = select(mask, load<F64>(now_.q[out] + lane), q);
        const F64 one = broadcast<F64>(1.0), other = broadcast<F64>(same_counts_ ? 1.0 : 0.0);
        const F64 in_models = load<F64>(all_.models[in] + lane) - select(mask, one, other);
        const F64 out_models = load<F64>(all_.models[out] + lane) - select(mask, other, one);
        const Mixed mean = mixed(in_p, in_q, in_models, out_p, out_q, out_models, rule_);
        compare(rows_, lane, load<F64>(log_p_ + at), mean, model, same_counts_, ratio_);
        add_to(after_.p, lane, mask, load<F64>(p_ + at));
        add_to(after_.q, lane, mask, load<F64>(q_ + at));
        if (!same_counts_) return;
        store<F64>(now_.p[in] + lane, in_p);
        store<F64>(now_.q[in] + lane, in_q);
        store<F64>(now_.p[out] + lane, out_p);
        store<F64>(now_.q[out] + lane, out_q);
    }

    // The numbers of the side that each lane is on.
    template <typename Mask>
    static MIAFAST_INLINE F64 own(const Both<double>& of, std::int64_t lane, const Mask& mask) {
        return select(mask, load<F64>(of[in] + lane), load<F64>(of[out] + lane));
    }
};

template <typename T>
void left_out_ratios_of(const Shadow& shadow, bool same_counts, const RatioRule& rule, std::int64_t begin,
                        std::int64_t end, T* ratios) {
    Turns turns(shadow, same_counts, rule);
    for (std::int64_t query = 0; query < shadow.queries; ++query) {
        for (std::int64_t first = begin; first < end; first += turns.most()) {
            turns.read(first, end, query);
            for (std::int64_t model = shadow.models - 1; model >= 0; --model) {
                turns.leave_out(model, shadow.queries, ratios + model * shadow.records * shadow.queries);
            }
        }
    }
}

// LiRA on blocks of records, one record per lane: sums, then moments or scores. Read by lira.cpp once per
// instruction set.
// clang-format off: each needs those before it
#include "tile.h"
#include "lira_lanes.h"
#include "lira_sums.h"
#include "lira_median.h"
#include "lira_left_out.h"
#include "lira_density.h"
#include "lira_moments.h"
// clang-format on

// Writes a score, or adds it to those of the queries before.
template <typename V>
inline void keep_score(Number<V>* to, V score, std::int64_t query) {
    store<V>(to, query == 0 ? score : load<V>(to) + score);
}

// One side's log densities at some lanes.
template <bool student, typename V, typename T>
MIAFAST_INLINE V density_at(const SideTables<T>& rule, const ByCount<V>& of_count,
                            const Measured<T>& measured, int side, std::int64_t lane, std::int64_t query,
                            T floor) {
    const V squares = load<V>(measured.squares[side] + lane);
    return log_density<student>(of_count, scaled_squares(rule, rule.above[query], floor, squares),
                                load<V>(measured.distance[side] + lane), squares);
}

// Calls body(student IN, student OUT) with the rules' answers as types.
template <typename T, typename Body>
MIAFAST_INLINE void by_student(const TablesOf<T>& rules, const Body& body) {
    if (rules.in.student) {
        rules.out.student ? body(std::true_type{}, std::true_type{})
                          : body(std::true_type{}, std::false_type{});
    } else {
        rules.out.student ? body(std::false_type{}, std::true_type{})
                          : body(std::false_type{}, std::false_type{});
    }
}

// Scores of lanes [begin, end) for one query, added to those of the queries before.
template <typename T>
inline void score(const Measured<T>& measured, std::int64_t begin, std::int64_t end, std::int64_t query,
                  const TablesOf<T>& rules, T* to) {
    using V = VectorOf<T>;
    const auto each = [&](const auto& of_lane) {
        for (std::int64_t lane = begin; lane < end; lane += lanes<V>) {
            keep_score<V>(to + lane, of_lane(lane), query);
        }
    };
    const auto look_up = [&](int side, std::int64_t lane) {
        return look_up_all<V, Lookup::gather>(side == in ? rules.in : rules.out,
                                              measured.counts[side] + lane);
    };
    by_student(rules, [&](auto student_in, auto student_out) {
        const auto under_in = [&](std::int64_t lane) {
            return density_at<student_in.value, V>(rules.in, look_up(in, lane), measured, in, lane, query,
                                                   rules.floor);
        };
        const auto under_out = [&](std::int64_t lane) {
            return density_at<student_out.value, V>(rules.out, look_up(out, lane), measured, out, lane, query,
                                                    rules.floor);
        };
        if (rules.verdict == Verdict::difference) {
            each([&](std::int64_t lane) { return under_in(lane) - under_out(lane); });
        } else if (rules.verdict == Verdict::minus_density) {
            each([&](std::int64_t lane) { return -under_out(lane); });
        } else {
            each([&](std::int64_t lane) {
                return log_lower_tail<V>(rules.out, rules.out.above[query], rules.floor,
                                         load<V>(measured.distance[out] + lane),
                                         load<V>(measured.squares[out] + lane), measured.counts[out] + lane);
            });
        }
    });
}

// What one side of a block is for a target's signals.
template <typename T>
inline void measure(const Sums<T>& sums, const double* __restrict target, const double* __restrict center,
                    double pivot, int side, const Measured<T>& measured) {
    T *__restrict distance = measured.distance[side], *__restrict squares = measured.squares[side],
      *__restrict offset = measured.offset[side];
    const double* __restrict around = sums.squares[side], * __restrict mean = sums.mean[side];
    const std::int64_t width = sums.width;
    for (std::int64_t lane = 0; lane < width; ++lane) {
        distance[lane] = static_cast<T>(target[lane] - center[lane]);
        squares[lane] = static_cast<T>(around[lane]);
        offset[lane] = static_cast<T>(mean[lane] - pivot);
    }
    std::copy_n(sums.counts[side], width, measured.counts[side]);
}

// A block of records, and what a target's signals are on both sides of it.
template <typename T>
class Asked {
    const Target& target_;
    const double pivot_;
    Arena arena_;
    std::optional<Medians<T>> medians_;
    double* signals_;

  public:
    Sums<T> sums;
    Measured<T> measured;

    Asked(const Shadow& shadow, const Target& target, Center center, Pooling pooling)
        : target_(target),
          pivot_(pooling == Pooling::total ? first_signal(shadow) : 0.0),
          signals_(arena_.take<double>(Sums<T>::records_for(shadow))),
          sums(shadow),
          measured(arena_, Sums<T>::records_for(shadow)) {
        if (center == Center::median) medians_.emplace(shadow.models, sums.most);
    }

    void read(std::int64_t first, std::int64_t count, std::int64_t query) {
        sums.read(first, count, query);
        if (medians_) medians_->find(sums);
        std::fill(signals_, signals_ + sums.most, 0.0);
        copy_signals(target_.storage,
                     target_.phi + first * target_.record_stride + query * target_.query_stride,
                     target_.record_stride, count, signals_);
        for (const int side : {in, out}) {
            measure(sums, signals_, medians_ ? medians_->center[side] : sums.mean[side], pivot_, side,
                    measured);
        }
    }
};

// The sides of records [begin, end), and the moments of both sides over them.
template <typename T>
void sides_of(const Shadow& shadow, const Target& target, Center center, Pooling pooling,
              const LogTables& logs, std::int64_t begin, std::int64_t end, const Sides<T>& sides,
              Moments* moments) {
    Asked<T> block(shadow, target, center, pooling);
    const std::int64_t most = block.sums.most, records = shadow.records;
    for (std::int64_t first = begin; first < end; first += most) {
        const std::int64_t count = std::min(most, end - first);
        for (std::int64_t query = 0; query < shadow.queries; ++query) {
            block.read(first, count, query);
            for (const int side : {in, out}) {
                const std::int64_t plane = side * shadow.queries + query, at = plane * records + first;
                std::memcpy(sides.distance + at, block.measured.distance[side], count * sizeof(T));
                std::memcpy(sides.squares + at, block.measured.squares[side], count * sizeof(T));
                std::memcpy(sides.counts + side * records + first, block.measured.counts[side],
                            count * sizeof(std::int32_t));
                add_moments(block.measured, side, block.sums.width, pooling, logs, moments + plane);
            }
        }
    }
}

// Scores of records [begin, end) by rules that need to know nothing about other records.
template <typename T>
void scores_at_once_of(const Shadow& shadow, const Target& target, Center center, const Rules<T>& rules,
                       std::int64_t begin, std::int64_t end, T* scores) {
    Asked<T> block(shadow, target, center, Pooling::none);
    const std::int64_t most = block.sums.most;
    Arena arena;
    const TablesOf<T> tables(rules, rules.models, arena);
    T* sum = arena.take<T>(most);
    for (std::int64_t first = begin; first < end; first += most) {
        const std::int64_t count = std::min(most, end - first);
        for (std::int64_t query = 0; query < shadow.queries; ++query) {
            block.read(first, count, query);
            score(block.measured, 0, block.sums.width, query, tables, sum);
        }
        for (std::int64_t lane = 0; lane < count; ++lane) {
            scores[first + lane] = sum[lane] / static_cast<T>(shadow.queries);
        }
    }
}

// Scores of records [begin, end) from their sides.
template <typename T>
void scores_of(const Sides<T>& sides, std::int64_t records, std::int64_t queries, const Rules<T>& rules,
               std::int64_t begin, std::int64_t end, T* scores) {
    constexpr std::int64_t most = 512;
    Arena arena;
    const TablesOf<T> tables(rules, rules.models, arena);
    const Measured<T> padded(arena, most);
    T* sum = arena.take<T>(most);
    for (std::int64_t first = begin; first < end; first += most) {
        const std::int64_t count = std::min(most, end - first), width = (count + 15) / 16 * 16;
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
            score(padded, 0, width, query, tables, sum);
        }
        for (std::int64_t lane = 0; lane < count; ++lane) {
            scores[first + lane] = sum[lane] / static_cast<T>(queries);
        }
    }
}

// Lanes that go through all models together: what is kept of them stays in the first-level cache.
template <typename T>
inline constexpr std::int64_t strip = 2048 / sizeof(T);

// Moments [models][2][queries] over records [begin, end), every model left out in turn.
template <typename T>
void left_out_moments_of(const Shadow& shadow, bool same_counts, Pooling pooling, const LogTables& logs,
                         std::int64_t begin, std::int64_t end, Moments* moments) {
    LeftOut<T> block(shadow, Center::mean, pooling, same_counts);
    const std::int64_t most = block.sums.most, models = shadow.models;
    LeftOutLogs<T> of_logs(most, models, logs, same_counts);
    LeftOutMoments<T> of_all(models, pooling, logs);
    for (std::int64_t first = begin; first < end; first += most) {
        for (std::int64_t query = 0; query < shadow.queries; ++query) {
            block.read(first, std::min(most, end - first), query);
            const bool enough = pooling == Pooling::log_squares && of_logs.read(block);
            for (std::int64_t from = 0; from < block.sums.width; from += strip<T>) {
                const std::int64_t to = std::min(from + strip<T>, block.sums.width);
                enough ? of_logs.start(block, from, to) : block.start(from, to);
                for (std::int64_t model = models; model-- > 0;) {
                    enough ? of_logs.add(block, model, from, to) : of_all.add(block, model, from, to);
                }
            }
            for (std::int64_t model = models; model-- > 0;) {
                Moments* of_in = moments + 2 * shadow.queries * model + query;
                Moments* of_out = of_in + shadow.queries;
                enough ? of_logs.take(model, of_in, of_out) : of_all.take(model, of_in, of_out);
            }
        }
    }
}

// Log densities of the IN side less those of the OUT side in lanes [begin, end), a model left out.
// `streamed`: they are complete, on a line of their own, and more than the caches hold.
template <bool student_in, bool student_out, Lookup how, typename T>
inline void score_differences(LeftOut<T>& block, std::int64_t model, std::int64_t begin, std::int64_t end,
                              std::int64_t query, const TablesOf<T>& rules, bool streamed, T* to) {
    using V = VectorOf<T>;
    const std::int32_t *counts_in = block.measured.counts[in], *counts_out = block.measured.counts[out];
    const auto of = [&](const SideTables<T>& side, const std::int32_t* at) {
        return look_up_all<V, how>(side, at);
    };
    const Row<T> row = block.row(model);
    if (how != Lookup::same) block.count(model, begin, end);
    auto of_in = of(rules.in, counts_in + begin), of_out = of(rules.out, counts_out + begin);
    for (std::int64_t lane = begin; lane < end; lane += lanes<V>) {
        if (how != Lookup::same) {
            of_in = of(rules.in, counts_in + lane);
            of_out = of(rules.out, counts_out + lane);
        }
        const Left<V> left = block.leave_out(row, lane);
        const V score = log_density_ratio<student_in, student_out>(rules, of_in, of_out, query, left);
        streamed ? stream<V>(to + lane, score) : keep_score<V>(to + lane, score, query);
    }
}

// Scores of lanes [begin, end) for one query, a model left out, added to those of the queries before.
// `same_counts`: every lane and model has the counts that the strip began with.
template <typename T>
inline void score_left_out(LeftOut<T>& block, std::int64_t model, std::int64_t begin, std::int64_t end,
                           std::int64_t query, const TablesOf<T>& rules, bool same_counts, bool streamed,
                           T* to) {
    if (rules.verdict != Verdict::difference) {
        block.measure(model, begin, end);
        return score(block.measured, begin, end, query, rules, to);
    }
    by_student(rules, [&](auto student_in, auto student_out) {
        constexpr bool s_in = student_in.value, s_out = student_out.value;
        if (same_counts) {
            score_differences<s_in, s_out, Lookup::same>(block, model, begin, end, query, rules, streamed,
                                                         to);
        } else if (rules.in.fits_registers) {
            score_differences<s_in, s_out, Lookup::registers>(block, model, begin, end, query, rules,
                                                              streamed, to);
        } else {
            score_differences<s_in, s_out, Lookup::gather>(block, model, begin, end, query, rules, streamed,
                                                           to);
        }
    });
}

// Scores [models][records] of records [begin, end), every model left out in turn.
template <typename T>
void left_out_scores_of(const Shadow& shadow, Center center, bool same_counts, const Rules<T>* rules,
                        std::int64_t begin, std::int64_t end, T* scores) {
    LeftOut<T> block(shadow, center, Pooling::none, same_counts);
    const std::int64_t most = block.sums.most, models = shadow.models;
    Arena arena;
    std::vector<TablesOf<T>> tables;
    for (std::int64_t model = 0; model < models; ++model)
        tables.emplace_back(rules[model], models - 1, arena);
    const bool alone = shadow.queries == 1;
    T* sums = arena.take<T>(alone ? most : models * most);
    for (std::int64_t first = begin; first < end; first += most) {
        const std::int64_t count = std::min(most, end - first);
        for (std::int64_t query = 0; query < shadow.queries; ++query) {
            block.read(first, count, query);
            for (std::int64_t from = 0; from < block.sums.width; from += strip<T>) {
                const std::int64_t to = std::min(from + strip<T>, block.sums.width);
                block.start(from, to);
                for (std::int64_t model = models; model-- > 0;) {
                    T* result = scores + model * shadow.records + first;
                    T* sum = alone ? (count == block.sums.width ? result : sums) : sums + model * most;
                    const bool streamed =
                        sum == result && reinterpret_cast<std::uintptr_t>(sum) % sizeof(VectorOf<T>) == 0;
                    score_left_out(block, model, from, to, query, tables[model], same_counts, streamed, sum);
                    if (query + 1 < shadow.queries || sum == result) continue;
                    for (std::int64_t lane = from; lane < std::min(to, count); ++lane) {
                        result[lane] = sum[lane] / static_cast<T>(shadow.queries);
                    }
                }
            }
        }
    }
    end_of_streams();
}

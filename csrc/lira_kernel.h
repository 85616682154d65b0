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
    return log_density<student, V>(rule, of_count, rule.above[query], floor,
                                   load<V>(measured.distance[side] + lane),
                                   load<V>(measured.squares[side] + lane));
}

// Minus the log densities of the OUT side.
template <bool student, typename T>
inline void score_densities(const TablesOf<T>& rules, const Measured<T>& measured, std::int64_t width,
                            std::int64_t query, T* to) {
    using V = VectorOf<T>;
    for (std::int64_t lane = 0; lane < width; lane += lanes<V>) {
        const auto of_count = look_up_all<V, Lookup::gather>(rules.out, measured.counts[out] + lane);
        keep_score<V>(to + lane,
                      -density_at<student, V>(rules.out, of_count, measured, out, lane, query, rules.floor),
                      query);
    }
}

// Log densities of the IN side less those of the OUT side.
template <bool student_in, bool student_out, Lookup how, typename T>
inline void score_differences(const TablesOf<T>& rules, const Measured<T>& measured, std::int64_t width,
                              std::int64_t query, T* to) {
    using V = VectorOf<T>;
    auto of_in = look_up_all<V, how>(rules.in, measured.counts[in]);
    auto of_out = look_up_all<V, how>(rules.out, measured.counts[out]);
    for (std::int64_t lane = 0; lane < width; lane += lanes<V>) {
        if constexpr (how != Lookup::same) {
            of_in = look_up_all<V, how>(rules.in, measured.counts[in] + lane);
            of_out = look_up_all<V, how>(rules.out, measured.counts[out] + lane);
        }
        const V under_in = density_at<student_in, V>(rules.in, of_in, measured, in, lane, query, rules.floor);
        const V under_out =
            density_at<student_out, V>(rules.out, of_out, measured, out, lane, query, rules.floor);
        keep_score<V>(to + lane, under_in - under_out, query);
    }
}

template <Lookup how, typename T>
inline void score_differences(const TablesOf<T>& rules, const Measured<T>& measured, std::int64_t width,
                              std::int64_t query, T* to) {
    if (rules.in.student && rules.out.student) {
        score_differences<true, true, how>(rules, measured, width, query, to);
    } else if (rules.in.student) {
        score_differences<true, false, how>(rules, measured, width, query, to);
    } else if (rules.out.student) {
        score_differences<false, true, how>(rules, measured, width, query, to);
    } else {
        score_differences<false, false, how>(rules, measured, width, query, to);
    }
}

// Scores of some lanes for one query, added to those of the queries before. `same_counts`: every lane has the
// counts of the first.
template <typename T>
inline void score(const Measured<T>& measured, std::int64_t width, std::int64_t query,
                  const TablesOf<T>& rules, bool same_counts, T* to) {
    using V = VectorOf<T>;
    if (rules.verdict == Verdict::lower_tail) {
        for (std::int64_t lane = 0; lane < width; lane += lanes<V>) {
            const V tail = log_lower_tail<V>(
                rules.out, rules.out.above[query], rules.floor, load<V>(measured.distance[out] + lane),
                load<V>(measured.squares[out] + lane), measured.counts[out] + lane);
            keep_score<V>(to + lane, tail, query);
        }
    } else if (rules.verdict == Verdict::minus_density) {
        rules.out.student ? score_densities<true>(rules, measured, width, query, to)
                          : score_densities<false>(rules, measured, width, query, to);
    } else if (same_counts) {
        score_differences<Lookup::same>(rules, measured, width, query, to);
    } else if (rules.in.fits_registers) {
        score_differences<Lookup::registers>(rules, measured, width, query, to);
    } else {
        score_differences<Lookup::gather>(rules, measured, width, query, to);
    }
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

// The sides of records [begin, end), and the moments of both sides over them.
template <typename T>
void sides_of(const Shadow& shadow, const Target& target, Center center, Pooling pooling,
              const LogTables& logs, std::int64_t begin, std::int64_t end, const Sides<T>& sides,
              Moments* moments) {
    Arena arena;
    Sums<T> sums(shadow);
    const std::int64_t most = sums.most, records = shadow.records;
    const double pivot = pooling == Pooling::total ? first_signal(shadow) : 0.0;
    const Measured<T> measured(arena, most);
    std::optional<Medians<T>> medians;
    if (center == Center::median) medians.emplace(shadow.models, most);
    double* signals = arena.take<double>(most);
    for (std::int64_t first = begin; first < end; first += most) {
        const std::int64_t count = std::min(most, end - first);
        for (std::int64_t query = 0; query < shadow.queries; ++query) {
            sums.read(first, count, query);
            if (medians) medians->find(sums);
            std::fill(signals, signals + most, 0.0);
            copy_signals(target.storage,
                         target.phi + first * target.record_stride + query * target.query_stride,
                         target.record_stride, count, signals);
            for (const int side : {in, out}) {
                measure(sums, signals, medians ? medians->center[side] : sums.mean[side], pivot, side,
                        measured);
                const std::int64_t plane = side * shadow.queries + query, at = plane * records + first;
                std::memcpy(sides.distance + at, measured.distance[side], count * sizeof(T));
                std::memcpy(sides.squares + at, measured.squares[side], count * sizeof(T));
                std::memcpy(sides.counts + side * records + first, measured.counts[side],
                            count * sizeof(std::int32_t));
                if (pooling == Pooling::none) continue;
                add_moments(measured, side, sums.width, pooling, logs, moments + plane);
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
            score(padded, width, query, tables, false, sum);
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
    LeftOut<T> block(shadow, Center::mean, pooling, same_counts);
    const std::int64_t most = block.sums.most;
    LeftOutLogs<T> log_moments(most, logs, same_counts);
    for (std::int64_t first = begin; first < end; first += most) {
        for (std::int64_t query = 0; query < shadow.queries; ++query) {
            block.read(first, std::min(most, end - first), query);
            const bool enough = pooling == Pooling::log_squares && log_moments.read(block);
            for (std::int64_t model = shadow.models; model-- > 0;) {
                block.leave_out(model);
                Moments* of_model = moments + 2 * shadow.queries * model + query;
                if (enough) {
                    log_moments.add(block, model, of_model, of_model + shadow.queries);
                    continue;
                }
                block.count(model);
                add_moments(block.measured, in, block.sums.width, pooling, logs, of_model);
                add_moments(block.measured, out, block.sums.width, pooling, logs, of_model + shadow.queries);
            }
        }
    }
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
            if (same_counts) block.count(0);  // as of every model
            for (std::int64_t model = models; model-- > 0;) {
                block.leave_out(model);
                if (!same_counts) block.count(model);
                T* to = scores + model * shadow.records + first;
                T* sum = alone ? (count == block.sums.width ? to : sums) : sums + model * most;
                score(block.measured, block.sums.width, query, tables[model], same_counts, sum);
                if (query + 1 < shadow.queries || sum == to) continue;
                for (std::int64_t lane = 0; lane < count; ++lane) {
                    to[lane] = sum[lane] / static_cast<T>(shadow.queries);
                }
            }
        }
    }
}

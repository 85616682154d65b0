// Scores of a record from its signals under all models, in float64: of one target, or of every model in turn,
// the others being its shadows.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "parallel.h"

namespace miafast {

inline constexpr std::int64_t column_block = 32;  // records that are read at once
inline constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();

// Arrays are dense; target [records, queries], or null for every model in turn.
template <typename T>
struct AgainstShadows {
    std::int64_t models, records, queries;
    const T *target, *shadow;  // shadow [models, records, queries]
    const bool* in_mask;       // [models, records]
    bool same_counts;  // every record is IN as many models: a side that does not lose the target loses the
                       // next model, cyclically, that it has, as the counts would tell
    T* scores;         // [records], or [models, records]
};

// One record's signals of one query, NaN where they are not finite.
struct Column {
    std::vector<double> values;
    std::vector<char> is_in;
    std::vector<std::int64_t>
        next;  // the next model with the other bit; empty unless the counts are the same

    std::int64_t models() const { return static_cast<std::int64_t>(values.size()); }
    // Twice around: the first round knows what comes after the last model.
    void find_next() {
        next.assign(values.size(), 0);
        for (std::int64_t step = 2 * models(); step-- > 0;) {
            const std::int64_t model = step % models(), following = (step + 1) % models();
            next[model] = is_in[following] != is_in[model] ? following : next[following];
        }
    }
    // Which model the IN or the OUT side loses with this target; -1 for none.
    std::int64_t lost(bool in, std::int64_t target) const {
        if (target < 0) return -1;
        if (static_cast<bool>(is_in[target]) == in) return target;
        return next.empty() ? -1 : next[target];
    }
};

// Sums over one side's models, with one left out and nothing subtracted.
class SideSums {
  public:
    template <typename Term>
    void take(const Column& column, bool in, const Term& term) {
        const std::int64_t models = column.models();
        before_.assign(models + 1, 0.0);
        after_.assign(models + 1, 0.0);
        count_ = 0;
        for (std::int64_t model = 0; model < models; ++model) {
            const bool counts = static_cast<bool>(column.is_in[model]) == in;
            before_[model + 1] = before_[model] + (counts ? term(column.values[model]) : 0.0);
            count_ += counts;
        }
        for (std::int64_t model = models; model-- > 0;) {
            const bool counts = static_cast<bool>(column.is_in[model]) == in;
            after_[model] = after_[model + 1] + (counts ? term(column.values[model]) : 0.0);
        }
    }
    double without(std::int64_t lost) const {
        return lost < 0 ? after_[0] : before_[lost] + after_[lost + 1];
    }
    double count_without(std::int64_t lost) const { return static_cast<double>(count_ - (lost >= 0)); }

  private:
    std::vector<double> before_, after_;
    std::int64_t count_ = 0;
};

// -log p of the label, of phi; NaN where that is not finite.
inline double loss_of(double phi) {
    return std::isfinite(phi) ? std::max(0.0, -phi) + std::log1p(std::exp(-std::abs(phi))) : not_a_number;
}

// Calls visit(record, query, column) for records [first, last), measure having made signals of phi; a
// record's queries follow each other within a block.
template <typename T, typename Measure, typename Visit>
void each_column(const AgainstShadows<T>& job, std::int64_t first, std::int64_t last, const Measure& measure,
                 const Visit& visit) {
    std::vector<double> signals(static_cast<std::size_t>(column_block * job.models));
    Column column;
    column.values.resize(job.models);
    column.is_in.resize(job.models);
    for (std::int64_t start = first; start < last; start += column_block) {
        const std::int64_t some = std::min(column_block, last - start);
        for (std::int64_t query = 0; query < job.queries; ++query) {
            for (std::int64_t model = 0; model < job.models; ++model) {
                const T* from = job.shadow + (model * job.records + start) * job.queries + query;
                for (std::int64_t i = 0; i < some; ++i)
                    signals[i * job.models + model] = measure(static_cast<double>(from[i * job.queries]));
            }
            for (std::int64_t i = 0; i < some; ++i) {
                std::copy_n(signals.data() + i * job.models, job.models, column.values.begin());
                for (std::int64_t model = 0; model < job.models; ++model)
                    column.is_in[model] = job.in_mask[model * job.records + start + i];
                if (!job.target && job.same_counts) column.find_next();
                visit(start + i, query, column);
            }
        }
    }
}

// Scores are means over queries of what a Rule says: measure() makes a signal of phi, take() reads a column
// of them, at() scores one target's own.
template <typename Rule, typename T>
void score_against_shadows(const AgainstShadows<T>& job, const Rule& like) {
    const std::int64_t targets = job.target ? 1 : job.models;
    parallel_for(job.records, column_block, [&](std::int64_t first, std::int64_t last) {
        Rule rule = like;
        std::vector<double> sums(static_cast<std::size_t>(column_block * targets));
        const auto measure = [&](double phi) { return rule.measure(phi); };
        each_column(
            job, first, last, measure, [&](std::int64_t record, std::int64_t query, const Column& column) {
                rule.take(column);
                double* const to = sums.data() + (record - first) % column_block * targets;
                if (query == 0) std::fill_n(to, targets, 0.0);
                if (job.target)
                    *to += rule.at(
                        column, rule.measure(static_cast<double>(job.target[record * job.queries + query])),
                        -1);
                else
                    for (std::int64_t target = 0; target < targets; ++target)
                        to[target] += rule.at(column, column.values[target], target);
                if (query + 1 == job.queries)
                    for (std::int64_t target = 0; target < targets; ++target)
                        job.scores[target * job.records + record] =
                            static_cast<T>(to[target] / static_cast<double>(job.queries));
            });
    });
}

}  // namespace miafast

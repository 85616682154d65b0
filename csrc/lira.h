// Statistics of LiRA over shadow models, and scores from them: one target, or every model left out in turn.
// What a variance rule makes of the statistics (the prior) is computed between the two, in Python.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "logits.h"

namespace miafast {

// Signals [models, records, queries] and in_mask [models, records]; strides in bytes.
struct Shadow {
    const char* phi;
    Storage storage;
    std::int64_t models, records, queries;
    std::int64_t model_stride, record_stride, query_stride;
    const char* in_mask;
    std::int64_t mask_model_stride, mask_record_stride;
};

// Target signals [records, queries].
struct Target {
    const char* phi;
    Storage storage;
    std::int64_t record_stride, query_stride;
};

enum class Center { mean, median };

// What a variance rule needs to know about all records together; Moments::count says of what.
enum class Pooling { none, squares, log_squares, total };

// Sums over records, for one side, one query and (leave-one-out) one target.
struct Moments {
    // squares: Σ (n - 1), Σ squares; log_squares: records with n > 1, Σ e, Σ e², Σ sampling variance of e;
    // total: Σ n, Σ (phi - pivot), Σ (phi - pivot)².
    double count, first, second, sampling;
};

// log_squares: e = log(squares) + shift[n]; by n = 0 ... models.
struct LogTables {
    const double *shift, *sampling;
    double floor;
};

// One side's variance rule, made into tables by n = 0 ... models:
// scale² = max(above + keep * squares, floor) / ratio[n];
// Normal: constant[n] - log(above + ...) / 2 - z² / 2.
// Student: constant[n] - log(above + ...) / 2 - half[n] * log(1 + z²), z² without the degrees of freedom.
template <typename T>
struct SideRule {
    bool student;
    T keep;
    const T* above;  // [queries]
    const T *constant, *ratio, *half;
};

enum class Verdict { difference, lower_tail, minus_density };

template <typename T>
struct Rules {
    Verdict verdict;
    std::int64_t models;
    T floor;
    SideRule<T> in, out;
};

// Side statistics of one target: [2 (in, out)][queries][records] and [2][records].
template <typename T>
struct Sides {
    T *distance, *squares;
    std::int32_t* counts;
};

// Moments [2][queries].
template <typename T>
void lira_sides(const Shadow& shadow, const Target& target, Center center, Pooling pooling,
                const LogTables& logs, const Sides<T>& sides, Moments* moments);

// Scores [records] from them.
template <typename T>
void lira_scores(const Sides<T>& sides, std::int64_t records, std::int64_t queries, const Rules<T>& rules,
                 T* scores);

// Scores [records] by rules that stand on no moments.
template <typename T>
void lira_at_once(const Shadow& shadow, const Target& target, Center center, const Rules<T>& rules,
                  T* scores);

// Whether every record is IN the same number of models, some but not all.
bool has_fixed_counts(const Shadow& shadow);

// Moments [models][2][queries]. With same_counts the side that the left-out model is not on lacks one model
// too.
template <typename T>
void lira_leave_one_out_moments(const Shadow& shadow, bool same_counts, Pooling pooling,
                                const LogTables& logs, Moments* moments);

// Rules, one per model; scores [models][records].
template <typename T>
void lira_leave_one_out(const Shadow& shadow, Center center, bool same_counts,
                        const std::vector<Rules<T>>& rules, T* scores);

}  // namespace miafast

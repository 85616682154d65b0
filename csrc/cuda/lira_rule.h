// What a variance rule's tables (miafast/ops/lira_tables.py) make of a side.
#pragma once

#include "lira_side.h"
#include "lira_tails.h"

// `Tables` of miafast/ops/triton/lira_rules.py, what is looked up together side by side: of a rule (target,
// side) and a query, and of a rule and a number of models.
template <typename Real>
struct alignas(16) OfRule {
    Real student, keep, above, half;  // half: of no models
};
template <typename Real>
struct alignas(2 * sizeof(Real)) OfCount {
    Real constant, ratio;
};

template <typename Real>
struct Tables {
    const OfRule<Real>* rules;    // [rules, queries]
    const OfCount<Real>* counts;  // [rules, columns]
    int queries, columns;
    Real floor;
};

// What the tables say of a side with n models: scale = keep * squares + above, and so on.
template <typename Real>
struct Rule {
    Real constant, ratio, keep, above, half;
    bool student;

    Rule(const Tables<Real>& tables, Offset row, int query, int n) {
        const OfRule<Real> rule = tables.rules[row * tables.queries + query];
        const OfCount<Real> count = tables.counts[row * tables.columns + n];
        constant = count.constant;
        ratio = count.ratio;
        keep = rule.keep;
        above = rule.above;
        half = rule.half + n * static_cast<Real>(0.5);
        student = rule.student != 0;
    }

    Real scale(Real squares, Real floor) const {
        const Real found = keep * squares + above;
        return found <= floor ? floor : found;  // NaN stays NaN
    }
};

// log density, or log P[at most the target's signal]; NaN for a distance that is not finite.
template <typename Real>
inline Real term(const Rule<Real>& rule, Measured<Real> at, Real floor, bool lower_tail) {
    const Real scale = rule.scale(at.squares, floor);
    const Real not_finite = (at.distance - at.distance) + 0 * rule.constant;
    if (lower_tail) {
        const double z = at.distance * sqrt(static_cast<double>(rule.ratio / scale));
        if (!rule.student) return static_cast<Real>(log_normal_cdf(z)) + not_finite;
        const double dof = 2.0 * rule.half - 1;
        return static_cast<Real>(log_student_cdf(z * sqrt(dof), dof / 2,
                                                 0.5 * log(static_cast<double>(rule.ratio)) - rule.constant));
    }
    const Real z = at.distance * at.distance * rule.ratio * reciprocal(scale);
    return rule.constant - HALF_LOG_2<Real> * quick_log2(scale) + not_finite -
           (rule.student ? rule.half * log1p(z) : static_cast<Real>(0.5) * z);
}

// Scores of a run where sides have normal densities with their own variances: with few instructions, none of
// which waits for another model's or branches. They stay in registers until all of them are known to be
// exact.
#pragma once

#include "lira_rule.h"

// A side in units of u = (x - mean) * sqrt(n / (n - 1) / squares): without a signal, a share 1 - u² of its
// squares is left.
template <typename Real>
struct Scaled {
    Real near = 0, by = 0, offset = 0;  // u = (x - near) * by + offset
    Real over_others = 0;               // 1 / (n - 1)
    Real whole = 0, of_whole = 0;       // log density: whole - of_whole * u²
    Real left = 0, of_left = 0;         // without one: left - log(share) / 2 - of_left * (u + shift)² / share
    bool usable = true;

    Scaled() = default;
    Scaled(const Side<Real>& side, const Tables<Real>& tables, Offset row) : near(side.near) {
        const Rule<Real> all(tables, row, 0, side.n), fewer(tables, row, 0, max(side.n - 1, 0));
        const Real log_scale = HALF_LOG_2<Real> * quick_log2(side.squares), n = side.n;
        over_others = side.over_others;
        by = sqrt(n * over_others / side.squares);
        offset = -side.rest * by;
        whole = all.constant - log_scale;
        of_whole = static_cast<Real>(0.5) * all.ratio / (n * over_others);
        left = fewer.constant - log_scale;
        of_left = static_cast<Real>(0.5) * fewer.ratio / (n * over_others);
        usable = side.n > 1 && least_left(side.squares) >= tables.floor;
    }

    Real units(Real x) const { return (x - near) * by + offset; }
};

template <typename Real>
inline bool enough(Real share) {
    return share >= least_left(Real{1});
}

// Signals of a run become scores where each target leaves its own side. False: not all are exact.
template <typename Real, int run>
inline bool score_left(const Scaled<Real>& in, const Scaled<Real>& out, unsigned int bits, Real (&x)[run]) {
    const Real constant_in = in.left - out.whole, constant_out = out.left - in.whole;
    const auto of_own = [](const Scaled<Real>& side) {  // u's shift is u / (n - 1)
        return side.of_left * (1 + side.over_others) * (1 + side.over_others);
    };
    const Real of_in = of_own(in), of_out = of_own(out);
    bool exact = in.usable && out.usable;
#pragma unroll
    for (int k = 0; k < run; ++k) {
        const bool inside = bits >> k & 1;
        const Real u_in = in.units(x[k]), u_out = out.units(x[k]);
        const Real own = inside ? u_in : u_out, other = inside ? u_out : u_in;
        const Real gone = own * own, share = 1 - gone;
        exact = exact && enough(share);
        Real score = (inside ? constant_in : constant_out) - HALF_LOG_2<Real> * quick_log2(share);
        score -= (inside ? of_in : of_out) * (gone * reciprocal(share));
        score += (inside ? out.of_whole : in.of_whole) * (other * other);
        x[k] = inside ? score : -score;
    }
    return exact;
}

// What a side is without one of its signals.
template <typename Real>
struct Left {
    Real shift, log_share, over_share;

    Left(const Scaled<Real>& side, Real u)
        : shift(u * side.over_others), log_share(quick_log2(1 - u * u)), over_share(reciprocal(1 - u * u)) {}
};

// The same where each target leaves its side and the next signal, cyclically, the other.
template <typename Real, int run>
inline bool score_both_left(const Scaled<Real>& in, const Scaled<Real>& out, unsigned int bits,
                            const Real (&next)[2], Real (&x)[run]) {
    const Real next_in = in.units(next[1]), next_out = out.units(next[0]), constant = in.left - out.left;
    Left<Real> left_in(in, next_in), left_out(out, next_out);
    bool exact = in.usable && out.usable && enough(1 - next_in * next_in) && enough(1 - next_out * next_out);
#pragma unroll
    for (int k = run - 1; k >= 0; --k) {
        const bool inside = bits >> k & 1;
        const Real u_in = in.units(x[k]), u_out = out.units(x[k]), own = inside ? u_in : u_out;
        const Real share = 1 - own * own, log_share = quick_log2(share), over_share = reciprocal(share);
        exact = exact && enough(share);
        left_in.shift = inside ? own * in.over_others : left_in.shift;
        left_in.log_share = inside ? log_share : left_in.log_share;
        left_in.over_share = inside ? over_share : left_in.over_share;
        left_out.shift = inside ? left_out.shift : own * out.over_others;
        left_out.log_share = inside ? left_out.log_share : log_share;
        left_out.over_share = inside ? left_out.over_share : over_share;
        const Real at_in = u_in + left_in.shift, at_out = u_out + left_out.shift;
        x[k] = constant - HALF_LOG_2<Real> * (left_in.log_share - left_out.log_share) -
               in.of_left * (at_in * at_in * left_in.over_share) +
               out.of_left * (at_out * at_out * left_out.over_share);
    }
    return exact;
}

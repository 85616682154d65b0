// The density of a side whose rule needs little: the quick way.
#pragma once

#include "lira_rule.h"

// A side where all targets have the same rule, without Student's t and with nothing above its squares. With
// and without a signal, a density is the same operations in the same order: scores of signals that both sides
// hold equally likely must be 0, however unlikely they are.
template <typename Real>
struct Density {
    int n;
    Real near, rest, squares;
    Real constant, weight, over_scale;  // with all its models: constant - weight * distance² * over_scale
    Real inverse, least;                // 1 / (n - 1); squares that are exact enough
    Real constant_left, weight_left;    // with one model less, before its scale is in them

    Density(const Side<Real>& side, const Tables<Real>& tables, Offset row)
        : n(side.n), near(side.near), rest(side.rest), squares(side.squares) {
        const Rule<Real> whole(tables, row, 0, n), left(tables, row, 0, max(n - 1, 0));
        const Real scale = whole.scale(squares, tables.floor);
        constant = whole.constant - HALF_LOG_2<Real> * quick_log2(scale);
        weight = static_cast<Real>(0.5) * whole.ratio;
        over_scale = reciprocal(scale);
        inverse = n > 1 ? Real{1} / (n - 1) : 0;
        least = max(least_left(squares), tables.floor);
        constant_left = left.constant;
        weight_left = static_cast<Real>(0.5) * left.ratio;
    }

    Real from_mean(Real x) const { return x - near - rest; }

    // At a distance d from the mean.
    Real at(Real d) const { return constant - weight * (d * d * over_scale); }

    // At a distance d from the mean, of a signal x, without the signal y, at e from it.
    template <typename Stored>
    Real without(const Column<Stored>& column, int bit, Real x, Real d, Real y, Real e, Real floor) const {
        const Real step = e * inverse;
        Measured<Real> found{d + step, squares - e * (e + step)};
        if (!(found.squares >= least)) found = inexact(column, bit, x, y, found, floor);
        const Real whole = constant_left - HALF_LOG_2<Real> * quick_log2(found.squares);
        return whole - weight_left * (found.distance * found.distance * reciprocal(found.squares));
    }

    // Where squares are few, or not numbers: exact, at least the floor, and NaN for a distance not finite.
    template <typename Stored>
    Measured<Real> inexact(const Column<Stored>& column, int bit, Real x, Real y, Measured<Real> found,
                           Real floor) const {
        if (!(found.squares >= least_left(squares))) found = measure_anew(column, bit, n, near, x, y);
        if (found.squares <= floor) found.squares = floor;
        found.distance += found.distance - found.distance;
        return found;
    }
};

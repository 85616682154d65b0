// One side of a record, IN or OUT, and a target's signal against it with or without one of its signals.
#pragma once

#include "numbers.h"

// What one side, IN or OUT, says about a record. The mean is near + rest; the signals around the middle have
// the ranks (n - 2) / 2 and the two after it.
template <typename Real>
struct Side {
    int n;
    Real near, rest, squares;
    Real over_others;  // 1 / (n - 1)
    double middle[3];
};

// Distance of a target's signal from a side's centre, and the side's squares.
template <typename Real>
struct Measured {
    Real distance, squares;
};

// A record's signals and mask, model after model, where they lie.
template <typename Stored>
struct Column {
    const Stored* signals;
    const unsigned char* mask;
    int models;
    Offset stride, mask_stride;
};

// x against a side without one signal y, from its models one by one, in double.
template <typename Stored, typename Real>
__noinline__ Measured<Real> measure_anew(const Column<Stored>& column, int bit, int n, Real near, Real x,
                                         Real y) {
    double mean = is_finite(near) ? near : 0, squares = 0;
    for (int pass = 0; pass < 2; ++pass) {
        double total = 0;
        bool gone = false;
        for (int model = 0; model < column.models; ++model) {
            if ((column.mask[model * column.mask_stride] != 0) != bit) continue;
            const Real other = real(column.signals[model * column.stride]);
            if (!gone && (other == y || (other != other && y != y))) {
                gone = true;
                continue;
            }
            const double d = other - mean;
            total += pass == 0 ? d : d * d;
        }
        if (pass == 0) mean += total / (n - 1);
        squares = total;
    }
    return {static_cast<Real>(x - mean), static_cast<Real>(squares)};
}

// What of a side's squares must be left without a signal: its sums are not exact enough for less.
template <typename Real>
inline Real least_left(Real squares) {
    return squares * static_cast<Real>(sizeof(Real) == 8 ? 1e-5 : 0.0625);
}

template <typename Real>
inline double median_of(const Side<Real>& side) {
    if (side.n == 1) return side.middle[0];
    return side.n % 2 ? side.middle[1] : side.middle[0] / 2 + side.middle[1] / 2;
}

template <typename Real>
inline double median_without(const Side<Real>& side, double y) {
    const int high = side.n % 2;  // rank (n - 1) / 2 less rank (n - 2) / 2
    return side.middle[y <= side.middle[0]] / 2 + side.middle[high + (y <= side.middle[high])] / 2;
}

// x against a side, without its signal y if that is gone.
template <bool median, typename Stored, typename Real>
inline Measured<Real> measure(const Column<Stored>& column, int bit, const Side<Real>& side, Real x, Real y,
                              bool gone) {
    const Real d = x - side.near - side.rest;
    Measured<Real> found{d, side.squares};
    if (gone && side.n > 1) {
        const Real e = y - side.near - side.rest, step = e * side.over_others;
        found = {d + step, side.squares - e * (e + step)};
        if (found.squares < least_left(side.squares) || !is_finite(y))
            found = measure_anew(column, bit, side.n, side.near, x, y);
    }
    if (median) found.distance = static_cast<Real>(x - (gone ? median_without(side, y) : median_of(side)));
    return found;
}

// A block holds LANES = blockDim.x records of all models; blockDim.y threads share a record, each with a run
// of its models, whose signals are in registers and whose mask is bits of one number.
#pragma once

#include "lira_side.h"

// What the threads of a block share: per record of the block, one after the other.
template <typename Real>
struct Shared {
    using Key = typename KeyOf<Real>::Key;

    Key* next;      // [2][lanes]
    Real* numbers;  // [8][threads of a record][lanes]
    Real* sides;    // [8][lanes]
    int* counts;    // [3 turns][2][lanes]
    Real* signals;  // [threads of a record * run][lanes], each thread's own: registers cannot be looked up
    int lanes, lane, sharing, own;

    explicit Shared(void* begin)
        : next(static_cast<Key*>(begin)),
          numbers(reinterpret_cast<Real*>(next + 2 * blockDim.x)),
          sides(numbers + 8 * blockDim.y * blockDim.x),
          counts(reinterpret_cast<int*>(sides + 8 * blockDim.x)),
          signals(reinterpret_cast<Real*>(counts + 6 * blockDim.x)),
          lanes(blockDim.x),
          lane(threadIdx.x),
          sharing(blockDim.y),
          own(threadIdx.y) {}

    Real& signal(int model) const { return signals[model * lanes + lane]; }
    Real& of_thread(int thread, int number) const {
        return numbers[(number * sharing + thread) * lanes + lane];
    }
    Real& of_side(int side, int number) const { return sides[(side * 4 + number) * lanes + lane]; }

    Side<Real> side(int which) const {
        const int n = static_cast<int>(of_side(which, 0));
        return {n, of_side(which, 1), of_side(which, 2), of_side(which, 3), Real{1} / max(n - 1, 1)};
    }
};

// A thread's models of a record: begin … end - 1 of all, with a bit for each that is IN.
struct Run {
    int begin, end;
    unsigned int bits = 0;

    Run(int models, int most)
        : begin(min(static_cast<int>(threadIdx.y) * most, models)), end(min(begin + most, models)) {}

    int side(int model) const { return bits >> (model - begin) & 1; }

    // A bit for each model on a side.
    unsigned int of_side(int side) const {
        const unsigned int used = end - begin == 32 ? ~0u : (1u << (end - begin)) - 1;
        return used & (side == 1 ? bits : ~bits);
    }
};

// The signals and the mask of a thread's run; all of run if full, else the last model comes again and again.
template <bool full, typename Stored, typename Real, int run>
inline void load(const Column<Stored>& column, Run& own, Real (&x)[run]) {
    const int begin = full ? own.begin : min(own.begin, column.models - 1), more = own.end - begin;
    const unsigned char* mask = column.mask + begin * column.mask_stride;
    own.bits = 0;
#pragma unroll
    for (int k = 0; k < run; ++k) {
        if (*mask != 0) own.bits |= 1u << k;
        if (full || k + 1 < more) mask += column.mask_stride;
    }
    const Stored* signal = column.signals + begin * column.stride;
#pragma unroll
    for (int k = 0; k < run; ++k) {
        x[k] = static_cast<Real>(real(*signal));
        if (full || k + 1 < more) signal += column.stride;
    }
}

template <typename Stored, typename Real, int run>
inline void load(const Column<Stored>& column, Run& own, Real (&x)[run]) {
    if (own.end - own.begin == run) {
        load<true>(column, own, x);
    } else {
        load<false>(column, own, x);
    }
}

// Where a thread can look them up.
template <typename Real, int run>
inline void keep(const Shared<Real>& shared, const Run& own, const Real (&x)[run]) {
#pragma unroll
    for (int k = 0; k < run; ++k) shared.signal(own.begin + k) = x[k];
}

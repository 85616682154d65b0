// Both sides of a record, from the signals that its threads hold.
#pragma once

#include "lira_block.h"

// A thread's part of a side: sums about its first signal there, which is at most √n of the signals'
// deviations from their mean.
enum Part { COUNT_OF, FIRST, SUM, SQUARES, NUMBERS };

// What all threads' parts say of a side, in their order, so that results do not depend on which was first.
template <typename Real>
inline void add_up(const Shared<Real>& shared, int side) {
    const auto of = [&](int thread, Part part) { return shared.of_thread(thread, side * NUMBERS + part); };
    Real pivot = 0;
#pragma unroll 4
    for (int thread = shared.sharing - 1; thread >= 0; --thread) {
        if (of(thread, COUNT_OF) > 0) pivot = of(thread, FIRST);
    }
    double n = 0, sum = 0, squares = 0;
#pragma unroll 4
    for (int thread = 0; thread < shared.sharing; ++thread) {
        const double count = of(thread, COUNT_OF), d = static_cast<double>(of(thread, FIRST)) - pivot;
        if (count == 0) continue;
        n += count;
        sum += of(thread, SUM) + count * d;
        squares += of(thread, SQUARES) + d * (2 * of(thread, SUM) + count * d);
    }
    const double shift = sum / max(n, 1.0), around = squares - shift * sum;
    const Real near = static_cast<Real>(pivot + shift);
    shared.of_side(side, 0) = static_cast<Real>(n);
    shared.of_side(side, 1) = near;
    shared.of_side(side, 2) = static_cast<Real>(pivot - static_cast<double>(near) + shift);
    shared.of_side(side, 3) = static_cast<Real>(around < 0 ? 0 : around);
}

// To shared memory, both sides (0: OUT, 1: IN) of a record and the first signals of its threads there; `at`
// looks one of a thread's signals up. What is in x after a thread's own models becomes one of these. Threads
// have waited for each other since they last read what is written here.
template <typename Real, int run, typename At>
inline void describe(const Shared<Real>& shared, const Run& own, Real (&x)[run], const At& at) {
    Real first[2] = {0, 0}, sum[2] = {0, 0}, squares[2] = {0, 0};
#pragma unroll
    for (int side = 0; side < 2; ++side) {
        if (const unsigned int here = own.of_side(side)) first[side] = at(own.begin + __ffs(here) - 1);
    }
    if (own.end - own.begin < run) {
#pragma unroll
        for (int k = 0; k < run; ++k) {
            if (own.begin + k >= own.end) x[k] = own.bits >> k & 1 ? first[1] : first[0];
        }
    }
#pragma unroll
    for (int k = 0; k < run; ++k) {
        const bool inside = own.bits >> k & 1;
        const Real d = x[k] - (inside ? first[1] : first[0]);
        if (inside) {
            sum[1] += d;
            squares[1] += d * d;
        } else {
            sum[0] += d;
            squares[0] += d * d;
        }
    }
#pragma unroll
    for (int side = 0; side < 2; ++side) {
        shared.of_thread(shared.own, side * NUMBERS + COUNT_OF) =
            static_cast<Real>(__popc(own.of_side(side)));
        shared.of_thread(shared.own, side * NUMBERS + FIRST) = first[side];
        shared.of_thread(shared.own, side * NUMBERS + SUM) = sum[side];
        shared.of_thread(shared.own, side * NUMBERS + SQUARES) = squares[side];
    }
    __syncthreads();
    for (int side = shared.own; side < 2; side += shared.sharing) add_up(shared, side);
    __syncthreads();
}

// The first signal of either side, cyclically, of the models after a thread's own.
template <typename Real>
inline void first_after(const Shared<Real>& shared, Real (&next)[2]) {
    int thread = shared.own;
#pragma unroll 4
    for (int step = 0; step < shared.sharing; ++step) {  // backwards: the one after its own is the last
#pragma unroll
        for (int side = 0; side < 2; ++side) {
            const Real first = shared.of_thread(thread, side * NUMBERS + FIRST);
            next[side] = shared.of_thread(thread, side * NUMBERS + COUNT_OF) > 0 ? first : next[side];
        }
        thread = thread > 0 ? thread - 1 : shared.sharing - 1;
    }
}

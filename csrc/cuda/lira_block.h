// A block holds LANES = blockDim.x records of all models in shared memory; blockDim.y threads share a record,
// each with a run of its models, whose mask is bits of one number and whose signals are summed up in
// registers as they come.
#pragma once

#include "lira_side.h"

// What the threads of a block share: per record of the block, one after the other.
template <typename Real>
struct Shared {
    using Key = typename KeyOf<Real>::Key;

    double* sums;   // [4][lanes]
    Key* next;      // [2][lanes]
    Real* numbers;  // [4][threads of a record][lanes]
    Real* signals;  // [models][lanes]
    int* counts;    // [3 turns][2][lanes]
    int lanes, lane, sharing, own;

    Shared(void* begin, int models)
        : sums(static_cast<double*>(begin)),
          next(reinterpret_cast<Key*>(sums + 4 * blockDim.x)),
          numbers(reinterpret_cast<Real*>(next + 2 * blockDim.x)),
          signals(numbers + 4 * blockDim.y * blockDim.x),
          counts(reinterpret_cast<int*>(signals + models * blockDim.x)),
          lanes(blockDim.x),
          lane(threadIdx.x),
          sharing(blockDim.y),
          own(threadIdx.y) {}

    Real& signal(int model) const { return signals[model * lanes + lane]; }
    Real& of_thread(int thread, int number) const {
        return numbers[(number * sharing + thread) * lanes + lane];
    }

    // [4] over all threads of a record, in their order, so that results do not depend on which was first.
    void add_up(const Real (&more)[4], double (&totals)[4]) const {
        for (int i = 0; i < 4; ++i) of_thread(own, i) = more[i];
        __syncthreads();
        for (int i = own; i < 4; i += sharing) {
            double total = 0;
            for (int thread = 0; thread < sharing; ++thread) total += of_thread(thread, i);
            sums[i * lanes + lane] = total;
        }
        __syncthreads();
        for (int i = 0; i < 4; ++i) totals[i] = sums[i * lanes + lane];
    }
};

// A thread's models of a record: begin … end - 1 of all, with a bit for each that is IN.
struct Run {
    int begin, end;
    unsigned int bits = 0;

    Run(int models, int most)
        : begin(min(static_cast<int>(threadIdx.y) * most, models)), end(min(begin + most, models)) {}

    int side(int model) const { return bits >> (model - begin) & 1; }
};

// Both sides of a record (0: OUT, 1: IN) from its signals, [run] of each thread.
template <typename Real, int run>
inline void describe(const Shared<Real>& shared, const Run& own, const Real (&x)[run], Side<Real>* sides) {
    const unsigned int used = own.end - own.begin == 32 ? ~0u : (1u << (own.end - own.begin)) - 1;
    const unsigned int out = used & ~own.bits;
    Real more[4] = {0, 0, static_cast<Real>(__popc(out)), static_cast<Real>(__popc(own.bits))};
    double totals[4];
#pragma unroll
    for (int k = 0; k < run; ++k) {
        if (own.bits >> k & 1) more[1] += x[k];
        if (out >> k & 1) more[0] += x[k];
    }
    shared.add_up(more, totals);
#pragma unroll
    for (int side = 0; side < 2; ++side) {
        sides[side].n = static_cast<int>(totals[2 + side]);
        sides[side].near = static_cast<Real>(totals[side] / max(totals[2 + side], 1.0));
        more[side] = more[2 + side] = 0;
    }
#pragma unroll
    for (int k = 0; k < run; ++k) {
        const bool inside = own.bits >> k & 1;
        const Real d = x[k] - (inside ? sides[1].near : sides[0].near);
        if (inside) {
            more[1] += d;
            more[3] += d * d;
        }
        if (out >> k & 1) {
            more[0] += d;
            more[2] += d * d;
        }
    }
    shared.add_up(more, totals);
#pragma unroll
    for (int side = 0; side < 2; ++side) {
        const double n = max(sides[side].n, 1), rest = totals[side] / n;
        const double around = totals[2 + side] - rest * rest * n;
        sides[side].rest = static_cast<Real>(rest);
        sides[side].squares = static_cast<Real>(around < 0 ? 0 : around);
    }
}

// The first signal of either side, cyclically, of the models after a thread's own.
template <typename Real, int run>
inline void first_after(const Shared<Real>& shared, const Run& own, const Real (&x)[run], Real (&next)[2]) {
    Real first[4] = {0, 0, 0, 0};
#pragma unroll
    for (int k = run - 1; k >= 0; --k) {
        const int side = own.bits >> k & 1;
        const bool used = own.begin + k < own.end;
        if (used && side == 0) first[0] = x[k], first[2] = 1;
        if (used && side == 1) first[1] = x[k], first[3] = 1;
    }
    __syncthreads();
    for (int i = 0; i < 4; ++i) shared.of_thread(shared.own, i) = first[i];
    __syncthreads();
    for (int step = shared.sharing; step > 0; --step) {
        const int thread = (shared.own + step) % shared.sharing;
        for (int side = 0; side < 2; ++side) {
            if (shared.of_thread(thread, 2 + side) != 0) next[side] = shared.of_thread(thread, side);
        }
    }
}

// The mask of a thread's run, a bit each; all of run if full.
template <bool full, int run, typename Stored>
inline unsigned int bits_of(const Column<Stored>& column, const Run& own) {
    const unsigned char* mask = column.mask + own.begin * column.mask_stride;
    unsigned int bits = 0;
#pragma unroll
    for (int k = 0; k < run; ++k, mask += column.mask_stride) {
        if ((full || own.begin + k < own.end) && *mask != 0) bits |= 1u << k;
    }
    return bits;
}

// The signals of a thread's run, to registers and to shared memory; all of run if full.
template <bool full, typename Stored, typename Real, int run>
inline void signals_of(const Column<Stored>& column, const Run& own, const Shared<Real>& shared,
                       Real (&x)[run]) {
    const Stored* signal = column.signals + own.begin * column.stride;
    Real* to = &shared.signal(own.begin);
#pragma unroll
    for (int k = 0; k < run; ++k, signal += column.stride)
        x[k] = full || own.begin + k < own.end ? static_cast<Real>(real(*signal)) : 0;
#pragma unroll
    for (int k = 0; k < run; ++k, to += shared.lanes) {
        if (full || own.begin + k < own.end) *to = x[k];
    }
}

template <typename Stored, typename Real, int run>
inline void load(const Column<Stored>& column, Run& own, const Shared<Real>& shared, Real (&x)[run]) {
    const bool full = own.end - own.begin == run;
    own.bits = full ? bits_of<true, run>(column, own) : bits_of<false, run>(column, own);
    __syncthreads();  // nobody reads the signals before any more
    if (full) {
        signals_of<true>(column, own, shared, x);
    } else {
        signals_of<false>(column, own, shared, x);
    }
}

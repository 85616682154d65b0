// A block holds LANES = blockDim.x records of all models; blockDim.y threads share a record, each with a run
// of its models, whose signals are in registers and whose mask is bits of one number.
#pragma once

#include "lira_side.h"
#include "lira_tile.h"

// What the threads of a block share: per record of the block, one after the other.
template <typename Real>
struct Shared {
    using Key = typename KeyOf<Real>::Key;

    Key* next;      // [2][lanes]
    Real* numbers;  // [8][threads of a record][lanes]
    Real* sides;    // [8][lanes]
    int* counts;    // [3 turns][2][lanes]
    void* rest;     // what is left of the memory
    int lanes, lane, sharing, own;

    explicit Shared(void* begin)
        : next(static_cast<Key*>(begin)),
          numbers(reinterpret_cast<Real*>(next + 2 * blockDim.x)),
          sides(numbers + 8 * blockDim.y * blockDim.x),
          counts(reinterpret_cast<int*>(sides + 8 * blockDim.x)),
          rest(counts + 6 * blockDim.x),
          lanes(blockDim.x),
          lane(threadIdx.x),
          sharing(blockDim.y),
          own(threadIdx.y) {}

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

// A thread's run of a tile, in registers; bits after its own models are as the last one's.
template <int lanes, typename Stored, typename Real, int run>
inline void load(const Tile<Stored, lanes>& tile, Run& own, Real (&x)[run]) {
    const int begin = static_cast<int>(threadIdx.y) * run;
    own.bits = 0;
#pragma unroll
    for (int k = 0; k < run; ++k) {
        x[k] = static_cast<Real>(tile.signal(begin + k));
        if (tile.inside(begin + k)) own.bits |= 1u << k;
    }
    const int models = own.end - own.begin;
    if (models > 0 && models < run) own.bits = own.side(own.end - 1) == 1 ? ~own.of_side(0) : own.of_side(1);
}

// The signals around a side's middle, selected bit by bit.
#pragma once

#include "lira_block.h"

// The signals of ranks (n - 2) / 2 and the two after it of both sides (0: OUT, 1: IN), by all threads of a
// block; `signal` looks a model's up.
template <typename Real, typename At>
inline void select_middle(const Shared<Real>& shared, const Run& own, const At& signal, Side<Real>* sides) {
    using Key = typename KeyOf<Real>::Key;
    const int lanes = shared.lanes, lane = shared.lane;
    const bool first = shared.own == 0;
    Key found[2] = {0, 0};
    int rank[2];
    for (int side = 0; side < 2; ++side) rank[side] = sides[side].n > 1 ? (sides[side].n - 2) / 2 : 0;
    const auto count_if = [&](int turn, const auto& counted) {  // [2] of all threads of a record
        int* counts = shared.counts + turn % 3 * 2 * lanes;
        int more[2] = {0, 0};
        for (int model = own.begin; model < own.end; ++model) {
            const int side = own.side(model);
            const bool counts_here = counted(side, key_of(signal(model)));
            more[0] += counts_here && side == 0;
            more[1] += counts_here && side == 1;
        }
        for (int side = 0; side < 2; ++side) atomicAdd(counts + side * lanes + lane, more[side]);
        if (first) {  // of the next turn, which nobody reads now
            for (int side = 0; side < 2; ++side)
                shared.counts[((turn + 1) % 3 * 2 + side) * lanes + lane] = 0;
        }
        __syncthreads();
        return counts;
    };
    if (first) shared.counts[lane] = shared.counts[lanes + lane] = 0;
    __syncthreads();
    int turn = 0;
    for (int bit = sizeof(Key) * 8 - 1; bit >= 0; --bit, ++turn) {
        const int* counts = count_if(turn, [&](int side, Key key) {
            return (key >> bit) == ((side == 0 ? found[0] : found[1]) >> bit);
        });
        for (int side = 0; side < 2; ++side) {
            const int below = counts[side * lanes + lane];
            if (rank[side] < below) continue;
            rank[side] -= below;
            found[side] |= Key{1} << bit;
        }
    }
    for (int side = 0; side < 2; ++side) sides[side].middle[0] = of_key<Real>(found[side]);
    int at_most[2];
    for (int place = 1; place < 3; ++place, ++turn) {
        if (first) shared.next[lane] = shared.next[lanes + lane] = ~Key{0};
        const int* counts =
            count_if(turn, [&](int side, Key key) { return key <= (side == 0 ? found[0] : found[1]); });
        for (int model = own.begin; model < own.end; ++model) {
            const int side = own.side(model);
            const Key key = key_of(signal(model));
            if (key > (side == 0 ? found[0] : found[1])) atomicMin(shared.next + side * lanes + lane, key);
        }
        for (int side = 0; side < 2; ++side) at_most[side] = counts[side * lanes + lane];
        __syncthreads();
        for (int side = 0; side < 2; ++side) {
            const int wanted = (sides[side].n > 1 ? (sides[side].n - 2) / 2 : 0) + place;
            if (at_most[side] <= wanted) found[side] = shared.next[side * lanes + lane];
            sides[side].middle[place] = of_key<Real>(found[side]);
        }
        __syncthreads();
    }
}

// LiRA of every model in turn, from tables that say what a variance rule makes of a side. Medians: of the
// three signals around a side's middle, one moves up where a model below leaves.

#include "lira_describe.h"
#include "lira_middle.h"
#include "lira_quick.h"

// Scores [models, records]. verdict 0: log densities of IN less OUT; 1: OUT's lower tail; 2: minus OUT's log
// density. Tables have a rule per target and side (0: IN, 1: OUT) if target_stride is 2, per side if it is 0.
// run: models of a thread at most, up to 32; lanes: records of a block. quick: means, no lower tail, and one
// rule per side, which adds nothing to its squares.
template <typename Stored, typename Real, bool median, bool quick, int run, int lanes>
__global__ void __launch_bounds__(256, 2)
    scores_kernel(const Stored* shadow, const unsigned char* in_mask, const int* same_counts,
                  const OfRule<Real>* rules, const OfCount<Real>* counts, Real* scores, int programs,
                  int models, Offset records, int queries, Offset model_stride, Offset record_stride,
                  Offset query_stride, Offset mask_model_stride, Offset mask_record_stride, int target_stride,
                  double floor, int verdict) {
    extern __shared__ uint4 shared_memory[];
    const Shared<Real> shared(shared_memory);
    const bool balanced = *same_counts != 0;
    const Tables<Real> tables{rules, counts, queries, models + 1, static_cast<Real>(floor)};
    const Real share = Real{1} / queries;
    Run own(models, run);
    const auto tile_of = [&](int which) {
        return Tile<Stored, lanes>(shared.rest, shared.sharing * run, which, 2);
    };
    const auto fetch = [&](int which, Offset first, int query) {
        const Tile<Stored, lanes> to = tile_of(which);
        const Rows<Stored, lanes> signals{shadow + query * query_stride, model_stride, record_stride};
        const Rows<unsigned char, lanes> masks{in_mask, mask_model_stride, mask_record_stride};
        signals.copy_to(to.signals, models, first, records);
        masks.copy_to(to.mask, models, first, records);
    };
    Offset first = static_cast<Offset>(blockIdx.x) * lanes, next_first = first;
    int which = 0, query = 0, next_query = 0;
    fetch(which, first, query);
    for (; first < records; first = next_first, query = next_query, which ^= 1) {
        wait_for_copies();
        __syncthreads();
        next_query = query + 1 < queries ? query + 1 : 0;
        if (next_query == 0) next_first += static_cast<Offset>(programs) * lanes;
        if (next_first < records) fetch(which ^ 1, next_first, next_query);
        const Tile<Stored, lanes> tile = tile_of(which);
        const auto signal = [&](int model) { return static_cast<Real>(tile.signal(model)); };
        Real x[run];
        load(tile, own, x);
        describe(shared, own, x, signal);
        Side<Real> sides[2] = {shared.side(0), shared.side(1)};
        if (median) select_middle(shared, own, signal, sides);
        const Offset record = first + threadIdx.x;
        if (record >= records) continue;
        Real next[2] = {0, 0};  // the next signal, cyclically, on either side
        if (balanced) first_after(shared, next);
        Real* to = scores + own.begin * records + record;
        const auto put = [&](Real score) {
            if (query > 0) score += *to;
            *to = query + 1 == queries ? score * share : score;
        };
        if (quick) {
            const Scaled<Real> out(sides[0], tables, 1);
            const Scaled<Real> in = verdict == 0 ? Scaled<Real>(sides[1], tables, 0) : Scaled<Real>();
            const bool exact =
                balanced ? score_both_left(in, out, own.bits, next, x) : score_left(in, out, own.bits, x);
            if (exact && queries == 1 && own.end - own.begin == run) {
#pragma unroll
                for (int k = 0; k < run; ++k, to += records) *to = x[k];
                continue;
            }
            if (exact) {
#pragma unroll
                for (int k = 0; k < run; ++k, to += records) {
                    if (own.begin + k < own.end) put(x[k]);
                }
                continue;
            }
        }
        const Column<Stored> column{shadow + record * record_stride + query * query_stride,
                                    in_mask + record * mask_record_stride, models, model_stride,
                                    mask_model_stride};
        to = scores + own.end * records + record;
        for (int model = own.end - 1; model >= own.begin; --model) {
            to -= records;
            const Real y = signal(model);
            const int side = own.side(model);
            next[0] = side == 0 ? y : next[0];
            next[1] = side == 1 ? y : next[1];
            const Offset row = static_cast<Offset>(model) * target_stride;
            const bool out_gone = balanced || side == 0, in_gone = balanced || side == 1;
            Real score =
                term(Rule<Real>(tables, row + 1, query, sides[0].n - out_gone),
                     measure<median>(column, 0, sides[0], y, next[0], out_gone), tables.floor, verdict == 1);
            if (verdict == 2) score = -score;
            if (verdict == 0) {
                score = term(Rule<Real>(tables, row, query, sides[1].n - in_gone),
                             measure<median>(column, 1, sides[1], y, next[1], in_gone), tables.floor, false) -
                        score;
            }
            put(score);
        }
    }
}

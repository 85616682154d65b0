// LiRA of every model in turn, from tables that say what a variance rule makes of a side. Medians: of the
// three signals around a side's middle, one moves up where a model below leaves.

#include "lira_describe.h"
#include "lira_middle.h"
#include "lira_quick.h"

// Scores [models, records]. verdict 0: log densities of IN less OUT; 1: OUT's lower tail; 2: minus OUT's log
// density. Tables have a rule per target and side (0: IN, 1: OUT) if target_stride is 2, per side if it is 0.
// run: models of a thread at most, up to 32. quick: means, no lower tail, and one rule per side, which adds
// nothing to its squares.
template <typename Stored, typename Real, bool median, bool quick, int run>
__global__ void __launch_bounds__(256, sizeof(Real) == 8 ? 2 : 3)
    scores_kernel(const Stored* shadow, const unsigned char* in_mask, const int* same_counts,
                  const OfRule<Real>* rules, const OfCount<Real>* counts, Real* scores, int models,
                  Offset records, int queries, Offset model_stride, Offset record_stride, Offset query_stride,
                  Offset mask_model_stride, Offset mask_record_stride, int target_stride, double floor,
                  int verdict) {
    extern __shared__ uint4 shared_memory[];
    const Shared<Real> shared(shared_memory);
    const Offset record = static_cast<Offset>(blockIdx.x) * blockDim.x + threadIdx.x;
    const bool live = record < records, balanced = *same_counts != 0;
    const Tables<Real> tables{rules, counts, queries, models + 1, static_cast<Real>(floor)};
    const Real share = Real{1} / queries;
    const Offset loaded = live ? record : records - 1;
    Run own(models, run);
    for (int query = 0; query < queries; ++query) {
        const Column<Stored> column{shadow + loaded * record_stride + query * query_stride,
                                    in_mask + loaded * mask_record_stride, models, model_stride,
                                    mask_model_stride};
        Real x[run];
        load(column, own, x);
        describe(shared, own, x);
        if (!quick) keep(shared, own, x);
        Side<Real> sides[2] = {shared.side(0), shared.side(1)};
        if (median) select_middle(shared, own, sides);
        if (!live) continue;
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
            keep(shared, own, x);
            for (int model = own.begin; exact && model < own.end; ++model, to += records)
                put(shared.signal(model));
            if (exact) continue;
        }
        to = scores + own.end * records + record;
        for (int model = own.end - 1; model >= own.begin; --model) {
            to -= records;
            const Real y =
                quick ? static_cast<Real>(real(column.signals[model * model_stride])) : shared.signal(model);
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

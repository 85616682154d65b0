// LiRA of every model in turn, from tables that say what a variance rule makes of a side. Medians: of the
// three signals around a side's middle, one moves up where a model below leaves.

#include "lira_block.h"
#include "lira_density.h"
#include "lira_middle.h"

// Scores [models, records]. verdict 0: log densities of IN less OUT; 1: OUT's lower tail; 2: minus OUT's log
// density. Tables have a rule per target and side (0: IN, 1: OUT) if target_stride is 2, per side if it is 0.
// run: models of a thread at most, up to 32. plain: means, densities, and a rule per side as `Density` has
// it.
template <typename Stored, typename Real, bool median, bool plain, int run>
__global__ void __launch_bounds__(256, sizeof(Real) == 8 ? 2 : 3)
    scores_kernel(const Stored* shadow, const unsigned char* in_mask, const int* same_counts,
                  const Real* student, const Real* keep, const Real* above, const Real* constant,
                  const Real* ratio, const Real* half, Real* scores, int models, Offset records, int queries,
                  Offset model_stride, Offset record_stride, Offset query_stride, Offset mask_model_stride,
                  Offset mask_record_stride, int target_stride, double floor, int verdict) {
    extern __shared__ uint4 shared_memory[];
    const Shared<Real> shared(shared_memory, models);
    const Offset record = static_cast<Offset>(blockIdx.x) * blockDim.x + threadIdx.x;
    const bool live = record < records, balanced = *same_counts != 0;
    const Tables<Real> tables{
        student, keep, above, constant, ratio, half, queries, models + 1, static_cast<Real>(floor)};
    const Real share = Real{1} / queries;
    const Offset loaded = live ? record : records - 1;
    Run own(models, run);
    const int count = own.end - own.begin;
    for (int query = 0; query < queries; ++query) {
        const Column<Stored> column{shadow + loaded * record_stride + query * query_stride,
                                    in_mask + loaded * mask_record_stride, models, model_stride,
                                    mask_model_stride};
        Real x[run];
        load(column, own, shared, x);
        Side<Real> sides[2];
        Real next[2] = {0, 0};  // the next signal, cyclically, on either side
        describe(shared, own, x, sides);
        if (balanced) first_after(shared, own, x, next);
        if (median) select_middle(shared, own, sides);
        if (!live) continue;
        Real* to = scores + own.end * records + record;
        const auto put = [&](Real score) {
            if (query > 0) score += *to;
            *to = query + 1 == queries ? score * share : score;
        };
        if (plain) {
            const Density<Real> out(sides[0], tables, 1), in(sides[1], tables, 0);
            if (verdict == 0 && !balanced) {
                const Real* signal = &shared.signal(own.end);
#pragma unroll 2
                for (unsigned int bit = count > 0 ? 1u << (count - 1) : 0; bit != 0; bit >>= 1) {
                    to -= records;
                    signal -= shared.lanes;
                    const Real y = *signal, from_in = in.from_mean(y), from_out = out.from_mean(y);
                    const bool inside = (own.bits & bit) != 0;
                    const Real e = inside ? from_in : from_out, other = inside ? from_out : from_in;
                    const Real step = e * (inside ? in.inverse : out.inverse);
                    Measured<Real> left{e + step, (inside ? in.squares : out.squares) - e * (e + step)};
                    if (!(left.squares >= (inside ? in.least : out.least))) {
                        left = inside ? in.inexact(column, 1, y, y, left, tables.floor)
                                      : out.inexact(column, 0, y, y, left, tables.floor);
                    }
                    const Real whole = (inside ? in.constant_left : out.constant_left) -
                                       HALF_LOG_2<Real> * quick_log2(left.squares);
                    const Real of_own =
                        whole - (inside ? in.weight_left : out.weight_left) *
                                    (left.distance * left.distance * reciprocal(left.squares));
                    const Real of_other = (inside ? out.constant : in.constant) -
                                          (inside ? out.weight : in.weight) *
                                              (other * other * (inside ? out.over_scale : in.over_scale));
                    put(inside ? of_own - of_other : of_other - of_own);
                }
                continue;
            }
            for (int model = own.end - 1; model >= own.begin; --model) {
                to -= records;
                const Real y = shared.signal(model), from_in = in.from_mean(y), from_out = out.from_mean(y);
                const bool inside = own.side(model) != 0;
                next[0] = balanced && inside ? next[0] : y;
                next[1] = balanced && !inside ? next[1] : y;
                const Real of_out = balanced || !inside ? out.without(column, 0, y, from_out, next[0],
                                                                      out.from_mean(next[0]), tables.floor)
                                                        : out.at(from_out);
                const Real of_in = balanced || inside ? in.without(column, 1, y, from_in, next[1],
                                                                   in.from_mean(next[1]), tables.floor)
                                                      : in.at(from_in);
                put(verdict == 0 ? of_in - of_out : -of_out);
            }
            continue;
        }
        for (int model = own.end - 1; model >= own.begin; --model) {
            to -= records;
            const Real y = shared.signal(model);
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

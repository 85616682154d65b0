// What variance rules learn from all records, for every model that is left out in turn.

#include "lira_describe.h"

// What `variance_prior` adds up over the records of a side, by how the rule pools them: [COUNT] numbers.
constexpr int OF_SQUARES = 1, OF_LOG_SQUARES = 2, OF_ALL = 3, COUNT = 4;

// What they are added up in: sums about one pivot for all records lose digits.
template <typename Real, int pooling>
struct SumOf {
    using Type = Real;
};
template <typename Real>
struct SumOf<Real, OF_ALL> {
    using Type = double;
};

template <typename Real, int pooling>
struct Moments {
    using Sum = typename SumOf<Real, pooling>::Type;

    Sum of[COUNT] = {0, 0, 0, 0};

    // Of n models with these squares (`kept`) about a mean that is `away` from the pivot; shift and sampling
    // are n's.
    Moments(int n, Real kept, double away, Real shift, Real sampling) {
        if (pooling == OF_SQUARES) {
            of[0] = n > 1 ? n - 1 : 0;
            of[1] = n > 0 ? kept : 0;
        } else if (pooling == OF_LOG_SQUARES) {
            const Real e = kept + shift;
            of[0] = n > 1;
            of[1] = n > 1 ? e : 0;
            of[2] = n > 1 ? e * e : 0;
            of[3] = n > 1 ? sampling : 0;
        } else {
            of[0] = max(n, 0);
            of[1] = n > 0 ? n * away : 0;
            of[2] = n > 0 ? kept + n * away * away : 0;
        }
    }

    // Of a side's squares, what its moments need.
    static Real kept(Real squares, Real floor) {
        if (pooling != OF_LOG_SQUARES) return squares;
        return 2 * HALF_LOG_2<Real> * quick_log2(squares <= floor ? floor : squares);
    }
};

// Sums over lanes that share a thread's models, of [left] numbers at once: half of them go to the other half
// of the lanes, and so on. A lane ends with the totals of the models from lane * run / lanes.
template <int lanes, int left, typename Sum, int run>
inline void add_up_lanes(Sum (&values)[run]) {
    constexpr int half = lanes / 2, kept = left > 1 ? left / 2 : 1;
    if constexpr (half > 0) {
        const bool upper = threadIdx.x & half;
#pragma unroll
        for (int i = 0; i < kept; ++i) {
            const Sum low = values[i], high = values[left > 1 ? i + kept : i];
            values[i] = (upper ? high : low) + __shfl_xor_sync(~0u, upper ? low : high, half);
        }
        add_up_lanes<half, kept>(values);
    }
}

// Every target's moments [programs, models, 2 (in, out), queries, COUNT], each a program's own sums over its
// blocks of records.
template <typename Stored, typename Real, int pooling, int run, int lanes>
__global__ void __launch_bounds__(256, 2)
    moments_kernel(const Stored* shadow, const unsigned char* in_mask, const int* same_counts,
                   const double* shift, const double* sampling, double* moments, int programs, int models,
                   Offset records, int queries, Offset model_stride, Offset record_stride,
                   Offset query_stride, Offset mask_model_stride, Offset mask_record_stride, double least) {
    using Of = Moments<Real, pooling>;
    constexpr int kept = run > lanes ? run / lanes : 1;
    extern __shared__ uint4 shared_memory[];
    const Shared<Real> shared(shared_memory);
    const bool balanced = *same_counts != 0;
    const Real of_first = real(*shadow), floor = static_cast<Real>(least);
    const double pivot = is_finite(of_first) ? of_first : 0;
    Run own(models, run);
    // A side without each signal of it: what its moments need of its squares, and its mean's distance from
    // center.
    const int rows = shared.sharing * run;
    Real* const results = static_cast<Real*>(shared.rest);
    Real *squares = results + own.begin * lanes + shared.lane, *distance = squares + rows * lanes;
    const Tile<Stored, lanes> tile(results + (pooling == OF_ALL ? 2 : 1) * rows * lanes, rows);
    const auto signal = [&](int model) { return static_cast<Real>(tile.signal(model)); };
    for (int query = 0; query < queries; ++query) {
        double totals[2][COUNT][kept] = {};
        for (Offset first = static_cast<Offset>(blockIdx.x) * lanes; first < records;
             first += static_cast<Offset>(programs) * lanes) {
            const bool live = first + shared.lane < records;
            const Offset record = live ? first + shared.lane : records - 1;
            const Column<Stored> column{shadow + record * record_stride + query * query_stride,
                                        in_mask + record * mask_record_stride, models, model_stride,
                                        mask_model_stride};
            Real x[run], next[2] = {0, 0};
            __syncthreads();  // nobody reads the tile before any more
            Rows<Stored, lanes>{shadow + query * query_stride, model_stride, record_stride}.copy_to(
                tile.signals, models, first, records);
            Rows<unsigned char, lanes>{in_mask, mask_model_stride, mask_record_stride}.copy_to(
                tile.mask, models, first, records);
            wait_for_copies();
            __syncthreads();
            load(tile, own, x);
            describe(shared, own, x, signal);
            if (balanced) first_after(shared, next);
            const Side<Real> out = shared.side(0), in = shared.side(1);
            const auto without = [&](bool inside, Real y) {
                const Side<Real> side{inside ? in.n : out.n, inside ? in.near : out.near,
                                      inside ? in.rest : out.rest, inside ? in.squares : out.squares,
                                      inside ? in.over_others : out.over_others};
                const Real center = is_finite(side.near) ? side.near : 0;
                const Measured<Real> found = measure<false>(column, inside, side, center, y, true);
                return Measured<Real>{found.distance, Of::kept(found.squares, floor)};
            };
            for (int k = 0; live && k < own.end - own.begin; ++k) {
                const Measured<Real> left = without(own.bits >> k & 1, signal(own.begin + k));
                squares[k * lanes] = left.squares;
                if (pooling == OF_ALL) distance[k * lanes] = left.distance;
            }
#pragma unroll
            for (int side = 0; side < 2; ++side) {
                const Side<Real>& all = side == 0 ? out : in;
                const int fewer = max(all.n - 1, 0);
                const Real shift_left = static_cast<Real>(shift[fewer]),
                           sampling_left = static_cast<Real>(sampling[fewer]);
                const double center = (is_finite(all.near) ? all.near : 0) - pivot;
                const Of whole(all.n, Of::kept(all.squares, floor),
                               static_cast<double>(all.near) - pivot + all.rest,
                               static_cast<Real>(shift[all.n]), static_cast<Real>(sampling[all.n]));
                Measured<Real> of_next{0, 0};
                if (balanced) of_next = without(side, next[side]);
#pragma unroll
                for (int i = 0; i < COUNT; ++i) {
                    if (pooling != OF_LOG_SQUARES && i == 3) continue;
                    if (pooling == OF_SQUARES && i == 2) continue;
                    typename Of::Sum values[run];
                    Measured<Real> left = of_next;
#pragma unroll
                    for (int k = run - 1; k >= 0; --k) {
                        const bool here = (own.bits >> k & 1) == side;
                        left.squares = here ? squares[k * lanes] : left.squares;
                        if (pooling == OF_ALL) left.distance = here ? distance[k * lanes] : left.distance;
                        const Of fewer_models(all.n - 1, left.squares, center - left.distance, shift_left,
                                              sampling_left);
                        values[k] = here || balanced ? fewer_models.of[i] : whole.of[i];
                        if (!live) values[k] = 0;
                    }
                    add_up_lanes<lanes, run>(values);
#pragma unroll
                    for (int j = 0; j < kept; ++j) totals[side][i][j] += values[j];
                }
            }
        }
#pragma unroll
        for (int side = 0; side < 2; ++side) {
#pragma unroll
            for (int j = 0; j < kept; ++j) {
                const int model = own.begin + shared.lane * run / lanes + j;
                if (model >= own.end) continue;
                const Offset row = (static_cast<Offset>(blockIdx.x) * models + model) * 2 + 1 - side;
                for (int i = 0; i < COUNT; ++i)
                    moments[(row * queries + query) * COUNT + i] = totals[side][i][j];
            }
        }
    }
}

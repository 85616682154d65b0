// What variance rules learn from all records, for every model that is left out in turn.

#include "lira_block.h"

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

    // Of n models with these squares about a mean that is `away` from the pivot; shift and sampling are n's.
    Moments(int n, Real squares, double away, Real shift, Real sampling, Real floor) {
        if (pooling == OF_SQUARES) {
            of[0] = n > 1 ? n - 1 : 0;
            of[1] = n > 0 ? squares : 0;
        } else if (pooling == OF_LOG_SQUARES) {
            const Real e = 2 * HALF_LOG_2<Real> * quick_log2(squares <= floor ? floor : squares) + shift;
            of[0] = n > 1;
            of[1] = n > 1 ? e : 0;
            of[2] = n > 1 ? e * e : 0;
            of[3] = n > 1 ? sampling : 0;
        } else {
            of[0] = max(n, 0);
            of[1] = n > 0 ? n * away : 0;
            of[2] = n > 0 ? squares + n * away * away : 0;
        }
    }
};

// Every target's moments [programs, models, 2 (in, out), queries, COUNT], each a program's own sums over its
// blocks of records.
template <typename Stored, typename Real, int pooling, int run>
__global__ void __launch_bounds__(256, sizeof(Real) == 8 ? 2 : 3)
    moments_kernel(const Stored* shadow, const unsigned char* in_mask, const int* same_counts,
                   const double* shift, const double* sampling, double* moments, int programs, int models,
                   Offset records, int queries, Offset model_stride, Offset record_stride,
                   Offset query_stride, Offset mask_model_stride, Offset mask_record_stride, double least) {
    extern __shared__ uint4 shared_memory[];
    double* totals = reinterpret_cast<double*>(shared_memory);  // [models][2 (out, in)][COUNT]
    const Shared<Real> shared(totals + models * 2 * COUNT, models);
    const bool balanced = *same_counts != 0;
    const Real of_first = real(*shadow), floor = static_cast<Real>(least);
    const double pivot = is_finite(of_first) ? of_first : 0;
    Run own(models, run);
    const int count = own.end - own.begin;
    const auto of_lanes = [&](auto value) {
        for (int offset = shared.lanes / 2; offset > 0; offset /= 2)
            value += __shfl_xor_sync(~0u, value, offset);
        return value;
    };
    for (int query = 0; query < queries; ++query) {
        for (int i = shared.lane; i < count * 2 * COUNT; i += shared.lanes)
            totals[own.begin * 2 * COUNT + i] = 0;
        for (Offset first = static_cast<Offset>(blockIdx.x) * shared.lanes; first < records;
             first += static_cast<Offset>(programs) * shared.lanes) {
            const bool live = first + shared.lane < records;
            const Offset record = live ? first + shared.lane : records - 1;
            const Column<Stored> column{shadow + record * record_stride + query * query_stride,
                                        in_mask + record * mask_record_stride, models, model_stride,
                                        mask_model_stride};
            Real x[run], next[2] = {0, 0};
            load(column, own, shared, x);
            Side<Real> sides[2];
            describe(shared, own, x, sides);
            if (balanced) first_after(shared, own, x, next);
#pragma unroll
            for (int side = 0; side < 2; ++side) {
                const Side<Real>& all = sides[side];
                const int fewer = max(all.n - 1, 0);
                const Real center = is_finite(all.near) ? all.near : 0;
                const Real shift_left = static_cast<Real>(shift[fewer]),
                           sampling_left = static_cast<Real>(sampling[fewer]);
                const Moments<Real, pooling> whole(
                    all.n, all.squares, static_cast<double>(all.near) - pivot + all.rest,
                    static_cast<Real>(shift[all.n]), static_cast<Real>(sampling[all.n]), floor);
                Real next_of_side = next[side];
                for (int k = run - 1; k >= 0; --k) {  // as many in all threads, which all add up
                    const int model = own.begin + k;
                    const bool used = k < count, here = used && (own.bits >> k & 1) == side;
                    if (here) next_of_side = shared.signal(model);
                    Moments<Real, pooling> left = whole;
                    if (live && used && (here || balanced)) {
                        const Measured<Real> found =
                            measure<false>(column, side, all, center, next_of_side, true);
                        left = Moments<Real, pooling>(all.n - 1, found.squares,
                                                      center - static_cast<double>(found.distance) - pivot,
                                                      shift_left, sampling_left, floor);
                    }
                    for (int i = 0; i < COUNT; ++i) {
                        if (pooling != OF_LOG_SQUARES && i == 3) continue;
                        if (pooling == OF_SQUARES && i == 2) continue;
                        const auto sum = of_lanes(live ? left.of[i] : 0);
                        if (used && shared.lane == 0) totals[(model * 2 + side) * COUNT + i] += sum;
                    }
                }
            }
        }
        __syncthreads();
        for (int model = own.begin + shared.lane; model < own.end; model += shared.lanes) {
            for (int side = 0; side < 2; ++side) {
                const Offset row = (static_cast<Offset>(blockIdx.x) * models + model) * 2 + 1 - side;
                for (int i = 0; i < COUNT; ++i)
                    moments[(row * queries + query) * COUNT + i] = totals[(model * 2 + side) * COUNT + i];
            }
        }
        __syncthreads();
    }
}

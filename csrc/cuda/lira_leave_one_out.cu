// LiRA of every model in turn, from tables that say what a variance rule makes of a side
// (miafast/ops/lira_tables.py). A block holds LANES = blockDim.x records of all models in shared memory;
// blockDim.y threads share a record, each with a run of its models, whose mask is bits of one number and
// whose signals are summed up in registers as they come. Medians: the three signals around a side's middle
// are selected bit by bit, and one of them moves up where a model below leaves. Compiled at run time by
// NVRTC, which has no headers.

using Offset = long long;

struct Half {
    unsigned short bits;
};
struct BFloat16 {
    unsigned short bits;
};

template <typename To, typename From>
inline To same_bits(From from) {
    union {
        From from;
        To to;
    } both{from};
    return both.to;
}

inline float real(float x) { return x; }
inline double real(double x) { return x; }
inline float real(BFloat16 x) { return same_bits<float>(static_cast<unsigned int>(x.bits) << 16); }
inline float real(Half x) {
    const unsigned int rest = x.bits & 0x7fffu;
    const float size = rest >= 0x7c00u
                           ? same_bits<float>(0x7f800000u | rest << 13)
                           : same_bits<float>(rest << 13) * same_bits<float>(0x77800000u);  // 2^112
    return x.bits & 0x8000u ? -size : size;
}

template <typename Real>
inline Real not_a_number() {
    return static_cast<Real>(same_bits<float>(0x7fc00000u));
}

template <typename Real>
inline bool is_finite(Real x) {
    return x - x == 0;
}

// In single precision the hardware's approximations of positive normal numbers, off by a few units in the
// last place.
inline float quick_log2(float x) {
#ifdef __CUDA_ARCH__
    asm("lg2.approx.ftz.f32 %0, %0;" : "+f"(x));
    return x;
#else
    return log2(x);
#endif
}
inline double quick_log2(double x) { return log2(x); }
inline float reciprocal(float x) {
#ifdef __CUDA_ARCH__
    asm("rcp.approx.ftz.f32 %0, %0;" : "+f"(x));
    return x;
#else
    return 1 / x;
#endif
}
inline double reciprocal(double x) { return 1 / x; }

template <typename Real>
constexpr Real HALF_LOG_2 = static_cast<Real>(0.34657359027997265471);

// Numbers whose order is that of their keys; NaN after all.
template <typename Real>
struct KeyOf;
template <>
struct KeyOf<float> {
    using Key = unsigned int;
};
template <>
struct KeyOf<double> {
    using Key = unsigned long long;
};

template <typename Real, typename Key = typename KeyOf<Real>::Key>
inline Key key_of(Real x) {
    constexpr Key sign = Key{1} << (sizeof(Key) * 8 - 1);
    if (!(x == x)) return ~Key{0};
    const Key bits = same_bits<Key>(x);
    return bits & sign ? ~bits : bits | sign;
}

template <typename Real, typename Key = typename KeyOf<Real>::Key>
inline Real of_key(Key key) {
    constexpr Key sign = Key{1} << (sizeof(Key) * 8 - 1);
    return same_bits<Real>(key & sign ? static_cast<Key>(key & ~sign) : static_cast<Key>(~key));
}

// What one side, IN or OUT, says about a record. The mean is near + rest; the signals around the middle have
// the ranks (n - 2) / 2 and the two after it.
template <typename Real>
struct Side {
    int n;
    Real near, rest, squares;
    double middle[3];
};

// Distance of a target's signal from a side's centre, and the side's squares.
template <typename Real>
struct Measured {
    Real distance, squares;
};

// A record's signals and mask, model after model, where they lie.
template <typename Stored>
struct Column {
    const Stored* signals;
    const unsigned char* mask;
    int models;
    Offset stride, mask_stride;
};

// x against a side without one signal y, from its models one by one, in double.
template <typename Stored, typename Real>
__noinline__ Measured<Real> measure_anew(const Column<Stored>& column, int bit, int n, Real near, Real x,
                                         Real y) {
    double mean = is_finite(near) ? near : 0, squares = 0;
    for (int pass = 0; pass < 2; ++pass) {
        double total = 0;
        bool gone = false;
        for (int model = 0; model < column.models; ++model) {
            if ((column.mask[model * column.mask_stride] != 0) != bit) continue;
            const Real other = real(column.signals[model * column.stride]);
            if (!gone && (other == y || (other != other && y != y))) {
                gone = true;
                continue;
            }
            const double d = other - mean;
            total += pass == 0 ? d : d * d;
        }
        if (pass == 0) mean += total / (n - 1);
        squares = total;
    }
    return {static_cast<Real>(x - mean), static_cast<Real>(squares)};
}

// What of a side's squares must be left without a signal: its sums are not exact enough for less.
template <typename Real>
inline Real least_left(Real squares) {
    return squares * static_cast<Real>(sizeof(Real) == 8 ? 1e-5 : 0.0625);
}

template <typename Real>
inline double median_of(const Side<Real>& side) {
    if (side.n == 1) return side.middle[0];
    return side.n % 2 ? side.middle[1] : side.middle[0] / 2 + side.middle[1] / 2;
}

template <typename Real>
inline double median_without(const Side<Real>& side, double y) {
    const int high = side.n % 2;  // rank (n - 1) / 2 less rank (n - 2) / 2
    return side.middle[y <= side.middle[0]] / 2 + side.middle[high + (y <= side.middle[high])] / 2;
}

// x against a side, without its signal y if that is gone.
template <bool median, typename Stored, typename Real>
inline Measured<Real> measure(const Column<Stored>& column, int bit, const Side<Real>& side, Real x, Real y,
                              bool gone) {
    const Real d = x - side.near - side.rest;
    Measured<Real> found{d, side.squares};
    if (gone && side.n > 1) {
        const Real e = y - side.near - side.rest, step = e / (side.n - 1);
        found = {d + step, side.squares - e * (e + step)};
        if (found.squares < least_left(side.squares) || !is_finite(y))
            found = measure_anew(column, bit, side.n, side.near, x, y);
    }
    if (median) found.distance = static_cast<Real>(x - (gone ? median_without(side, y) : median_of(side)));
    return found;
}

// log P[Z <= z]; see miafast/ops/triton/student_t.py.
__noinline__ double log_normal_cdf(double z) {
    constexpr double p[] = {
        2.359350522359212e-08,   3.4148494402567544e-09,  -2.5539581353465734e-07, 1.4599451484779535e-07,
        1.202002749778331e-06,   -1.6817515036867314e-06, -2.853457165959603e-06,  8.913099009077998e-06,
        4.6981464644585116e-08,  -3.0390002317896382e-05, 3.179778555780406e-05,   7.147972307090338e-05,
        -0.00017432224489274028, -9.375537640702684e-05,  0.0006736832451975279,   -0.0001462435080590297,
        -0.002345813116979419,   0.0017589332292643847,   0.008824938603811727,    -0.009872689349604537,
        -0.04689561023279291,    0.0473433068415589,      0.6726432239776736,      -0.6717940840566909};
    const double x = fabs(z) * 0.70710678118654752440, t = 2 / (x + 2), u = t + t - 1;
    double sum = 0;
    for (const double each : p) sum = sum * u + each;
    const double below = sum + log(t) - x * x - 0.69314718055994530942;
    return z > 0 ? log1p(-exp(below)) : below;
}

// The continued fraction of the incomplete beta function I_x(a, b) by Lentz's method (DLMF 8.17.22).
inline double beta_fraction(double a, double b, double x) {
    double c = 1, d = 1 / (1 - (a + b) * x / (a + 1)), result = d;
    for (int step = 1; step < 100000; ++step) {
        const double k = step, even = k * (b - k) * x / ((a + 2 * k - 1) * (a + 2 * k));
        const double odd = -(a + k) * (a + b + k) * x / ((a + 2 * k) * (a + 2 * k + 1));
        d = 1 / (1 + even * d);
        c = 1 + even / c;
        result *= c * d;
        d = 1 / (1 + odd * d);
        c = 1 + odd / c;
        result *= c * d;
        if (!(fabs(c * d - 1) >= 1e-15)) break;
    }
    return result;
}

// log P[T <= z] of Student's t with 2a degrees of freedom; log_beta = log B(a, 1/2).
__noinline__ double log_student_cdf(double z, double a, double log_beta) {
    if (!is_finite(z) || !(a > 0)) return not_a_number<double>();
    const double log_ratio = 2 * log(fabs(z)) - log(2 * a);
    const double log_x = -((log_ratio > 0 ? log_ratio : 0) + log1p(exp(-fabs(log_ratio))));
    const double log_y = log_ratio + log_x, front = a * log_x + 0.5 * log_y - log_beta, y = exp(log_y);
    double below = y < 1.5 / (a + 2.5) ? log1p(-2 * exp(front) * beta_fraction(0.5, a, y))
                                       : front - log(a) + log(beta_fraction(a, 0.5, exp(log_x)));
    below -= 0.69314718055994530942;
    return z > 0 ? log1p(-exp(below)) : below;
}

// `Tables` of miafast/ops/triton/lira_rules.py: [rules (target, side)], above [rules, queries], [rules,
// columns].
template <typename Real>
struct Tables {
    const Real *student, *keep, *above, *constant, *ratio, *half;
    int queries, columns;
    Real floor;
};

// What the tables say of a side with n models: scale = keep * squares + above, and so on.
template <typename Real>
struct Rule {
    Real constant, ratio, keep, above, half;
    bool student;

    Rule(const Tables<Real>& tables, Offset row, int query, int n)
        : constant(tables.constant[row * tables.columns + n]),
          ratio(tables.ratio[row * tables.columns + n]),
          keep(tables.keep[row]),
          above(tables.above[row * tables.queries + query]),
          half(tables.half[row * tables.columns] + n * static_cast<Real>(0.5)),
          student(tables.student[row] != 0) {}

    Real scale(Real squares, Real floor) const {
        const Real found = keep * squares + above;
        return found <= floor ? floor : found;  // NaN stays NaN
    }
};

// log density, or log P[at most the target's signal]; NaN for a distance that is not finite.
template <typename Real>
inline Real term(const Rule<Real>& rule, Measured<Real> at, Real floor, bool lower_tail) {
    const Real scale = rule.scale(at.squares, floor);
    const Real not_finite = (at.distance - at.distance) + 0 * rule.constant;
    if (lower_tail) {
        const double z = at.distance * sqrt(static_cast<double>(rule.ratio / scale));
        if (!rule.student) return static_cast<Real>(log_normal_cdf(z)) + not_finite;
        const double dof = 2.0 * rule.half - 1;
        return static_cast<Real>(log_student_cdf(z * sqrt(dof), dof / 2,
                                                 0.5 * log(static_cast<double>(rule.ratio)) - rule.constant));
    }
    const Real z = at.distance * at.distance * rule.ratio / scale;
    return rule.constant - HALF_LOG_2<Real> * quick_log2(scale) + not_finite -
           (rule.student ? rule.half * log1p(z) : static_cast<Real>(0.5) * z);
}

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

// The signals of ranks (n - 2) / 2 and the two after it of both sides (0: OUT, 1: IN), by all threads of a
// block.
template <typename Real>
inline void select_middle(const Shared<Real>& shared, const Run& own, Side<Real>* sides) {
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
            const bool counts_here = counted(side, key_of(shared.signal(model)));
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
            const Key key = key_of(shared.signal(model));
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

// A side where all targets have the same rule, without Student's t and with nothing above its squares. With
// and without a signal, a density is the same operations in the same order: scores of signals that both sides
// hold equally likely must be 0, however unlikely they are.
template <typename Real>
struct Density {
    int n;
    Real near, rest, squares;
    Real constant, weight, over_scale;  // with all its models: constant - weight * distance² * over_scale
    Real inverse, least;                // 1 / (n - 1); squares that are exact enough
    Real constant_left, weight_left;    // with one model less, before its scale is in them

    Density(const Side<Real>& side, const Tables<Real>& tables, Offset row)
        : n(side.n), near(side.near), rest(side.rest), squares(side.squares) {
        const Rule<Real> whole(tables, row, 0, n), left(tables, row, 0, max(n - 1, 0));
        const Real scale = whole.scale(squares, tables.floor);
        constant = whole.constant - HALF_LOG_2<Real> * quick_log2(scale);
        weight = static_cast<Real>(0.5) * whole.ratio;
        over_scale = reciprocal(scale);
        inverse = n > 1 ? Real{1} / (n - 1) : 0;
        least = max(least_left(squares), tables.floor);
        constant_left = left.constant;
        weight_left = static_cast<Real>(0.5) * left.ratio;
    }

    Real from_mean(Real x) const { return x - near - rest; }

    // At a distance d from the mean.
    Real at(Real d) const { return constant - weight * (d * d * over_scale); }

    // At a distance d from the mean, of a signal x, without the signal y, at e from it.
    template <typename Stored>
    Real without(const Column<Stored>& column, int bit, Real x, Real d, Real y, Real e, Real floor) const {
        const Real step = e * inverse;
        Measured<Real> found{d + step, squares - e * (e + step)};
        if (!(found.squares >= least)) found = inexact(column, bit, x, y, found, floor);
        const Real whole = constant_left - HALF_LOG_2<Real> * quick_log2(found.squares);
        return whole - weight_left * (found.distance * found.distance * reciprocal(found.squares));
    }

    // Where squares are few, or not numbers: exact, at least the floor, and NaN for a distance not finite.
    template <typename Stored>
    Measured<Real> inexact(const Column<Stored>& column, int bit, Real x, Real y, Measured<Real> found,
                           Real floor) const {
        if (!(found.squares >= least_left(squares))) found = measure_anew(column, bit, n, near, x, y);
        if (found.squares <= floor) found.squares = floor;
        found.distance += found.distance - found.distance;
        return found;
    }
};

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

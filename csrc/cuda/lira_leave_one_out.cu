// LiRA of every model in turn, from tables that say what a variance rule makes of a side
// (miafast/ops/lira_tables.py). A block holds LANES = blockDim.x records of all models in shared memory;
// blockDim.y threads share a record, each with a run of its models. Medians: the three signals around a
// side's middle are selected bit by bit, and one of them moves up where a model below leaves. Compiled at run
// time by NVRTC, which has no headers.

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

// A record's column of signals and mask, LANES apart.
template <typename Real>
struct Column {
    const Real* signals;
    const unsigned char* mask;
    int models, lanes;
};

// A side without one signal y, from its models one by one, in double.
template <typename Real>
inline void describe_without(const Column<Real>& column, int bit, Real y, const Side<Real>& side,
                             double* mean, double* squares) {
    const double pivot = is_finite(side.near) ? side.near : 0;
    for (int pass = 0; pass < 2; ++pass) {
        double total = 0;
        bool gone = false;
        for (int model = 0; model < column.models; ++model) {
            if ((column.mask[model * column.lanes] != 0) != bit) continue;
            const Real x = column.signals[model * column.lanes];
            if (!gone && (x == y || (x != x && y != y))) {
                gone = true;
                continue;
            }
            const double d = x - (pass == 0 ? pivot : *mean);
            total += pass == 0 ? d : d * d;
        }
        if (pass == 0) {
            *mean = pivot + total / (side.n - 1);
        } else {
            *squares = total;
        }
    }
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
template <bool median, typename Real>
inline Measured<Real> measure(const Column<Real>& column, int bit, const Side<Real>& side, Real x, Real y,
                              bool gone) {
    const Real d = x - side.near - side.rest;
    Measured<Real> found{d, side.squares};
    if (gone && side.n > 1) {
        const Real e = y - side.near - side.rest, step = e / (side.n - 1);
        found = {d + step, side.squares - e * (e + step)};
        constexpr double least = sizeof(Real) == 8 ? 1e-5 : 0.0625;  // sums are not exact enough for less
        if (found.squares < static_cast<Real>(least) * side.squares || !is_finite(y)) {
            double mean, squares;
            describe_without(column, bit, y, side, &mean, &squares);
            found = {static_cast<Real>(x - mean), static_cast<Real>(squares)};
        }
    }
    if (median) found.distance = static_cast<Real>(x - (gone ? median_without(side, y) : median_of(side)));
    return found;
}

// log P[Z <= z]; see miafast/ops/triton/student_t.py.
inline double log_normal_cdf(double z) {
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
inline double log_student_cdf(double z, double a, double log_beta) {
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

// log density, or log P[at most the target's signal]; NaN for a distance that is not finite.
template <typename Real>
inline Real term(const Tables<Real>& tables, Offset rule, int query, int n, Measured<Real> at,
                 bool lower_tail) {
    const Offset by_count = rule * tables.columns + n;
    const Real ratio = tables.ratio[by_count], constant = tables.constant[by_count];
    Real scale = tables.keep[rule] * at.squares + tables.above[rule * tables.queries + query];
    if (scale <= tables.floor) scale = tables.floor;  // NaN stays NaN
    const bool student = tables.student[rule] != 0;
    const Real half = tables.half[rule * tables.columns] + n * static_cast<Real>(0.5);
    const Real not_finite = (at.distance - at.distance) + 0 * constant;
    if (lower_tail) {
        const double z = at.distance * sqrt(static_cast<double>(ratio / scale));
        if (!student) return static_cast<Real>(log_normal_cdf(z)) + not_finite;
        const double dof = 2.0 * half - 1;
        return static_cast<Real>(
            log_student_cdf(z * sqrt(dof), dof / 2, 0.5 * log(static_cast<double>(ratio)) - constant));
    }
    const Real z = at.distance * at.distance * ratio / scale;
    return constant - static_cast<Real>(0.5) * log(scale) + not_finite -
           (student ? half * log1p(z) : static_cast<Real>(0.5) * z);
}

// What the threads of a block share: per record of the block, one after the other.
template <typename Real>
struct Shared {
    using Key = typename KeyOf<Real>::Key;

    double* sums;         // [4][lanes]
    Key* next;            // [2][lanes]
    Real* signals;        // [models][lanes]
    int* counts;          // [3 turns][2][lanes]
    unsigned char* mask;  // [models][lanes]

    Shared(void* begin, int models, int lanes) {
        sums = static_cast<double*>(begin);
        next = reinterpret_cast<Key*>(sums + 4 * lanes);
        signals = reinterpret_cast<Real*>(next + 2 * lanes);
        counts = reinterpret_cast<int*>(signals + models * lanes);
        mask = reinterpret_cast<unsigned char*>(counts + 6 * lanes);
    }
};

// The signals of ranks (n - 2) / 2 and the two after it of both sides (0: OUT, 1: IN), by all threads of a
// block.
template <typename Real>
inline void select_middle(const Shared<Real>& shared, int begin, int end, int lanes, int lane, bool first,
                          Side<Real>* sides) {
    using Key = typename KeyOf<Real>::Key;
    Key found[2] = {0, 0};
    int rank[2];
    for (int side = 0; side < 2; ++side) rank[side] = sides[side].n > 1 ? (sides[side].n - 2) / 2 : 0;
    const auto count_if = [&](int turn, const auto& counted) {  // [2] of all threads of a record
        int* counts = shared.counts + turn % 3 * 2 * lanes;
        for (int model = begin; model < end; ++model) {
            const int side = shared.mask[model * lanes + lane] != 0;
            if (counted(side, key_of(shared.signals[model * lanes + lane])))
                atomicAdd(counts + side * lanes + lane, 1);
        }
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
        const int* counts =
            count_if(turn, [&](int side, Key key) { return (key >> bit) == (found[side] >> bit); });
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
        const int* counts = count_if(turn, [&](int side, Key key) { return key <= found[side]; });
        for (int model = begin; model < end; ++model) {
            const int side = shared.mask[model * lanes + lane] != 0;
            const Key key = key_of(shared.signals[model * lanes + lane]);
            if (key > found[side]) atomicMin(shared.next + side * lanes + lane, key);
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

// Both sides of a record (0: OUT, 1: IN), by all threads of a block.
template <typename Real>
inline void describe(const Shared<Real>& shared, int begin, int end, int models, int lanes, int lane,
                     bool first, Side<Real>* sides) {
    const auto add_up = [&](const auto& of) {  // sums [4] over all threads of a record
        __syncthreads();
        if (first) {
            for (int i = 0; i < 4; ++i) shared.sums[i * lanes + lane] = 0;
        }
        __syncthreads();
        double own[4] = {0, 0, 0, 0};
        for (int model = begin; model < end; ++model) {
            const int side = shared.mask[model * lanes + lane] != 0;
            of(side, shared.signals[model * lanes + lane], own + 2 * side);
        }
        // In the threads' order, so that results do not depend on which was first.
        for (int turn = 0; turn < static_cast<int>(blockDim.y); ++turn) {
            if (static_cast<int>(threadIdx.y) == turn) {
                for (int i = 0; i < 4; ++i) shared.sums[i * lanes + lane] += own[i];
            }
            __syncthreads();
        }
    };
    add_up([&](int, Real x, double* own) {
        own[0] += 1;
        own[1] += x;
    });
    for (int side = 0; side < 2; ++side) {
        const double n = shared.sums[2 * side * lanes + lane];
        sides[side].n = static_cast<int>(n);
        sides[side].near = static_cast<Real>(shared.sums[(2 * side + 1) * lanes + lane] / (n > 1 ? n : 1));
    }
    add_up([&](int side, Real x, double* own) {
        const double d = static_cast<double>(x) - sides[side].near;
        own[0] += d;
        own[1] += d * d;
    });
    for (int side = 0; side < 2; ++side) {
        const double n = sides[side].n > 1 ? sides[side].n : 1,
                     rest = shared.sums[2 * side * lanes + lane] / n;
        const double around = shared.sums[(2 * side + 1) * lanes + lane] - rest * rest * n;
        sides[side].rest = static_cast<Real>(rest);
        sides[side].squares = static_cast<Real>(around < 0 ? 0 : around);
    }
}

// Scores [models, records]. verdict 0: log densities of IN less OUT; 1: OUT's lower tail; 2: minus OUT's log
// density. Tables have a rule per target and side (0: IN, 1: OUT) if target_stride is 2, per side if it is 0.
template <typename Stored, typename Real, bool median>
__global__ void scores_kernel(const Stored* shadow, const unsigned char* in_mask, const int* same_counts,
                              const Real* student, const Real* keep, const Real* above, const Real* constant,
                              const Real* ratio, const Real* half, Real* scores, int models, Offset records,
                              int queries, Offset model_stride, Offset record_stride, Offset query_stride,
                              Offset mask_model_stride, Offset mask_record_stride, int target_stride,
                              double floor, int verdict) {
    extern __shared__ uint4 shared_memory[];
    const int lanes = blockDim.x, lane = threadIdx.x, run = (models + blockDim.y - 1) / blockDim.y;
    const int begin = min(static_cast<int>(threadIdx.y) * run, models), end = min(begin + run, models);
    const Offset record = static_cast<Offset>(blockIdx.x) * lanes + lane;
    const bool live = record < records, balanced = *same_counts != 0;
    const Shared<Real> shared(shared_memory, models, lanes);
    const Tables<Real> tables{
        student, keep, above, constant, ratio, half, queries, models + 1, static_cast<Real>(floor)};
    const Column<Real> column{shared.signals + lane, shared.mask + lane, models, lanes};
    for (int model = begin; model < end; ++model) {
        const Offset at = model * mask_model_stride + record * mask_record_stride;
        shared.mask[model * lanes + lane] = live ? in_mask[at] : 0;
    }
    for (int query = 0; query < queries; ++query) {
        __syncthreads();
        for (int model = begin; model < end; ++model) {
            const Offset at = model * model_stride + record * record_stride + query * query_stride;
            shared.signals[model * lanes + lane] = live ? static_cast<Real>(real(shadow[at])) : 0;
        }
        Side<Real> sides[2];
        describe(shared, begin, end, models, lanes, lane, threadIdx.y == 0, sides);
        if (median) select_middle(shared, begin, end, lanes, lane, threadIdx.y == 0, sides);
        if (!live) continue;
        Real next[2] = {0, 0};  // the next signal, cyclically, on either side
        bool lacks[2] = {balanced, balanced};
        for (int step = 0; step < models && (lacks[0] || lacks[1]); ++step) {
            const int model = (end + step) % models, side = column.mask[model * lanes] != 0;
            if (lacks[side]) next[side] = column.signals[model * lanes];
            lacks[side] = false;
        }
        for (int model = end - 1; model >= begin; --model) {
            const Real x = column.signals[model * lanes];
            const int own = column.mask[model * lanes] != 0;
            next[own] = x;
            const Offset rule = static_cast<Offset>(model) * target_stride;
            const bool out_gone = balanced || own == 0, in_gone = balanced || own == 1;
            Real score = term(tables, rule + 1, query, sides[0].n - out_gone,
                              measure<median>(column, 0, sides[0], x, next[0], out_gone), verdict == 1);
            if (verdict == 2) score = -score;
            if (verdict == 0) {
                score = term(tables, rule, query, sides[1].n - in_gone,
                             measure<median>(column, 1, sides[1], x, next[1], in_gone), false) -
                        score;
            }
            Real* to = scores + model * records + record;
            if (query > 0) score += *to;
            *to = query + 1 == queries ? score / queries : score;
        }
    }
}

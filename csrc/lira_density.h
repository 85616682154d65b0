// Log densities and lower tails of a target's signal, normal or Student's t. Read inside an instruction set's
// namespace, after vector.h; so no include guard and no includes.

// A side's rule with tables as look_up() likes them.
template <typename T>
struct SideTables {
    bool student;
    T keep, half_of_none;  // half[n] = half_of_none + n / 2
    const T* above;
    const T *constant, *ratio;
    bool fits_registers;  // n is below 64, and the tables are that long
    SideTables(const SideRule<T>& rule, std::int64_t most_models, Arena& arena)
        : student(rule.student),
          keep(rule.keep),
          half_of_none(rule.half[0]),
          above(rule.above),
          constant(padded(rule.constant, most_models, arena)),
          ratio(padded(rule.ratio, most_models, arena)),
          fits_registers(most_models < 64) {}

  private:
    static const T* padded(const T* table, std::int64_t most_models, Arena& arena) {
        T* to = arena.take<T>(std::max<std::int64_t>(64, most_models + 1));
        std::copy_n(table, most_models + 1, to);
        return to;
    }
};

template <typename T>
struct TablesOf {
    Verdict verdict;
    T floor;
    SideTables<T> in, out;
    TablesOf(const Rules<T>& rules, std::int64_t most_models, Arena& arena)
        : verdict(rules.verdict),
          floor(rules.floor),
          in(rules.in, most_models, arena),
          out(rules.out, most_models, arena) {}
};

// How numbers of a table are found: from memory, from registers, or the same for every lane.
enum class Lookup { gather, registers, same };

// The numbers of a table at lanes<V> places.
template <typename V, Lookup how = Lookup::gather>
inline V look_up(const Number<V>* table, const std::int32_t* at) {
    if constexpr (how == Lookup::same) return broadcast<V>(table[at[0]]);
#if MIAFAST_VECTOR_BYTES == \
    64  // masked forms: the plain ones set off GCC 12's false "uninitialized" warnings
    if constexpr (sizeof(Number<V>) == 4) {
        const __m512i places = _mm512_maskz_loadu_epi32(0xffff, at);
        if constexpr (how == Lookup::registers) {
            const auto quarter = [&](int which) { return (__m512)load<F32>(table + 16 * which); };
            const __m512 low = _mm512_permutex2var_ps(quarter(0), places, quarter(1));
            const __m512 high = _mm512_permutex2var_ps(quarter(2), places, quarter(3));
            return (V)_mm512_mask_blend_ps(_mm512_test_epi32_mask(places, (__m512i)(I32{} + 32)), low, high);
        }
        return (V)_mm512_mask_i32gather_ps(_mm512_setzero_ps(), 0xffff, places, table, 4);
    } else {
        const __m256i places = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at));
        return (V)_mm512_mask_i32gather_pd(_mm512_setzero_pd(), 0xff, places, table, 8);
    }
#elif MIAFAST_VECTOR_BYTES == 32
    if constexpr (sizeof(Number<V>) == 4) {
        const __m256i places = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at));
        const __m256 all = _mm256_castsi256_ps(_mm256_set1_epi32(-1));
        return (V)_mm256_mask_i32gather_ps(_mm256_setzero_ps(), table, places, all, 4);
    } else {
        const __m128i places = _mm_loadu_si128(reinterpret_cast<const __m128i*>(at));
        const __m256d all = _mm256_castsi256_pd(_mm256_set1_epi64x(-1));
        return (V)_mm256_mask_i32gather_pd(_mm256_setzero_pd(), table, places, all, 8);
    }
#else
    Number<V> found[lanes<V>];
    for (int i = 0; i < lanes<V>; ++i) found[i] = table[at[i]];
    return load<V>(found);
#endif
}

// 1 / b for b >= 1e-12, within an ulp or two; NaN or 0 where b is not finite.
template <typename V>
MIAFAST_INLINE V inverse(V b) {
#if MIAFAST_VECTOR_BYTES == 64
    if constexpr (sizeof(Number<V>) == 4) {
        const V rough = (V)_mm512_maskz_rcp14_ps(0xffff, (__m512)b);
        return rough + rough * (Number<V>{1} - b * rough);
    }
#endif
    return Number<V>{1} / b;
}

// n as a number of V.
template <typename V>
inline V load_models(const std::int32_t* counts) {
#if MIAFAST_VECTOR_BYTES
    if constexpr (sizeof(Number<V>) == 4) {
        I32 n;
        std::memcpy(&n, counts, sizeof(n));
        return __builtin_convertvector(n, V);
    } else {
        return load_count(counts);
    }
#else
    return static_cast<V>(*counts);
#endif
}

// scale² times `ratio`.
template <typename V>
inline V scaled_squares(const SideTables<Number<V>>& rule, Number<V> above, Number<V> floor, V squares) {
    return max(broadcast<V>(floor), rule.keep * squares + above);
}

// What a side's tables hold for the counts of some lanes.
template <typename V>
struct ByCount {
    V ratio, constant, half;
};

template <typename V, Lookup how>
MIAFAST_INLINE ByCount<V> look_up_all(const SideTables<Number<V>>& rule, const std::int32_t* counts) {
    const V n =
        how == Lookup::same ? broadcast<V>(static_cast<Number<V>>(counts[0])) : load_models<V>(counts);
    return {look_up<V, how>(rule.ratio, counts), look_up<V, how>(rule.constant, counts),
            rule.half_of_none + Number<V>{0.5} * n};
}

// Minus the logarithm of a density at z² (Student: <= 1e36), up to its constant and its scale.
template <bool student, typename V>
MIAFAST_INLINE V tail_of(const ByCount<V>& of_count, V z) {
    return student ? of_count.half * log1p(z) : Number<V>{0.5} * z;
}

// NaN for a distance or squares that are not finite.
template <bool student, typename V>
inline V log_density(const ByCount<V>& of_count, V scale, V distance, V squares) {
    using T = Number<V>;
    using Limits = std::numeric_limits<T>;
    constexpr T most = T{1e36f};
    const V z = distance * distance * of_count.ratio * inverse(scale);
    V tail = tail_of<student>(of_count, min(z, broadcast<V>(student ? most : Limits::infinity())));
    if (student) {
        const V beyond = of_count.half * log_of_normal(min(z, broadcast<V>(Limits::max())));
        tail = select(z > broadcast<V>(most), beyond, tail);
    }
    return of_count.constant - T{0.5} * log_of_normal(scale) + (T{0} * distance + T{0} * squares) - tail;
}

// The log density of the IN side less that of the OUT side. Where numbers are ordinary, one logarithm is
// enough for both scales.
template <bool student_in, bool student_out, typename V, typename Tables>
MIAFAST_INLINE V log_density_ratio(const Tables& rules, const ByCount<V>& of_in, const ByCount<V>& of_out,
                                   std::int64_t query, const Left<V>& left) {
    using T = Number<V>;
    constexpr T most = T{1e36f};
    const V scale_in = scaled_squares(rules.in, rules.in.above[query], rules.floor, left.squares_in);
    const V scale_out = scaled_squares(rules.out, rules.out.above[query], rules.floor, left.squares_out);
    const V over_in = inverse(scale_in), q = scale_out * over_in;
    const V z_in = left.distance_in * left.distance_in * of_in.ratio * over_in;
    const V z_out = left.distance_out * left.distance_out * of_out.ratio * inverse(scale_out);
    if (!all_between(broadcast<V>(1 / most), q, broadcast<V>(most)) ||
        !all_at_least(broadcast<V>(most), z_in + z_out)) {
        return log_density<student_in>(of_in, scale_in, left.distance_in, left.squares_in) -
               log_density<student_out>(of_out, scale_out, left.distance_out, left.squares_out);
    }
    return (of_in.constant - of_out.constant) + T{0.5} * log_of_normal(q) +
           (tail_of<student_out>(of_out, z_out) - tail_of<student_in>(of_in, z_in));
}

template <typename V>
inline V polynomial(V x, const Number<V>* coefficients, int degree) {
    V sum = broadcast<V>(coefficients[degree]);
    while (degree-- > 0) sum = sum * x + coefficients[degree];
    return sum;
}

// log erfc(x) for x >= 0 is log t - x² + P(2t - 1) with t = 2 / (2 + x): P interpolates log(erfcx(x) / t) at
// Chebyshev's points.
template <typename V>
inline V log_erfc(V x) {
    const V t = Number<V>{2} / (x + Number<V>{2});
    if constexpr (sizeof(Number<V>) == 4) {
        static const float p[] = {-0.6717940927758053f,   0.672643212485549f,     0.047343940394640925f,
                                  -0.04689478101507434f,  -0.009880431637772896f, 0.008815156956194652f,
                                  0.001795201494341351f,  -0.002303143465704001f, -0.00022919226078717725f,
                                  0.0005880716891842515f, 8.508316947578956e-06f, -9.246457815000515e-05f};
        return polynomial(t + t - 1.0f, p, 11) + log_of_normal(t) - x * x;
    } else {
        static const double p[] = {
            -0.6717940840566909,    0.6726432239776736,      0.0473433068415589,      -0.04689561023279291,
            -0.009872689349604537,  0.008824938603811727,    0.0017589332292643847,   -0.002345813116979419,
            -0.0001462435080590297, 0.0006736832451975279,   -9.375537640702684e-05,  -0.00017432224489274028,
            7.147972307090338e-05,  3.179778555780406e-05,   -3.0390002317896382e-05, 4.6981464644585116e-08,
            8.913099009077998e-06,  -2.853457165959603e-06,  -1.6817515036867314e-06, 1.202002749778331e-06,
            1.4599451484779535e-07, -2.5539581353465734e-07, 3.4148494402567544e-09,  2.359350522359212e-08};
        return polynomial(t + t - 1.0, p, 23) + log_of_normal(t) - x * x;
    }
}

// log(1 - e^x) for x <= -log 2.
template <typename V>
inline V log_one_less_exp(V x) {
    const V gone = exp(x), left = Number<V>{1} - gone;
    return log_of_normal(left) + ((Number<V>{1} - left) - gone) / left;
}

// log P[Z <= z], far into the lower tail.
template <typename V>
inline V log_normal_cdf(V z) {
    const V below = log_erfc(abs(z) * static_cast<Number<V>>(0.70710678118654752440)) -
                    static_cast<Number<V>>(0.69314718055994530942);
    return select(z > V{}, log_one_less_exp(below), below);
}

#include "cuda/beta_fraction.h"

// log P[T <= z] of Student's t with 2a degrees of freedom; log_beta = log B(a, 1/2).
inline double log_student_cdf(double z, double a, double log_beta) {
    if (!std::isfinite(z) || !(a > 0)) return std::nan("");
    const double log_ratio = 2 * std::log(std::abs(z)) - std::log(2 * a);
    const double log_x = -(std::max(log_ratio, 0.0) + std::log1p(std::exp(-std::abs(log_ratio))));
    const double log_y = log_ratio + log_x, front = a * log_x + 0.5 * log_y - log_beta, y = std::exp(log_y);
    double below;  // log P[T <= -|z|]
    if (y < 1.5 / (a + 2.5)) {
        below = std::log1p(-2 * std::exp(front) * beta_fraction(0.5, a, y));
    } else {
        below = front - std::log(a) + std::log(beta_fraction(a, 0.5, std::exp(log_x)));
    }
    below -= std::log(2.0);
    return z > 0 ? std::log1p(-std::exp(below)) : below;
}

template <typename V>
inline V log_lower_tail(const SideTables<Number<V>>& rule, Number<V> above, Number<V> floor, V distance,
                        V squares, const std::int32_t* counts) {
    using T = Number<V>;
    const V scale = scaled_squares(rule, above, floor, squares) + T{0} * squares;
    const V ratio = look_up<V>(rule.ratio, counts), constant = look_up<V>(rule.constant, counts);
    T z[lanes<V>], of_ratio[lanes<V>], of_constant[lanes<V>], of_distance[lanes<V>];
    store<V>(z, ratio / scale);
    store<V>(of_distance, distance);
    for (int i = 0; i < lanes<V>; ++i) z[i] = of_distance[i] * std::sqrt(z[i]);
    if (!rule.student) return log_normal_cdf(load<V>(z)) + (distance - distance) + T{0} * constant;
    const V half = rule.half_of_none + T{0.5} * load_models<V>(counts);
    T of_half[lanes<V>];
    store<V>(of_ratio, ratio);
    store<V>(of_constant, constant);
    store<V>(of_half, half);
    for (int i = 0; i < lanes<V>; ++i) {
        const double dof = 2.0 * of_half[i] - 1;
        const double log_beta = 0.5 * std::log(static_cast<double>(of_ratio[i])) - of_constant[i];
        z[i] = static_cast<T>(log_student_cdf(z[i] * std::sqrt(dof), dof / 2, log_beta));
    }
    return load<V>(z);
}

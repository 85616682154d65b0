// exp and log on the vectors of vector.h, and on single numbers. Read by each_isa.h only, as vector.h is.
#include "vector.h"

// e^r for |r| <= ln(2) / 2: a minimax polynomial (Cephes expf) and the Taylor series to r^13 (rest below
// 5e-18).
template <typename V>
inline V exp_of_small(V r) {
    if constexpr (sizeof(Number<V>) == 4) {
        V p = broadcast<V>(1.9875691500e-4f);
        p = p * r + 1.3981999507e-3f;
        p = p * r + 8.3334519073e-3f;
        p = p * r + 4.1665795894e-2f;
        p = p * r + 1.6666665459e-1f;
        p = p * r + 5.0000001201e-1f;
        return (p * r) * r + r + 1.0f;
    } else {
        V p = broadcast<V>(1.0 / 6227020800.0);
        p = p * r + 1.0 / 479001600.0;
        p = p * r + 1.0 / 39916800.0;
        p = p * r + 1.0 / 3628800.0;
        p = p * r + 1.0 / 362880.0;
        p = p * r + 1.0 / 40320.0;
        p = p * r + 1.0 / 5040.0;
        p = p * r + 1.0 / 720.0;
        p = p * r + 1.0 / 120.0;
        p = p * r + 1.0 / 24.0;
        p = p * r + 1.0 / 6.0;
        p = p * r + 0.5;
        return (p * r) * r + r + 1.0;
    }
}

// 2^n for whole n within the exponents of normal numbers.
template <typename V>
inline V power_of_two(typename Of<V>::UnsignedV n) {
    return bits_as<V>((n + typename Of<V>::Unsigned{Of<V>::bias}) << Of<V>::mantissa);
}

// Terms of a sum whose largest term is 1: e^x for x <= 0, never below e^-87 (float) or e^-708 (double) so
// that no denormal slows the machine down; wrong above 88 (709). NaN stays NaN; 0 gives 1 exactly. The
// relative error is some 2e-7 (float, a minimax polynomial of degree 5) or 2e-16, and |x| roundings of x
// more: what a sum can notice.
template <typename V>
inline V exp_clamped(V x) {
    using C = Of<V>;
    x = max(broadcast<V>(C::lowest), x);
    constexpr auto shift = C::round + C::bias;  // leaves the exponent's bits of 2^n lowest in the sum
    const V shifted = x * C::log2_e + shift;
    const V r = x - (shifted - shift) * C::ln2;
    const V power = bits_as<V>(bits_as<typename C::UnsignedV>(shifted) << C::mantissa);
    if constexpr (sizeof(Number<V>) == 4) {
        V p = broadcast<V>(0.00829032f);
        p = p * r + 0.04189793f;
        p = p * r + 0.16667636f;
        p = p * r + 0.4999915f;
        p = p * r + 0.99999971f;
        p = p * r + 1.0f;
        return p * power;
    } else {
        return exp_of_small(r) * power;
    }
}

#if MIAFAST_VECTOR_BYTES == 64
// The same within 7e-8, by sixteenths of powers of two: e^x = 2^(k / 16) e^r with a shorter polynomial. A
// table of one register holds the mantissas of 2^(j / 16) less j << 19, which k << 19 adds with the exponent.
inline F32 exp_clamped(F32 x) {
    using C = OfFloat;
    const __m512i sixteenths =
        _mm512_setr_epi32(0, -152893, -289342, -408621, -509968, -592590, -655657, -698305, -719629, -718684,
                          -694486, -646004, -572163, -471841, -343865, -187011);
    x = max(broadcast<F32>(C::lowest), x);
    constexpr float shift = C::round + 16.0f * C::bias;
    const F32 shifted = x * (16.0f * C::log2_e) + shift;
    const F32 r = x - (shifted - shift) * (C::ln2 / 16.0f);
    const __m512i k = bits_as<__m512i>(shifted);
    const auto power = bits_as<U32>(_mm512_maskz_permutexvar_epi32(0xffff, k, sixteenths)) +
                       (bits_as<U32>(k) << (C::mantissa - 4));
    F32 p = r * (1.0f / 6.0f) + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    return p * bits_as<F32>(power);
}
#endif

// e^x for every x: 0 for -infinity, denormals, infinity, NaN. About 1 ulp.
template <typename V>
inline V exp(V x) {
    using C = Of<V>;
    x = min(broadcast<V>(C::infinite_above), max(broadcast<V>(C::zero_below), x));
    const V shifted = x * C::log2_e + C::round;
    const V n = shifted - C::round;
    const V r = x - n * C::ln2_high - n * C::ln2_low;
    // Unsigned: their shifts are the cheap ones, and where x is NaN their sums do not overflow.
    using U = typename C::Unsigned;
    const auto whole = bits_as<typename C::UnsignedV>(shifted) - bits_as<U>(C::round);
    const auto half = ((whole + U{2 * C::bias}) >> 1) - U{C::bias};
    return exp_of_small(r) * power_of_two<V>(half) * power_of_two<V>(whole - half);
}

// log(1 + f) + k log(2) for 1 + f in [sqrt(1/2), sqrt(2)] (Cephes logf; fdlibm log).
template <typename V>
MIAFAST_INLINE V log_of_near_one(V f, V k) {
    using C = Of<V>;
    const V square = f * f;
    if constexpr (sizeof(Number<V>) == 4) {
        V p = broadcast<V>(7.0376836292e-2f);
        p = p * f - 1.1514610310e-1f;
        p = p * f + 1.1676998740e-1f;
        p = p * f - 1.2420140846e-1f;
        p = p * f + 1.4249322787e-1f;
        p = p * f - 1.6668057665e-1f;
        p = p * f + 2.0000714765e-1f;
        p = p * f - 2.4999993993e-1f;
        p = p * f + 3.3333331174e-1f;
        return ((p * square * f + k * C::ln2_low) - 0.5f * square) + f + k * C::ln2_high;
    } else {
        const V s = f / (f + 2.0), z = s * s;
        V p = broadcast<V>(1.479819860511658591e-01);
        p = p * z + 1.531383769920937332e-01;
        p = p * z + 1.818357216161805012e-01;
        p = p * z + 2.222219843214978396e-01;
        p = p * z + 2.857142874366239149e-01;
        p = p * z + 3.999999999940941908e-01;
        p = p * z + 6.666666666666735130e-01;
        const V half_square = 0.5 * square;
        return k * C::ln2_high - ((half_square - (s * (half_square + p * z) + k * C::ln2_low)) - f);
    }
}

// Finite normal x > 0 as (1 + f) 2^k with 1 + f in [sqrt(1/2), sqrt(2)].
template <typename V>
struct Parts {
    typename Of<V>::UnsignedV exponent;  // k + bias
    V f, k;
    MIAFAST_INLINE explicit Parts(V x) {
        using C = Of<V>;
        const auto bits = bits_as<typename C::UnsignedV>(x);
        exponent = (bits + (C::one - C::root_half)) >> C::mantissa;
        k = bits_as<V>(exponent | C::two_to_mantissa) -
            (bits_as<typename C::Number>(C::two_to_mantissa) + static_cast<typename C::Number>(C::bias));
        f = bits_as<V>(bits - ((exponent - typename C::Unsigned{C::bias}) << C::mantissa)) -
            typename C::Number{1};
    }
};

// log(x) for finite normal x > 0. About 1 ulp.
template <typename V>
MIAFAST_INLINE V log_of_normal(V x) {
    const Parts<V> parts(x);
    return log_of_near_one(parts.f, parts.k);
}

#if MIAFAST_VECTOR_BYTES == 64
// The same by thirty-seconds: 1 + f = m in [3/4, 3/2), m = (1 + r) / c with c from a table of two registers,
// and log x = k log 2 - log c + log(1 + r). Next to 1 c is 1, so that no digit is lost there.
struct Log32 {
    F32 m, c;   // mantissa
    __m512i k;  // exponent << 23
    explicit Log32(F32 x) {
        // clang-format off
        alignas(64) static const float reciprocal[] = {
            1.0f, 0.9552238583564758f, 0.9275362491607666f, 0.9014084339141846f, 0.8767123222351074f, 0.8533333539962769f,
            0.8311688303947449f, 0.8101266026496887f, 0.790123462677002f, 0.7710843086242676f, 0.7529411911964417f, 0.7356321811676025f,
            0.7191011309623718f, 0.7032967209815979f, 0.6881720423698425f, 0.6736842393875122f, 1.3195875883102417f, 1.2929292917251587f,
            1.2673267126083374f, 1.2427184581756592f, 1.2190476655960083f, 1.1962616443634033f, 1.174311876296997f, 1.1531531810760498f,
            1.1327433586120605f, 1.1130434274673462f, 1.0940171480178833f, 1.0756303071975708f, 1.0578511953353882f, 1.0406503677368164f,
            1.0240000486373901f, 1.0f};
        // clang-format on
        m = (F32)_mm512_maskz_getmant_ps(0xffff, (__m512)x, _MM_MANT_NORM_p75_1p5, _MM_MANT_SIGN_src);
        k = bits_as<__m512i>(bits_as<U32>(x) - bits_as<U32>(m));
        c = look_up(reciprocal);
    }
    // The logarithm of (1 + r) / c 2^k.
    MIAFAST_INLINE F32 log(F32 r) const {
        // clang-format off
        alignas(64) static const float minus_log_c[] = {
            0.0f, 0.045809559524059296f, 0.0752234011888504f, 0.1037968099117279f, 0.13157635927200317f, 0.15860500931739807f,
            0.18492233753204346f, 0.2105647474527359f, 0.23556606471538544f, 0.25995755195617676f, 0.2837681472301483f, 0.3070250451564789f,
            0.3297532796859741f, 0.3519763946533203f, 0.37371641397476196f, 0.39499375224113464f, -0.2773192524909973f, -0.25691041350364685f,
            -0.23690973222255707f, -0.21730127930641174f, -0.19806994497776031f, -0.1792013943195343f, -0.1606823354959488f, -0.14250008761882782f,
            -0.12464243918657303f, -0.10709808766841888f, -0.08985637873411179f, -0.07290682196617126f, -0.05623967573046684f, -0.039845872670412064f,
            -0.023716574534773827f, 0.0f};
        // clang-format on
        F32 p = r * -0.24398042f + 0.33336634f;
        p = p * r - 0.50000122f;
        const F32 rest = (p * (r * r) + r) + look_up(minus_log_c);
        const F32 exponent = (F32)_mm512_maskz_cvtepi32_ps(0xffff, k);
        return exponent * (OfFloat::ln2 / (1 << OfFloat::mantissa)) + rest;
    }

  private:
    F32 look_up(const float* table) const {
        const __m512i at = bits_as<__m512i>(bits_as<U32>(m) >> (OfFloat::mantissa - 5));
        return (F32)_mm512_permutex2var_ps(_mm512_loadu_ps(table), at, _mm512_loadu_ps(table + 16));
    }
};
MIAFAST_INLINE F32 log_of_normal(F32 x) {
    const Log32 parts(x);
    return parts.log(parts.m * parts.c - 1.0f);
}
#endif

// log(x) for every x: -infinity for 0, NaN below, denormals, infinity, NaN. About 1 ulp.
template <typename V>
inline V log(V x) {
    using T = Number<V>;
    using Limits = std::numeric_limits<T>;
    constexpr T lift = sizeof(T) == 4 ? T(16777216.0) : T(18014398509481984.0);  // 2^24, 2^54
    constexpr T lowered = sizeof(T) == 4 ? T(24) : T(54);
    const auto tiny = x < broadcast<V>(Limits::min());
    const Parts<V> parts(select(tiny, x * lift, x));
    V result = log_of_near_one(parts.f, parts.k - select(tiny, broadcast<V>(lowered), V{}));
    result = select(x == broadcast<V>(Limits::infinity()), x, result);
    result = select(x == V{}, broadcast<V>(-Limits::infinity()), result);
    result = select(x < V{}, broadcast<V>(Limits::quiet_NaN()), result);
    return select(x != x, x, result);
}

// log(1 + x) for 0 <= x <= 1e36, relative accuracy kept for small x: what 1 + x rounds away is scaled like
// the rest and added again.
template <typename V>
MIAFAST_INLINE V log1p(V x) {
    using C = Of<V>;
    using T = typename C::Number;
    const V u = x + T{1};
    const Parts<V> parts(u);
    const V twice_scale = bits_as<V>((typename C::Unsigned{2 * C::bias + 1} - parts.exponent) << C::mantissa);
    return log_of_near_one(parts.f + (x - (u - T{1})) * (T{0.5} * twice_scale), parts.k);
}

#if MIAFAST_VECTOR_BYTES == 64
// With c and k of 1 + x as it rounds: 2^-k c (1 + x) - 1 is 2^-k c x + (2^-k c - 1), which needs no 1 + x.
MIAFAST_INLINE F32 log1p(F32 x) {
    const Log32 parts(x + 1.0f);
    const F32 scaled = bits_as<F32>(bits_as<U32>(parts.c) - bits_as<U32>(parts.k));
    return parts.log(scaled * x + (scaled - 1.0f));
}
#endif

// log P[at most z] of a normal and of Student's t.
#pragma once

#include "beta_fraction.h"
#include "numbers.h"

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

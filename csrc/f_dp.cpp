// The recursion of Mahloujifar, Melis and Chaudhuri 2024, algorithm 3, in double precision.
#include "f_dp.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "parallel.h"

namespace miafast {
namespace {

double normal(double z) { return 0.5 * std::erfc(-z * 0.70710678118654752440); }

template <int N>
double polynomial(const double (&coefficients)[N], double x) {
    double sum = coefficients[N - 1];
    for (int i = N - 2; i >= 0; --i) sum = sum * x + coefficients[i];
    return sum;
}

// The normal quantile of p in [0, 1] to about 1e-16 (Wichura 1988, algorithm AS 241, PPND16).
double normal_quantile(double p) {
    static const double a[] = {3.3871328727963666080e0, 1.3314166789178437745e2, 1.9715909503065514427e3,
                               1.3731693765509461125e4, 4.5921953931549871457e4, 6.7265770927008700853e4,
                               3.3430575583588128105e4, 2.5090809287301226727e3};
    static const double b[] = {1.0,
                               4.2313330701600911252e1,
                               6.8718700749205790830e2,
                               5.3941960214247511077e3,
                               2.1213794301586595867e4,
                               3.9307895800092710610e4,
                               2.8729085735721942674e4,
                               5.2264952788528545610e3};
    static const double c[] = {1.42343711074968357734e0,  4.63033784615654529590e0, 5.76949722146069140550e0,
                               3.64784832476320460504e0,  1.27045825245236838258e0, 2.41780725177450611770e-1,
                               2.27238449892691845833e-2, 7.74545014278341407640e-4};
    static const double d[] = {1.0,
                               2.05319162663775882187e0,
                               1.67638483018380384940e0,
                               6.89767334985100004550e-1,
                               1.48103976427480074590e-1,
                               1.51986665636164571966e-2,
                               5.47593808499534494600e-4,
                               1.05075007164441684324e-9};
    static const double e[] = {6.65790464350110377720e0,  5.46378491116411436990e0,
                               1.78482653991729133580e0,  2.96560571828504891230e-1,
                               2.65321895265761230930e-2, 1.24266094738807843860e-3,
                               2.71155556874348757815e-5, 2.01033439929228813265e-7};
    static const double f[] = {1.0,
                               5.99832206555887937690e-1,
                               1.36929880922735805310e-1,
                               1.48753612908506148525e-2,
                               7.86869131145613259100e-4,
                               1.84631831751005468180e-5,
                               1.42151175831644588870e-7,
                               2.04426310338993978564e-15};
    const double centre = p - 0.5;
    if (std::fabs(centre) <= 0.425) {
        const double r = 0.180625 - centre * centre;
        return centre * polynomial(a, r) / polynomial(b, r);
    }
    const double tail = centre < 0 ? p : 1 - p;
    const double sign = centre < 0 ? -1 : 1;
    if (tail <= 0) return sign * std::numeric_limits<double>::infinity();
    const double r = std::sqrt(-std::log(tail));
    if (r <= 5) return sign * polynomial(c, r - 1.6) / polynomial(d, r - 1.6);
    return sign * polynomial(e, r - 5) / polynomial(f, r - 5);
}

struct Family {
    double level, delta, grown;
    bool gaussian;

    // The least FPR at which so large a share is found.
    double inverse(double share) const {
        share = std::min(share, 1.0);
        if (gaussian) return normal(normal_quantile(share) - level);
        return std::max({0.0, (share - delta) / grown, 1 - delta - grown * (1 - share)});
    }
};

}  // namespace

void f_dp_excess(std::int64_t audits, const std::int64_t* right, const double* level, const double* delta,
                 std::int64_t guesses, std::int64_t canaries, double alpha, double* excess) {
    parallel_for(audits, 1, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t audit = begin; audit < end; ++audit) {
            const Family family{level[audit], delta ? delta[audit] : 0.0, std::exp(level[audit]), !delta};
            double found = alpha * right[audit] / canaries;
            double missed = alpha * (guesses - right[audit]) / canaries;
            for (std::int64_t place = right[audit] - 1; place >= 0; --place) {
                const double more = std::max(missed, family.inverse(found));
                found += static_cast<double>(place) / (guesses - place) * (more - missed);
                missed = more;
            }
            excess[audit] = found + missed - static_cast<double>(guesses) / canaries;
        }
    });
}

}  // namespace miafast

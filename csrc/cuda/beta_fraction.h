// Read on the host and on devices: neither an include guard nor includes.

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

// Element types, not-a-number, approximations and sortable keys: NVRTC has no headers.
#pragma once

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
__noinline__ double quick_log2(double x) { return log2(x); }
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

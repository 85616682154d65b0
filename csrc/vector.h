// Vectors of one instruction set. Read by each_isa.h only, once per set, inside that set's namespace; so no
// include guard and no includes.
//
// F32, F64 are vectors of MIAFAST_VECTOR_BYTES, plain float and double where that is 0. Arithmetic,
// comparisons and select() work alike on both, so a kernel written over a vector type V also runs one number
// at a time: every function below may be called on float and double too, and a plain loop over it is
// vectorised by the compiler.

#if MIAFAST_VECTOR_BYTES
typedef float F32 __attribute__((vector_size(MIAFAST_VECTOR_BYTES)));
typedef double F64 __attribute__((vector_size(MIAFAST_VECTOR_BYTES)));
typedef std::int32_t I32 __attribute__((vector_size(MIAFAST_VECTOR_BYTES)));
typedef std::int64_t I64 __attribute__((vector_size(MIAFAST_VECTOR_BYTES)));
typedef std::uint32_t U32 __attribute__((vector_size(MIAFAST_VECTOR_BYTES)));
typedef std::uint64_t U64 __attribute__((vector_size(MIAFAST_VECTOR_BYTES)));
#else
using F32 = float;
using F64 = double;
using I32 = std::int32_t;
using I64 = std::int64_t;
using U32 = std::uint32_t;
using U64 = std::uint64_t;
#endif

// What belongs to a vector type: its numbers, integers of the same width, and the constants of exp and log.
struct OfFloat {
    using Number = float;
    using Signed = std::int32_t;
    using Unsigned = std::uint32_t;
    static constexpr int mantissa = 23, bias = 127;
    static constexpr Unsigned one = 0x3f800000u, root_half = 0x3f3504f3u, two_to_mantissa = 0x4b000000u;
    static constexpr float round = 12582912.0f, lowest = -87.0f, zero_below = -104.0f, infinite_above = 89.0f;
    static constexpr float ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f, log2_e = 1.44269504088896341f,
                           ln2 = 0.693147180559945309f;
};
struct OfDouble {
    using Number = double;
    using Signed = std::int64_t;
    using Unsigned = std::uint64_t;
    static constexpr int mantissa = 52, bias = 1023;
    static constexpr Unsigned one = 0x3ff0000000000000u, root_half = 0x3fe6a09e667f3bcdu,
                              two_to_mantissa = 0x4330000000000000u;
    static constexpr double round = 6755399441055744.0, lowest = -708.0, zero_below = -746.0,
                            infinite_above = 710.0;
    static constexpr double ln2_high = 6.93147180369123816490e-01, ln2_low = 1.90821492927058770002e-10,
                            log2_e = 1.44269504088896340736, ln2 = 0.693147180559945309417;
};

template <typename V>
struct Of;
template <>
struct Of<float> : OfFloat {
    using SignedV = std::int32_t;
    using UnsignedV = std::uint32_t;
};
template <>
struct Of<double> : OfDouble {
    using SignedV = std::int64_t;
    using UnsignedV = std::uint64_t;
};
#if MIAFAST_VECTOR_BYTES
template <>
struct Of<F32> : OfFloat {
    using SignedV = I32;
    using UnsignedV = U32;
};
template <>
struct Of<F64> : OfDouble {
    using SignedV = I64;
    using UnsignedV = U64;
};
#endif

template <typename V>
using Number = typename Of<V>::Number;

template <typename V>
inline constexpr int lanes = sizeof(V) / sizeof(Number<V>);

// The vector type that holds T: VectorOf<float> is F32.
template <typename T>
struct VectorOfImpl;
template <>
struct VectorOfImpl<float> {
    using V = F32;
};
template <>
struct VectorOfImpl<double> {
    using V = F64;
};
template <typename T>
using VectorOf = typename VectorOfImpl<T>::V;

template <typename To, typename From>
inline To bits_as(From from) {
    static_assert(sizeof(To) == sizeof(From));
    To to;
    std::memcpy(&to, &from, sizeof(to));
    return to;
}

template <typename V>
inline V load(const Number<V>* from) {  // any alignment
    V v;
    std::memcpy(&v, from, sizeof(v));
    return v;
}

template <typename V>
inline typename Of<V>::SignedV load_index(const typename Of<V>::Signed* from) {
    typename Of<V>::SignedV v;
    std::memcpy(&v, from, sizeof(v));
    return v;
}

template <typename V>
inline void store(Number<V>* to, V v) {
    std::memcpy(to, &v, sizeof(v));
}

// The same past the caches, for what would have to leave them before it is read; `to` must be on a vector's
// line.
template <typename V>
inline void stream(Number<V>* to, V v) {
#if MIAFAST_VECTOR_BYTES == 64
    _mm512_stream_si512(reinterpret_cast<__m512i*>(to), (__m512i)v);
#elif MIAFAST_VECTOR_BYTES == 32
    _mm256_stream_si256(reinterpret_cast<__m256i*>(to), (__m256i)v);
#else
    store<V>(to, v);
#endif
}

// After the last stream(), before another thread may read.
inline void end_of_streams() {
#if MIAFAST_VECTOR_BYTES >= 32
    _mm_sfence();
#endif
}

template <typename V>
inline V broadcast(Number<V> x) {
    return x - V{};
}

template <typename Mask, typename V>
inline V select(Mask mask, V yes, V no) {
    return mask ? yes : no;
}

// {0, 1, 2, ...} as integers of V's shape.
template <typename V>
inline typename Of<V>::SignedV lane_index() {
    typename Of<V>::Signed index[lanes<V>];
    for (int lane = 0; lane < lanes<V>; ++lane) index[lane] = lane;
    return load_index<V>(index);
}

// a > b ? a : b, and a < b ? a : b: b where either is NaN.
template <typename V>
inline V max(V a, V b) {
    return select(a > b, a, b);
}
template <typename V>
inline V min(V a, V b) {
    return select(a < b, a, b);
}
#if defined(__x86_64__) && MIAFAST_VECTOR_BYTES == 16
inline F32 max(F32 a, F32 b) { return (F32)_mm_max_ps((__m128)a, (__m128)b); }
inline F64 max(F64 a, F64 b) { return (F64)_mm_max_pd((__m128d)a, (__m128d)b); }
inline F32 min(F32 a, F32 b) { return (F32)_mm_min_ps((__m128)a, (__m128)b); }
inline F64 min(F64 a, F64 b) { return (F64)_mm_min_pd((__m128d)a, (__m128d)b); }
#elif MIAFAST_VECTOR_BYTES == 32
inline F32 max(F32 a, F32 b) { return (F32)_mm256_max_ps((__m256)a, (__m256)b); }
inline F64 max(F64 a, F64 b) { return (F64)_mm256_max_pd((__m256d)a, (__m256d)b); }
inline F32 min(F32 a, F32 b) { return (F32)_mm256_min_ps((__m256)a, (__m256)b); }
inline F64 min(F64 a, F64 b) { return (F64)_mm256_min_pd((__m256d)a, (__m256d)b); }
#elif MIAFAST_VECTOR_BYTES == \
    64  // masked forms: the plain ones set off GCC 12's false "uninitialized" warnings
inline F32 max(F32 a, F32 b) { return (F32)_mm512_maskz_max_ps(0xffff, (__m512)a, (__m512)b); }
inline F64 max(F64 a, F64 b) { return (F64)_mm512_maskz_max_pd(0xff, (__m512d)a, (__m512d)b); }
inline F32 min(F32 a, F32 b) { return (F32)_mm512_maskz_min_ps(0xffff, (__m512)a, (__m512)b); }
inline F64 min(F64 a, F64 b) { return (F64)_mm512_maskz_min_pd(0xff, (__m512d)a, (__m512d)b); }
#endif

template <typename V>
inline V abs(V x) {
    const auto sign = typename Of<V>::Unsigned{1} << (sizeof(Number<V>) * 8 - 1);
    return bits_as<V>(bits_as<typename Of<V>::UnsignedV>(x) & ~sign);
}

// Folds lanes onto half as many until one is left.
template <int width, typename T, typename Fold>
inline T fold_lanes(T* lane, Fold fold) {
    if constexpr (width == 1) {
        return lane[0];
    } else {
        T half[width / 2];
        for (int i = 0; i < width / 2; ++i) half[i] = fold(lane[i], lane[i + width / 2]);
        return fold_lanes<width / 2>(half, fold);
    }
}

struct Plus {
    template <typename T>
    T operator()(T a, T b) const {
        return a + b;
    }
};
struct Larger {
    template <typename T>
    T operator()(T a, T b) const {
        return a > b ? a : b;
    }
};

template <typename V>
inline Number<V> sum_of_lanes(V v) {
    Number<V> lane[lanes<V>];
    std::memcpy(lane, &v, sizeof(v));
    return fold_lanes<lanes<V>>(lane, Plus{});
}

template <typename V>
inline Number<V> max_of_lanes(V v) {  // NaN lanes may or may not count
    Number<V> lane[lanes<V>];
    std::memcpy(lane, &v, sizeof(v));
    return fold_lanes<lanes<V>>(lane, Larger{});
}

// One vector of what `fold` makes of each of lanes<V> vectors' lanes.
template <typename V, typename Fold>
inline V fold_rows(const V* row, Fold fold) {
    Number<V> folded[lanes<V>];
    for (int i = 0; i < lanes<V>; ++i) {
        Number<V> lane[lanes<V>];
        std::memcpy(lane, row + i, sizeof(V));
        folded[i] = fold_lanes<lanes<V>>(lane, fold);
    }
    return load<V>(folded);
}
#if MIAFAST_VECTOR_BYTES == 64
inline F32 fold(F32 a, F32 b, Plus) { return a + b; }
inline F32 fold(F32 a, F32 b, Larger) { return max(a, b); }

// Both halves of a and b folded together: quarters, then numbers within quarters, picked by `low` and `high`.
template <int low, int high, typename Fold>
inline F32 fold_quarters(F32 a, F32 b, Fold by) {
    return fold((F32)_mm512_maskz_shuffle_f32x4(0xffff, (__m512)a, (__m512)b, low),
                (F32)_mm512_maskz_shuffle_f32x4(0xffff, (__m512)a, (__m512)b, high), by);
}
template <int low, int high, typename Fold>
inline F32 fold_within(F32 a, F32 b, Fold by) {
    return fold((F32)_mm512_maskz_shuffle_ps(0xffff, (__m512)a, (__m512)b, low),
                (F32)_mm512_maskz_shuffle_ps(0xffff, (__m512)a, (__m512)b, high), by);
}

// Sixteen vectors at once: 15 folds instead of 16 × 4. Lane 4q + r comes from row 4q + r.
template <typename Fold>
inline F32 fold_rows(const F32* row, Fold by) {
    F32 quarter[4];
    for (int q = 0; q < 4; ++q) {  // quarter[q]: within each of its quarters, lane r has a part of row 4q + r
        const F32* of = row + 4 * q;
        quarter[q] = fold_within<0x88, 0xdd>(fold_within<0x88, 0xdd>(of[0], of[1], by),
                                             fold_within<0x88, 0xdd>(of[2], of[3], by), by);
    }
    return fold_quarters<0x88, 0xdd>(fold_quarters<0x88, 0xdd>(quarter[0], quarter[1], by),
                                     fold_quarters<0x88, 0xdd>(quarter[2], quarter[3], by), by);
}
#endif

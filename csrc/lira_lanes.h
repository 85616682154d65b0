// Signals and in_mask as vectors, one record per lane, and memory for blocks of them. Read inside an
// instruction set's namespace, after vector.h and tile.h; so no include guard and no includes.

// lanes<F64> numbers or counts as doubles, and their bytes of in_mask as a mask for select().
#if MIAFAST_VECTOR_BYTES == 64
inline F64 load_wide(const double* from) { return load<F64>(from); }
inline F64 load_wide(const float* from) { return (F64)_mm512_maskz_cvtps_pd(0xff, _mm256_loadu_ps(from)); }
inline void store_narrow(double* to, F64 x) { store<F64>(to, x); }
inline void store_narrow(float* to, F64 x) { _mm256_storeu_ps(to, _mm512_maskz_cvtpd_ps(0xff, (__m512d)x)); }
// One bit per lane.
struct Lanes16 {
    __mmask16 bits;
};
struct Lanes8 {
    __mmask8 bits;
};
template <typename V>
inline auto load_mask(const std::uint8_t* from) {
    if constexpr (sizeof(Number<V>) == 4) {
        const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
        return Lanes16{_mm_test_epi8_mask(bytes, bytes)};
    } else {
        const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(from));
        return Lanes8{static_cast<__mmask8>(_mm_test_epi8_mask(bytes, bytes))};
    }
}
inline F32 select(Lanes16 mask, F32 yes, F32 no) {
    return (F32)_mm512_mask_blend_ps(mask.bits, (__m512)no, (__m512)yes);
}
inline F64 select(Lanes8 mask, F64 yes, F64 no) {
    return (F64)_mm512_mask_blend_pd(mask.bits, (__m512d)no, (__m512d)yes);
}
inline void store_where(Lanes16 mask, float* to, F32 x) { _mm512_mask_storeu_ps(to, mask.bits, (__m512)x); }
inline void store_where(Lanes8 mask, double* to, F64 x) { _mm512_mask_storeu_pd(to, mask.bits, (__m512d)x); }
inline void store_where_not(Lanes16 mask, float* to, F32 x) {
    _mm512_mask_storeu_ps(to, _knot_mask16(mask.bits), (__m512)x);
}
inline void store_where_not(Lanes8 mask, double* to, F64 x) {
    _mm512_mask_storeu_pd(to, _knot_mask8(mask.bits), (__m512d)x);
}
inline bool any(I64 mask) { return _mm512_test_epi64_mask((__m512i)mask, (__m512i)mask) != 0; }
inline bool any(I32 mask) { return _mm512_test_epi32_mask((__m512i)mask, (__m512i)mask) != 0; }
// Compared into a mask register, which `any` of a comparison is not.
inline bool all_at_least(F32 a, F32 b) {
    return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_GE_OQ) == 0xffff;
}
inline bool all_between(F32 low, F32 x, F32 high) {
    const __mmask16 above = _mm512_cmp_ps_mask((__m512)low, (__m512)x, _CMP_LE_OQ);
    return _mm512_mask_cmp_ps_mask(above, (__m512)x, (__m512)high, _CMP_LE_OQ) == 0xffff;
}
inline F64 load_count(const std::int32_t* from) {
    const __m256i counts = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
    return (F64)_mm512_maskz_cvtepi32_pd(0xff, counts);
}
#elif MIAFAST_VECTOR_BYTES == 32
inline F64 load_wide(const double* from) { return load<F64>(from); }
inline F64 load_wide(const float* from) { return (F64)_mm256_cvtps_pd(_mm_loadu_ps(from)); }
inline void store_narrow(double* to, F64 x) { store<F64>(to, x); }
inline void store_narrow(float* to, F64 x) { _mm_storeu_ps(to, _mm256_cvtpd_ps((__m256d)x)); }
template <typename V>
inline auto load_mask(const std::uint8_t* from) {
    if constexpr (sizeof(Number<V>) == 4) {
        return (I32)_mm256_cvtepu8_epi32(_mm_loadu_si64(from)) != I32{};
    } else {
        return (I64)_mm256_cvtepu8_epi64(_mm_loadu_si32(from)) != I64{};
    }
}
inline bool any(I64 mask) { return !_mm256_testz_si256((__m256i)mask, (__m256i)mask); }
inline bool any(I32 mask) { return !_mm256_testz_si256((__m256i)mask, (__m256i)mask); }
inline F64 load_count(const std::int32_t* from) {
    return (F64)_mm256_cvtepi32_pd(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
}
#elif MIAFAST_VECTOR_BYTES == 16
inline F64 load_wide(const double* from) { return load<F64>(from); }
inline F64 load_wide(const float* from) { return F64{from[0], from[1]}; }
inline void store_narrow(double* to, F64 x) { store<F64>(to, x); }
inline void store_narrow(float* to, F64 x) {
    to[0] = static_cast<float>(x[0]);
    to[1] = static_cast<float>(x[1]);
}
template <typename V>
inline auto load_mask(const std::uint8_t* from) {
    typename Of<V>::Signed mask[lanes<V>];
    for (int i = 0; i < lanes<V>; ++i) mask[i] = -(from[i] != 0);
    return load_index<V>(mask);
}
inline F64 load_count(const std::int32_t* from) {
    return F64{static_cast<double>(from[0]), static_cast<double>(from[1])};
}
#else
inline double load_wide(const double* from) { return *from; }
inline double load_wide(const float* from) { return *from; }
inline void store_narrow(double* to, double x) { *to = x; }
inline void store_narrow(float* to, double x) { *to = static_cast<float>(x); }
template <typename V>
inline typename Of<V>::Signed load_mask(const std::uint8_t* from) {
    return *from != 0;
}
inline double load_count(const std::int32_t* from) { return *from; }
#endif

template <typename T>
inline void copy_signals(Storage storage, const char* from, std::int64_t stride, std::int64_t count, T* to) {
    switch (storage) {
        case Storage::float16:
            if constexpr (sizeof(T) == 4) {
                copy_row<Float16>(from, stride, count, to);
            } else {
                for (std::int64_t i = 0; i < count; ++i) to[i] = number_at<Float16>(from + i * stride);
            }
            return;
        case Storage::bfloat16:
            return copy_row<Bfloat16>(from, stride, count, to);
        case Storage::float32:
            return copy_row<float>(from, stride, count, to);
        case Storage::float64:
            return copy_row<double>(from, stride, count, to);
    }
}

template <typename Mask, typename V>
inline void store_where(const Mask& mask, Number<V>* to, V x) {
    store<V>(to, select(mask, x, load<V>(to)));
}
template <typename Mask, typename V>
inline void store_where_not(const Mask& mask, Number<V>* to, V x) {
    store<V>(to, select(mask, load<V>(to), x));
}

// What signals are counted from in Pooling::total, so that a large mean costs no digits.
inline double first_signal(const Shadow& shadow) {
    double first = 0;
    copy_signals(shadow.storage, shadow.phi, shadow.record_stride, 1, &first);
    return std::isfinite(first) ? first : 0.0;
}

template <typename Mask>
inline bool any(const Mask& mask) {
    unsigned char byte[sizeof(Mask)];
    std::memcpy(byte, &mask, sizeof(mask));
    unsigned char found = 0;
    for (std::size_t i = 0; i < sizeof(Mask); ++i) found |= byte[i];
    return found != 0;
}

// False where a number is NaN.
template <typename V>
inline bool all_at_least(V a, V b) {
    return !any((a >= b) == 0);
}

// False where x is NaN.
template <typename V>
inline bool all_between(V low, V x, V high) {
    return !any(((low <= x) & (x <= high)) == 0);
}

// Memory for a thread's blocks, every array on a cache line of its own.
class Arena {
  public:
    template <typename U>
    U* take(std::int64_t count) {
        pieces_.emplace_back(count * sizeof(U) + 64);
        const auto address = reinterpret_cast<std::uintptr_t>(pieces_.back().data());
        return reinterpret_cast<U*>((address + 63) / 64 * 64);
    }

  private:
    std::vector<std::vector<char>> pieces_;
};

constexpr int in = 0, out = 1;

// One number per lane on each side.
template <typename U>
struct Both {
    U* side[2];
    Both(Arena& arena, std::int64_t width) : side{arena.take<U>(width), arena.take<U>(width)} {}
    U* operator[](int which) const { return side[which]; }
};

// What a target is measured against, per side: its distance from the centre, the squares, the models.
template <typename T>
struct Measured {
    Both<T> distance, squares, offset;  // offset: of the centre from the pivot, for Pooling::total
    Both<std::int32_t> counts;
    Measured(Arena& arena, std::int64_t width)
        : distance(arena, width), squares(arena, width), offset(arena, width), counts(arena, width) {}
};

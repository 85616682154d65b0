// Logits of some records as a tile [classes][width] of numbers, one lane per record. Read inside an
// instruction set's namespace, after vector.h; so no include guard and no includes.

inline float number(float x) { return x; }
inline double number(double x) { return x; }
inline float number(Bfloat16 x) { return bits_as<float>(static_cast<std::uint32_t>(x.bits) << 16); }
inline float number(Float16 x) {
#if MIAFAST_VECTOR_BYTES >= 32
    return _cvtsh_ss(x.bits);
#else
    const std::uint32_t magnitude = static_cast<std::uint32_t>(x.bits & 0x7fff) << 13;
    const std::uint32_t sign = static_cast<std::uint32_t>(x.bits & 0x8000) << 16;
    const bool special = (x.bits & 0x7c00) == 0x7c00;
    const float scaled =
        bits_as<float>(magnitude) * 5.192296858534828e33f;  // 2^112: the exponents' biases differ
    return bits_as<float>((special ? magnitude | 0x7f800000u : bits_as<std::uint32_t>(scaled)) | sign);
#endif
}

template <typename Stored>
inline auto number_at(const char* place) {
    Stored x;
    std::memcpy(&x, place, sizeof(x));
    return number(x);
}

// What a kernel computes in: float for all but double.
template <typename Stored>
using Computed = decltype(number(Stored{}));

// `count` logits of one record, `stride` bytes apart.
template <typename Stored, typename T>
inline void copy_row(const char* from, std::int64_t stride, std::int64_t count, T* to) {
    if (stride == sizeof(Stored)) {
        std::int64_t i = 0;
#if MIAFAST_VECTOR_BYTES >= 32
        if constexpr (std::is_same_v<Stored, Float16>) {
            for (; i + 8 <= count; i += 8) {
                const __m128i halves = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + 2 * i));
                _mm256_storeu_ps(to + i, _mm256_cvtph_ps(halves));
            }
        }
#endif
        for (; i < count; ++i)
            to[i] = number_at<Stored>(from + i * static_cast<std::int64_t>(sizeof(Stored)));
    } else {
        for (std::int64_t i = 0; i < count; ++i) to[i] = number_at<Stored>(from + i * stride);
    }
}

// How many records a tile holds: whole vectors, and few enough for the tile to stay in the first-level cache.
template <typename T>
inline std::int64_t tile_width(std::int64_t classes) {
    const std::int64_t fitting = 16384 / (classes * static_cast<std::int64_t>(sizeof(T)));
    const std::int64_t wanted = std::min<std::int64_t>(64, fitting);
    return std::max<std::int64_t>(1, wanted / lanes<VectorOf<T>>) * lanes<VectorOf<T>>;
}

#if MIAFAST_VECTOR_BYTES == 64
inline F32 gather(const char* base, I32 offsets, float) {
    return (F32)_mm512_mask_i32gather_ps(__m512{}, 0xffff, (__m512i)offsets, base, 1);
}
inline F64 gather(const char* base, I64 offsets, double) {
    return (F64)_mm512_mask_i64gather_pd(__m512d{}, 0xff, (__m512i)offsets, base, 1);
}
#elif MIAFAST_VECTOR_BYTES == 32
inline F32 gather(const char* base, I32 offsets, float) {
    return (F32)_mm256_i32gather_ps(reinterpret_cast<const float*>(base), (__m256i)offsets, 1);
}
inline F64 gather(const char* base, I64 offsets, double) {
    return (F64)_mm256_i64gather_pd(reinterpret_cast<const double*>(base), (__m256i)offsets, 1);
}
#endif

// Fills the tile's columns for as many whole vectors of records as gather instructions can; returns how many
// records.
template <typename Stored, typename T>
inline std::int64_t gather_tile(const Logits& logits, const char* first, std::int64_t count,
                                std::int64_t width, T* tile) {
    std::int64_t gathered = 0;
#if MIAFAST_VECTOR_BYTES >= 32
    constexpr std::int64_t farthest = std::int64_t{1} << 26;  // offsets are 32 bits wide for float
    if constexpr (std::is_same_v<Stored, T>) {
        using V = VectorOf<T>;
        const std::int64_t down = logits.record_stride;
        if (std::abs(down) > farthest) return 0;
        const auto offsets = lane_index<V>() * static_cast<typename Of<V>::Signed>(down);
        for (; gathered + lanes<V> <= count; gathered += lanes<V>) {
            const char* row = first + gathered * down;
            for (std::int64_t c = 0; c < logits.classes; ++c) {
                store<V>(tile + c * width + gathered, gather(row + c * logits.class_stride, offsets, T{}));
            }
        }
    }
#else
    static_cast<void>(logits), static_cast<void>(first), static_cast<void>(count), static_cast<void>(width);
    static_cast<void>(tile);
#endif
    return gathered;
}

// A tile of the `count` records that start at `first`. The label's logit goes to `of_label`, -infinity takes
// its place; lanes past `count` repeat the last record.
template <typename Stored, typename T, typename Index>
inline void fill_tile(const Logits& logits, const char* first, std::int64_t count, std::int64_t width,
                      Index* labels, T* of_label, T* tile) {
    const std::int64_t classes = logits.classes, across = logits.class_stride, down = logits.record_stride;
    const std::int64_t gathered = gather_tile<Stored>(logits, first, count, width, tile);
    if (across == sizeof(Stored)) {
        for (std::int64_t record = gathered; record < count; ++record) {
            const char* row = first + record * down;
            for (std::int64_t c = 0; c < classes; ++c) {
                tile[c * width + record] =
                    number_at<Stored>(row + c * static_cast<std::int64_t>(sizeof(Stored)));
            }
        }
    } else {
        for (std::int64_t c = 0; c < classes; ++c) {
            copy_row<Stored>(first + c * across + gathered * down, down, count - gathered,
                             tile + c * width + gathered);
        }
    }
    for (std::int64_t record = 0; record < count; ++record) {
        T& label_logit = tile[labels[record] * width + record];
        of_label[record] = label_logit;
        label_logit = -std::numeric_limits<T>::infinity();
    }
    for (std::int64_t record = count; record < width; ++record) {
        labels[record] = labels[count - 1];
        of_label[record] = of_label[count - 1];
        for (std::int64_t c = 0; c < classes; ++c) tile[c * width + record] = tile[c * width + count - 1];
    }
}

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

template <typename Integer, typename Index>
inline std::int64_t read_labels_as(const char* from, std::int64_t stride, std::int64_t count,
                                   std::int64_t classes, Index* to) {
    const auto limit = static_cast<std::uint64_t>(classes);
    Index outside = 0;
    for (std::int64_t i = 0; i < count; ++i) {
        Integer label;
        std::memcpy(&label, from + i * stride, sizeof(label));
        const bool inside = static_cast<std::uint64_t>(label) < limit;
        to[i] = inside ? static_cast<Index>(label) : Index{0};
        outside |= static_cast<Index>(!inside);
    }
    if (!outside) return -1;
    for (std::int64_t i = 0;; ++i) {
        Integer label;
        std::memcpy(&label, from + i * stride, sizeof(label));
        if (static_cast<std::uint64_t>(label) >= limit) return i;
    }
}

template <typename Integer, typename Index>
inline std::int64_t read_labels_as(const Labels& labels, std::int64_t record, std::int64_t count,
                                   std::int64_t classes, Index* to) {
    const char* from = labels.data + record * labels.stride;
    const std::int64_t bad = labels.stride == sizeof(Integer)
                                 ? read_labels_as<Integer>(from, sizeof(Integer), count, classes, to)
                                 : read_labels_as<Integer>(from, labels.stride, count, classes, to);
    return bad < 0 ? -1 : record + bad;
}

// The labels of `count` records from `record` on. One outside [0, classes) is read as 0, and the index of the
// first such record returned, or -1.
template <typename Index>
inline std::int64_t read_labels(const Labels& labels, std::int64_t record, std::int64_t count,
                                std::int64_t classes, Index* to) {
    switch (labels.is_signed ? -labels.bytes : labels.bytes) {
        case -1:
            return read_labels_as<std::int8_t>(labels, record, count, classes, to);
        case -2:
            return read_labels_as<std::int16_t>(labels, record, count, classes, to);
        case -4:
            return read_labels_as<std::int32_t>(labels, record, count, classes, to);
        case -8:
            return read_labels_as<std::int64_t>(labels, record, count, classes, to);
        case 1:
            return read_labels_as<std::uint8_t>(labels, record, count, classes, to);
        case 2:
            return read_labels_as<std::uint16_t>(labels, record, count, classes, to);
        case 4:
            return read_labels_as<std::uint32_t>(labels, record, count, classes, to);
        default:
            return read_labels_as<std::uint64_t>(labels, record, count, classes, to);
    }
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

// Numbers on whole cache lines, so that no vector load or store spans two.
template <typename T>
class Scratch {
  public:
    explicit Scratch(std::int64_t size) : memory_(size + 64 / sizeof(T)) {}
    T* start() {
        const auto address = reinterpret_cast<std::uintptr_t>(memory_.data());
        return memory_.data() + (-address % 64) / sizeof(T);
    }

  private:
    std::vector<T> memory_;
};

// How many records a tile holds: whole vectors, and few enough for the tile to stay in the first-level cache.
template <typename T>
inline std::int64_t tile_width(std::int64_t classes) {
    const std::int64_t fitting = 16384 / (classes * static_cast<std::int64_t>(sizeof(T)));
    const std::int64_t wanted = std::min<std::int64_t>(64, fitting);
    return std::max<std::int64_t>(1, wanted / lanes<VectorOf<T>>) * lanes<VectorOf<T>>;
}

#if MIAFAST_VECTOR_BYTES == 64
inline F64 gather(const char* base, I64 offsets) {
    return (F64)_mm512_mask_i64gather_pd(__m512d{}, 0xff, (__m512i)offsets, base, 1);
}
#elif MIAFAST_VECTOR_BYTES == 32
inline F64 gather(const char* base, I64 offsets) {
    const __m256d all = _mm256_castsi256_pd(_mm256_set1_epi64x(-1));
    return (F64)_mm256_mask_i64gather_pd(__m256d{}, reinterpret_cast<const double*>(base), (__m256i)offsets,
                                         all, 1);
}
#endif

#if defined(__x86_64__) && MIAFAST_VECTOR_BYTES >= 16
// Four neighbouring logits as floats.
inline __m128 four(const char* from, float) { return _mm_loadu_ps(reinterpret_cast<const float*>(from)); }
inline __m128 four(const char* from, Bfloat16) {
    const __m128i bits = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(from));
    return _mm_castsi128_ps(_mm_unpacklo_epi16(_mm_setzero_si128(), bits));
}
inline __m128 four(const char* from, Float16) {
#if MIAFAST_VECTOR_BYTES >= 32
    return _mm_cvtph_ps(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from)));
#else
    return _mm_setr_ps(number_at<Float16>(from), number_at<Float16>(from + 2), number_at<Float16>(from + 4),
                       number_at<Float16>(from + 6));
#endif
}

// Four neighbouring logits of every fourth record, and the two steps of transposing 4 × 4 blocks of them.
#if MIAFAST_VECTOR_BYTES == 16
template <typename Stored>
inline __m128 four_of_every_fourth(const char* from, std::int64_t) {
    return four(from, Stored{});
}
inline __m128 low_pairs(__m128 a, __m128 b) { return _mm_unpacklo_ps(a, b); }
inline __m128 high_pairs(__m128 a, __m128 b) { return _mm_unpackhi_ps(a, b); }
inline F32 low_halves(__m128 a, __m128 b) { return (F32)_mm_movelh_ps(a, b); }
inline F32 high_halves(__m128 a, __m128 b) { return (F32)_mm_movehl_ps(b, a); }
#elif MIAFAST_VECTOR_BYTES == 32
template <typename Stored>
inline __m256 four_of_every_fourth(const char* from, std::int64_t stride) {
    const __m256 first = _mm256_castps128_ps256(four(from, Stored{}));
    return _mm256_insertf128_ps(first, four(from + 4 * stride, Stored{}), 1);
}
inline __m256 low_pairs(__m256 a, __m256 b) { return _mm256_unpacklo_ps(a, b); }
inline __m256 high_pairs(__m256 a, __m256 b) { return _mm256_unpackhi_ps(a, b); }
inline F32 low_halves(__m256 a, __m256 b) { return (F32)_mm256_shuffle_ps(a, b, 0x44); }
inline F32 high_halves(__m256 a, __m256 b) { return (F32)_mm256_shuffle_ps(a, b, 0xee); }
#else
template <typename Stored>
inline __m512 four_of_every_fourth(const char* from, std::int64_t stride) {
    const __m512 first = _mm512_zextps128_ps512(four(from, Stored{}));
    const __m512 second = _mm512_maskz_insertf32x4(0xffff, first, four(from + 4 * stride, Stored{}), 1);
    const __m512 third = _mm512_maskz_insertf32x4(0xffff, second, four(from + 8 * stride, Stored{}), 2);
    return _mm512_maskz_insertf32x4(0xffff, third, four(from + 12 * stride, Stored{}), 3);
}
inline __m512 low_pairs(__m512 a, __m512 b) { return _mm512_maskz_unpacklo_ps(0xffff, a, b); }
inline __m512 high_pairs(__m512 a, __m512 b) { return _mm512_maskz_unpackhi_ps(0xffff, a, b); }
inline F32 low_halves(__m512 a, __m512 b) { return (F32)_mm512_maskz_shuffle_ps(0xffff, a, b, 0x44); }
inline F32 high_halves(__m512 a, __m512 b) { return (F32)_mm512_maskz_shuffle_ps(0xffff, a, b, 0xee); }
#endif

// Four classes of one vector of records, transposed into the tile.
template <typename Stored>
inline void transpose_four(const char* from, std::int64_t stride, std::int64_t width, float* to) {
    const auto row0 = four_of_every_fourth<Stored>(from, stride);
    const auto row1 = four_of_every_fourth<Stored>(from + stride, stride);
    const auto row2 = four_of_every_fourth<Stored>(from + 2 * stride, stride);
    const auto row3 = four_of_every_fourth<Stored>(from + 3 * stride, stride);
    const auto low01 = low_pairs(row0, row1), high01 = high_pairs(row0, row1);
    const auto low23 = low_pairs(row2, row3), high23 = high_pairs(row2, row3);
    store<F32>(to, low_halves(low01, low23));
    store<F32>(to + width, high_halves(low01, low23));
    store<F32>(to + 2 * width, low_halves(high01, high23));
    store<F32>(to + 3 * width, high_halves(high01, high23));
}
#endif

// Fills the tile's columns for as many whole vectors of records as shuffles or gathers can; returns how many
// records.
template <typename Stored, typename T>
inline std::int64_t fill_vectors([[maybe_unused]] const Logits& logits, [[maybe_unused]] const char* first,
                                 [[maybe_unused]] std::int64_t count, [[maybe_unused]] std::int64_t width,
                                 [[maybe_unused]] T* tile) {
    std::int64_t filled = 0;
#if defined(__x86_64__) && MIAFAST_VECTOR_BYTES >= 16
    const std::int64_t classes = logits.classes, down = logits.record_stride;
    if constexpr (std::is_same_v<T, float>) {
        if (classes < 4 || logits.class_stride != sizeof(Stored)) return 0;
        for (; filled + lanes<F32> <= count; filled += lanes<F32>) {
            const char* row = first + filled * down;
            for (std::int64_t c = 0; c < classes; c += 4) {
                const std::int64_t from = std::min(c, classes - 4);  // the last four may overlap those before
                transpose_four<Stored>(row + from * static_cast<std::int64_t>(sizeof(Stored)), down, width,
                                       tile + from * width + filled);
            }
        }
    }
#if MIAFAST_VECTOR_BYTES >= 32
    if constexpr (std::is_same_v<Stored, double>) {
        const auto offsets = lane_index<F64>() * down;
        for (; filled + lanes<F64> <= count; filled += lanes<F64>) {
            const char* row = first + filled * down;
            for (std::int64_t c = 0; c < classes; ++c) {
                store<F64>(tile + c * width + filled, gather(row + c * logits.class_stride, offsets));
            }
        }
    }
#endif
#endif
    return filled;
}

// Moves the labels' logits from a tile to `of_label`; -infinity takes their places. Of few classes all are
// compared with the label: single numbers that are written to the tile would hold up the vectors read next.
template <typename T, typename Index>
inline void take_labels(T* tile, std::int64_t classes, std::int64_t width, const Index* labels, T* of_label) {
    using V = VectorOf<T>;
    constexpr T none = -std::numeric_limits<T>::infinity();
    if (lanes<V> == 1 || classes > 2 * lanes<V>) {
        for (std::int64_t record = 0; record < width; ++record) {
            of_label[record] = std::exchange(tile[labels[record] * width + record], none);
        }
        return;
    }
    for (std::int64_t i = 0; i < width; i += lanes<V>) {
        const auto label = load_index<V>(labels + i);
        V own{};
        for (std::int64_t c = 0; c < classes; ++c) {
            const V z = load<V>(tile + c * width + i);
            own = select(label == static_cast<Index>(c), z, own);
            store<V>(tile + c * width + i, select(label == static_cast<Index>(c), broadcast<V>(none), z));
        }
        store<V>(of_label + i, own);
    }
}

// A tile of the `count` records that start at `first`. The label's logit goes to `of_label`, -infinity takes
// its place; lanes past `count` repeat the last record.
template <typename Stored, typename T, typename Index>
inline void fill_tile(const Logits& logits, const char* first, std::int64_t count, std::int64_t width,
                      Index* labels, T* of_label, T* tile) {
    const std::int64_t classes = logits.classes, across = logits.class_stride, down = logits.record_stride;
    const std::int64_t filled = fill_vectors<Stored>(logits, first, count, width, tile);
    if (across == sizeof(Stored)) {
        for (std::int64_t record = filled; record < count; ++record) {
            const char* row = first + record * down;
            for (std::int64_t c = 0; c < classes; ++c) {
                tile[c * width + record] =
                    number_at<Stored>(row + c * static_cast<std::int64_t>(sizeof(Stored)));
            }
        }
    } else {
        for (std::int64_t c = 0; c < classes; ++c) {
            copy_row<Stored>(first + c * across + filled * down, down, count - filled,
                             tile + c * width + filled);
        }
    }
    for (std::int64_t record = count; record < width; ++record) {
        labels[record] = labels[count - 1];
        for (std::int64_t c = 0; c < classes; ++c) tile[c * width + record] = tile[c * width + count - 1];
    }
    take_labels(tile, classes, width, labels, of_label);
}

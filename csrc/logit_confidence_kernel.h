// phi = z_y - logsumexp(z_others), compiled once per instruction set. Few classes: one lane per record, on
// tiles. Many: the lanes run along a record's row. Either way a record is read from memory once and twice
// from the cache: its largest other logit, then the sum of exponentials relative to it.
#include "tile.h"

// phi of `count` records from the label's logit, the largest other logit and the sum relative to it. Where
// the largest is infinite, the sum means nothing: phi is then the difference, or NaN if a logit of the record
// is NaN.
template <typename Stored, typename T>
inline void finish_phi(const Logits& logits, const char* first, std::int64_t count, const T* of_label,
                       const T* largest, const T* sum, T* phi) {
    using V = VectorOf<T>;
    constexpr T infinity = std::numeric_limits<T>::infinity();
    V far = V{};
    T result[64];
    for (std::int64_t i = 0; i < count; i += lanes<V>) {  // the arrays are whole vectors long
        const V top = load<V>(largest + i);
        far = max(abs(top), far);
        const V total = load<V>(sum + i);  // 1 or more, or NaN
        store<V>(result + i, (load<V>(of_label + i) - top) - (log_of_normal(total) + T{0} * total));
    }
    if (max_of_lanes(far) == infinity) {
        for (std::int64_t i = 0; i < count; ++i) {
            if (std::abs(largest[i]) != infinity) continue;
            result[i] = of_label[i] - largest[i];
            const char* row = first + i * logits.record_stride;
            for (std::int64_t c = 0; c < logits.classes; ++c) {
                const T z = number_at<Stored>(row + c * logits.class_stride);
                if (z != z) result[i] = z;
            }
        }
    }
    std::memcpy(phi, result, count * sizeof(T));
}

// Largest of `count` vectors, `stride` numbers apart. Four at a time: one chain of comparisons would wait for
// itself.
template <typename V, typename T>
inline V largest_of(const T* from, std::int64_t count, std::int64_t stride) {
    V top = load<V>(from), second = top, third = top, fourth = top;
    std::int64_t i = 1;
    for (; i + 4 <= count; i += 4) {
        top = max(load<V>(from + i * stride), top);
        second = max(load<V>(from + (i + 1) * stride), second);
        third = max(load<V>(from + (i + 2) * stride), third);
        fourth = max(load<V>(from + (i + 3) * stride), fourth);
    }
    for (; i < count; ++i) top = max(load<V>(from + i * stride), top);
    return max(max(top, second), max(third, fourth));
}

// Largest logit and sum of exponentials relative to it of `rows` rows of `length` numbers, whole vectors, at
// most one row per lane. `next` is what memory to ask for meanwhile, `step` bytes per vector: the sums take
// longer than the reading, which would stop for them.
template <typename T>
inline void reduce_rows(const T* numbers, std::int64_t length, std::int64_t rows, const char* next,
                        std::int64_t step, T* largest, T* sum) {
    using V = VectorOf<T>;
    V of_row[lanes<V>];
    for (std::int64_t i = rows; i < lanes<V>; ++i) of_row[i] = V{};
    for (std::int64_t i = 0; i < rows; ++i) {
        of_row[i] = largest_of<V>(numbers + i * length, length / lanes<V>, lanes<V>);
    }
    store<V>(largest, fold_rows(of_row, Larger{}));
    for (std::int64_t i = 0; i < rows; ++i) {
        const T* row = numbers + i * length;
        const V top = broadcast<V>(largest[i]);
        V total = V{};
        for (std::int64_t c = 0; c < length; c += lanes<V>, next += step) {
            MIAFAST_PREFETCH(next);
            total += exp_clamped(load<V>(row + c) - top);
        }
        of_row[i] = total;
    }
    store<V>(sum, fold_rows(of_row, Plus{}));
}

// The same for every column of a tile, classes down.
template <typename T>
inline void reduce_tile(const T* tile, std::int64_t classes, std::int64_t width, const char* next,
                        std::int64_t step, T* largest, T* sum) {
    using V = VectorOf<T>;
    for (std::int64_t i = 0; i < width; i += lanes<V>) {
        const V top = largest_of<V>(tile + i, classes, width);
        V total = V{};
        for (std::int64_t c = 0; c < classes; ++c, next += step) {
            MIAFAST_PREFETCH(next);
            total += exp_clamped(load<V>(tile + c * width + i) - top);
        }
        store<V>(largest + i, top);
        store<V>(sum + i, total);
    }
}

// Classes up to which a tile is faster than rows. Folding the lanes of a row is what rows cost, and cheap
// only where whole vectors of rows fold at once.
template <typename T>
inline constexpr std::int64_t few_classes = MIAFAST_VECTOR_BYTES == 64 && sizeof(T) == 4 ? 48 : 256;

// Records [begin, end) of one model, whose logits start at `start`. Returns the first record with a label
// outside the classes, or -1.
template <typename Stored, typename T = Computed<Stored>>
inline std::int64_t phi_of_records(const Logits& logits, const char* start, const Labels& labels,
                                   std::int64_t begin, std::int64_t end, T* phi) {
    using Index = typename Of<T>::Signed;
    constexpr T none = -std::numeric_limits<T>::infinity();
    constexpr std::int64_t lane_count = lanes<VectorOf<T>>;
    const std::int64_t classes = logits.classes,
                       step = lane_count * static_cast<std::int64_t>(sizeof(Stored));
    const std::int64_t padded = (classes - 1) / lane_count * lane_count + lane_count;
    const bool along_rows = classes > few_classes<T>;
    // rows: as many as stay in the first-level cache
    const std::int64_t width =
        along_rows ? std::clamp<std::int64_t>(4096 / padded, 1, lane_count) : tile_width<T>(classes);
    Scratch<T> scratch(width * (along_rows ? padded : classes));
    T* const numbers = scratch.start();
    std::fill(numbers, numbers + (along_rows ? width * padded : 0), none);
    alignas(64) Index label[64];
    alignas(64) T of_label[64] = {}, largest[64] = {}, sum[64] = {};
    std::int64_t first_bad = -1;
    for (std::int64_t record = begin; record < end; record += width) {
        const std::int64_t count = std::min(width, end - record);
        const char* first = start + record * logits.record_stride;
        // Not the next records: their own turn comes before memory answers.
        const char* next = first + 3 * count * logits.record_stride;
        const std::int64_t bad = read_labels(labels, record, count, classes, label);
        if (first_bad < 0) first_bad = bad;
        if (along_rows) {
            for (std::int64_t i = 0; i < count; ++i) {
                copy_row<Stored>(first + i * logits.record_stride, logits.class_stride, classes,
                                 numbers + i * padded);
            }
            for (std::int64_t i = 0; i < count; ++i) {
                of_label[i] = numbers[i * padded + label[i]];
                numbers[i * padded + label[i]] = none;
            }
            reduce_rows(numbers, padded, count, next, step, largest, sum);
        } else {
            fill_tile<Stored>(logits, first, count, width, label, of_label, numbers);
            reduce_tile(numbers, classes, width, next, step, largest, sum);
        }
        finish_phi<Stored>(logits, first, count, of_label, largest, sum, phi + record);
    }
    return first_bad;
}

inline std::int64_t logit_confidence(const Logits& logits, const char* start, const Labels& labels,
                                     std::int64_t begin, std::int64_t end, void* phi) {
    switch (logits.storage) {
        case Storage::float16:
            return phi_of_records<Float16>(logits, start, labels, begin, end, static_cast<float*>(phi));
        case Storage::bfloat16:
            return phi_of_records<Bfloat16>(logits, start, labels, begin, end, static_cast<float*>(phi));
        case Storage::float32:
            return phi_of_records<float>(logits, start, labels, begin, end, static_cast<float*>(phi));
        default:
            return phi_of_records<double>(logits, start, labels, begin, end, static_cast<double*>(phi));
    }
}

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
        store<V>(result + i, (load<V>(of_label + i) - top) - log(load<V>(sum + i)));
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

// Largest other logit and sum of exponentials of one row of at least one vector of classes.
template <typename T>
inline void reduce_row(const T* row, std::int64_t classes, std::int64_t label, T* largest, T* sum) {
    using V = VectorOf<T>;
    using Index = typename Of<V>::SignedV;
    using Step = typename Of<V>::Signed;
    const V none = broadcast<V>(-std::numeric_limits<T>::infinity());
    const std::int64_t whole = classes / lanes<V> * lanes<V>, last = classes - lanes<V>;
    const Index at_label = Index{} + static_cast<Step>(label);
    const Index first_lanes = lane_index<V>(), last_lanes = first_lanes + static_cast<Step>(last);
    // The last vector ends with the row; its lanes below `whole`, and the label, are left out.
    const auto left_out = (last_lanes < static_cast<Step>(whole)) | (last_lanes == at_label);

    Index index = first_lanes;
    V top = none;
    for (std::int64_t c = 0; c < whole; c += lanes<V>, index += static_cast<Step>(lanes<V>)) {
        top = max(select(index == at_label, none, load<V>(row + c)), top);
    }
    if (whole < classes) top = max(select(left_out, none, load<V>(row + last)), top);
    *largest = max_of_lanes(top);

    const V offset = broadcast<V>(*largest);
    index = first_lanes;
    V total = V{};
    for (std::int64_t c = 0; c < whole; c += lanes<V>, index += static_cast<Step>(lanes<V>)) {
        total += exp_clamped(select(index == at_label, none, load<V>(row + c) - offset));
    }
    if (whole < classes) total += exp_clamped(select(left_out, none, load<V>(row + last) - offset));
    *sum = sum_of_lanes(total);
}

template <typename T>
inline void reduce_tile(const T* tile, std::int64_t classes, std::int64_t width, T* largest, T* sum) {
    using V = VectorOf<T>;
    for (std::int64_t i = 0; i < width; i += lanes<V>) {
        V top = load<V>(tile + i);
        for (std::int64_t c = 1; c < classes; ++c) top = max(load<V>(tile + c * width + i), top);
        V total = V{};
        for (std::int64_t c = 0; c < classes; ++c) total += exp_clamped(load<V>(tile + c * width + i) - top);
        store<V>(largest + i, top);
        store<V>(sum + i, total);
    }
}

// Records [begin, end) of one model, whose logits start at `start`. Returns the first record with a label
// outside the classes, or -1.
template <typename Stored, typename T = Computed<Stored>>
inline std::int64_t phi_of_records(const Logits& logits, const char* start, const Labels& labels,
                                   std::int64_t begin, std::int64_t end, T* phi) {
    using Index = typename Of<T>::Signed;
    constexpr std::int64_t few = 64;  // classes
    const std::int64_t classes = logits.classes;
    const bool along_rows = classes > few;
    const bool in_place = std::is_same_v<Stored, T> && logits.class_stride == sizeof(T);
    const std::int64_t width = along_rows ? 64 : tile_width<T>(classes);
    std::vector<T> scratch(along_rows ? (in_place ? 0 : classes) : width * classes);
    alignas(64) Index label[64];
    alignas(64) T of_label[64] = {}, largest[64] = {}, sum[64] = {};
    std::int64_t first_bad = -1;
    for (std::int64_t record = begin; record < end; record += width) {
        const std::int64_t count = std::min(width, end - record);
        const char* first = start + record * logits.record_stride;
        const std::int64_t bad = read_labels(labels, record, count, classes, label);
        if (first_bad < 0) first_bad = bad;
        if (along_rows) {
            for (std::int64_t i = 0; i < count; ++i) {
                const char* place = first + i * logits.record_stride;
                if (!in_place) copy_row<Stored>(place, logits.class_stride, classes, scratch.data());
                const T* row = in_place ? reinterpret_cast<const T*>(place) : scratch.data();
                of_label[i] = number_at<T>(reinterpret_cast<const char*>(row + label[i]));
                reduce_row(row, classes, label[i], largest + i, sum + i);
            }
        } else {
            fill_tile<Stored>(logits, first, count, width, label, of_label, scratch.data());
            reduce_tile(scratch.data(), classes, width, largest, sum);
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

// Every signal of a record from one read of its logits, compiled once per instruction set; one lane per
// record, on tiles. With o the first largest of the classes other than the label y, and sums over the rest
// (neither y nor o) taken relative to the rest's own largest logit, every signal is a sum of positive terms
// or a function of phi: nothing cancels and nothing saturates, however sure the model is.
//   entropy          = h(p_y) + (1 - p_y) H(others)             (grouping; h is the binary entropy)
//   modified entropy = (1 - p_y) loss + p_o softplus(phi_o) + sum over the rest of p_j (-log(1 - p_j)), p_j
//   <= 1/2
#include "tile.h"

// -log(1 - p) / p for 0 <= p <= 1/2: Chebyshev interpolation in 4p - 1, relative error 3e-8 and 5e-17.
template <typename V>
inline V log_ratio(V p) {
    const V x = p * Number<V>{4} - Number<V>{1};
    if constexpr (sizeof(Number<V>) == 4) {
        constexpr float coefficients[] = {2.148371434e-5f,  7.236948946e-5f, 0.0001992352706f,
                                          0.0007014242854f, 0.002581053495f, 0.009768542412f,
                                          0.03961710982f,   0.1826048166f,   1.15072829f};
        V q = broadcast<V>(coefficients[0]);
        for (int i = 1; i < 9; ++i) q = q * x + coefficients[i];
        return q;
    } else {
        constexpr double coefficients[] = {
            7.36946487880819403e-11,  2.3227374698104843e-10,  3.65514592804495125e-10,
            1.16472802408995409e-9,   4.50852237891889382e-9,  1.44355065782412492e-8,
            4.55094684181444461e-8,   1.47220314052429387e-7,  4.79834381001852881e-7,
            1.57302113452749969e-6,   5.20109546864231457e-6,  0.0000173789897433134686,
            0.0000588288824234835271, 0.000202455334418374362, 0.000712039410889552698,
            0.00258014165868144319,   0.00976553735337296517,  0.0396171786960215343,
            0.182605043526209609,     1.15072828980712367};
        V q = broadcast<V>(coefficients[0]);
        for (int i = 1; i < 20; ++i) q = q * x + coefficients[i];
        return q;
    }
}

// sigmoid and softplus of x and of -x, for any x but NaN without loss of relative accuracy; NaN gives NaN.
template <typename V>
struct Logistic {
    V sigmoid, sigmoid_of_minus, softplus, softplus_of_minus, binary_entropy;

    explicit Logistic(V x) {
        const V size =
            min(broadcast<V>(std::numeric_limits<Number<V>>::max()), abs(x));  // infinity * 0 is NaN
        const V e = exp(-size), tail = log1p(e), larger = Number<V>{1} / (e + Number<V>{1}),
                smaller = e * larger;
        const auto positive = x >= V{};
        sigmoid = select(positive, larger, smaller);
        sigmoid_of_minus = select(positive, smaller, larger);
        softplus = select(positive, abs(x) + tail, tail);
        softplus_of_minus = select(positive, tail, abs(x) + tail);
        binary_entropy = larger * tail + smaller * (size + tail);
    }
};

// The signals of one vector of records, of which `tile` is the first class's.
template <typename T>
inline void signals_of_vector(T* tile, std::int64_t classes, std::int64_t width,
                              const typename Of<T>::Signed* labels, const T* of_label, SignalsBlock<T>* out,
                              std::int64_t at) {
    using V = VectorOf<T>;
    using Index = typename Of<V>::SignedV;
    using Step = typename Of<V>::Signed;
    using Limits = std::numeric_limits<T>;
    constexpr T small = sizeof(T) == 4 ? T(1e-18) : T(1e-150);  // its square is no denormal
    const V none = broadcast<V>(-Limits::infinity()), lowest = broadcast<V>(Limits::lowest());

    V largest = none, second = none;  // of the others
    Index where = Index{};
    for (std::int64_t c = 0; c < classes; ++c) {
        const V z = load<V>(tile + c * width);
        const auto larger = z > largest;
        second = select(larger, largest, max(z, second));
        where = larger ? Index{} + static_cast<Step>(c) : where;
        largest = select(larger, z, largest);
    }
    second = max(second, lowest);

    V mass = V{}, spread = V{};  // of the rest, relative to its largest
    for (std::int64_t c = 0; c < classes; ++c) {
        V gap = select(where == Index{} + static_cast<Step>(c), none, load<V>(tile + c * width) - second);
        gap = max(broadcast<V>(Of<V>::lowest), gap);
        const V e = exp_clamped(gap);
        mass += e;
        spread -= e * gap;
        store<V>(tile + c * width, e);
    }
    const V step = max(second - largest, lowest), scale = exp(step);
    const V rest = scale * mass, log_rest = step + log(mass);
    const V log_others = log1p(rest), others = rest + T{1};

    const V margin = load<V>(of_label + at) - largest;
    const V phi = margin - log_others;
    const Logistic<V> label(phi);
    const V entropy_of_others = log_others + (scale * spread - rest * step) / others;

    const V upper = max(margin, log_rest), lower = min(margin, log_rest);
    const Logistic<V> top(-(upper + log1p(exp(lower - upper))));  // of the largest other class

    const V weight = label.sigmoid_of_minus * scale / others, no_denormal = max(weight, broadcast<V>(small));
    V squares = V{};
    for (std::int64_t c = 0; c < classes; ++c) {
        const V e = max(load<V>(tile + c * width), broadcast<V>(small));
        squares += e * e * log_ratio(no_denormal * e);
    }

    const auto valid = phi == phi;
    const V label_logit = load<V>(of_label + at);
    const Index is_label_first = load_index<V>(labels + at) < where;
    const auto correct = valid & ((label_logit > largest) | ((label_logit == largest) & is_label_first));
    store<V>(out->largest + at, largest);
    store<V>(out->phi + at, phi);
    store<V>(out->loss + at, label.softplus_of_minus);
    store<V>(out->confidence + at, label.sigmoid);
    store<V>(out->entropy + at, label.binary_entropy + label.sigmoid_of_minus * entropy_of_others);
    store<V>(out->modified_entropy + at, label.sigmoid_of_minus * label.softplus_of_minus +
                                             top.sigmoid * top.softplus + weight * weight * squares);
    store<V>(out->margin + at, select(valid, margin, phi));
    store<V>(out->correct + at, select(correct, broadcast<V>(T{1}), V{}));
}

// Records whose largest other logit is infinite: the limits, where there are any, one record at a time.
template <typename Stored, typename T>
inline void signals_at_infinity(const Logits& logits, const char* row, std::int64_t label,
                                SignalsBlock<T>* out, std::int64_t at) {
    constexpr T infinity = std::numeric_limits<T>::infinity(), nan = std::numeric_limits<T>::quiet_NaN();
    const T z = number_at<Stored>(row + label * logits.class_stride);
    const T largest = out->largest[at];
    std::int64_t count = 0, first = logits.classes;  // of the largest logits
    bool has_nan = false;
    for (std::int64_t c = 0; c < logits.classes; ++c) {
        const T other = number_at<Stored>(row + c * logits.class_stride);
        has_nan |= other != other;
        if (other == std::max(z, largest)) {
            ++count;
            first = std::min(first, c);
        }
    }
    const T difference = has_nan ? nan : z - largest;  // an infinity, or NaN
    const bool certain = difference == infinity, excluded = difference == -infinity;
    const T unless_shared = certain || (excluded && count == 1) ? T{0} : nan;
    out->phi[at] = out->margin[at] = difference;
    out->loss[at] = certain ? T{0} : -difference;
    out->confidence[at] = certain ? T{1} : excluded ? T{0} : nan;
    out->entropy[at] = unless_shared;
    out->modified_entropy[at] = unless_shared + (excluded ? infinity : T{0});
    out->correct[at] = !has_nan && first == label;
}

template <typename Stored, typename T = Computed<Stored>>
inline std::int64_t signals_of_records(const Logits& logits, const char* start, const Labels& labels,
                                       std::int64_t begin, std::int64_t end, std::int64_t to,
                                       const SignalsArrays& arrays) {
    using V = VectorOf<T>;
    const std::int64_t width = tile_width<T>(logits.classes);
    std::vector<T> tile(width * logits.classes);
    alignas(64) typename Of<T>::Signed label[64];
    alignas(64) T of_label[64];
    SignalsBlock<T> block;
    std::int64_t first_bad = -1;
    for (std::int64_t record = begin; record < end; record += width) {
        const std::int64_t count = std::min(width, end - record);
        const char* first = start + record * logits.record_stride;
        const std::int64_t bad = read_labels(labels, record, count, logits.classes, label);
        if (first_bad < 0) first_bad = bad;
        fill_tile<Stored>(logits, first, count, width, label, of_label, tile.data());
        V far = V{};
        for (std::int64_t i = 0; i < width; i += lanes<V>) {
            signals_of_vector(tile.data() + i, logits.classes, width, label, of_label, &block, i);
            far = max(abs(load<V>(block.largest + i)), far);
        }
        if (max_of_lanes(far) == std::numeric_limits<T>::infinity()) {
            for (std::int64_t i = 0; i < count; ++i) {
                if (std::isinf(block.largest[i])) {
                    signals_at_infinity<Stored>(logits, first + i * logits.record_stride, label[i], &block,
                                                i);
                }
            }
        }
        const T* columns[] = {
            block.phi, block.loss, block.confidence, block.entropy, block.modified_entropy, block.margin};
        for (int i = 0; i < 6; ++i) {
            std::memcpy(static_cast<T*>(arrays.floating[i]) + to + record, columns[i], count * sizeof(T));
        }
        for (std::int64_t i = 0; i < count; ++i) arrays.correct[to + record + i] = block.correct[i] != T{0};
    }
    return first_bad;
}

inline std::int64_t signals(const Logits& logits, const char* start, const Labels& labels, std::int64_t begin,
                            std::int64_t end, std::int64_t to, const SignalsArrays& arrays) {
    switch (logits.storage) {
        case Storage::float16:
            return signals_of_records<Float16>(logits, start, labels, begin, end, to, arrays);
        case Storage::bfloat16:
            return signals_of_records<Bfloat16>(logits, start, labels, begin, end, to, arrays);
        case Storage::float32:
            return signals_of_records<float>(logits, start, labels, begin, end, to, arrays);
        default:
            return signals_of_records<double>(logits, start, labels, begin, end, to, arrays);
    }
}

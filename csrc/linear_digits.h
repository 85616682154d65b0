// A first layer by AMX's products of 8-bit integers, which take half the time of bfloat16 ones. Every record
// and every unit is its largest magnitude times whole numbers below 2^23, and those are three signed digits
// of 8 bits; a record of small whole numbers (bits, grey values) is one digit, exactly. Of the nine products
// of three digits the smallest is left out, and where that costs nothing the next two are as well; the others
// are summed exactly, by order of magnitude.
// Ootomo, Ozaki and Yokota 2024, "DGEMM on Integer Matrix Multiplication Unit".
//
// Whole numbers hold what is small beside its row's largest less exactly than float32 does. What that costs a
// sum of n products of numbers that are not 0 is a random error, of which the square is on average
//     2^-48 / 3 (largest a^2 |b|^2 + largest b^2 |a|^2),
// of a record a of one digit only the second, and what the next two products left out cost is
//     2^-48 2/9 n largest a^2 largest b^2;
// what n roundings to float32 cost, where signs are mixed (else more), is
//     2^-48 / 12.5 n sum a_k^2 b_k^2.
// Digits are used, and products left out, where the first are no larger than the last: for every unit on the
// average of some records, and for every record beside a unit whose weights are of one size. Part of
// linear_amx.h; digit_products.h multiplies them.
#include "linear_tiles.h"

inline constexpr int digits = 3;                     // of a float32
inline constexpr float largest_whole = 127 * 65536;  // roundings do not bring a first digit to 128
inline constexpr float rounding_ratio = 12.5f / 3, product_ratio = 12.5f * 2 / 9;  // of the errors

inline std::int64_t digit_steps(std::int64_t width) { return (width + 63) / 64; }
// As many halves of 32 records are multiplied at once, the few digits of both or the many of one.
constexpr std::int64_t digit_halves(int parts) { return parts == 1 ? 2 : 1; }
// Words of 32 records or units: two halves, each step after step, digit after digit, a tile.
inline std::int64_t digit_words(std::int64_t width, int parts) {
    return digit_steps(width) * parts * step_words;
}

// Whether digits of a first layer are worth it, and sums of their products fit in 32 bits.
inline bool digits_pay(const ConfidenceJob& job) {
    const Logits &x = job.features, &weight = job.layers[0].weight;
    return x.lead_shape.empty() && weight.storage != Storage::bfloat16 && x.classes > 96 &&
           x.classes <= 32768 && amx_has_integers();
}

// Number times this is whole: 0 where all are 0, and as well where they do not fit.
inline float whole_scale(float largest) { return largest > 0 ? largest_whole / largest : 0.0f; }
inline bool whole_fits(float largest) { return largest == 0 || (largest > 0x1p-40f && largest < 0x1p40f); }

// Times this, and never more than 127, a number of no more than seven bits is whole.
inline float digit_scale(float largest) {
    if (largest == 0) return 0.0f;
    int exponent;
    std::frexp(largest, &exponent);
    return std::ldexp(1.0f, 7 - exponent);
}

// Digits of numbers that are already scaled, the largest first, in the lower bytes.
template <int parts>
inline void split_digits(F32 x, __m512i* each) {
    const __m512i half = _mm512_set1_epi32(128);
    each[parts - 1] = _mm512_cvtps_epi32((__m512)x);
    for (int part = parts - 1; part > 0; --part)
        each[part - 1] = _mm512_srai_epi32(_mm512_add_epi32(each[part], half), 8);
}

// Records as panels of digits, and what the first digit of each is worth; returns whether all may be digits.
template <int parts>
inline bool digit_records_of(const Logits& x, const char* first, std::int64_t count, Workspace& memory,
                             std::uint32_t* to, float* worth) {
    constexpr std::int64_t width = panel_width<float>;
    const std::int64_t steps = digit_steps(x.classes), half = steps * parts * tile_words;
    float* numbers = memory.take<float>(5, steps * 64 * width);
    std::fill(numbers + x.classes * width, numbers + steps * 64 * width, 0.0f);
    const __m512i byte = _mm512_set1_epi32(255);
    for (std::int64_t at = 0; at < count; at += width, first += width * x.record_stride) {
        const std::int64_t size = std::min(width, count - at);
        pack_panel(x, first, size, numbers);
        for (std::int64_t i = 0; i < tile_sides(size) * tile_side; i += lanes<F32>) {
            F32 largest{}, squares{}, rest{};
            for (std::int64_t k = 0; k < x.classes; ++k) {
                const F32 own = load<F32>(numbers + k * width + i);
                largest = max(abs(own), largest);
                squares += own * own;
            }
            alignas(64) float scale[lanes<F32>], sum[lanes<F32>];
            store<F32>(scale, largest);
            store<F32>(sum, squares);
            for (std::int64_t lane = 0; lane < lanes<F32>; ++lane) {
                const float own = scale[lane];
                if (!whole_fits(own)) return false;
                if (parts > 1 && !(sum[lane] >= 1.5f * (rounding_ratio + product_ratio) * own * own))
                    return false;
                scale[lane] = parts > 1 ? whole_scale(own) : digit_scale(own);
                worth[at + i + lane] = scale[lane] == 0 ? 0 : (parts > 1 ? 65536 : 1) / scale[lane];
            }
            const F32 by = load<F32>(scale);
            std::uint32_t* column = to + (at + i) / lanes<F32> * half;
            for (std::int64_t k = 0; k < steps * 64; k += 4, column += lanes<F32>) {
                if (k && k % 64 == 0) column += (parts - 1) * tile_words;
                __m512i each[4][parts];
                for (int next = 0; next < 4; ++next) {
                    const F32 whole = load<F32>(numbers + (k + next) * width + i) * by;
                    split_digits<parts>(whole, each[next]);
                    if (parts == 1) rest += abs(whole - (F32)_mm512_cvtepi32_ps(each[next][0]));
                }
                for (int part = 0; part < parts; ++part) {
                    const __m512i low =
                        _mm512_or_si512(_mm512_and_si512(each[0][part], byte),
                                        _mm512_slli_epi32(_mm512_and_si512(each[1][part], byte), 8));
                    const __m512i high =
                        _mm512_or_si512(_mm512_slli_epi32(_mm512_and_si512(each[2][part], byte), 16),
                                        _mm512_slli_epi32(each[3][part], 24));
                    _mm512_storeu_si512(column + part * tile_words, _mm512_or_si512(low, high));
                }
            }
            if (parts == 1 && max_of_lanes(rest) != 0.0f) return false;
        }
    }
    return true;
}

inline bool digit_records(const Logits& x, const char* first, std::int64_t count, int parts,
                          Workspace& memory, std::uint32_t* to, float* worth) {
    return parts == 1 ? digit_records_of<1>(x, first, count, memory, to, worth)
                      : digit_records_of<digits>(x, first, count, memory, to, worth);
}

// Columns of some of the records; squares are padded with 0 to whole steps.
inline Columns columns_of(const Logits& x, std::int64_t begin, std::int64_t end, float* squares) {
    const std::int64_t count = std::min<std::int64_t>(256, end - begin);
    std::vector<float> row(x.classes);
    float terms = 0;
    std::fill(squares, squares + digit_steps(x.classes) * 64, 0.0f);
    for (std::int64_t i = 0; i < count; ++i) {
        Logits one = x;
        one.records = 1;
        pack_weights(one, x.data + (begin + (end - begin) * i / count) * x.record_stride, {0, 1, 1},
                     row.data());
        float largest = 0;
        for (const float each : row) largest = std::max(largest, std::abs(each));
        const float scale = largest > 0 ? 1 / largest : 0;
        for (std::int64_t k = 0; k < x.classes; ++k) {
            squares[k] += row[k] * scale * (row[k] * scale) / count;
            terms += row[k] != 0;
        }
    }
    float total = 0;
    for (std::int64_t k = 0; k < x.classes; ++k) total += squares[k];
    return {squares, total, terms / count};
}

// What the criterion above compares, of one unit, over 2^-48 / 12.5 largest a^2.
struct UnitErrors {
    F32 largest{}, own{}, product{};

    void see(F32 weight, F32 square) {
        largest = max(abs(weight), largest);
        own += weight * weight;
        product += weight * weight * square;
    }
    // Whether so many digits of records, and all products of them or not the fourth order's, lose nothing.
    bool fits(const Columns& columns, int parts, bool all) const {
        const float most = max_of_lanes(largest), allowed = columns.terms * sum_of_lanes(product);
        float lost = rounding_ratio * most * most * columns.total;
        if (parts > 1) lost += rounding_ratio * sum_of_lanes(own);
        if (parts > 1 && !all) lost += product_ratio * columns.terms * most * most;
        return whole_fits(most) && allowed >= lost;
    }
};

template <typename Stored>
inline bool units_may_be_digits_in(const Logits& weight, const char* from, std::int64_t units, int parts,
                                   const Columns& columns, float* row) {
    for (std::int64_t unit = 0; unit < units; ++unit, from += weight.record_stride) {
        copy_row<Stored>(from, weight.class_stride, weight.classes, row);
        UnitErrors errors;
        for (std::int64_t k = 0; k < weight.classes; k += lanes<F32>)
            errors.see(load<F32>(row + k), load<F32>(columns.squares + k));
        if (!errors.fits(columns, parts, true)) return false;
    }
    return true;
}

// Whether these units of a first layer may be digits beside records of so many.
inline bool units_may_be_digits(const Logits& weight, std::int64_t model, std::int64_t first,
                                std::int64_t units, int parts, const Columns& columns, Workspace& memory) {
    float* row = memory.take<float>(11, digit_steps(weight.classes) * 64);
    std::fill(row + weight.classes, row + digit_steps(weight.classes) * 64, 0.0f);
    const char* from = weight.model_start(model) + first * weight.record_stride;
    if (weight.storage == Storage::float32)
        return units_may_be_digits_in<float>(weight, from, units, parts, columns, row);
    return units_may_be_digits_in<Float16>(weight, from, units, parts, columns, row);
}

template <typename Stored>
inline void digit_weights(const Logits& weight, const char* from, std::int64_t units, const Columns& columns,
                          float* row, std::uint32_t* words, float* worth, bool* uneven) {
    const std::int64_t steps = digit_steps(weight.classes), half = steps * digits * tile_words;
    std::fill(row + weight.classes, row + steps * 64, 0.0f);
    for (std::int64_t unit = 0; unit < tile_sides(units) * tile_side; ++unit) {
        if (unit < units)
            copy_row<Stored>(from + unit * weight.record_stride, weight.class_stride, weight.classes, row);
        else if (unit == units)
            std::fill(row, row + weight.classes, 0.0f);
        UnitErrors errors;
        for (std::int64_t k = 0; k < steps * 64; k += lanes<F32>)
            errors.see(load<F32>(row + k), load<F32>(columns.squares + k));
        const float largest = max_of_lanes(errors.largest), scale = whole_scale(largest);
        worth[unit] = largest / 127;
        uneven[unit / 16] = (unit % 16 && uneven[unit / 16]) || !errors.fits(columns, digits, false);
        std::uint32_t* to = words + unit / 16 * half + unit % 16 * 16;
        for (std::int64_t k = 0; k < steps * 64; k += lanes<F32>) {
            __m512i each[digits];
            split_digits<digits>(load<F32>(row + k) * scale, each);
            std::uint32_t* place = to + k / 64 * digits * tile_words + k % 64 / 4;
            for (int digit = 0; digit < digits; ++digit)
                _mm_storeu_si128(reinterpret_cast<__m128i*>(place + digit * tile_words),
                                 _mm512_cvtepi32_epi8(each[digit]));
        }
    }
}

// Whether all outputs of a block, of records whose first digits are worth no more than this, are below 2^31.
inline bool digits_fit(const TileBlock& block, std::int64_t width, float record_worth) {
    const float largest = 127 * 127 * static_cast<float>(width) * record_worth;
    for (std::int64_t unit = 0; unit < block.units; ++unit)
        if (!(largest * block.worth[unit] + std::abs(block.biases[unit]) < 0x1p31f)) return false;
    return true;
}

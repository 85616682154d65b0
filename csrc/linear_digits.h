// A first layer by AMX's products of 8-bit integers, which take half the time of bfloat16 ones. Every record
// and every unit is its largest magnitude times whole numbers below 2^23, and those are three signed digits
// of 8 bits. Of the nine products of digits the smallest is left out; the others are summed exactly, by order
// of magnitude. Ootomo, Ozaki and Yokota 2024, "DGEMM on Integer Matrix Multiplication Unit".
//
// Whole numbers hold what is small beside its row's largest less exactly than float32 does. What that costs a
// sum of n products is a random error, of which the square is on average
//     2^-48 / 3 (largest a^2 |b|^2 + largest b^2 |a|^2),
// and what n roundings to float32 cost, where signs are mixed (else more), is
//     2^-48 / 12.5 n sum a_k^2 b_k^2.
// Digits are used where the first is no larger than the second: for every unit on the average of some
// records, and for every record beside a unit whose weights are of one size. Part of linear_tiles.h.

inline constexpr int digits = 3;
inline constexpr float largest_whole = 127 * 65536;  // roundings do not bring a first digit to 128
inline constexpr float error_ratio = 12.5f / 3;      // of the two

inline std::int64_t digit_steps(std::int64_t width) { return (width + 63) / 64; }
// Words of 32 records or units: two halves, each step after step, digit after digit, a tile.
inline std::int64_t digit_words(std::int64_t width) { return digit_steps(width) * digits * step_words; }

// Whether digits of a first layer are worth it, and sums of their products fit in 32 bits.
inline bool digits_pay(const ConfidenceJob& job) {
    const Logits &x = job.features, &weight = job.layers[0].weight;
    return x.lead_shape.empty() && weight.storage != Storage::bfloat16 && x.classes > 96 &&
           x.classes <= 32768 && amx_has_integers();
}

// Number times this is whole: 0 where all are 0, and as well where they do not fit.
inline float whole_scale(float largest) { return largest > 0 ? largest_whole / largest : 0.0f; }
inline bool whole_fits(float largest) { return largest == 0 || (largest > 0x1p-40f && largest < 0x1p40f); }

// Digits of numbers that are already scaled, the largest first, in the lower bytes.
inline void split_digits(F32 x, __m512i* each) {
    const __m512i half = _mm512_set1_epi32(128);
    each[2] = _mm512_cvtps_epi32((__m512)x);
    each[1] = _mm512_srai_epi32(_mm512_add_epi32(each[2], half), 8);
    each[0] = _mm512_srai_epi32(_mm512_add_epi32(each[1], half), 8);
}

// Records as panels of digits, and what one of each is worth; returns whether all may be digits.
inline bool digit_records(const Logits& x, const char* first, std::int64_t count, Workspace& memory,
                          std::uint32_t* to, float* worth) {
    constexpr std::int64_t width = panel_width<float>;
    const std::int64_t steps = digit_steps(x.classes), half = steps * digits * tile_words;
    float* numbers = memory.take<float>(5, steps * 64 * width);
    std::fill(numbers + x.classes * width, numbers + steps * 64 * width, 0.0f);
    const __m512i byte = _mm512_set1_epi32(255);
    for (std::int64_t at = 0; at < count; at += width, first += width * x.record_stride) {
        const std::int64_t size = std::min(width, count - at);
        pack_panel(x, first, size, numbers);
        for (std::int64_t i = 0; i < tile_sides(size) * tile_side; i += lanes<F32>) {
            F32 largest{}, squares{};
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
                if (!whole_fits(own) || !(sum[lane] >= 1.5f * error_ratio * own * own)) return false;
                worth[at + i + lane] = own / largest_whole;
                scale[lane] = whole_scale(own);
            }
            const F32 by = load<F32>(scale);
            std::uint32_t* column = to + (at + i) / lanes<F32> * half;
            for (std::int64_t k = 0; k < steps * 64; k += 4, column += lanes<F32>) {
                if (k && k % 64 == 0) column += (digits - 1) * tile_words;
                __m512i each[4][digits];
                for (int next = 0; next < 4; ++next)
                    split_digits(load<F32>(numbers + (k + next) * width + i) * by, each[next]);
                for (int digit = 0; digit < digits; ++digit) {
                    const __m512i low =
                        _mm512_or_si512(_mm512_and_si512(each[0][digit], byte),
                                        _mm512_slli_epi32(_mm512_and_si512(each[1][digit], byte), 8));
                    const __m512i high =
                        _mm512_or_si512(_mm512_slli_epi32(_mm512_and_si512(each[2][digit], byte), 16),
                                        _mm512_slli_epi32(each[3][digit], 24));
                    _mm512_storeu_si512(column + digit * tile_words, _mm512_or_si512(low, high));
                }
            }
        }
    }
    return true;
}

// The mean square of every column over some records, each divided by its largest magnitude.
inline void column_squares(const Logits& x, std::int64_t begin, std::int64_t end, float* squares) {
    const std::int64_t count = std::min<std::int64_t>(256, end - begin);
    std::vector<float> row(x.classes);
    std::fill(squares, squares + x.classes, 0.0f);
    for (std::int64_t i = 0; i < count; ++i) {
        Logits one = x;
        one.records = 1;
        pack_weights(one, x.data + (begin + (end - begin) * i / count) * x.record_stride, {0, 1, 1},
                     row.data());
        float largest = 0;
        for (const float each : row) largest = std::max(largest, std::abs(each));
        const float scale = largest > 0 ? 1 / largest : 0;
        for (std::int64_t k = 0; k < x.classes; ++k) squares[k] += row[k] * scale * (row[k] * scale) / count;
    }
}

template <typename Stored>
inline bool units_may_be_digits_in(const Logits& weight, const char* from, std::int64_t units,
                                   const float* squares, float* row) {
    const std::int64_t width = weight.classes;
    F32 total{};
    for (std::int64_t k = 0; k < width; k += lanes<F32>) total += load<F32>(squares + k);
    for (std::int64_t unit = 0; unit < units; ++unit, from += weight.record_stride) {
        copy_row<Stored>(from, weight.class_stride, width, row);
        F32 largest{}, own{}, product{};
        for (std::int64_t k = 0; k < width; k += lanes<F32>) {
            const F32 x = load<F32>(row + k);
            largest = max(abs(x), largest);
            own += x * x;
            product += x * x * load<F32>(squares + k);
        }
        const float most = max_of_lanes(largest);
        if (!whole_fits(most) || !(width * sum_of_lanes(product) >=
                                   error_ratio * (sum_of_lanes(own) + most * most * sum_of_lanes(total))))
            return false;
    }
    return true;
}

// Whether these units of a first layer may be digits; squares are padded with 0 to whole vectors.
inline bool units_may_be_digits(const Logits& weight, std::int64_t model, std::int64_t first,
                                std::int64_t units, const float* squares, Workspace& memory) {
    float* row = memory.take<float>(11, digit_steps(weight.classes) * 64);
    std::fill(row + weight.classes, row + digit_steps(weight.classes) * 64, 0.0f);
    const char* from = weight.model_start(model) + first * weight.record_stride;
    if (weight.storage == Storage::float32)
        return units_may_be_digits_in<float>(weight, from, units, squares, row);
    return units_may_be_digits_in<Float16>(weight, from, units, squares, row);
}

template <typename Stored>
inline void digit_weights(const Logits& weight, const char* from, std::int64_t units, float* row,
                          std::uint32_t* words, float* worth) {
    const std::int64_t steps = digit_steps(weight.classes), half = steps * digits * tile_words;
    std::fill(row + weight.classes, row + steps * 64, 0.0f);
    for (std::int64_t unit = 0; unit < tile_sides(units) * tile_side; ++unit) {
        if (unit < units)
            copy_row<Stored>(from + unit * weight.record_stride, weight.class_stride, weight.classes, row);
        else if (unit == units)
            std::fill(row, row + weight.classes, 0.0f);
        F32 magnitude{};
        for (std::int64_t k = 0; k < steps * 64; k += lanes<F32>)
            magnitude = max(abs(load<F32>(row + k)), magnitude);
        const float largest = max_of_lanes(magnitude), scale = whole_scale(largest);
        worth[unit] = largest / largest_whole;
        std::uint32_t* to = words + unit / 16 * half + unit % 16 * 16;
        for (std::int64_t k = 0; k < steps * 64; k += lanes<F32>) {
            __m512i each[digits];
            split_digits(load<F32>(row + k) * scale, each);
            std::uint32_t* place = to + k / 64 * digits * tile_words + k % 64 / 4;
            for (int digit = 0; digit < digits; ++digit)
                _mm_storeu_si128(reinterpret_cast<__m128i*>(place + digit * tile_words),
                                 _mm512_cvtepi32_epi8(each[digit]));
        }
    }
}

// Sums of products of 16 units' digits and 16 records' that wait to become floats.
struct DigitSums {
    alignas(64) std::int32_t orders[4][16][16];  // of magnitude, the largest first
    const float *biases, *unit_worth, *record_worth;
    float* to;  // rows of 32 records

    void finish(std::int64_t begin, std::int64_t end) const {
        const F32 worth = load<F32>(record_worth) * 0x1p32f;
        for (std::int64_t row = begin; row < end; ++row) {
            F32 sum{};
            for (int order = 3; order >= 0; --order)
                sum = sum * 0x1p-8f + (F32)_mm512_cvtepi32_ps(_mm512_load_si512(orders[order][row]));
            store<F32>(to + row * tile_side,
                       sum * (worth * unit_worth[row]) + load<F32>(biases + row * lanes<F32>));
        }
    }
};

// The products of 16 units and 16 records. Meanwhile the sums before become floats, and so many cache lines
// a step are fetched from `ahead` on.
MIAFAST_AMX_CODE inline void multiply_digits(const std::uint32_t* left, const std::uint32_t* right,
                                             std::int64_t steps, DigitSums& sums, const DigitSums* before,
                                             const std::uint32_t* ahead, std::int64_t lines) {
    const std::int64_t rows = (16 + steps - 1) / steps;
    asm volatile("" ::: "memory");  // tile loads do not tell the compiler that they read memory
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (std::int64_t step = 0; step < steps; ++step) {
        _tile_loadd(4, left, 64);
        _tile_loadd(7, right, 64);
        _tile_dpbssd(0, 4, 7);
        _tile_loadd(5, left + tile_words, 64);
        _tile_dpbssd(1, 5, 7);
        _tile_loadd(6, left + 2 * tile_words, 64);
        _tile_dpbssd(2, 6, 7);
        _tile_loadd(7, right + tile_words, 64);
        _tile_dpbssd(3, 6, 7);
        _tile_dpbssd(2, 5, 7);
        _tile_dpbssd(1, 4, 7);
        _tile_loadd(7, right + 2 * tile_words, 64);
        _tile_dpbssd(2, 4, 7);
        _tile_dpbssd(3, 5, 7);
        left += digits * tile_words;
        right += digits * tile_words;
        if (before)
            before->finish(std::min<std::int64_t>(16, step * rows),
                           std::min<std::int64_t>(16, (step + 1) * rows));
        for (std::int64_t line = 0; line < lines; ++line, ahead += 16) MIAFAST_PREFETCH(ahead);
    }
    _tile_stored(0, sums.orders[0], 64);
    _tile_stored(1, sums.orders[1], 64);
    _tile_stored(2, sums.orders[2], 64);
    _tile_stored(3, sums.orders[3], 64);
    asm volatile("" ::: "memory");
}

// sums [units][32 records] = bias + a block's weights times a panel's records, 16 units after the other. One
// half of the records after the other stays in the first-level cache while all units pass.
inline void multiply_digit_block(const TileBlock& block, std::int64_t units, const std::uint32_t* right,
                                 const float* record_worth, std::int64_t steps, float* sums,
                                 const std::uint32_t* ahead, std::int64_t lines) {
    const std::int64_t half = steps * digits * tile_words;
    DigitSums pair[2], *now = pair, *before = nullptr;
    for (std::int64_t across = 0; across < tile_side; across += 16)
        for (std::int64_t unit = 0; unit < units; unit += 16) {
            now->biases = block.biases + unit * lanes<F32>;
            now->unit_worth = block.worth + unit;
            now->record_worth = record_worth + across;
            now->to = sums + unit * tile_side + across;
            multiply_digits(block.words + unit / 16 * half, right + across / 16 * half, steps, *now, before,
                            ahead, lines);
            ahead += steps * lines * 16;
            before = now;
            now = pair + (now == pair);
        }
    before->finish(0, 16);
}

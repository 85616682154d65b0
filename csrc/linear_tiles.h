// Matrix products by AMX, or of bfloat16 weights by AVX-512, of bfloat16 numbers with float32 sums. A float32
// number is the exact sum of three bfloat16 ones, each at most 2^-8 of the one before. Of the nine products
// of two such sums the three smallest are below a float32 rounding and left out; of inputs that bfloat16
// holds exactly (bits, small whole numbers, bfloat16 itself) only three are needed and none is left out.
//
// Both take numbers below 2^-126 for 0. All numbers multiplied here are below 2^32, so that costs a product
// 2^-94 at most; where any is larger, infinite or NaN, the vectors of linear_product.h do the work.
//
// 32 records or units are two tiles, and 32 inner indices are a step: of a panel or group, step after step,
// part after part, both tiles. Part of linear_amx.h.

inline constexpr std::int64_t tile_side = 32, tile_words = 256, step_words = 2 * tile_words;
inline constexpr int float_parts = 3;  // of a float32
inline constexpr std::int64_t cached_words = std::int64_t{1}
                                             << 18;  // of weights that stay in the second-level cache

inline std::int64_t tile_sides(std::int64_t size) { return (size + tile_side - 1) / tile_side; }
// Words of 32 records or units.
inline std::int64_t side_words(std::int64_t width, int parts) {
    return tile_sides(width) * parts * step_words;
}
inline int parts_of(const Logits& weight) { return weight.storage == Storage::bfloat16 ? 1 : float_parts; }

// The largest magnitude so far, as bits: NaN is larger than infinity.
struct Magnitude {
    U32 bits = U32{};

    void see(F32 x) {
        const U32 own = bits_as<U32>(x) & 0x7fffffffu;
        bits = own > bits ? own : bits;
    }
    bool fits() const {
        std::uint32_t all[lanes<F32>], largest = 0;
        std::memcpy(all, &bits, sizeof(bits));
        for (const std::uint32_t each : all) largest = std::max(largest, each);
        return largest < 0x4f800000u;  // 2^32
    }
};

// The nearest bfloat16 number in the upper half of each lane, what is left of it, and so on; returns the
// rest.
template <int parts>
MIAFAST_INLINE F32 split(F32 x, U32* each) {
    for (int part = 0; part < parts; ++part) {
        each[part] = (bits_as<U32>(x) + (part + 1 < parts ? 0x8000u : 0)) & 0xffff0000u;
        x -= bits_as<F32>(each[part]);
    }
    return x;
}

// Two inner indices' numbers of 16 records as words of tiles; returns what is left of them.
template <int parts>
MIAFAST_INLINE F32 split_pair(F32 low, F32 high, std::uint32_t* to) {
    U32 lows[parts], highs[parts];
    const F32 rest = abs(split<parts>(low, lows)) + abs(split<parts>(high, highs));
    for (int part = 0; part < parts; ++part) {
        const U32 pair = (lows[part] >> 16) | highs[part];
        std::memcpy(to + part * step_words, &pair, sizeof(pair));
    }
    return rest;
}

// Records as panels of tiles; returns whether their numbers fit and are the sums of so many parts.
template <int parts>
inline bool split_records_in(const Logits& x, const char* first, std::int64_t count, Workspace& memory,
                             std::uint32_t* to) {
    constexpr std::int64_t width = panel_width<float>;
    const std::int64_t steps = tile_sides(x.classes), words = side_words(x.classes, parts);
    float* numbers = memory.take<float>(5, steps * tile_side * width);
    std::fill(numbers + x.classes * width, numbers + steps * tile_side * width, 0.0f);
    for (std::int64_t at = 0; at < count; at += width, first += width * x.record_stride) {
        const std::int64_t size = std::min(width, count - at);
        pack_panel(x, first, size, numbers);
        Magnitude magnitude;
        F32 rest{};
        for (std::int64_t i = 0; i < tile_sides(size) * tile_side; i += lanes<F32>) {
            std::uint32_t* column = to + (at + i) / tile_side * words + i % tile_side * lanes<F32>;
            for (std::int64_t k = 0; k < steps * tile_side; k += 2) {
                const F32 low = load<F32>(numbers + k * width + i),
                          high = load<F32>(numbers + (k + 1) * width + i);
                magnitude.see(low);
                magnitude.see(high);
                rest += split_pair<parts>(
                    low, high, column + k / tile_side * parts * step_words + k % tile_side / 2 * lanes<F32>);
            }
        }
        if (!magnitude.fits() || max_of_lanes(rest) != 0.0f) return false;
    }
    return true;
}

inline bool split_records(const Logits& x, const char* first, std::int64_t count, int parts,
                          Workspace& memory, std::uint32_t* to) {
    return parts == 1 ? split_records_in<1>(x, first, count, memory, to)
                      : split_records_in<float_parts>(x, first, count, memory, to);
}

// Some of a layer's units of one model as groups of tiles, and their biases, each repeated along a tile's
// row.
struct TileBlock {
    std::int64_t first, units;
    const std::uint32_t* words;
    const float *biases, *worth;  // worth: of first digits
    const bool* uneven;           // of 16 units each: no product of digits may be left out
};

template <typename Stored>
inline bool split_weights(const Logits& weight, const char* from, std::int64_t units, float* row,
                          std::uint32_t* words) {
    constexpr int parts = std::is_same_v<Stored, Bfloat16> ? 1 : float_parts;
    const auto upper = (__m512i)(lane_index<F32>() * 0x00040004 + 0x00030001);  // halves 1, 3, 5, ...
    const std::int64_t steps = tile_sides(weight.classes);
    Magnitude magnitude;
    std::fill(row + weight.classes, row + steps * tile_side, 0.0f);
    for (std::int64_t unit = 0; unit < tile_sides(units) * tile_side; ++unit) {
        if (unit < units)
            copy_row<Stored>(from + unit * weight.record_stride, weight.class_stride, weight.classes, row);
        else if (unit == units)
            std::fill(row, row + weight.classes, 0.0f);
        std::uint32_t* to =
            words + unit / tile_side * side_words(weight.classes, parts) + unit % tile_side * 16;
        for (std::int64_t step = 0; step < steps; ++step, to += parts * step_words) {
            const F32 low = load<F32>(row + step * tile_side), high = load<F32>(row + step * tile_side + 16);
            magnitude.see(low);
            magnitude.see(high);
            U32 lows[parts], highs[parts];
            split<parts>(low, lows);
            split<parts>(high, highs);
            for (int part = 0; part < parts; ++part)
                _mm512_storeu_si512(
                    to + part * step_words,
                    _mm512_permutex2var_epi16((__m512i)lows[part], upper, (__m512i)highs[part]));
        }
    }
    return magnitude.fits();
}

// What is fetched into the cache meanwhile: so many lines a step, from a place on.
struct Ahead {
    const std::uint32_t* place;
    std::int64_t lines;

    MIAFAST_INLINE void fetch() {
        for (std::int64_t line = 0; line < lines; ++line, place += 16) MIAFAST_PREFETCH(place);
    }
    void skip(std::int64_t steps) { place += steps * lines * 16; }
};

// One part of a step's weights times one of its records'; RIGHT and LEFT load what has changed since the
// last.
#define MIAFAST_LOAD_LEFT(part)                                                      \
    do {                                                                             \
        _tile_stream_loadd(4, left + (part) * step_words, 64);                       \
        if (two) _tile_stream_loadd(5, left + (part) * step_words + tile_words, 64); \
    } while (0)
#define MIAFAST_LOAD_RIGHT(part)                                      \
    do {                                                              \
        _tile_loadd(6, right + (part) * step_words, 64);              \
        _tile_loadd(7, right + (part) * step_words + tile_words, 64); \
    } while (0)
#define MIAFAST_MULTIPLY()                \
    do {                                  \
        _tile_dpbf16ps(0, 4, 6);          \
        _tile_dpbf16ps(1, 4, 7);          \
        if (two) _tile_dpbf16ps(2, 5, 6); \
        if (two) _tile_dpbf16ps(3, 5, 7); \
    } while (0)

// sums [32 units, or 16][32 records] = bias + a group's weights times a panel's records.
template <int weight_parts, int record_parts, bool two>
MIAFAST_AMX_CODE inline void multiply_tile_group(const std::uint32_t* left, const std::uint32_t* right,
                                                 std::int64_t steps, const float* biases, float* sums,
                                                 Ahead ahead) {
    constexpr std::int64_t length = tile_side * sizeof(float);
    asm volatile("" ::: "memory");  // tile loads do not tell the compiler that they read memory
    _tile_loadd(0, biases, 64);
    _tile_loadd(1, biases, 64);
    if (two) {
        _tile_loadd(2, biases + tile_words, 64);
        _tile_loadd(3, biases + tile_words, 64);
    }
    for (std::int64_t step = 0; step < steps; ++step) {
        if (weight_parts == 3 && record_parts == 3) {
            MIAFAST_LOAD_LEFT(2);
            MIAFAST_LOAD_RIGHT(0);
            MIAFAST_MULTIPLY();
            MIAFAST_LOAD_LEFT(1);
            MIAFAST_MULTIPLY();
            MIAFAST_LOAD_RIGHT(1);
            MIAFAST_MULTIPLY();
            MIAFAST_LOAD_LEFT(0);
            MIAFAST_MULTIPLY();
            MIAFAST_LOAD_RIGHT(2);
            MIAFAST_MULTIPLY();
            MIAFAST_LOAD_RIGHT(0);
            MIAFAST_MULTIPLY();
        } else if (weight_parts == 3) {
            MIAFAST_LOAD_RIGHT(0);
            for (int part = 2; part >= 0; --part) {
                MIAFAST_LOAD_LEFT(part);
                MIAFAST_MULTIPLY();
            }
        } else {
            MIAFAST_LOAD_LEFT(0);
            for (int part = record_parts - 1; part >= 0; --part) {
                MIAFAST_LOAD_RIGHT(part);
                MIAFAST_MULTIPLY();
            }
        }
        left += weight_parts * step_words;
        right += record_parts * step_words;
        ahead.fetch();
    }
    _tile_stored(0, sums, length);
    _tile_stored(1, sums + 16, length);
    if (two) {
        _tile_stored(2, sums + 16 * tile_side, length);
        _tile_stored(3, sums + 16 * tile_side + 16, length);
    }
    asm volatile("" ::: "memory");
}
#undef MIAFAST_LOAD_LEFT
#undef MIAFAST_LOAD_RIGHT
#undef MIAFAST_MULTIPLY

// The same of bfloat16 weights without AMX.
template <int record_parts, bool two>
MIAFAST_PAIRS_CODE inline void multiply_pair_group(const std::uint32_t* left, const std::uint32_t* right,
                                                   std::int64_t steps, const float* biases, float* sums,
                                                   Ahead ahead) {
    for (std::int64_t unit = 0; unit < (two ? 32 : 16); unit += 8) {
        PairOperand weights{left + unit * 16, 16}, records{right, 16};
        PairSums<2> block;
        for (int row = 0; row < 8; ++row)
            block.sums[row][0] = block.sums[row][1] = _mm512_loadu_ps(biases + (unit + row) * 16);
        for (std::int64_t step = 0; step < steps; ++step) {
            for (int part = record_parts - 1; part >= 0; --part)
                block.add(weights, {records.words + part * step_words, 16}, tile_words, 16);
            weights.words += step_words;
            records.words += record_parts * step_words;
            if (unit == 0) ahead.fetch();
        }
        block.store(sums + unit * tile_side, tile_side);
    }
}

using MultiplyTileGroup = void (*)(const std::uint32_t*, const std::uint32_t*, std::int64_t, const float*,
                                   float*, Ahead);

template <bool two>
inline MultiplyTileGroup multiplier(int weight_parts, int record_parts) {
    if (isa_in_use() == Isa::bfloat16)
        return record_parts == 1 ? multiply_pair_group<1, two> : multiply_pair_group<3, two>;
    if (weight_parts == 1)
        return record_parts == 1 ? multiply_tile_group<1, 1, two> : multiply_tile_group<1, 3, two>;
    return record_parts == 1 ? multiply_tile_group<3, 1, two> : multiply_tile_group<3, 3, two>;
}

// Products of the digits of linear_digits.h by AMX, summed by their order of magnitude, and what becomes of
// the sums. Part of linear_amx.h.
#include "linear_digits.h"

// Where the products of 16 units and 16 records, or twice 16, are summed by their order of magnitude: in six
// tiles of one digit and twice 16 records, in four where no product is left out, or in the first or second
// three.
enum class Tiles { six, four, low, high };

// Such sums while they wait to become floats; in tiles until they are stored.
struct DigitSums {
    // The largest first: three of the one half and three of the other, or four.
    std::int32_t (*orders)[16][16];
    const float *biases, *unit_worth, *record_worth;
    std::int64_t unit, record;  // the first ones
    Tiles tiles;

    MIAFAST_INLINE F32 at(std::int64_t half, std::int64_t row) const {
        const auto order = [&](std::int64_t i) {
            return (F32)_mm512_cvtepi32_ps(_mm512_load_si512(orders[i][row]));
        };
        F32 sum = order(digits * half + 2);
        if (tiles == Tiles::four) sum += order(3) * 0x1p-8f;
        sum = (sum * 0x1p-8f + order(digits * half + 1)) * 0x1p-8f + order(digits * half);
        return sum * (load<F32>(record_worth + 16 * half) * unit_worth[row]) + biases[row];
    }
    MIAFAST_AMX_CODE void store() const {
        if (tiles != Tiles::high) {
            _tile_stored(0, orders[0], 64);
            _tile_stored(1, orders[1], 64);
            _tile_stored(2, orders[2], 64);
        }
        if (tiles == Tiles::six || tiles == Tiles::four) _tile_stored(3, orders[3], 64);
        if (tiles == Tiles::six) {
            _tile_stored(4, orders[4], 64);
            _tile_stored(5, orders[5], 64);
        }
        if (tiles == Tiles::high) {
            _tile_stored(3, orders[0], 64);
            _tile_stored(4, orders[1], 64);
            _tile_stored(5, orders[2], 64);
        }
        asm volatile("" ::: "memory");
    }
};

// A step's products of one digit of 32 records, of three of 16 in four orders, and of those in three.
#define MIAFAST_MULTIPLY_SIX()                            \
    do {                                                  \
        _tile_stream_loadd(7, left, 64);                  \
        _tile_loadd(6, right, 64);                        \
        _tile_dpbssd(0, 7, 6);                            \
        _tile_loadd(6, second, 64);                       \
        _tile_dpbssd(3, 7, 6);                            \
        _tile_stream_loadd(7, left + tile_words, 64);     \
        _tile_dpbssd(4, 7, 6);                            \
        _tile_loadd(6, right, 64);                        \
        _tile_dpbssd(1, 7, 6);                            \
        _tile_stream_loadd(7, left + 2 * tile_words, 64); \
        _tile_dpbssd(2, 7, 6);                            \
        _tile_loadd(6, second, 64);                       \
        _tile_dpbssd(5, 7, 6);                            \
        second += tile_words;                             \
    } while (0)
#define MIAFAST_MULTIPLY_FOUR()                           \
    do {                                                  \
        _tile_stream_loadd(6, left + 2 * tile_words, 64); \
        _tile_loadd(7, right, 64);                        \
        _tile_dpbssd(2, 6, 7);                            \
        _tile_stream_loadd(5, left + tile_words, 64);     \
        _tile_dpbssd(1, 5, 7);                            \
        _tile_stream_loadd(4, left, 64);                  \
        _tile_dpbssd(0, 4, 7);                            \
        _tile_loadd(7, right + tile_words, 64);           \
        _tile_dpbssd(2, 5, 7);                            \
        _tile_dpbssd(1, 4, 7);                            \
        _tile_dpbssd(3, 6, 7);                            \
        _tile_loadd(7, right + 2 * tile_words, 64);       \
        _tile_dpbssd(2, 4, 7);                            \
        _tile_dpbssd(3, 5, 7);                            \
    } while (0)
#define MIAFAST_MULTIPLY_THREE(first, middle, last)       \
    do {                                                  \
        _tile_stream_loadd(6, left + 2 * tile_words, 64); \
        _tile_loadd(7, right, 64);                        \
        _tile_dpbssd(last, 6, 7);                         \
        _tile_stream_loadd(6, left + tile_words, 64);     \
        _tile_dpbssd(middle, 6, 7);                       \
        _tile_loadd(7, right + tile_words, 64);           \
        _tile_dpbssd(last, 6, 7);                         \
        _tile_stream_loadd(6, left, 64);                  \
        _tile_dpbssd(middle, 6, 7);                       \
        _tile_loadd(7, right + 2 * tile_words, 64);       \
        _tile_dpbssd(last, 6, 7);                         \
        _tile_loadd(7, right, 64);                        \
        _tile_dpbssd(first, 6, 7);                        \
    } while (0)

// The products of 16 units and so many halves of 16 records. Meanwhile the sums before are stored, which in
// other tiles waits for none of these products, and finished, some units' a step.
template <Tiles tiles, typename Finish>
MIAFAST_AMX_CODE inline void multiply_digits(const std::uint32_t* left, const std::uint32_t* right,
                                             std::int64_t steps, const DigitSums* before,
                                             const Finish& finish, Ahead ahead) {
    constexpr int parts = tiles == Tiles::six ? 1 : digits;
    [[maybe_unused]] const std::uint32_t* second = right + steps * parts * tile_words;
    const std::int64_t all = 8 * digit_halves(parts), some = (all + steps - 1) / steps;
    std::int64_t pair = 0;
    asm volatile("" ::: "memory");  // tile loads do not tell the compiler that they read memory
    const bool overlap =
        tiles == Tiles::six || tiles == Tiles::four || (before && before->tiles == Tiles::four);
    if (before && overlap) before->store();
    if (tiles != Tiles::high) {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
    }
    if (tiles != Tiles::low) {
        _tile_zero(3);
        _tile_zero(4);
        _tile_zero(5);
    }
    for (std::int64_t step = 0; step < steps; ++step) {
        if (tiles == Tiles::six) MIAFAST_MULTIPLY_SIX();
        if (tiles == Tiles::four) MIAFAST_MULTIPLY_FOUR();
        if (tiles == Tiles::low) MIAFAST_MULTIPLY_THREE(0, 1, 2);
        if (tiles == Tiles::high) MIAFAST_MULTIPLY_THREE(3, 4, 5);
        left += digits * tile_words;
        right += parts * tile_words;
        if (before && !overlap && step == 0) before->store();
        if (before)
            for (const std::int64_t stop = std::min(all, pair + some); pair < stop; ++pair)
                finish(*before, pair);
        ahead.fetch();
    }
    asm volatile("" ::: "memory");
}
#undef MIAFAST_MULTIPLY_SIX
#undef MIAFAST_MULTIPLY_FOUR
#undef MIAFAST_MULTIPLY_THREE

// A block's weights times a panel's records, 16 units after the other; what becomes of the sums is
// `finish`'s. As many halves of the records as stay in the first-level cache are multiplied while all units
// pass.
template <int parts, typename Finish>
MIAFAST_AMX_CODE inline void multiply_digit_block(const TileBlock& block, std::int64_t units,
                                                  const std::uint32_t* right, const float* record_worth,
                                                  std::int64_t steps, const Finish& finish, Ahead ahead) {
    constexpr std::int64_t together = 16 * digit_halves(parts);
    alignas(64) std::int32_t orders[2 * digits][16][16];
    DigitSums pair[2], *now = pair, *before = nullptr;
    for (std::int64_t record = 0; record < tile_side; record += together)
        for (std::int64_t unit = 0; unit < units; unit += 16) {
            const auto multiply = [&](auto in) {
                now->tiles = in;
                multiply_digits<in>(block.words + unit * steps * digits * lanes<F32>,
                                    right + record * steps * parts * lanes<F32>, steps, before, finish,
                                    ahead);
            };
            now->orders = orders;
            now->biases = block.biases + unit;
            now->unit_worth = block.worth + unit;
            now->record_worth = record_worth + record;
            now->unit = unit;
            now->record = record;
            if constexpr (parts == 1)
                multiply(std::integral_constant<Tiles, Tiles::six>());
            else if (block.uneven[unit / 16])
                multiply(std::integral_constant<Tiles, Tiles::four>());
            else if (before && before->tiles == Tiles::low)
                multiply(std::integral_constant<Tiles, Tiles::high>());
            else
                multiply(std::integral_constant<Tiles, Tiles::low>());
            ahead.skip(steps);
            before = now;
            now = pair + (now == pair);
        }
    before->store();
    for (std::int64_t i = 0; i < together / 2; ++i) finish(*before, i);
}

// Sums of digits as floats [units][32 records].
struct DigitOutputs {
    float* outputs;

    // Two units' of 16 records; of twice eight such pairs the second eight are of the next records.
    MIAFAST_INLINE void operator()(const DigitSums& sums, std::int64_t pair) const {
        for (std::int64_t row = pair % 8 * 2; row < pair % 8 * 2 + 2; ++row)
            store<F32>(outputs + (sums.unit + row) * tile_side + sums.record + pair / 8 * 16,
                       sums.at(pair / 8, row));
    }
};

// Sums of digits, activated, as the panel that they are to the next layer.
template <bool tanh>
struct DigitHidden {
    std::uint32_t* panel;

    MIAFAST_INLINE void operator()(const DigitSums& sums, std::int64_t pair) const {
        std::uint32_t* to = panel + sums.unit / tile_side * float_parts * step_words +
                            sums.unit % tile_side / 2 * lanes<F32> + sums.record / 16 * tile_words;
        split_pair<float_parts>(activated(tanh, sums.at(pair / 8, pair % 8 * 2)),
                                activated(tanh, sums.at(pair / 8, pair % 8 * 2 + 1)),
                                to + pair / 8 * tile_words + pair % 8 * lanes<F32>);
    }
};

// Inputs that bfloat16 holds exactly (bits, small whole numbers, bfloat16 itself) go through AMX, with
// float32 weights as the exact sum of three bfloat16 numbers: no digit is lost, and it is several times
// faster. Part of linear_product.h.

// Words of one record in a panel of pairs.
inline std::int64_t pair_words(std::int64_t width) { return (width + 31) / 32 * 16; }

// Whether every number is finite and a bfloat16 number.
inline bool fits_pairs(const float* panels, std::int64_t size) {
    U32 outside = U32{};
    for (std::int64_t i = 0; i < size; i += lanes<F32>) {
        const U32 bits = bits_as<U32>(load<F32>(panels + i));
        outside |= (bits & 0xffffu) | bits_as<U32>((bits & 0x7f800000u) == 0x7f800000u);
    }
    std::uint32_t any = 0;
    for (int lane = 0; lane < lanes<F32>; ++lane) any |= outside[lane];
    return any == 0;
}

inline void pair_panel(const float* panel, std::int64_t width, std::uint32_t* to) {
    constexpr std::int64_t records = panel_width<float>;
    for (std::int64_t word = 0; word < pair_words(width); ++word, to += records)
        for (std::int64_t i = 0; i < records; i += lanes<F32>) {
            const float *low = panel + 2 * word * records + i, *high = low + records;
            U32 pair = 2 * word < width ? bits_as<U32>(load<F32>(low)) >> 16 : U32{};
            if (2 * word + 1 < width) pair |= bits_as<U32>(load<F32>(high));
            std::memcpy(to + i, &pair, sizeof(pair));
        }
}

// Rows [padded units][pair_words] of one part after the other; returns how many parts there are. `row` is
// room for one row of numbers.
template <typename Stored>
inline std::int64_t pair_weights(const Logits& weight, const char* start, std::int64_t units, float* row,
                                 std::uint32_t* words) {
    constexpr int parts = std::is_same_v<Stored, Bfloat16> ? 1 : 3;
    const std::int64_t length = 2 * pair_words(weight.classes), part = (units + 15) / 16 * 16 * length;
    auto* to = reinterpret_cast<std::uint16_t*>(words);
    for (int i = 0; i < parts; ++i) std::fill(to + i * part + units * length, to + (i + 1) * part, 0);
    std::fill(row + weight.classes, row + length, 0.0f);
    for (std::int64_t unit = 0; unit < units; ++unit, to += length) {
        copy_row<Stored>(start + unit * weight.record_stride, weight.class_stride, weight.classes, row);
        for (std::int64_t k = 0; k < length; k += lanes<F32>) {
            F32 rest = load<F32>(row + k);  // a NaN keeps a bit in the upper half
            rest = select(rest == rest, rest, broadcast<F32>(std::numeric_limits<float>::quiet_NaN()));
            for (int i = 0; i < parts; ++i) {
                const U32 upper = bits_as<U32>(rest) & 0xffff0000u;
                const __m256i half = _mm512_cvtepi32_epi16((__m512i)(upper >> 16));
                _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + i * part + k), half);
                const auto infinite = (upper & 0x7f800000u) == 0x7f800000u;
                rest = select(infinite, F32{}, rest - bits_as<F32>(upper));
            }
        }
    }
    return parts;
}

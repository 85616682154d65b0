// Matrix products of bfloat16 pairs with float32 sums, operands as for AMX (amx.h), by the AVX-512
// instruction that processors without AMX may have for them: twice as many products as of float32.
#pragma once

#include "amx.h"

#ifdef MIAFAST_AMX
#define MIAFAST_PAIRS_CODE __attribute__((target("avx512f,avx512bf16")))

namespace miafast {

// Sums of eight rows and 16 columns, or twice 16.
template <int vectors>
struct PairSums {
    __m512 sums[8][vectors];

    // += A B, of so many pairs. The second columns of B lie `second` words after the first.
    MIAFAST_PAIRS_CODE MIAFAST_INLINE void add(const PairOperand& a, const PairOperand& b,
                                               std::int64_t second, std::int64_t pairs) {
        for (std::int64_t pair = 0; pair < pairs; ++pair) {
            __m512bh right[vectors];
            for (int v = 0; v < vectors; ++v)
                right[v] = (__m512bh)_mm512_loadu_si512(b.words + pair * b.length + v * second);
            for (int row = 0; row < 8; ++row) {
                const auto left =
                    (__m512bh)_mm512_set1_epi32(static_cast<int>(a.words[row * a.length + pair]));
                for (int v = 0; v < vectors; ++v)
                    sums[row][v] = _mm512_dpbf16_ps(sums[row][v], left, right[v]);
            }
        }
    }
    MIAFAST_PAIRS_CODE MIAFAST_INLINE void store(float* to, std::int64_t length) const {
        for (int row = 0; row < 8; ++row)
            for (int v = 0; v < vectors; ++v) _mm512_storeu_ps(to + row * length + v * 16, sums[row][v]);
    }
};

template <int vectors>
MIAFAST_PAIRS_CODE inline void multiply_pair_columns(std::int64_t rows, std::int64_t inner, PairOperand a,
                                                     const PairOperand& b, float* c, std::int64_t c_length) {
    for (std::int64_t row = 0; row < rows; row += 8, a.words += 8 * a.length, c += 8 * c_length) {
        PairSums<vectors> block{};
        block.add(a, b, 16, inner / 2);
        block.store(c, c_length);
    }
}

// As multiply_tiles.
inline void multiply_pairs(std::int64_t rows, std::int64_t columns, std::int64_t inner, const PairOperand& a,
                           const PairOperand& b, float* c, std::int64_t c_length) {
    for (std::int64_t column = 0; column < columns; column += 32) {
        const bool two = column + 32 <= columns;
        (two ? multiply_pair_columns<2>
             : multiply_pair_columns<1>)(rows, inner, a, {b.words + column, b.length}, c + column, c_length);
    }
}

}  // namespace miafast
#endif

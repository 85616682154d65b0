// Matrix products by AMX tiles, where the processor has them and Linux grants them. Tiles hold bfloat16 pairs
// (two values in one word, inner index running) and float32 sums.
#pragma once

#include <cstdint>

#include "simd.h"

#ifdef MIAFAST_AMX
#define MIAFAST_AMX_CODE __attribute__((target("avx512f,amx-tile,amx-bf16,amx-int8")))

namespace miafast {

inline bool amx_has_integers() {
    static const bool has = [] {
        unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
        return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) && (edx >> 25 & 1);
    }();
    return has;
}

// A thread's tiles, eight of 16 rows of 64 bytes, for as long as this lives.
class AmxTiles {
  public:
    MIAFAST_AMX_CODE AmxTiles() {
        struct alignas(64) Config {
            std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
            std::uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
            std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
        };
        static const Config config;  // in memory: the intrinsic tells the compiler of its first bytes only
        _tile_loadconfig(&config);
    }
    MIAFAST_AMX_CODE ~AmxTiles() { _tile_release(); }
    AmxTiles(const AmxTiles&) = delete;
    AmxTiles& operator=(const AmxTiles&) = delete;
};

// A matrix whose rows are `length` words apart.
struct PairOperand {
    const std::uint32_t* words;
    std::int64_t length;
};

// C[rows, columns] = A B. Rows and columns are multiples of 16, inner of 32.
MIAFAST_AMX_CODE inline void multiply_tiles(std::int64_t rows, std::int64_t columns, std::int64_t inner,
                                            const PairOperand& a, const PairOperand& b, float* c,
                                            std::int64_t c_length) {
    asm volatile("" ::: "memory");  // tile loads do not tell the compiler that they read memory
    const std::int64_t words = inner / 2, a_bytes = a.length * 4, b_bytes = b.length * 4,
                       c_bytes = c_length * 4;
    for (std::int64_t column = 0; column < columns; column += 32) {
        const bool two_columns = column + 32 <= columns;
        for (std::int64_t row = 0; row < rows; row += 32) {
            const bool two_rows = row + 32 <= rows;
            float* to = c + row * c_length + column;
            _tile_zero(0);
            _tile_zero(1);
            _tile_zero(2);
            _tile_zero(3);
            for (std::int64_t k = 0; k < words; k += 16) {
                const std::uint32_t* right = b.words + k * b.length + column;
                _tile_loadd(6, right, b_bytes);
                if (two_columns) _tile_loadd(7, right + 16, b_bytes);
                const std::uint32_t* left = a.words + row * a.length + k;
                _tile_loadd(4, left, a_bytes);
                _tile_dpbf16ps(0, 4, 6);
                if (two_columns) _tile_dpbf16ps(1, 4, 7);
                if (two_rows) {
                    _tile_loadd(5, left + 16 * a.length, a_bytes);
                    _tile_dpbf16ps(2, 5, 6);
                    if (two_columns) _tile_dpbf16ps(3, 5, 7);
                }
            }
            _tile_stored(0, to, c_bytes);
            if (two_columns) _tile_stored(1, to + 16, c_bytes);
            if (two_rows) _tile_stored(2, to + 16 * c_length, c_bytes);
            if (two_rows && two_columns) _tile_stored(3, to + 16 * c_length + 16, c_bytes);
        }
    }
    asm volatile("" ::: "memory");
}

}  // namespace miafast
#endif

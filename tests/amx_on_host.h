// AMX's tiles in memory, for tests on processors without them: read before every source. What a tile loads
// and stores is read and written as any memory, so a sanitizer sees it.
#pragma once

#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "../csrc/intrinsics.h"

#define AMX_ON_HOST __attribute__((target("avx512f,avx512bw"))) inline

namespace amx_on_host {

struct alignas(64) Tiles {
    std::uint8_t rows[8][16][64];
    bool configured = false;
};
inline thread_local Tiles tiles;

template <int tile>
std::uint8_t (&rows_of())[16][64] {
    static_assert(tile < 8);
    if (!tiles.configured) std::abort();  // a processor would end the process as well
    return tiles.rows[tile];
}

// Eight tiles of 16 rows of 64 bytes are all that miafast asks for.
inline void configure(const void* from) {
    std::uint8_t config[64];
    std::memcpy(config, from, sizeof(config));
    if (config[0] != 1) std::abort();
    for (int tile = 0; tile < 8; ++tile)
        if (config[16 + 2 * tile] != 64 || config[17 + 2 * tile] || config[48 + tile] != 16) std::abort();
    tiles = {};
    tiles.configured = true;
}

inline void release() { tiles = {}; }

template <int tile>
void zero() {
    std::memset(rows_of<tile>(), 0, sizeof(tiles.rows[tile]));
}

template <int tile>
void load(const void* from, std::int64_t stride) {
    auto& to = rows_of<tile>();
    for (int row = 0; row < 16; ++row)
        std::memcpy(to[row], static_cast<const char*>(from) + row * stride, sizeof(to[row]));
}

template <int tile>
void store(void* to, std::int64_t stride) {
    const auto& from = rows_of<tile>();
    for (int row = 0; row < 16; ++row)
        std::memcpy(static_cast<char*>(to) + row * stride, from[row], sizeof(from[row]));
}

// Numbers below 2^-126 are 0, sign kept.
AMX_ON_HOST __m512 flushed(__m512 x) {
    const __m512i bits = _mm512_castps_si512(x);
    const __mmask16 tiny = _mm512_testn_epi32_mask(bits, _mm512_set1_epi32(0x7f800000));
    return _mm512_castsi512_ps(_mm512_mask_and_epi32(bits, tiny, bits, _mm512_set1_epi32(INT32_MIN)));
}

// The first and the second bfloat16 number of pairs.
AMX_ON_HOST __m512 first_of(__m512i pairs) {
    return flushed(_mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16)));
}
AMX_ON_HOST __m512 second_of(__m512i pairs) {
    const __m512i upper = _mm512_set1_epi32(static_cast<int>(0xffff0000));
    return flushed(_mm512_castsi512_ps(_mm512_and_si512(pairs, upper)));
}

// TDPBF16PS of Intel's manual: of pairs, the sums of the first ones and of the second ones, then both.
template <int to, int left, int right>
AMX_ON_HOST void add_products_of_bfloat16() {
    for (int row = 0; row < 16; ++row) {
        __m512 first = _mm512_setzero_ps(), second = first;
        for (int k = 0; k < 16; ++k) {
            std::int32_t pair;
            std::memcpy(&pair, rows_of<left>()[row] + 4 * k, sizeof(pair));
            const __m512i a = _mm512_set1_epi32(pair), b = _mm512_loadu_si512(rows_of<right>()[k]);
            first = flushed(_mm512_fmadd_ps(first_of(a), first_of(b), first));
            second = flushed(_mm512_fmadd_ps(second_of(a), second_of(b), second));
        }
        void* sums = rows_of<to>()[row];
        const __m512 both = flushed(_mm512_add_ps(first, second));
        _mm512_storeu_ps(sums, flushed(_mm512_add_ps(flushed(_mm512_loadu_ps(sums)), both)));
    }
}

// TDPBSSD: of four signed bytes in a word.
template <int to, int left, int right>
AMX_ON_HOST void add_products_of_bytes() {
    for (int row = 0; row < 16; ++row) {
        void* place = rows_of<to>()[row];
        __m512i sums = _mm512_loadu_si512(place);
        for (int k = 0; k < 16; ++k) {
            const __m512i four = _mm512_loadu_si512(rows_of<right>()[k]);
            for (int byte = 0; byte < 4; ++byte) {
                const __m512i b =
                    _mm512_srai_epi32(_mm512_sllv_epi32(four, _mm512_set1_epi32(24 - 8 * byte)), 24);
                const auto a = static_cast<std::int8_t>(rows_of<left>()[row][4 * k + byte]);
                sums = _mm512_add_epi32(sums, _mm512_mullo_epi32(_mm512_set1_epi32(a), b));
            }
        }
        _mm512_storeu_si512(place, sums);
    }
}

inline int cpuid(unsigned leaf, unsigned part, unsigned* a, unsigned* b, unsigned* c, unsigned* d) {
    const int known = __get_cpuid_count(leaf, part, a, b, c, d);
    if (leaf == 7 && part == 0) *d |= 1u << 22 | 1u << 24 | 1u << 25;  // bfloat16, tiles, bytes
    return known;
}

// Linux, asked for the tiles.
template <typename... Arguments>
long grant(Arguments...) {
    return 0;
}

}  // namespace amx_on_host

#undef _tile_loadconfig
#undef _tile_release
#undef _tile_zero
#undef _tile_loadd
#undef _tile_stream_loadd
#undef _tile_stored
#undef _tile_dpbf16ps
#undef _tile_dpbssd
#define _tile_loadconfig(from) ::amx_on_host::configure(from)
#define _tile_release() ::amx_on_host::release()
#define _tile_zero(tile) ::amx_on_host::zero<tile>()
#define _tile_loadd(tile, from, stride) ::amx_on_host::load<tile>(from, stride)
#define _tile_stream_loadd(tile, from, stride) ::amx_on_host::load<tile>(from, stride)
#define _tile_stored(tile, to, stride) ::amx_on_host::store<tile>(to, stride)
#define _tile_dpbf16ps(to, left, right) ::amx_on_host::add_products_of_bfloat16<to, left, right>()
#define _tile_dpbssd(to, left, right) ::amx_on_host::add_products_of_bytes<to, left, right>()
#define __get_cpuid_count ::amx_on_host::cpuid
#define syscall ::amx_on_host::grant

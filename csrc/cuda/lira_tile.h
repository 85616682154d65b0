// A tile: the signals and the mask of a block's records. The next one is copied to shared memory while the
// block works on the one before.
#pragma once

#include "numbers.h"

template <int bytes>
struct alignas(bytes) Piece {
    unsigned int words[bytes / 4];
};

// Copies to shared memory; nobody waits for them before `wait_for_copies`. Both lie at whole pieces.
template <int bytes>
inline void copy(void* to, const void* from) {
#if __CUDA_ARCH__ >= 800
    const unsigned int place = static_cast<unsigned int>(__cvta_generic_to_shared(to));
    if constexpr (bytes == 16) {
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(place), "l"(from) : "memory");
    } else {
        asm volatile("cp.async.ca.shared.global [%0], [%1], %2;" ::"r"(place), "l"(from), "n"(bytes)
                     : "memory");
    }
#else
    *static_cast<Piece<bytes>*>(to) = *static_cast<const Piece<bytes>*>(from);
#endif
}

inline void wait_for_copies() {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_all;" ::: "memory");
#endif
}

// An array with a row per model, of which a block copies those of its `lanes` records.
template <typename Element, int lanes>
struct Rows {
    const Element* begin;
    Offset stride, record_stride;

    void copy_to(Element* to, int models, Offset first, Offset records) const {
        const Offset places =
            reinterpret_cast<Offset>(begin + first) | stride * sizeof(Element) | lanes * sizeof(Element);
        if (record_stride != 1 || first + lanes > records) return one_by_one(to, models, first, records - 1);
        if (places % 16 == 0) return by_pieces<16>(to, models, first, records - 1);
        if (places % 8 == 0) return by_pieces<8>(to, models, first, records - 1);
        if (places % 4 == 0) return by_pieces<4>(to, models, first, records - 1);
        one_by_one(to, models, first, records - 1);
    }

  private:
    template <int bytes>
    void by_pieces(Element* to, int models, Offset first, Offset last) const {
        constexpr int of_row = lanes * sizeof(Element) / bytes, of_piece = bytes / sizeof(Element);
        if constexpr (of_row * of_piece != lanes) {
            one_by_one(to, models, first, last);
        } else {
            const int thread = threadIdx.y * lanes + threadIdx.x, step = blockDim.y * lanes / of_row;
            const int row = thread / of_row, column = thread % of_row * of_piece;
            const Element* from = begin + first + row * stride + column;
            to += row * lanes + column;
#pragma unroll 4
            for (int model = row; model < models; model += step) {
                copy<bytes>(to, from);
                from += step * stride;
                to += step * lanes;
            }
        }
    }

    void one_by_one(Element* to, int models, Offset first, Offset last) const {
        const Element* from = begin + min(first + threadIdx.x, last) * record_stride;
        for (int model = threadIdx.y; model < models; model += blockDim.y)
            to[model * lanes + threadIdx.x] = from[model * stride];
    }
};

template <typename Stored, int lanes>
struct Tile {
    Stored* signals;      // [models][lanes]
    unsigned char* mask;  // [models][lanes]

    // One of `count` for `rows` models, from where shared memory is free.
    Tile(void* begin, int rows, int which = 0, int count = 1)
        : signals(static_cast<Stored*>(begin) + which * rows * lanes),
          mask(reinterpret_cast<unsigned char*>(static_cast<Stored*>(begin) + count * rows * lanes) +
               which * rows * lanes) {}

    auto signal(int model) const { return real(signals[model * lanes + lane()]); }
    bool inside(int model) const { return mask[model * lanes + lane()] != 0; }

  private:
    static int lane() { return static_cast<int>(threadIdx.x); }
};

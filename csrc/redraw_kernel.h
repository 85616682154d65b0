// The first k steps of a shuffle as places to change with, all drawn before any is made. Compiled once per
// instruction set: the loop has no step that depends on another, and compilers make vectors of it.

// places[i] in [i, features); key is mixed already. As hash_of and below in miafast/ops/redraw.py.
inline void draw_places(std::uint32_t key, std::int32_t k, std::uint32_t features, std::int32_t* places) {
    for (std::int32_t place = 0; place < k; ++place) {
        std::uint32_t drawn = key ^ ((2u * static_cast<std::uint32_t>(place) + 1u) * kGolden);
        drawn = (drawn ^ (drawn >> 16)) * 0x7feb352du;
        drawn = (drawn ^ (drawn >> 15)) * 0x846ca68bu;
        drawn ^= drawn >> 16;
        const std::uint64_t scaled =
            static_cast<std::uint64_t>(drawn) * (features - static_cast<std::uint32_t>(place));
        places[place] = place + static_cast<std::int32_t>(scaled >> 32);
    }
}

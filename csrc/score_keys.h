// Scores as integer keys that ascend as scores descend, and their sort.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

namespace miafast {

inline constexpr int kDigit = 11;
inline constexpr std::size_t kBuckets = std::size_t{1} << kDigit;
template <typename Score>
using KeyOf = std::conditional_t<sizeof(Score) == 8, std::uint64_t, std::uint32_t>;

template <typename Key>
inline constexpr int kSignBit = 8 * sizeof(Key) - 1;

template <typename Score>
inline KeyOf<Score> to_key(Score score) {
    using Key = KeyOf<Score>;
    constexpr Key sign = Key{1} << kSignBit<Key>;
    score += Score{0};  // -0 becomes +0: they tie
    Key bits;
    std::memcpy(&bits, &score, sizeof bits);
    const Key negative = -(bits >> kSignBit<Key>);  // all ones or none: a branch here would be a coin flip
    return ~(bits ^ (negative | sign));
}

template <typename Score>
inline Score to_score(KeyOf<Score> key) {
    using Key = KeyOf<Score>;
    constexpr Key sign = Key{1} << kSignBit<Key>;
    const Key bits = (key & sign) ? key : (~key ^ sign);
    Score score;
    std::memcpy(&score, &bits, sizeof score);
    return score;
}

// Stable scatter by `passes` digits above `shift`, from `keys` through `one` and `other`; returns where the
// result is.
template <int passes, typename Key>
inline Key* radix(const Key* keys, Key* one, Key* other, std::size_t size, int shift) {
    std::array<std::array<std::uint32_t, kBuckets>, passes> starts;
    for (auto& each : starts) each.fill(0);
    for (std::size_t i = 0; i < size; ++i) {
        const Key digits = keys[i] >> shift;
        for (int pass = 0; pass < passes; ++pass)
            ++starts[pass][(digits >> (pass * kDigit)) & (kBuckets - 1)];
    }
    for (int pass = 0; pass < passes; ++pass) {
        auto& next = starts[pass];
        std::uint32_t start = 0;
        for (auto& count : next) start += std::exchange(count, start);
        const int digit = shift + pass * kDigit;
        for (std::size_t i = 0; i < size; ++i) {
            const Key key = keys[i];
            one[next[(key >> digit) & (kBuckets - 1)]++] = key;
        }
        keys = one;
        std::swap(one, other);
    }
    return other;
}

// Ascending order by the leading bits in which these keys differ, then repair of the few runs that agree in
// them. The last bit, a class, is not looked at. Returns the sorted keys, in `one` or `other`.
template <typename Key>
inline Key* sort_keys(const Key* keys, Key* one, Key* other, std::size_t size) {
    Key differing = 0;
    for (std::size_t i = 0; i < size; ++i) differing |= keys[i] ^ keys[0];
    int bits = 1;
    while (bits < static_cast<int>(8 * sizeof(Key)) && differing >> bits > 0) ++bits;
    if (size < 256 || bits == 1) {
        std::copy(keys, keys + size, one);
        if (bits > 1) std::sort(one, one + size);
        return one;
    }
    const int passes = std::min((bits - 1 + kDigit - 1) / kDigit, size > (1u << 17) ? 3 : 2);
    const int shift = std::max(1, bits - passes * kDigit);
    Key* const sorted = passes == 1   ? radix<1>(keys, one, other, size, shift)
                        : passes == 2 ? radix<2>(keys, one, other, size, shift)
                                      : radix<3>(keys, one, other, size, shift);
    for (std::size_t i = 1; shift > 1 && i < size; ++i) {
        if (sorted[i] >= sorted[i - 1]) continue;
        std::size_t begin = i - 1, end = i + 1;
        while (begin > 0 && sorted[begin - 1] >> shift == sorted[i] >> shift) --begin;
        while (end < size && sorted[end] >> shift == sorted[i] >> shift) ++end;
        std::sort(sorted + begin, sorted + end);
        i = end - 1;
    }
    return sorted;
}

}  // namespace miafast

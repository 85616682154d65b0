// New values for some features of many records, each record's chosen at random by a key of its own.
#pragma once

#include <cstdint>

namespace miafast {

// redrawn: x [records, features] with the first k[record] features of a shuffle flipped (1 - x) or, where
// there are low and high [features], uniform between them. Every draw is a hash of the record's key.
template <typename Value>
void redraw(const Value* x, const std::int64_t* k, const std::uint32_t* keys, const double* low,
            const double* high, std::int64_t records, std::int64_t features, Value* redrawn);

}  // namespace miafast

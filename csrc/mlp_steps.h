// Training steps of small multilayer perceptrons: what the binding and the kernels of every instruction set
// share.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace miafast {

enum class Optimizer { sgd, adam, adamw };

// Arrays are C-contiguous. A model's parameters lie as in PyTorch: per layer weight [out, in], then bias
// [out].
struct MlpJob {
    std::int64_t models, parameters, records, features, steps, batch, taken;
    std::vector<std::int64_t> widths;  // features, hidden ..., classes
    float *weights, *first, *second;   // [models, parameters], updated in place
    const float* x_float;              // [records, features], or null
    const std::uint8_t* x_byte;        // the same as bytes, or null
    float scale, shift;
    const std::uint8_t* subsets;  // of inputs that are 0 or 1, [records][fives]: see subset_sums.h; else null
    const std::int64_t* labels;   // [records]
    const std::int64_t* batches;  // [models, steps, batch] record indices
    const std::int64_t* counts;   // [models] steps to take, at most `steps`
    const double* rates;          // [models, steps]
    const std::uint32_t* keys;    // [models]
    bool tanh, nesterov, bfloat16;
    Optimizer optimizer;
    float momentum, weight_decay, dropout, label_smoothing;
};

// A bijective 32-bit hash with low bias (Wellons, lowbias32); miafast.ops.mlp_steps.mix is its truth.
inline std::uint32_t mix(std::uint32_t value) {
    value = (value ^ (value >> 16)) * 0x7feb352du;
    value = (value ^ (value >> 15)) * 0x846ca68bu;
    return value ^ (value >> 16);
}

// Row lengths are odd multiples of one cache line, so that the rows of a panel do not fight for the same
// cache sets.
inline std::int64_t padded(std::int64_t size, std::int64_t multiple) {
    return (size + multiple - 1) / multiple * multiple;
}
inline std::int64_t row_length(std::int64_t size) {
    const std::int64_t length = padded(size, 16);
    return length % 32 ? length : length + 16;
}

// One layer, weights turned to [in + 1, out] with the bias as last row: the input has a constant 1 in column
// `in`.
struct MlpLayer {
    std::int64_t in, out, columns, length;  // columns = out padded to 16; length of a row
    float *weight, *first, *second, *gradient;
    float* operand;     // the weights that are multiplied: `weight`, or its bfloat16 rounding
    float* transposed;  // [out, row_length(in)], for layers after the first
    float* input;       // [batch, row_length(in + 1)]
    std::int64_t input_length;
};

// Scratch memory in 64-byte lines, handed out once and zeroed.
class Arena {
  public:
    template <typename T>
    T* take(std::int64_t size) {
        const std::size_t bytes = (static_cast<std::size_t>(size) * sizeof(T) + 63) / 64 * 64;
        blocks_.emplace_back(bytes + 64);
        const auto address = reinterpret_cast<std::uintptr_t>(blocks_.back().data());
        return reinterpret_cast<T*>((address + 63) / 64 * 64);
    }

  private:
    std::vector<std::vector<unsigned char>> blocks_;
};

void mlp_steps(const MlpJob& job);

}  // namespace miafast

// The training of one model, compiled once for every instruction set: included by mlp_steps.cpp with KERNELS
// (a namespace), WIDTH (floats per vector), TILE_ROWS and TILE_VECTORS (the register tile) defined. No
// include guard.

namespace miafast {
namespace KERNELS {

constexpr int kWidth = WIDTH;
typedef float Floats __attribute__((vector_size(WIDTH * 4)));
typedef std::uint32_t Words __attribute__((vector_size(WIDTH * 4)));
typedef float LooseFloats __attribute__((vector_size(WIDTH * 4), aligned(4), may_alias));
typedef std::uint32_t LooseWords __attribute__((vector_size(WIDTH * 4), aligned(4), may_alias));

#define INLINE static inline __attribute__((always_inline))

INLINE Floats load(const float* from) { return *reinterpret_cast<const LooseFloats*>(from); }
INLINE void store(float* to, Floats values) { *reinterpret_cast<LooseFloats*>(to) = values; }
INLINE Floats all(float value) { return Floats{} + value; }
INLINE Words bits_of(Floats values) { return reinterpret_cast<Words>(values); }
INLINE Floats from_bits(Words values) { return reinterpret_cast<Floats>(values); }
// NaN where b is.
INLINE Floats larger(Floats a, Floats b) { return a > b ? a : b; }
INLINE Floats smaller(Floats a, Floats b) { return a < b ? a : b; }

// Rounds to the nearest bfloat16, ties to even; the lower half of every word is zero.
INLINE Words bfloat_bits(Floats values) {
    const Words bits = bits_of(values);
    return (bits + 0x7fffu + ((bits >> 16) & 1u)) & 0xffff0000u;
}

// exp with a relative error below 3e-7; arguments are clamped to ±87, NaN stays NaN.
INLINE Floats exponential(Floats x) {
    x = smaller(all(87.0f), larger(all(-87.0f), x));
    const Floats shifted = x * 1.44269504f + 12582912.0f;  // 1.5 * 2^23: the integer sits in the low bits
    const Floats whole = shifted - 12582912.0f;
    const Floats rest = (x - whole * 0.693359375f) + whole * 2.12194440e-4f;
    Floats sum = rest * 1.9875691500e-4f + 1.3981999507e-3f;
    sum = sum * rest + 8.3334519073e-3f;
    sum = sum * rest + 4.1665795894e-2f;
    sum = sum * rest + 1.6666665459e-1f;
    sum = sum * rest + 5.0000001201e-1f;
    sum = sum * rest * rest + rest + 1.0f;
    return from_bits(bits_of(sum) + (bits_of(shifted) << 23));
}

INLINE Floats hyperbolic_tangent(Floats x) {
    const Floats small = x * x;  // |x| < 0.04: the quotient below would cancel
    const Floats series = x * (1.0f - small * (0.333333333f - small * 0.133333333f));
    const Floats quotient = 1.0f - 2.0f / (exponential(2.0f * x) + 1.0f);
    return small < 0.0016f ? series : quotient;
}

#include "subset_sums.h"

// C[rows, VECTORS * WIDTH] = or += A[rows, inner] B[inner, ...]; A has any strides.
template <int ROWS, int VECTORS>
INLINE void tile(const float* a, std::int64_t a_row, std::int64_t a_column, const float* b,
                 std::int64_t b_row, float* c, std::int64_t c_row, std::int64_t inner, bool add) {
    Floats sums[ROWS][VECTORS];
    for (int row = 0; row < ROWS; ++row)
        for (int v = 0; v < VECTORS; ++v) sums[row][v] = add ? load(c + row * c_row + v * kWidth) : Floats{};
    for (std::int64_t k = 0; k < inner; ++k) {
        Floats right[VECTORS];
        for (int v = 0; v < VECTORS; ++v) right[v] = load(b + k * b_row + v * kWidth);
        for (int row = 0; row < ROWS; ++row) {
            const Floats left = all(a[row * a_row + k * a_column]);
            for (int v = 0; v < VECTORS; ++v) sums[row][v] += left * right[v];
        }
    }
    for (int row = 0; row < ROWS; ++row)
        for (int v = 0; v < VECTORS; ++v) store(c + row * c_row + v * kWidth, sums[row][v]);
}

template <int ROWS, int VECTORS>
static void panel(std::int64_t rows, const float* a, std::int64_t a_row, std::int64_t a_column,
                  const float* b, std::int64_t b_row, float* c, std::int64_t c_row, std::int64_t inner,
                  bool add) {
    std::int64_t row = 0;
    for (; row + ROWS <= rows; row += ROWS)
        tile<ROWS, VECTORS>(a + row * a_row, a_row, a_column, b, b_row, c + row * c_row, c_row, inner, add);
    if constexpr (ROWS > 1) {
        if (row < rows)
            panel<ROWS / 2, VECTORS>(rows - row, a + row * a_row, a_row, a_column, b, b_row, c + row * c_row,
                                     c_row, inner, add);
    }
}

// C[rows, columns] = A[rows, inner] B[inner, columns]; columns is a multiple of 16.
static void multiply(std::int64_t rows, std::int64_t columns, std::int64_t inner, const float* a,
                     std::int64_t a_row, std::int64_t a_column, const float* b, std::int64_t b_row, float* c,
                     std::int64_t c_row) {
    constexpr std::int64_t kInner = 128;  // a panel of B stays in the first-level cache
    for (std::int64_t column = 0; column < columns;) {
        const std::int64_t vectors = std::min<std::int64_t>(TILE_VECTORS, (columns - column) / kWidth);
        for (std::int64_t k = 0; k < inner; k += kInner) {
            const std::int64_t depth = std::min(kInner, inner - k);
            const float *left = a + k * a_column, *right = b + k * b_row + column;
            if (vectors == TILE_VECTORS)
                panel<TILE_ROWS, TILE_VECTORS>(rows, left, a_row, a_column, right, b_row, c + column, c_row,
                                               depth, k);
#if TILE_VECTORS == 4
            else if (vectors == 3)
                panel<8, 3>(rows, left, a_row, a_column, right, b_row, c + column, c_row, depth, k);
            else if (vectors == 2)
                panel<12, 2>(rows, left, a_row, a_column, right, b_row, c + column, c_row, depth, k);
            else
                panel<16, 1>(rows, left, a_row, a_column, right, b_row, c + column, c_row, depth, k);
#endif
        }
        column += vectors * kWidth;
    }
}

static void gather(const MlpJob& job, const std::int64_t* which, float* to, std::int64_t length) {
    for (std::int64_t row = 0; row < job.batch; ++row, to += length) {
        const std::int64_t from = which[row] * job.features;
        if (job.x_byte)
            for (std::int64_t i = 0; i < job.features; ++i)
                to[i] = job.x_byte[from + i] * job.scale + job.shift;
        else
            for (std::int64_t i = 0; i < job.features; ++i)
                to[i] = job.x_float[from + i] * job.scale + job.shift;
        to[job.features] = 1.0f;
    }
}

static void round_all(float* values, std::int64_t size) {
    for (std::int64_t i = 0; i < size; i += kWidth)
        store(values + i, from_bits(bfloat_bits(load(values + i))));
}

// Whether dropout keeps the WIDTH units from `place` on.
INLINE Words kept(std::uint32_t key, std::uint32_t place, std::uint32_t threshold) {
    Words hash;
    for (int i = 0; i < kWidth; ++i) hash[i] = i;
    hash = (hash + place) * 0x9e3779b1u + key;
    hash = (hash ^ (hash >> 16)) * 0x7feb352du;
    hash = (hash ^ (hash >> 15)) * 0x846ca68bu;
    hash = hash ^ (hash >> 16);
    return reinterpret_cast<Words>(hash >= threshold);
}

struct Hidden {
    bool tanh, drops, rounds;
    std::uint32_t threshold;
    float keep_scale;
};

// Sums -> activations in place; column `units` becomes the constant 1 of the next layer's bias.
static void activate(const Hidden& how, std::uint32_t key, float* values, std::int64_t length,
                     std::int64_t rows, std::int64_t units) {
    for (std::int64_t row = 0; row < rows; ++row, values += length) {
        for (std::int64_t i = 0; i < units; i += kWidth) {
            Floats out = load(values + i);
            out = how.tanh ? hyperbolic_tangent(out) : larger(Floats{}, out);
            if (how.drops) {
                const Words keep = kept(key, static_cast<std::uint32_t>(row * units + i), how.threshold);
                out = from_bits(bits_of(out * how.keep_scale) & keep);
            }
            store(values + i, how.rounds ? from_bits(bfloat_bits(out)) : out);
        }
        for (std::int64_t i = units; i < padded(units + 1, 16); ++i) values[i] = i == units ? 1.0f : 0.0f;
    }
}

// Gradient with respect to activations -> with respect to sums, in place; columns from `units` on become
// zero.
static void deactivate(const Hidden& how, std::uint32_t key, const float* active, std::int64_t active_length,
                       float* gradient, std::int64_t length, std::int64_t rows, std::int64_t units) {
    for (std::int64_t row = 0; row < rows; ++row, active += active_length, gradient += length) {
        for (std::int64_t i = 0; i < units; i += kWidth) {
            const Floats out = load(active + i), slope = load(gradient + i) * how.keep_scale;
            if (!how.tanh) {
                store(gradient + i, out <= 0.0f ? Floats{} : slope);
                continue;
            }
            const Floats before = out / how.keep_scale;
            Floats result = slope * (1.0f - before * before);
            if (how.drops) {
                const Words keep = kept(key, static_cast<std::uint32_t>(row * units + i), how.threshold);
                result = from_bits(bits_of(result) & keep);
            }
            store(gradient + i, result);
        }
        for (std::int64_t i = units; i < padded(units, 16); ++i) gradient[i] = 0.0f;
    }
}

// Logits -> gradient of the batch's mean (label-smoothed) cross-entropy, in place; padding columns become
// zero.
static void cross_entropy_gradient(const MlpJob& job, const std::int64_t* which, float* values,
                                   std::int64_t length) {
    const std::int64_t classes = job.widths.back(), columns = padded(classes, 16);
    const float share = 1.0f / job.batch;
    const float even = job.label_smoothing / classes;
    for (std::int64_t row = 0; row < job.batch; ++row, values += length) {
        float largest = values[0];
        for (std::int64_t i = 1; i < classes; ++i) largest = std::max(largest, values[i]);
        for (std::int64_t i = classes; i < columns; ++i) values[i] = -1e30f;
        Floats sums{};
        for (std::int64_t i = 0; i < columns; i += kWidth) {
            const Floats power = exponential(load(values + i) - largest);
            store(values + i, power);
            if (i + kWidth <= classes) sums += power;
        }
        float sum = 0.0f;
        for (int i = 0; i < kWidth; ++i) sum += sums[i];
        for (std::int64_t i = classes / kWidth * kWidth; i < classes; ++i) sum += values[i];
        const float inverse = 1.0f / sum;
        for (std::int64_t i = 0; i < columns; i += kWidth)
            store(values + i, (load(values + i) * inverse - even) * share);
        for (std::int64_t i = classes; i < columns; ++i) values[i] = 0.0f;
        values[job.labels[which[row]]] -= (1.0f - job.label_smoothing) * share;
    }
}

// first / (sqrt(second) * scale + 1e-8), to float rounding.
INLINE Floats adam_direction(Floats first, Floats second, float scale) {
#if WIDTH == 16
    const __m512 value = _mm512_max_ps((__m512)second, _mm512_set1_ps(1e-36f));
    __m512 root = _mm512_rsqrt14_ps(value);
    root = (__m512)((Floats)root * (1.5f - 0.5f * (Floats)value * (Floats)root * (Floats)root));
    const Floats size = (Floats)value * (Floats)root * scale + 1e-8f;
    Floats inverse = (Floats)_mm512_rcp14_ps((__m512)size);
    inverse = inverse * (2.0f - size * inverse);
    return first * inverse;
#else
    Floats root{};
    for (int i = 0; i < kWidth; ++i) root[i] = __builtin_sqrtf(second[i]);
    return first / (root * scale + 1e-8f);
#endif
}

static void update(const MlpJob& job, const MlpLayer& layer, float rate, double step) {
    const float decay = job.weight_decay, momentum = job.momentum;
    const float first_scale = rate / static_cast<float>(1.0 - std::pow(0.9, step));
    const float second_scale = static_cast<float>(1.0 / std::sqrt(1.0 - std::pow(0.999, step)));
    for (std::int64_t row = 0; row <= layer.in; ++row) {
        const std::int64_t begin = row * layer.length;
        for (std::int64_t i = begin; i < begin + layer.columns; i += kWidth) {
            Floats weight = load(layer.weight + i), gradient = load(layer.gradient + i);
            if (job.optimizer == Optimizer::adamw)
                weight *= 1.0f - rate * decay;
            else if (decay != 0.0f)
                gradient += decay * weight;
            if (job.optimizer == Optimizer::sgd) {
                if (momentum != 0.0f) {
                    const Floats velocity = momentum * load(layer.first + i) + gradient;
                    store(layer.first + i, velocity);
                    gradient = job.nesterov ? gradient + momentum * velocity : velocity;
                }
                store(layer.weight + i, weight - rate * gradient);
                continue;
            }
            const Floats first = load(layer.first + i) * 0.9f + gradient * 0.1f;
            const Floats second = load(layer.second + i) * 0.999f + gradient * gradient * 0.001f;
            store(layer.first + i, first);
            store(layer.second + i, second);
            store(layer.weight + i, weight - first_scale * adam_direction(first, second, second_scale));
        }
    }
}

static void transpose(const float* from, std::int64_t from_length, float* to, std::int64_t to_length,
                      std::int64_t rows, std::int64_t columns) {
    for (std::int64_t row = 0; row < rows; row += 16)
        for (std::int64_t column = 0; column < columns; column += 16) {
#if WIDTH == 16
            if (row + 16 <= rows && column + 16 <= columns) {
                transpose_block(from + row * from_length + column, from_length, to + column * to_length + row,
                                to_length);
                continue;
            }
#endif
            for (std::int64_t i = row; i < std::min(row + 16, rows); ++i)
                for (std::int64_t j = column; j < std::min(column + 16, columns); ++j)
                    to[j * to_length + i] = from[i * from_length + j];
        }
}

// The matrix products of float32, or of operands rounded to bfloat16 with float32 sums.
class Products {
  public:
    Products(const MlpJob& job, std::vector<MlpLayer>& layers, Arena& arena) : job_(job), layers_(layers) {
        for (auto& layer : layers_) {
            if (job.bfloat16) layer.operand = arena.take<float>((layer.in + 1) * layer.length);
            if (&layer != layers_.data())
                layer.transposed = arena.take<float>(layer.out * row_length(layer.in));
        }
    }

    void weights_changed() {
        for (auto& layer : layers_) {
            if (job_.bfloat16) {
                std::copy(layer.weight, layer.weight + (layer.in + 1) * layer.length, layer.operand);
                round_all(layer.operand, (layer.in + 1) * layer.length);
            }
            if (layer.transposed)
                transpose(layer.operand, layer.length, layer.transposed, row_length(layer.in), layer.in,
                          layer.out);
        }
    }

    // The inputs of a batch.
    void take(const std::int64_t* which) { gather(job_, which, layers_[0].input, layers_[0].input_length); }

    void forward(const MlpLayer& layer, float* out, std::int64_t length) {
        if (job_.bfloat16) round_all(layer.input, job_.batch * layer.input_length);
        multiply(job_.batch, layer.columns, layer.in + 1, layer.input, layer.input_length, 1, layer.operand,
                 layer.length, out, length);
    }

    void backward(const MlpLayer& layer, float* slope, std::int64_t slope_length, float* below,
                  std::int64_t below_length) {
        if (job_.bfloat16) round_all(slope, job_.batch * slope_length);
        multiply(layer.in + 1, layer.columns, job_.batch, layer.input, 1, layer.input_length, slope,
                 slope_length, layer.gradient, layer.length);
        if (below)
            multiply(job_.batch, padded(layer.in, 16), layer.out, slope, slope_length, 1, layer.transposed,
                     row_length(layer.in), below, below_length);
    }

  private:
    const MlpJob& job_;
    std::vector<MlpLayer>& layers_;
};

#include "mlp_bits.h"
#if WIDTH == 16
#include "mlp_pairs.h"
#endif

template <typename Matrix>
static void run(const MlpJob& job, std::int64_t model, std::vector<MlpLayer>& layers, Arena& arena,
                Matrix& products) {
    std::int64_t widest = 0;
    for (const auto& layer : layers) widest = std::max({widest, layer.length, row_length(layer.in)});
    float* slope = arena.take<float>(padded(job.batch, 32) * widest);
    float* below = arena.take<float>(padded(job.batch, 32) * widest);
    const Hidden how{job.tanh, job.dropout > 0.0f, job.bfloat16,
                     static_cast<std::uint32_t>(static_cast<double>(job.dropout) * 4294967296.0),
                     1.0f / (1.0f - job.dropout)};
    products.weights_changed();
    for (std::int64_t step = 0; step < job.counts[model]; ++step) {
        const std::int64_t* which = job.batches + (model * job.steps + step) * job.batch;
        const std::uint32_t step_key = mix(job.keys[model] + static_cast<std::uint32_t>(job.taken + step));
        const auto key = [&](std::size_t number) {
            return mix(step_key + static_cast<std::uint32_t>(number + 1));
        };
        products.take(which);
        for (std::size_t number = 0; number + 1 < layers.size(); ++number) {
            const MlpLayer& next = layers[number + 1];
            products.forward(layers[number], next.input, next.input_length);
            activate(how, key(number), next.input, next.input_length, job.batch, next.in);
        }
        products.forward(layers.back(), slope, widest);
        cross_entropy_gradient(job, which, slope, widest);
        for (std::size_t number = layers.size(); number-- > 0;) {
            const MlpLayer& layer = layers[number];
            products.backward(layer, slope, widest, number ? below : nullptr, widest);
            if (number)
                deactivate(how, key(number - 1), layer.input, layer.input_length, below, widest, job.batch,
                           layer.in);
            std::swap(slope, below);
        }
        const float rate = static_cast<float>(job.rates[model * job.steps + step]);
        for (const auto& layer : layers) update(job, layer, rate, static_cast<double>(job.taken + step + 1));
        products.weights_changed();
    }
}

static void train(const MlpJob& job, std::int64_t model, std::vector<MlpLayer>& layers, Arena& arena) {
#if WIDTH == 16
    if (job.bfloat16 && isa_in_use() >= Isa::bfloat16) {
        PairProducts products(job, layers, arena);
        run(job, model, layers, arena, products);
        return;
    }
#endif
    if (job.subsets) {
        BitProducts products(job, layers, arena);
        run(job, model, layers, arena, products);
        return;
    }
    Products products(job, layers, arena);
    run(job, model, layers, arena, products);
}

#undef INLINE

}  // namespace KERNELS
}  // namespace miafast

#include "dp_sgd_kernels.h"  // the same with privacy, on top of all of this

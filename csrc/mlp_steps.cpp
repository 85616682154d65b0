// Trains many small multilayer perceptrons: every thread trains whole models, one after the other, in its own
// cache.
#include "mlp_steps.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <optional>

#include "bfloat16_pairs.h"
#include "dp_sgd.h"
#include "parallel.h"
#include "simd.h"

#define KERNELS portable
#define WIDTH 4
#define TILE_ROWS 6
#define TILE_VECTORS 2
#include "mlp_kernels.h"
#undef KERNELS
#undef WIDTH
#undef TILE_VECTORS

#ifdef MIAFAST_AMX

#pragma GCC push_options
#pragma GCC target("avx2,fma")
#define KERNELS avx2
#define WIDTH 8
#define TILE_VECTORS 2
#include "mlp_kernels.h"
#undef KERNELS
#undef WIDTH
#undef TILE_VECTORS
#pragma GCC pop_options

#pragma GCC diagnostic push  // the compiler's own AVX-512 header
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC push_options
#pragma GCC target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")

namespace miafast {
namespace {

// 16 x 16 words, rows `from_length` and `to_length` words apart.
inline void transpose_block(const float* from, std::int64_t from_length, float* to, std::int64_t to_length) {
    __m512i r[16], t[16];
    for (int i = 0; i < 16; ++i) r[i] = _mm512_loadu_si512(from + i * from_length);
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) {
        r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
        r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
        r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
        r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    for (int i = 0; i < 4; ++i) {
        const __m512i even = _mm512_shuffle_i32x4(r[i], r[4 + i], 0x88),
                      odd = _mm512_shuffle_i32x4(r[i], r[4 + i], 0xdd);
        const __m512i even2 = _mm512_shuffle_i32x4(r[8 + i], r[12 + i], 0x88);
        const __m512i odd2 = _mm512_shuffle_i32x4(r[8 + i], r[12 + i], 0xdd);
        _mm512_storeu_si512(to + i * to_length, _mm512_shuffle_i32x4(even, even2, 0x88));
        _mm512_storeu_si512(to + (4 + i) * to_length, _mm512_shuffle_i32x4(odd, odd2, 0x88));
        _mm512_storeu_si512(to + (8 + i) * to_length, _mm512_shuffle_i32x4(even, even2, 0xdd));
        _mm512_storeu_si512(to + (12 + i) * to_length, _mm512_shuffle_i32x4(odd, odd2, 0xdd));
    }
}

}  // namespace
}  // namespace miafast

#define KERNELS avx512
#define WIDTH 16
#define TILE_VECTORS 4
#include "mlp_kernels.h"
#undef KERNELS
#undef WIDTH
#undef TILE_VECTORS
#pragma GCC pop_options
#pragma GCC diagnostic pop

#endif

namespace miafast {
namespace {

template <typename Job>
using Train = void (*)(const Job&, std::int64_t, std::vector<MlpLayer>&, Arena&);

template <typename Job>
Train<Job> choose() {
#ifdef MIAFAST_AMX
    if (isa_in_use() >= Isa::avx512) return avx512::train;
    if (isa_in_use() == Isa::avx2) return avx2::train;
#endif
    return portable::train;
}

// Weights and moments between the caller's [out, in], [out] and a layer's [in + 1, length].
template <typename Move>
void each_parameter(const MlpLayer& layer, Move move) {
    for (std::int64_t unit = 0; unit < layer.out; ++unit)
        for (std::int64_t i = 0; i < layer.in; ++i) move(unit * layer.in + i, i * layer.length + unit);
    for (std::int64_t unit = 0; unit < layer.out; ++unit)
        move(layer.out * layer.in + unit, layer.in * layer.length + unit);
}

std::vector<MlpLayer> make_layers(const MlpJob& job, Arena& arena) {
    std::vector<MlpLayer> layers;
    for (std::size_t i = 0; i + 1 < job.widths.size(); ++i) {
        MlpLayer layer{};
        layer.in = job.widths[i];
        layer.out = job.widths[i + 1];
        layer.columns = padded(layer.out, 16);
        layer.length = row_length(layer.out);
        layer.input_length = row_length(layer.in + 1);
        const std::int64_t size = (layer.in + 1) * layer.length;
        layer.weight = layer.operand = arena.take<float>(size);
        layer.first = arena.take<float>(size);
        layer.second = arena.take<float>(size);
        layer.gradient = arena.take<float>(size);
        layer.input = arena.take<float>(padded(job.batch, 32) * layer.input_length);
        layers.push_back(layer);
    }
    return layers;
}

template <typename Job>
void train_one(const Job& job, std::int64_t model, Train<Job> train) {
    Arena arena;
    std::vector<MlpLayer> layers = make_layers(job, arena);
    float* const arrays[] = {job.weights, job.first, job.second};
    std::int64_t offset = model * job.parameters;
    for (const auto& layer : layers) {
        float* const own[] = {layer.weight, layer.first, layer.second};
        each_parameter(layer, [&](std::int64_t outside, std::int64_t inside) {
            for (int k = 0; k < 3; ++k)
                if (arrays[k]) own[k][inside] = arrays[k][offset + outside];
        });
        offset += (layer.in + 1) * layer.out;
    }
    train(job, model, layers, arena);
    offset = model * job.parameters;
    for (const auto& layer : layers) {
        const float* const own[] = {layer.weight, layer.first, layer.second};
        each_parameter(layer, [&](std::int64_t outside, std::int64_t inside) {
            for (int k = 0; k < 3; ++k)
                if (arrays[k]) arrays[k][offset + outside] = own[k][inside];
        });
        offset += (layer.in + 1) * layer.out;
    }
}

}  // namespace

namespace {

// Which subsets the fives of every record's inputs are, or nothing where inputs are not all 0 or 1, or are
// better multiplied.
std::vector<std::uint8_t> subsets_of_inputs(const MlpJob& job) {
    constexpr std::int64_t least = 24;  // records of a batch: fewer do not pay for the sums
    if (!job.x_byte || job.scale != 1.0f || job.shift != 0.0f || job.batch < least) return {};
    const std::int64_t features = job.features, fives = portable::subsets_of(features);
    std::vector<std::uint8_t> subsets(static_cast<std::size_t>(job.records * fives));
    std::atomic<bool> fits{true};
    parallel_for(job.records, 256, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t record = begin; fits && record < end; ++record) {
            const std::uint8_t* x = job.x_byte + record * features;
            std::uint8_t *to = subsets.data() + record * fives, all = 0;
            for (std::int64_t i = 0; i < features; ++i) all |= x[i];
            for (std::int64_t i = 0; i < features; i += portable::subset_size, ++to)
                for (std::int64_t k = std::min(portable::subset_size, features - i); k-- > 0;)
                    *to = static_cast<std::uint8_t>(2 * *to + x[i + k]);
            if (all > 1) fits = false;
        }
    });
    return fits ? subsets : std::vector<std::uint8_t>{};
}

template <typename Job>
void train_all(const Job& job) {
    const Train<Job> train = choose<Job>();
    parallel_for(job.models, 1, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t model = begin; model < end; ++model) train_one(job, model, train);
    });
}

}  // namespace

void mlp_steps(const MlpJob& job) {
    const std::vector<std::uint8_t> subsets = subsets_of_inputs(job);
    MlpJob own = job;
    own.subsets = subsets.empty() ? nullptr : subsets.data();
    train_all(own);
}

void dp_sgd_steps(const DpJob& job) { train_all(job); }

}  // namespace miafast

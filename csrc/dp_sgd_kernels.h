// Differentially private training of one model, compiled once for every instruction set: included by
// mlp_kernels.h at its end. No include guard.

namespace miafast {
namespace KERNELS {

#define INLINE static inline __attribute__((always_inline))

typedef std::int32_t Integers __attribute__((vector_size(WIDTH * 4)));

INLINE Words mixed(Words value) {
    value = (value ^ (value >> 16)) * 0x7feb352du;
    value = (value ^ (value >> 15)) * 0x846ca68bu;
    return value ^ (value >> 16);
}

// log of normal x > 0 (Cephes logf).
INLINE Floats logarithm(Floats x) {
    const Words shifted = bits_of(x) - 0x3f3504f3u;  // from here sqrt(1/2) has exponent -1 and mantissa 0
    const Floats power = __builtin_convertvector(reinterpret_cast<Integers>(shifted) >> 23, Floats);
    const Floats f = from_bits((shifted & 0x007fffffu) + 0x3f3504f3u) - 1.0f;
    Floats sum = f * 7.0376836292e-2f - 1.1514610310e-1f;
    sum = sum * f + 1.1676998740e-1f;
    sum = sum * f - 1.2420140846e-1f;
    sum = sum * f + 1.4249322787e-1f;
    sum = sum * f - 1.6668057665e-1f;
    sum = sum * f + 2.0000714765e-1f;
    sum = sum * f - 2.4999993993e-1f;
    sum = sum * f + 3.3333331174e-1f;
    sum = sum * f * f * f - power * 2.12194440e-4f - 0.5f * f * f;
    return f + sum + power * 0.693359375f;
}

// The normal quantile of (hash + 1/2) / 2^32, to a few float roundings (Giles 2010, "Approximating the erfinv
// function", single precision).
INLINE Floats normal_of(Words hash) {
    const Words upper = Words{} - (hash >> 31);  // all ones where the quantile is positive
    const Floats share = (__builtin_convertvector(reinterpret_cast<Integers>(hash ^ upper), Floats) + 0.5f) *
                         2.3283064365e-10f;
    const Floats w = -logarithm(4.0f * share * (1.0f - share));
    const Floats near = w - 2.5f;
    Floats factor = near * 2.81022636e-08f + 3.43273939e-07f;
    factor = factor * near - 3.5233877e-06f;
    factor = factor * near - 4.39150654e-06f;
    factor = factor * near + 0.00021858087f;
    factor = factor * near - 0.00125372503f;
    factor = factor * near - 0.00417768164f;
    factor = factor * near + 0.246640727f;
    factor = factor * near + 1.50140941f;
    for (int i = 0; i < kWidth; ++i) {
        if (w[i] < 5.0f) continue;
        const float far = __builtin_sqrtf(w[i]) - 3.0f;
        float tail = far * -0.000200214257f + 0.000100950558f;
        tail = tail * far + 0.00134934322f;
        tail = tail * far - 0.00367342844f;
        tail = tail * far + 0.00573950773f;
        tail = tail * far - 0.0076224613f;
        tail = tail * far + 0.00943887047f;
        tail = tail * far + 1.00167406f;
        factor[i] = tail * far + 2.83297682f;
    }
    const Floats size = 1.41421356f * factor * (1.0f - 2.0f * share);
    return from_bits(bits_of(size) ^ (~upper & 0x80000000u));
}

static float squared_length(const float* values, std::int64_t size) {
    Floats sums{};
    for (std::int64_t i = 0; i < size; i += kWidth) sums += load(values + i) * load(values + i);
    float sum = 0.0f;
    for (int i = 0; i < kWidth; ++i) sum += sums[i];
    return sum;
}

// One model while it trains: its batch, the slopes of every layer and the sum of clipped gradients.
class PrivateTraining {
  public:
    PrivateTraining(const DpJob& job, std::int64_t model, std::vector<MlpLayer>& layers, Arena& arena)
        : job_(job), own_(job), model_(model), layers_(layers), products_(own_, layers, arena) {
        for (const auto& layer : layers_) {
            slopes_.push_back(arena.take<float>(padded(job.batch, 32) * layer.length));
            below_ = std::max(below_, row_length(layer.in));
        }
        scratch_ = arena.take<float>(padded(job.batch, 32) * below_);
    }

    void run() {
        products_.weights_changed();
        for (std::int64_t step = 0; step < job_.steps; ++step) {
            const std::uint32_t now = static_cast<std::uint32_t>(job_.taken + step);
            for (std::uint32_t purpose = 0; purpose < 3; ++purpose) {
                key_[purpose] = mix(job_.keys2[2 * model_] + now);
                key2_[purpose] = mix(mix(job_.keys2[2 * model_ + 1] + purpose) + now);
            }
            sample();
            for (auto& layer : layers_)
                std::fill(layer.second, layer.second + (layer.in + 1) * layer.length, 0.0f);
            const std::int64_t size = static_cast<std::int64_t>(which_.size());
            for (std::int64_t begin = 0; begin < size; begin += job_.batch) {
                own_.batch = std::min(job_.batch, size - begin);
                add_gradients(which_.data() + begin);
            }
            add_canaries();
            const float factor = job_.clips_batch ? clip_batch() : 1.0f;
            std::int64_t offset = 0;
            for (auto& layer : layers_) {
                descend(layer, offset, factor, job_.noise[step]);
                offset += (layer.in + 1) * layer.out;
            }
            products_.weights_changed();
        }
    }

  private:
    bool is_drawn(int purpose, std::int64_t place) const {
        const double hash = draw(key_[purpose], key2_[purpose], static_cast<std::uint32_t>(place));
        return hash < job_.sample_rate * 4294967296.0;
    }

    // The Poisson batch: every IN record with probability sample_rate, independently.
    void sample() {
        which_.clear();
        const std::uint8_t* in = job_.in_mask + model_ * job_.records;
        const double limit = std::ceil(job_.sample_rate * 4294967296.0);
        const bool everybody = limit >= 4294967296.0;
        const std::uint32_t below = everybody ? 0 : static_cast<std::uint32_t>(limit);
        Words lanes;
        for (int i = 0; i < kWidth; ++i) lanes[i] = i;
        for (std::int64_t record = 0; record < job_.records; record += kWidth) {
            const Words place = lanes + static_cast<std::uint32_t>(record);
            const Words hash = mixed(mixed(place ^ key_[0]) + key2_[0]);
            for (int i = 0; i < kWidth && record + i < job_.records; ++i)
                if ((everybody || hash[i] < below) && in[record + i]) which_.push_back(record + i);
        }
    }

    // Adds the clipped gradients of own_.batch records to the layers' `second`. A record's gradient of a
    // layer is slope times input, so its squared length is the product of theirs.
    void add_gradients(const std::int64_t* which) {
        const Hidden how{job_.tanh, false, false, 0, 1.0f};
        const std::int64_t rows = own_.batch, last = static_cast<std::int64_t>(layers_.size()) - 1;
        gather(own_, which, layers_[0].input, layers_[0].input_length);
        for (std::int64_t number = 0; number < last; ++number) {
            const MlpLayer& next = layers_[number + 1];
            products_.forward(layers_[number], next.input, next.input_length);
            activate(how, 0, next.input, next.input_length, rows, next.in);
        }
        products_.forward(layers_[last], slopes_[last], layers_[last].length);
        cross_entropy_gradient(own_, which, slopes_[last], layers_[last].length);
        for (std::int64_t number = last; number > 0; --number) {
            const MlpLayer &layer = layers_[number], &under = layers_[number - 1];
            multiply(rows, padded(layer.in, 16), layer.out, slopes_[number], layer.length, 1,
                     layer.transposed, row_length(layer.in), scratch_, below_);
            deactivate(how, 0, layer.input, layer.input_length, scratch_, below_, rows, layer.in);
            for (std::int64_t row = 0; row < rows; ++row)
                std::copy(scratch_ + row * below_, scratch_ + row * below_ + under.columns,
                          slopes_[number - 1] + row * under.length);
        }
        const float batch = static_cast<float>(rows);  // the slopes are those of the batch's mean
        for (std::int64_t row = 0; row < rows; ++row) {
            float squared = 0.0f;
            for (std::int64_t number = 0; number <= last; ++number) {
                const MlpLayer& layer = layers_[number];
                squared += squared_length(slopes_[number] + row * layer.length, layer.columns) *
                           squared_length(layer.input + row * layer.input_length, padded(layer.in + 1, 16));
            }
            const float length = std::sqrt(squared) * batch;
            const float factor =
                batch * (job_.clips_batch || length <= job_.clip ? 1.0f : job_.clip / length);
            for (std::int64_t number = 0; number <= last; ++number) {
                float* slope = slopes_[number] + row * layers_[number].length;
                for (std::int64_t i = 0; i < layers_[number].columns; i += kWidth)
                    store(slope + i, load(slope + i) * factor);
            }
        }
        for (std::int64_t number = 0; number <= last; ++number) {
            const MlpLayer& layer = layers_[number];
            multiply(layer.in + 1, layer.columns, rows, layer.input, 1, layer.input_length, slopes_[number],
                     layer.length, layer.gradient, layer.length);
            for (std::int64_t i = 0; i < (layer.in + 1) * layer.length; i += kWidth)
                store(layer.second + i, load(layer.second + i) + load(layer.gradient + i));
        }
    }

    // Gradients that are nothing but `clip` along minus one parameter.
    void add_canaries() {
        for (std::int64_t canary = 0; canary < job_.canaries; ++canary) {
            if (!job_.canary_in[model_ * job_.canaries + canary] || !is_drawn(2, canary)) continue;
            std::int64_t place = job_.places[canary];
            for (auto& layer : layers_) {
                const std::int64_t size = layer.in * layer.out;
                if (place < size + layer.out) {
                    const std::int64_t row = place < size ? place % layer.in : layer.in;
                    const std::int64_t unit = place < size ? place / layer.in : place - size;
                    layer.second[row * layer.length + unit] -= job_.clip;
                    break;
                }
                place -= size + layer.out;
            }
        }
    }

    // What the sum is multiplied by so that the mean's length is at most `clip`.
    float clip_batch() const {
        double squared = 0.0;
        for (const auto& layer : layers_)
            for (std::int64_t row = 0; row <= layer.in; ++row)
                squared += squared_length(layer.second + row * layer.length, layer.columns);
        const double length = std::sqrt(squared) / job_.expected_batch;
        return length <= job_.clip ? 1.0f : static_cast<float>(job_.clip / length);
    }

    // Weights -= rate * (factor * sum + noise) / expected batch.
    void descend(const MlpLayer& layer, std::int64_t offset, float factor, float noise) {
        const float rate = job_.learning_rate / job_.expected_batch;
        Words lanes;
        for (int i = 0; i < kWidth; ++i) lanes[i] = i;
        for (std::int64_t row = 0; row <= layer.in; ++row) {
            const bool is_bias = row == layer.in;
            const auto stride = static_cast<std::uint32_t>(is_bias ? 1 : layer.in);
            const std::int64_t begin = offset + (is_bias ? layer.in * layer.out : row);
            for (std::int64_t unit = 0; unit < layer.columns; unit += kWidth) {
                const std::int64_t place = row * layer.length + unit;
                Floats slope = factor * load(layer.second + place);
                if (noise != 0.0f) {
                    const Words where = (lanes + static_cast<std::uint32_t>(unit)) * stride +
                                        static_cast<std::uint32_t>(begin);
                    slope += noise * normal_of(mixed(mixed(where ^ key_[1]) + key2_[1]));
                }
                store(layer.weight + place, load(layer.weight + place) - rate * slope);
            }
        }
    }

    const DpJob& job_;
    MlpJob own_;  // with the number of records at hand as `batch`
    const std::int64_t model_;
    std::vector<MlpLayer>& layers_;
    Products products_;
    std::vector<float*> slopes_;
    std::int64_t below_ = 0;
    float* scratch_;
    std::vector<std::int64_t> which_;
    std::uint32_t key_[3]{}, key2_[3]{};  // of sampling, noise and canaries
};

static void train(const DpJob& job, std::int64_t model, std::vector<MlpLayer>& layers, Arena& arena) {
    PrivateTraining(job, model, layers, arena).run();
}

#undef INLINE

}  // namespace KERNELS
}  // namespace miafast

// Matrix products of bfloat16 pairs, by AMX or AVX-512: part of mlp_kernels.h where vectors have 16 floats.
// An A operand lies in rows of pairs (two bfloat16 in one word, inner index running); a B operand [inner / 2,
// columns] holds in each word the values of two consecutive inner indices.

INLINE Words paired(Floats low, Floats high) { return (bfloat_bits(low) >> 16) | bfloat_bits(high); }

class PairProducts {
  public:
    PairProducts(const MlpJob& job, std::vector<MlpLayer>& layers, Arena& arena)
        : job_(job), layers_(layers), batch_(padded(job.batch, 32)) {
        if (isa_in_use() == Isa::amx) tiles_.emplace();
        for (const auto& layer : layers_) {
            Operands each;
            each.inner = padded(layer.in + 1, 32);
            each.out_inner = padded(layer.out, 32);
            each.weight = arena.take<std::uint32_t>(each.inner / 2 * layer.length);
            each.input = arena.take<std::uint32_t>(batch_ * row_length(each.inner / 2));
            each.input_pairs = arena.take<std::uint32_t>(batch_ / 2 * row_length(each.inner));
            each.input_turned = arena.take<std::uint32_t>(each.inner * row_length(batch_ / 2));
            each.gradient = arena.take<float>(each.inner * layer.length);
            each.slope_pairs = arena.take<std::uint32_t>(batch_ / 2 * layer.length);
            if (&layer != layers_.data()) {
                each.slope = arena.take<std::uint32_t>(batch_ * row_length(each.out_inner / 2));
                each.weight_rows =
                    arena.take<std::uint32_t>(padded(layer.in, 16) * row_length(each.out_inner / 2));
                each.weight_turned = arena.take<std::uint32_t>(each.out_inner / 2 * row_length(layer.in));
            }
            operands_.push_back(each);
        }
        for (std::size_t number = 0; number < layers_.size(); ++number)
            layers_[number].gradient = operands_[number].gradient;
    }

    void weights_changed() {
        for (std::size_t number = 0; number < layers_.size(); ++number) {
            const MlpLayer& layer = layers_[number];
            const Operands& own = operands_[number];
            pair_rows(layer.weight, layer.length, layer.in + 1, layer.columns, own.weight, layer.length);
            if (!own.weight_turned) continue;
            const std::int64_t length = row_length(own.out_inner / 2);
            pair_columns(layer.weight, layer.length, layer.in, layer.columns, own.weight_rows, length);
            turn(own.weight_rows, length, own.weight_turned, row_length(layer.in), padded(layer.in, 16),
                 own.out_inner / 2);
        }
    }

    void take(const std::int64_t* which) { gather(job_, which, layers_[0].input, layers_[0].input_length); }

    void forward(const MlpLayer& layer, float* out, std::int64_t length) {
        const Operands& own = operands_[&layer - layers_.data()];
        pair_columns(layer.input, layer.input_length, job_.batch, padded(layer.in + 1, 16), own.input,
                     row_length(own.inner / 2));
        multiply(padded(job_.batch, 16), layer.columns, own.inner, {own.input, row_length(own.inner / 2)},
                 {own.weight, layer.length}, out, length);
    }

    void backward(const MlpLayer& layer, float* slope, std::int64_t slope_length, float* below,
                  std::int64_t below_length) {
        const Operands& own = operands_[&layer - layers_.data()];
        const std::int64_t pairs = row_length(own.inner), turned = row_length(batch_ / 2);
        pair_rows(layer.input, layer.input_length, job_.batch, padded(layer.in + 1, 16), own.input_pairs,
                  pairs);
        turn(own.input_pairs, pairs, own.input_turned, turned, batch_ / 2, padded(layer.in + 1, 16));
        pair_rows(slope, slope_length, job_.batch, layer.columns, own.slope_pairs, layer.length);
        multiply(padded(layer.in + 1, 16), layer.columns, batch_, {own.input_turned, turned},
                 {own.slope_pairs, layer.length}, layer.gradient, layer.length);
        if (!below) return;
        const std::int64_t length = row_length(own.out_inner / 2);
        pair_columns(slope, slope_length, job_.batch, layer.columns, own.slope, length);
        multiply(padded(job_.batch, 16), padded(layer.in, 16), own.out_inner, {own.slope, length},
                 {own.weight_turned, row_length(layer.in)}, below, below_length);
    }

  private:
    struct Operands {
        std::int64_t inner, out_inner;
        std::uint32_t *weight = nullptr, *input = nullptr, *input_pairs = nullptr, *input_turned = nullptr;
        std::uint32_t *slope_pairs = nullptr, *slope = nullptr, *weight_rows = nullptr,
                      *weight_turned = nullptr;
        float* gradient = nullptr;
    };

    void multiply(std::int64_t rows, std::int64_t columns, std::int64_t inner, const PairOperand& a,
                  const PairOperand& b, float* c, std::int64_t c_length) const {
        (tiles_ ? multiply_tiles : multiply_pairs)(rows, columns, inner, a, b, c, c_length);
    }

    // [rows, columns] float32 -> B operand [ceil(rows / 2), columns].
    static void pair_rows(const float* from, std::int64_t from_length, std::int64_t rows,
                          std::int64_t columns, std::uint32_t* to, std::int64_t to_length) {
        for (std::int64_t row = 0; row < rows; row += 2, to += to_length) {
            const float *low = from + row * from_length, *high = low + from_length;
            for (std::int64_t i = 0; i < columns; i += kWidth) {
                const Floats upper = row + 1 < rows ? load(high + i) : Floats{};
                *reinterpret_cast<LooseWords*>(to + i) = paired(load(low + i), upper);
            }
        }
    }

    // [rows, columns] float32 -> A operand [rows, columns / 2].
    static void pair_columns(const float* from, std::int64_t from_length, std::int64_t rows,
                             std::int64_t columns, std::uint32_t* to, std::int64_t to_length) {
        for (std::int64_t row = 0; row < rows; ++row, from += from_length, to += to_length)
            for (std::int64_t i = 0; i < columns; i += kWidth) {
                const __m256i halves = _mm512_cvtepi32_epi16((__m512i)(bfloat_bits(load(from + i)) >> 16));
                _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + i / 2), halves);
            }
    }

    static void turn(const std::uint32_t* from, std::int64_t from_length, std::uint32_t* to,
                     std::int64_t to_length, std::int64_t rows, std::int64_t columns) {
        for (std::int64_t row = 0; row < rows; row += 16)
            for (std::int64_t column = 0; column < columns; column += 16)
                transpose_block(reinterpret_cast<const float*>(from) + row * from_length + column,
                                from_length, reinterpret_cast<float*>(to) + column * to_length + row,
                                to_length);
    }

    std::optional<AmxTiles> tiles_;
    const MlpJob& job_;
    std::vector<MlpLayer>& layers_;
    std::int64_t batch_;
    std::vector<Operands> operands_;
};

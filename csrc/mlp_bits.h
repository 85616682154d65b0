// The first layer of inputs that are 0 or 1, by sums of subsets: of its weights on the way forward, of the
// records' slopes on the way back. Part of mlp_kernels.h.

class BitProducts : public Products {
  public:
    BitProducts(const MlpJob& job, std::vector<MlpLayer>& layers, Arena& arena)
        : Products(job, layers, arena),
          job_(job),
          first_(layers[0]),
          fives_(subsets_of(job.features)),
          record_fives_(subsets_of(job.batch)),
          of_records_(arena.take<std::uint8_t>(job.batch * fives_)),
          of_inputs_(arena.take<std::uint8_t>(record_fives_ * job.features)),
          line_(arena.take<std::uint8_t>(job.features)),
          weight_sums_(arena.take<float>(first_.length)),
          slope_sums_(arena.take<float>(first_.length)),
          tables_(arena.take<Floats>(slice_vectors<Floats>)) {}

    void take(const std::int64_t* which) {
        for (std::int64_t row = 0; row < job_.batch; ++row)
            std::memcpy(of_records_ + row * fives_, job_.subsets + which[row] * fives_, fives_);
        const std::int64_t features = job_.features;
        for (std::int64_t five = 0; five < record_fives_; ++five) {
            const std::int64_t row = five * subset_size;
            std::memset(line_, 0, features);
            for (std::int64_t k = std::min(subset_size, job_.batch - row); k-- > 0;) {
                const std::uint8_t* x = job_.x_byte + which[row + k] * features;
                for (std::int64_t i = 0; i < features; ++i)
                    line_[i] = static_cast<std::uint8_t>(2 * line_[i] + x[i]);
            }
            for (std::int64_t i = 0; i < features; ++i) of_inputs_[i * record_fives_ + five] = line_[i];
        }
    }

    void weights_changed() {
        Products::weights_changed();
        add_rows(first_.operand, first_.length, first_.in, weight_sums_);
        const float* bias = first_.operand + first_.in * first_.length;
        for (std::int64_t i = 0; i < first_.columns; ++i) weight_sums_[i] = bias[i] + 0.0f * weight_sums_[i];
    }

    void forward(const MlpLayer& layer, float* out, std::int64_t length) {
        if (&layer != &first_) return Products::forward(layer, out, length);
        multiply({of_records_, job_.batch, fives_}, layer.in, layer.operand, layer.length, weight_sums_, out,
                 length);
    }

    void backward(const MlpLayer& layer, float* slope, std::int64_t slope_length, float* below,
                  std::int64_t below_length) {
        if (&layer != &first_) return Products::backward(layer, slope, slope_length, below, below_length);
        if (job_.bfloat16) round_all(slope, job_.batch * slope_length);
        float* bias = layer.gradient + layer.in * layer.length;
        add_rows(slope, slope_length, job_.batch, bias);
        for (std::int64_t i = 0; i < layer.columns; ++i) slope_sums_[i] = 0.0f * bias[i];
        multiply({of_inputs_, layer.in, record_fives_}, job_.batch, slope, slope_length, slope_sums_,
                 layer.gradient, layer.length);
    }

  private:
    // The sum of all rows, in all of the layer's columns.
    void add_rows(const float* rows, std::int64_t length, std::int64_t count, float* to) const {
        for (std::int64_t column = 0; column < first_.columns; column += kWidth) {
            Floats sum{};
            for (std::int64_t row = 0; row < count; ++row) sum += load(rows + row * length + column);
            store(to + column, sum);
        }
    }

    // sums = start + bits times the numbers, in all of the layer's columns.
    void multiply(const BitRows& bits, std::int64_t inner, const float* numbers, std::int64_t numbers_length,
                  const float* start, float* sums, std::int64_t length) const {
        for (std::int64_t column = 0; column < first_.columns; column += subset_vectors * kWidth)
            (column + kWidth < first_.columns
                 ? multiply_bits<2, Floats, float>
                 : multiply_bits<1, Floats, float>)(bits, inner, numbers + column, numbers_length,
                                                    start + column, 0, sums + column, length, tables_);
    }

    const MlpJob& job_;
    const MlpLayer& first_;
    std::int64_t fives_, record_fives_;
    std::uint8_t *of_records_, *of_inputs_, *line_;  // [batch][fives], [features][fives of records]
    float *weight_sums_, *slope_sums_;  // what all sums start from, NaN where 0 times a number of theirs is
    Floats* tables_;
};

// Layers by AMX tiles, from records to phi. Weights of all layers stay in the cache, where they fit there,
// while 32 records after the other go through them; else all records of a piece go through one block of units
// after the other. Part of linear_confidence_kernel.h.
#include "digit_products.h"

// Words of 32 records or units.
inline std::int64_t panel_words(std::int64_t width, Split into) {
    return into.digits ? digit_words(width, into.parts) : side_words(width, into.parts);
}

// What a layer's weights are split into beside records that are split so.
inline Split weight_split(const Logits& weight, Split records) {
    return records.digits ? Split{digits, true} : Split{parts_of(weight), false};
}

// Returns whether the weights fit.
inline bool split_block(const Affine& layer, std::int64_t model, Split into, const Columns& columns,
                        std::size_t slot, Workspace& memory, TileBlock& block) {
    const Logits& weight = layer.weight;
    const std::int64_t groups = tile_sides(block.units), room = groups * tile_side;
    float* biases = memory.take<float>(slot, (lanes<F32> + 3) * room);
    float* each = biases + lanes<F32> * room;
    std::fill(each, each + room, 0.0f);
    if (layer.bias.data) {
        Logits some = layer.bias;
        some.classes = block.units;
        pack_weights(some, some.model_start(model) + block.first * some.class_stride, {0, 1, 1}, each);
    }
    for (std::int64_t unit = 0; unit < room && !into.digits; ++unit)
        std::fill_n(biases + unit * lanes<F32>, lanes<F32>, each[unit]);
    std::uint32_t* words = memory.take<std::uint32_t>(slot + 1, groups * panel_words(weight.classes, into));
    float *row = memory.take<float>(11, digit_steps(weight.classes) * 64), *worth = each + room;
    const char* start = weight.model_start(model) + block.first * weight.record_stride;
    block.words = words;
    block.biases = into.digits ? each : biases;
    block.worth = worth;
    auto* uneven = reinterpret_cast<bool*>(worth + room);
    block.uneven = uneven;
    if (into.digits) {
        if (weight.storage == Storage::float32)
            digit_weights<float>(weight, start, block.units, columns, row, words, worth, uneven);
        else
            digit_weights<Float16>(weight, start, block.units, columns, row, words, worth, uneven);
        return true;
    }
    if (weight.storage == Storage::float32)
        return split_weights<float>(weight, start, block.units, row, words);
    if (weight.storage == Storage::bfloat16)
        return split_weights<Bfloat16>(weight, start, block.units, row, words);
    return split_weights<Float16>(weight, start, block.units, row, words);
}

// A group's units of 32 records, activated, as the step that they are to the next layer.
inline void split_hidden(bool tanh, float* sums, Magnitude& magnitude, std::uint32_t* to) {
    activate(tanh, tile_side * tile_side, sums);
    Magnitude own = magnitude;
    for (std::int64_t unit = 0; unit < tile_side; unit += 2, sums += 2 * tile_side, to += lanes<F32>)
        for (std::int64_t i = 0; i < tile_side; i += lanes<F32>) {
            const F32 low = load<F32>(sums + i), high = load<F32>(sums + tile_side + i);
            own.see(low);
            own.see(high);
            split_pair<float_parts>(low, high, to + i * lanes<F32>);
        }
    magnitude = own;
}

// Whether the weights of all layers stay in the second-level cache while records go through them.
inline bool weights_stay(const ConfidenceJob& job) {
    std::int64_t words = 0;
    for (const Affine& layer : job.layers)
        words += tile_sides(layer.weight.records) * side_words(layer.weight.classes, parts_of(layer.weight));
    return words <= cached_words;
}

// A block of a first layer by digits: its outputs [units][32 records] or, activated, the panel that they are
// to the next layer.
template <int parts>
MIAFAST_AMX_CODE inline void multiply_first(const TileBlock& block, const std::uint32_t* right,
                                            const float* record_worth, std::int64_t width, bool tanh,
                                            float* outputs, std::uint32_t* hidden, Ahead ahead) {
    const auto multiply = [&](std::int64_t units, const auto& finish) MIAFAST_AMX_CODE {
        multiply_digit_block<parts>(block, units, right, record_worth, digit_steps(width), finish, ahead);
    };
    const std::int64_t whole = tile_sides(block.units) * tile_side;
    if (!hidden)
        multiply(block.units, DigitOutputs{outputs});
    else if (tanh)
        multiply(whole, DigitHidden<true>{hidden});
    else
        multiply(whole, DigitHidden<false>{hidden});
}

// As confidence_of, or nothing where a number does not fit.
MIAFAST_AMX_CODE inline std::optional<std::int64_t> confidence_by_tiles(const ConfidenceJob& job,
                                                                        std::int64_t model,
                                                                        std::int64_t begin, std::int64_t end,
                                                                        SplitRecords input,
                                                                        Workspace& memory) {
    const Logits& x = job.features;
    const std::int64_t count = end - begin, padded = tile_sides(count) * tile_side;
    if (!input.words) {
        const char* first = x.model_start(model) + begin * x.record_stride;
        auto* own = memory.take<std::uint32_t>(8, padded / tile_side * side_words(x.classes, float_parts));
        input = {own, {1, false}, nullptr, {}};
        if (!split_records(x, first, count, 1, memory, own)) {
            input.into.parts = float_parts;
            if (!split_records(x, first, count, float_parts, memory, own)) return {};
        }
    }
    const bool stay = weights_stay(job);
    const std::int64_t strip = stay ? tile_side : padded;
    const Running<float> running(memory, padded);
    const std::int64_t bad =
        read_labels(job.labels, begin, count, job.layers.back().weight.records, running.label);
    const float largest_worth = input.worth ? *std::max_element(input.worth, input.worth + count) : 0;
    std::vector<TileBlock> blocks(job.layers.size());
    std::optional<AmxTiles> tiles;
    if (isa_in_use() == Isa::amx) tiles.emplace();
    for (std::int64_t start = 0; start < padded; start += strip) {
        SplitRecords from = input;
        from.words += start / tile_side * panel_words(x.classes, from.into);
        if (from.worth) from.worth += start;
        for (std::size_t number = 0; number < job.layers.size(); ++number) {
            const Affine& layer = job.layers[number];
            const std::int64_t units = layer.weight.records, inner = layer.weight.classes;
            const Split records = from.into, weights = weight_split(layer.weight, records);
            const std::int64_t panel = panel_words(inner, records), group = panel_words(inner, weights),
                               next_panel = side_words(units, float_parts);
            const std::int64_t most =
                stay ? units : std::max<std::int64_t>(1, cached_words / 2 / group) * tile_side;
            const bool is_last = number + 1 == job.layers.size();
            auto* hidden = is_last
                               ? nullptr
                               : memory.take<std::uint32_t>(9 + number % 2, strip / tile_side * next_panel);
            float* sums = memory.take<float>(
                6, (records.digits ? tile_sides(std::min(most, units)) : 1) * tile_side * tile_side);
            Magnitude magnitude;
            TileBlock& block = blocks[number];
            const auto two = multiplier<true>(weights.parts, records.parts),
                       one = multiplier<false>(weights.parts, records.parts);
            for (std::int64_t first = 0; first < units; first += most) {
                if (!stay || !start) {
                    block = {first, std::min(most, units - first), nullptr, nullptr, nullptr, nullptr};
                    if (!split_block(layer, model, weights, from.columns, 12 + 2 * number, memory, block))
                        return {};
                    if (records.digits && !is_last && !digits_fit(block, inner, largest_worth)) return {};
                }
                const std::int64_t sides = tile_sides(block.units),
                                   passes = records.digits ? 4 / digit_halves(records.parts) : 1,
                                   lines =
                                       stay && number ? 0 : tile_side * records.parts / (sides * passes) + 1;
                for (std::int64_t at = 0; at < strip; at += tile_side) {
                    const std::uint32_t* right = from.words + at / tile_side * panel;
                    Ahead ahead{right + panel, lines};
                    std::uint32_t* to = is_last ? nullptr
                                                : hidden + at / tile_side * next_panel +
                                                      first / tile_side * float_parts * step_words;
                    if (records.digits)
                        (records.parts == 1 ? multiply_first<1>
                                            : multiply_first<digits>)(block, right, from.worth + at, inner,
                                                                      job.tanh, sums, to, ahead);
                    if (records.digits && !is_last) continue;
                    for (std::int64_t unit = 0; unit < block.units; unit += tile_side) {
                        float* own = sums + (records.digits ? unit * tile_side : 0);
                        const std::int64_t some = std::min(tile_side, block.units - unit);
                        if (!records.digits) {
                            (is_last && some <= 16 ? one : two)(block.words + unit / tile_side * group, right,
                                                                tile_sides(inner),
                                                                block.biases + unit * lanes<F32>, own, ahead);
                            ahead.skip(tile_sides(inner));
                        }
                        if (is_last)
                            reduce_outputs<tile_side>(first + unit, some, start + at, running, own);
                        else
                            split_hidden(job.tanh, own, magnitude,
                                         to + unit / tile_side * float_parts * step_words);
                    }
                }
            }
            if (!magnitude.fits()) return {};
            from = {hidden, {float_parts, false}, nullptr, {}};
        }
    }
    const std::int64_t place = model * x.records + begin;
    finish_outputs(running, count, static_cast<float*>(job.phi) + place, job.correct + place);
    return bad;
}

// Whether tiles, of which part may be empty, take less time than vectors. Without AMX they hold bfloat16
// weights alone.
inline bool tiles_pay(const ConfidenceJob& job) {
    const bool amx = isa_in_use() == Isa::amx;
    std::int64_t whole = 0, needed = 0;
    int record_parts = job.features.storage == Storage::bfloat16 ? 1 : float_parts;
    for (const Affine& layer : job.layers) {
        const Logits& weight = layer.weight;
        const std::int64_t units = (weight.records + 15) / 16 * 16;
        const int parts = parts_of(weight) * record_parts;
        if (!amx && parts_of(weight) > 1) return false;
        whole += tile_sides(weight.classes) * tile_side * units * std::min(parts, 6);
        needed += weight.classes * weight.records;
        record_parts = float_parts;
    }
    return whole <= (amx ? 16 : 2) * needed;
}

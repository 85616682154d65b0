#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "logits.h"

namespace miafast {

// A layer x -> weight x + bias: weight [..., units, width] as Logits of `units` records; bias [..., units] as
// Logits of one record, without data where there is none.
struct Affine {
    Logits weight, bias;
};

// Layers of one computed type (float, or double if every storage is float64) on features [..., records,
// width]. Where features, a weight or a bias have no leading axis, all models share them.
struct ConfidenceJob {
    Logits features;
    std::vector<Affine> layers;  // an activation follows each but the last
    Labels labels;
    bool tanh;  // else relu
    std::int64_t models;
    void* phi;      // [models, records]
    bool* correct;  // [models, records]

    bool is_double() const { return features.storage == Storage::float64; }
};

// phi of the last layer's outputs and whether the first largest of them is the label's; no more than a block
// of the outputs ever exists. Returns the first record whose label is outside the classes, or -1.
std::int64_t linear_confidence(const ConfidenceJob& job);

// What AMX multiplies: numbers as sums of so many bfloat16 ones, or as whole ones of so many 8-bit digits.
struct Split {
    int parts;
    bool digits;
};

// Of records on average, each divided by its largest magnitude: every column's square, their total, and how
// many of a record's numbers are not 0.
struct Columns {
    const float* squares;
    float total, terms;
};

struct SplitRecords {
    const std::uint32_t* words;
    Split into;
    const float* worth;  // of a record's first digit
    Columns columns;     // of digits
};

// How records whose inputs are mostly one value are multiplied: see linear_sparse.h.
struct EntryPlan {
    double common = 0;       // the value
    std::int64_t bytes = 0;  // of a record's entries
    bool few = false,
         some = false;  // whether they are few enough to multiply them rather than subsets; panels
};

// What all models read of some records, null where each is to prepare its own.
struct SharedRecords {
    const void* panels = nullptr;
    const void* entries = nullptr;  // of inputs that are mostly one value
    EntryPlan plan{};
    const std::uint8_t* subsets = nullptr;  // of inputs that are 0 or 1, per five: see subset_sums.h
    SplitRecords split{};
    bool by_tiles = false;  // AMX, or bfloat16 by AVX-512, where a model's weights allow it
};

// Memory that a thread keeps from one piece of work to the next, in 64-byte lines; not initialised.
class Workspace {
  public:
    template <typename T>
    T* take(std::size_t slot, std::int64_t size) {
        const std::size_t bytes = static_cast<std::size_t>(size) * sizeof(T) + 64;
        if (slot >= blocks_.size()) blocks_.resize(slot + 1);
        Block& block = blocks_[slot];
        if (block.bytes < bytes) {
            block.memory.reset(new char[bytes]);
            block.bytes = bytes;
        }
        const auto address = reinterpret_cast<std::uintptr_t>(block.memory.get());
        return reinterpret_cast<T*>((address + 63) / 64 * 64);
    }

  private:
    struct Block {
        std::unique_ptr<char[]> memory;
        std::size_t bytes = 0;
    };
    std::vector<Block> blocks_;
};

}  // namespace miafast

// Bits times numbers without multiplying: of every five rows of numbers the 32 sums are made once, and looked
// up for every row of bits. One addition so does the work of five products, with fewer roundings. Arlazarov,
// Dinic, Kronrod and Faradzhev 1970, "the method of the four Russians". Read inside an instruction set's
// namespace, with its vectors V of numbers T; so no include guard and no includes.

inline constexpr std::int64_t subset_size = 5, subset_count = 1 << subset_size;
inline constexpr std::int64_t subset_vectors = 2;      // of numbers that a table holds of each sum
inline constexpr std::int64_t slice_bytes = 28 << 10;  // of tables that stay in the first-level cache

inline std::int64_t subsets_of(std::int64_t bits) { return (bits + subset_size - 1) / subset_size; }

// Vectors in the tables of a slice.
template <typename V>
inline constexpr std::int64_t slice_vectors = slice_bytes / static_cast<std::int64_t>(sizeof(V));

// A matrix of bits: which of the 32 subsets the fives of a row are, the first bit in the lowest place. Rows
// are `length` apart.
struct BitRows {
    const std::uint8_t* subsets;
    std::int64_t rows, length;
};

// The sums of all subsets of `count` rows of numbers.
template <int vectors, typename V, typename T>
static inline void sum_subsets(const T* numbers, std::int64_t length, std::int64_t count, V* table) {
    for (int v = 0; v < vectors; ++v) {
        table[v] = V{};
        for (std::int64_t row = 0; row < count; ++row) {
            V own;
            std::memcpy(&own, numbers + row * length + v * (sizeof(V) / sizeof(T)), sizeof(V));
            for (std::int64_t subset = 0; subset < 1 << row; ++subset)
                table[((1 << row) + subset) * subset_vectors + v] = table[subset * subset_vectors + v] + own;
        }
    }
}

// sums = start + what the rows of bits look up in so many tables.
template <int vectors, typename V, typename T>
static inline __attribute__((always_inline)) void add_subsets(BitRows bits, std::int64_t tables,
                                                              const V* table, const T* start,
                                                              std::int64_t start_length, T* sums,
                                                              std::int64_t length) {
    constexpr std::int64_t lanes = sizeof(V) / sizeof(T), bytes = subset_vectors * sizeof(V);
    for (std::int64_t row = 0; row < bits.rows; ++row) {
        V sum[vectors];
        for (int v = 0; v < vectors; ++v) std::memcpy(&sum[v], start + v * lanes, sizeof(V));
        for (std::int64_t i = 0; i < tables; ++i) {
            const std::int64_t place = bits.subsets[i] * bytes;
            const char* own =
                reinterpret_cast<const char*>(table + i * subset_count * subset_vectors) + place;
            for (int v = 0; v < vectors; ++v) sum[v] += *reinterpret_cast<const V*>(own + v * sizeof(V));
        }
        for (int v = 0; v < vectors; ++v) std::memcpy(sums + v * lanes, &sum[v], sizeof(V));
        bits.subsets += bits.length;
        start += start_length;
        sums += length;
    }
}

// sums [rows][vectors] = start + bits [rows][inner] times numbers [inner][vectors], rows of numbers so many
// apart; `tables` has room for a slice.
template <int vectors, typename V, typename T>
static inline void multiply_bits(BitRows bits, std::int64_t inner, const T* numbers,
                                 std::int64_t numbers_length, const T* start, std::int64_t start_length,
                                 T* sums, std::int64_t length, V* tables) {
    constexpr std::int64_t size = subset_count * subset_vectors, slice = slice_vectors<V> / size;
    const std::int64_t all = subsets_of(inner);
    for (std::int64_t first = 0; first < all; first += slice) {
        const std::int64_t some = std::min(slice, all - first);
        for (std::int64_t i = 0; i < some; ++i) {
            const std::int64_t row = (first + i) * subset_size;
            sum_subsets<vectors>(numbers + row * numbers_length, numbers_length,
                                 std::min(subset_size, inner - row), tables + i * size);
        }
        if (some == slice)
            add_subsets<vectors>(bits, slice, tables, start, start_length, sums, length);
        else
            add_subsets<vectors>(bits, some, tables, start, start_length, sums, length);
        bits.subsets += slice;
        start = sums;
        start_length = length;
    }
}

// phi of logits [leads * records, classes]. Few classes: a block brings a tile of rows to shared memory in
// 16-byte pieces and every thread takes a row. Many: a block takes a row. Compiled at run time by NVRTC,
// which has no headers.

using Offset = long long;

struct Half {
    unsigned short bits;
};
struct BFloat16 {
    unsigned short bits;
};

inline float float_of_bits(unsigned int bits) {
    union {
        unsigned int from;
        float to;
    } both{bits};
    return both.to;
}

inline float real(float x) { return x; }
inline double real(double x) { return x; }
inline float real(BFloat16 x) { return float_of_bits(static_cast<unsigned int>(x.bits) << 16); }
inline float real(Half x) {
    const unsigned int rest = x.bits & 0x7fffu;
    const float size = rest >= 0x7c00u ? float_of_bits(0x7f800000u | rest << 13)
                                       : float_of_bits(rest << 13) * float_of_bits(0x77800000u);  // 2^112
    return x.bits & 0x8000u ? -size : size;
}

template <typename Real>
inline Real endless() {
    return static_cast<Real>(float_of_bits(0x7f800000u));
}

template <typename Real>
inline Real not_a_number() {
    return static_cast<Real>(float_of_bits(0x7fc00000u));
}

template <typename Real>
inline Real or_zero(Real x) {
    return x - x == 0 ? x : 0;
}

// The largest of some logits, and the sum of exp(logit - largest); NaN is kept in the sum.
template <typename Real>
struct LogSum {
    Real largest, total;

    void merge(Real their_largest, Real their_total) {
        const Real top = their_largest > largest ? their_largest : largest;
        const Real pivot = or_zero(top);
        total = total * exp(largest - pivot) + their_total * exp(their_largest - pivot);
        largest = top;
    }
};

template <typename Real>
inline Real phi_of(Real of_label, const LogSum<Real>& others) {
    const Real difference = of_label - others.largest;
    if (!(others.total == others.total)) return not_a_number<Real>();
    return others.largest - others.largest == 0 ? difference - log(others.total) : difference;
}

// A row that lies at `row`, read from class `first` on, around its end, to its beginning.
template <typename Real, typename Stored>
inline Real phi_of_row(const Stored* row, int classes, Offset label, int first) {
    if (label < 0 || label >= classes) return not_a_number<Real>();
    LogSum<Real> others{-endless<Real>(), 0};
    for (int i = 0, at = first; i < classes; ++i, at = at + 1 == classes ? 0 : at + 1) {
        const Real z = real(row[at]);
        if (at != label && z > others.largest) others.largest = z;
    }
    const Real pivot = or_zero(others.largest);
    for (int i = 0, at = first; i < classes; ++i, at = at + 1 == classes ? 0 : at + 1) {
        if (at != label) others.total += exp(static_cast<Real>(real(row[at])) - pivot);
    }
    return phi_of<Real>(real(row[label]), others);
}

// One row per thread of dense logits; `shared_memory` holds blockDim.x rows. Where a row begins in its bank
// is turned with the thread, so that the threads of a warp read from as many banks as there are.
template <typename Stored, typename Label, typename Real>
__global__ void tile_kernel(const Stored* logits, const Label* labels, Real* phi, Offset rows, Offset records,
                            int classes, Offset label_stride) {
    extern __shared__ uint4 shared_memory[];
    const Offset first = static_cast<Offset>(blockIdx.x) * blockDim.x;
    const Offset left = rows - first;
    const int count = left < blockDim.x ? static_cast<int>(left) : blockDim.x;
    const Offset bytes = static_cast<Offset>(count) * classes * sizeof(Stored);
    const char* from = reinterpret_cast<const char*>(logits + first * classes);
    const int pieces = reinterpret_cast<Offset>(from) % 16 == 0 ? static_cast<int>(bytes / 16) : 0;
    for (int i = threadIdx.x; i < pieces; i += blockDim.x)
        shared_memory[i] = reinterpret_cast<const uint4*>(from)[i];
    Stored* tile = reinterpret_cast<Stored*>(shared_memory);
    for (int i = pieces * 16 / sizeof(Stored) + threadIdx.x; i < count * classes; i += blockDim.x)
        tile[i] = logits[first * classes + i];
    __syncthreads();
    const int row = threadIdx.x;
    if (row >= count) return;
    int shift = 0;  // how many rows until one begins in the first row's bank, as a power of two
    const int words = classes * static_cast<int>(sizeof(Stored)) / 4;
    while (shift < 5 && (words << shift) % 32 != 0) ++shift;
    const Label label = labels[(first + row) % records * label_stride];
    phi[first + row] = phi_of_row<Real>(tile + static_cast<Offset>(row) * classes, classes,
                                        static_cast<Offset>(label), ((row % 32) >> shift) % classes);
}

// One row per block of logits [leads, records, classes] with any strides; `shared_memory` holds two numbers
// per thread.
template <typename Stored, typename Label, typename Real>
__global__ void row_kernel(const Stored* logits, const Label* labels, Real* phi, Offset records, int classes,
                           Offset lead_stride, Offset row_stride, Offset class_stride, Offset label_stride) {
    extern __shared__ uint4 shared_memory[];
    LogSum<Real>* parts = reinterpret_cast<LogSum<Real>*>(shared_memory);
    const Offset row = blockIdx.x;
    const Stored* begin = logits + row / records * lead_stride + row % records * row_stride;
    const Offset label = static_cast<Offset>(labels[row % records * label_stride]);
    LogSum<Real> own{-endless<Real>(), 0};
    for (int at = threadIdx.x; at < classes; at += blockDim.x) {
        if (at != label) own.merge(real(begin[at * class_stride]), 1);
    }
    parts[threadIdx.x] = own;
    for (int half = blockDim.x / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half)
            parts[threadIdx.x].merge(parts[threadIdx.x + half].largest, parts[threadIdx.x + half].total);
    }
    if (threadIdx.x != 0) return;
    phi[row] = label < 0 || label >= classes ? not_a_number<Real>()
                                             : phi_of<Real>(real(begin[label * class_stride]), parts[0]);
}

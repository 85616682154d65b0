// Compiles the file named by MIAFAST_KERNEL once per instruction set, each in a namespace of its own, with
// the vectors of vector.h and exp_log.h beside it. No include guard: a file may stamp several kernels.
// Include the standard headers that a kernel needs before this one: what is included here is inside a
// namespace. Keep vector code in a kernel out of lambdas: compilers do not always carry the target over to
// them.
#include "simd.h"

namespace miafast::scalar {
#define MIAFAST_VECTOR_BYTES 0
#include "exp_log.h"
#include MIAFAST_KERNEL
#undef MIAFAST_VECTOR_BYTES
}  // namespace miafast::scalar

#ifdef MIAFAST_VECTOR128
namespace miafast::vector128 {
#define MIAFAST_VECTOR_BYTES 16
#include "exp_log.h"
#include MIAFAST_KERNEL
#undef MIAFAST_VECTOR_BYTES
}  // namespace miafast::vector128
#endif

#ifdef MIAFAST_AVX
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,bmi,bmi2,prefer-vector-width=256")
namespace miafast::avx2 {
#define MIAFAST_VECTOR_BYTES 32
#include "exp_log.h"
#include MIAFAST_KERNEL
#undef MIAFAST_VECTOR_BYTES
}  // namespace miafast::avx2
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,bmi,bmi2,avx512f,avx512bw,avx512dq,avx512vl,prefer-vector-width=512")
namespace miafast::avx512 {
#define MIAFAST_VECTOR_BYTES 64
#include "exp_log.h"
#include MIAFAST_KERNEL
#undef MIAFAST_VECTOR_BYTES
}  // namespace miafast::avx512
#pragma GCC pop_options
#endif

#undef MIAFAST_KERNEL

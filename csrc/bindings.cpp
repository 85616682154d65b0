// The only C++ that knows Python: unpacks arrays, releases the GIL, calls the kernels declared beside it.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

namespace py = pybind11;

PYBIND11_MODULE(_native, m) {
    m.doc() = "Native twins of miafast.ops; call them through miafast.ops.";
}

// The only C++ that knows Python: unpacks arrays, releases the GIL, calls the kernels declared beside it.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>
#include <vector>

#include "parallel.h"
#include "simd.h"

namespace py = pybind11;

PYBIND11_MODULE(_native, m) {
    m.doc() = "Native twins of miafast.ops; call them through miafast.ops.";

    // Instruction sets and threads
    m.def(
        "isa", [] { return std::string(miafast::isa_names[static_cast<int>(miafast::isa_in_use())]); },
        "The instruction set that the kernels use.");
    m.def("isas", &miafast::isas, "The instruction sets that this machine can run, the plainest first.");
    m.def("limit_isa", &miafast::limit_isa, py::arg("isa"),
          "For tests: use nothing above this instruction set.");
    m.def("thread_count", &miafast::thread_count, "The processors that this process may run on.");
}

// The module, and what concerns all kernels: instruction sets and threads.
#include "bindings.h"

#include <pybind11/stl.h>

#include "parallel.h"
#include "simd.h"

PYBIND11_MODULE(_native, m) {
    m.doc() = "Native twins of miafast.ops; call them through miafast.ops.";
    m.def(
        "isa", [] { return std::string(miafast::isa_names[static_cast<int>(miafast::isa_in_use())]); },
        "The instruction set that the kernels use.");
    m.def("isas", &miafast::isas, "The instruction sets that this machine can run, the plainest first.");
    m.def("limit_isa", &miafast::limit_isa, py::arg("isa"),
          "For tests: use nothing above this instruction set.");
    m.def("thread_count", &miafast::thread_count, "The processors that this process may run on.");

    bind_signals(m);
    bind_lira(m);
    bind_roc(m);
    bind_log_ratio(m);
    bind_rmia(m);
    bind_mlp_steps(m);
    bind_linear_confidence(m);
    bind_dp_sgd(m);
    bind_f_dp(m);
    bind_redraw(m);
    bind_neighbour_share(m);
}

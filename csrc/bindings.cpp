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

    m.def(
        "touch",
        [](py::array& memory) {
            auto* bytes = static_cast<volatile char*>(memory.mutable_data());
            const std::int64_t size = memory.nbytes();
            py::gil_scoped_release released;
            constexpr std::int64_t page = 4096;
            miafast::parallel_for(size, 512 * page, [&](std::int64_t begin, std::int64_t end) {
                for (std::int64_t at = begin; at < end; at += page) bytes[at] = 0;
            });
        },
        "Writes to every page of new memory, which is when the system makes it.");

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
    bind_class_threshold(m);
    bind_against_shadows(m);
}

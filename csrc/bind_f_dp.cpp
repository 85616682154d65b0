// Python's side of f_dp_excess.
#include <pybind11/stl.h>

#include <cstdint>
#include <optional>

#include "bindings.h"
#include "f_dp.h"

namespace {

template <typename T>
using Dense = py::array_t<T, py::array::c_style | py::array::forcecast>;

py::array_t<double> f_dp_excess(const Dense<std::int64_t>& right, const Dense<double>& level,
                                const std::optional<Dense<double>>& delta, std::int64_t guesses,
                                std::int64_t canaries, double alpha) {
    py::array_t<double> excess(right.size());
    double* to = excess.mutable_data();
    const double* deltas = delta ? delta->data() : nullptr;
    {
        const py::gil_scoped_release release;
        miafast::f_dp_excess(right.size(), right.data(), level.data(), deltas, guesses, canaries, alpha, to);
    }
    return excess;
}

}  // namespace

void bind_f_dp(py::module_& m) {
    m.def("f_dp_excess", &f_dp_excess, py::arg("right"), py::arg("level"), py::arg("delta"), py::kw_only(),
          py::arg("guesses"), py::arg("canaries"), py::arg("alpha"));
}

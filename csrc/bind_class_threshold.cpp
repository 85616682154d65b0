// Python's side of above_class_threshold.
#include <pybind11/stl.h>

#include <optional>

#include "above_class_threshold.h"
#include "bindings.h"

namespace {

template <typename T>
using Dense = py::array_t<T, py::array::c_style>;

void class_thresholds(const Dense<double>& signals, const Dense<bool>& is_in,
                      const Dense<std::int32_t>& models, const Dense<std::int32_t>& records,
                      const Dense<std::int64_t>& ends, const std::optional<Dense<std::int32_t>>& beside,
                      bool leave_one_out, Dense<double>& thresholds) {
    const std::int32_t* const named = beside ? beside->data() : nullptr;
    const miafast::FallingSignals table{signals.data(),
                                        is_in.data(),
                                        models.data(),
                                        records.data(),
                                        ends.data(),
                                        ends.shape(0) - 1,
                                        beside ? beside->shape(1) : 0};
    const std::int64_t targets = thresholds.shape(0);
    double* const out = thresholds.mutable_data();
    const py::gil_scoped_release release;
    miafast::class_thresholds(table, named, leave_one_out, targets, out);
}

}  // namespace

void bind_class_threshold(py::module_& m) {
    m.def("class_thresholds", &class_thresholds, py::arg("signals").noconvert(), py::arg("is_in").noconvert(),
          py::arg("models").noconvert(), py::arg("records").noconvert(), py::arg("ends").noconvert(),
          py::arg("beside"), py::kw_only(), py::arg("leave_one_out"), py::arg("thresholds").noconvert());
}

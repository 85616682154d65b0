// Python's side of redraw.
#include "bindings.h"
#include "redraw.h"

namespace {

template <typename T>
using Dense = py::array_t<T, py::array::c_style>;

template <typename Value>
void redraw(const Dense<Value>& x, const Dense<std::int64_t>& k, const Dense<std::uint32_t>& keys,
            const py::object& low, const py::object& high, Dense<Value>& redrawn) {
    const auto least = low.is_none() ? Dense<double>() : low.cast<Dense<double>>();
    const auto most = low.is_none() ? Dense<double>() : high.cast<Dense<double>>();
    const double* const from = low.is_none() ? nullptr : least.data();
    const double* const to = low.is_none() ? nullptr : most.data();
    Value* const out = redrawn.mutable_data();
    const py::ssize_t records = x.shape(0), features = x.shape(1);
    const py::gil_scoped_release release;
    miafast::redraw(x.data(), k.data(), keys.data(), from, to, records, features, out);
}

}  // namespace

void bind_redraw(py::module_& m) {
    m.def("redraw", &redraw<std::uint8_t>, py::arg("x").noconvert(), py::arg("k"), py::arg("keys"),
          py::arg("low"), py::arg("high"), py::arg("redrawn").noconvert());
    m.def("redraw", &redraw<float>, py::arg("x").noconvert(), py::arg("k"), py::arg("keys"), py::arg("low"),
          py::arg("high"), py::arg("redrawn").noconvert());
    m.def("redraw", &redraw<double>, py::arg("x").noconvert(), py::arg("k"), py::arg("keys"), py::arg("low"),
          py::arg("high"), py::arg("redrawn").noconvert());
}

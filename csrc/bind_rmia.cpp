// Python's side of rmia and population_share.
#include "bindings.h"
#include "population_share.h"
#include "rmia.h"

namespace {

template <typename T>
using Dense = py::array_t<T, py::array::c_style>;

template <typename Ratio>
void rmia(const Dense<Ratio>& x, const Dense<Ratio>& z, const py::object& where, double least,
          Dense<Ratio>& shares) {
    const miafast::RmiaShape shape{x.shape(0), x.shape(1), x.shape(2), z.shape(1)};
    const auto places = where.is_none() ? Dense<std::int64_t>() : where.cast<Dense<std::int64_t>>();
    const std::int64_t* const at = where.is_none() ? nullptr : places.data();
    Ratio* const out = shares.mutable_data();
    const py::gil_scoped_release release;
    miafast::rmia(x.data(), z.data(), at, least, shape, out);
}

template <typename Signal>
void population_share(const Dense<Signal>& x, const Dense<Signal>& z, const py::object& where,
                      Dense<Signal>& shares) {
    const miafast::RmiaShape shape{x.shape(0), x.shape(1), x.shape(2), z.shape(1)};
    const auto places = where.is_none() ? Dense<std::int64_t>() : where.cast<Dense<std::int64_t>>();
    const std::int64_t* const at = where.is_none() ? nullptr : places.data();
    Signal* const out = shares.mutable_data();
    const py::gil_scoped_release release;
    miafast::population_share(x.data(), z.data(), at, shape, out);
}

}  // namespace

void bind_rmia(py::module_& m) {
    m.def("rmia", &rmia<float>, py::arg("x").noconvert(), py::arg("z").noconvert(), py::arg("where"),
          py::arg("least"), py::arg("shares").noconvert());
    m.def("rmia", &rmia<double>, py::arg("x").noconvert(), py::arg("z").noconvert(), py::arg("where"),
          py::arg("least"), py::arg("shares").noconvert());
    m.def("population_share", &population_share<float>, py::arg("x").noconvert(), py::arg("z").noconvert(),
          py::arg("where"), py::arg("shares").noconvert());
    m.def("population_share", &population_share<double>, py::arg("x").noconvert(), py::arg("z").noconvert(),
          py::arg("where"), py::arg("shares").noconvert());
}

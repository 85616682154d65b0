// Python's side of rmia and population_share.
#include <pybind11/stl.h>

#include <optional>

#include "bindings.h"
#include "population_share.h"
#include "rmia.h"

namespace {

template <typename T>
using Dense = py::array_t<T, py::array::c_style>;
using Places = std::optional<Dense<std::int64_t>>;

// Calls score(x, z, where, shape, shares) without the GIL.
template <typename T, typename Score>
void share(const Dense<T>& x, const Dense<T>& z, const Places& where, Dense<T>& shares, const Score& score) {
    const miafast::RmiaShape shape{x.shape(0), x.shape(1), x.shape(2), z.shape(1)};
    const std::int64_t* const places = where ? where->data() : nullptr;
    T* const out = shares.mutable_data();
    const py::gil_scoped_release release;
    score(x.data(), z.data(), places, shape, out);
}

template <typename T>
void bind_for(py::module_& m) {
    m.def(
        "rmia",
        [](const Dense<T>& x, const Dense<T>& z, const Places& where, double least, Dense<T>& shares) {
            share(x, z, where, shares, [&](auto x, auto z, auto places, const auto& shape, auto out) {
                miafast::rmia(x, z, places, least, shape, out);
            });
        },
        py::arg("x").noconvert(), py::arg("z").noconvert(), py::arg("where"), py::arg("least"),
        py::arg("shares").noconvert());
    m.def(
        "population_share",
        [](const Dense<T>& x, const Dense<T>& z, const Places& where, Dense<T>& shares) {
            share(x, z, where, shares, miafast::population_share<T>);
        },
        py::arg("x").noconvert(), py::arg("z").noconvert(), py::arg("where"), py::arg("shares").noconvert());
}

}  // namespace

void bind_rmia(py::module_& m) {
    bind_for<float>(m);
    bind_for<double>(m);
}

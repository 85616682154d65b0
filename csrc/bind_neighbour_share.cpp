// Python's side of neighbour_share.
#include "bindings.h"
#include "neighbour_share.h"

namespace {

template <typename T>
using Dense = py::array_t<T, py::array::c_style>;

py::array_t<std::int64_t> neighbour_counts(const Dense<float>& features, const Dense<float>& least,
                                           const Dense<float>& norms, const Dense<std::int64_t>& chosen) {
    py::array_t<std::int64_t> counts({least.shape(0), least.shape(1)});
    miafast::NeighbourJob job{};
    job.models = features.shape(0);
    job.records = features.shape(1);
    job.classes = features.shape(2);
    job.rows = least.shape(0);
    job.references = chosen.shape(0);
    job.features = features.data();
    job.least = least.data();
    job.norms = norms.data();
    job.chosen = chosen.data();
    std::int64_t* const out = counts.mutable_data();
    {
        const py::gil_scoped_release release;
        miafast::neighbour_counts(job, out);
    }
    return counts;
}

}  // namespace

void bind_neighbour_share(py::module_& m) {
    m.def("neighbour_counts", &neighbour_counts, py::arg("features").noconvert(),
          py::arg("least").noconvert(), py::arg("norms").noconvert(), py::arg("chosen").noconvert());
}

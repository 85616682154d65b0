// Python's side of roc_counts, tpr_at and auc_components.
#include <pybind11/stl.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "auc_components.h"
#include "bindings.h"
#include "roc_counts.h"

namespace {

// Scores and membership as dense arrays of one length; roc_counts and tpr_at check shapes before they come
// here.
template <typename Score>
using Dense = py::array_t<Score, py::array::c_style>;

const std::uint8_t* bytes_of(const Dense<bool>& is_member) {
    return static_cast<const std::uint8_t*>(static_cast<const py::array&>(is_member).data());
}

template <typename Score>
py::tuple roc_counts(const Dense<Score>& scores, const Dense<bool>& is_member) {
    const py::ssize_t size = scores.size();
    py::array_t<Score> thresholds(size);
    py::array_t<std::int64_t> false_positives(size), true_positives(size);
    Score* threshold_data = thresholds.mutable_data();
    std::int64_t* false_data = false_positives.mutable_data();
    std::int64_t* true_data = true_positives.mutable_data();
    std::int64_t distinct;
    {
        const py::gil_scoped_release release;
        distinct = miafast::roc_counts(scores.data(), bytes_of(is_member), size, threshold_data, false_data,
                                       true_data);
    }
    for (py::array* output : {static_cast<py::array*>(&thresholds), static_cast<py::array*>(&false_positives),
                              static_cast<py::array*>(&true_positives)}) {
        output->attr("resize")(distinct, py::arg("refcheck") = false);
    }
    return py::make_tuple(thresholds, false_positives, true_positives);
}

template <typename Score>
std::vector<std::int64_t> tpr_at(const Dense<Score>& scores, const Dense<bool>& is_member,
                                 std::int64_t non_members, const std::vector<std::int64_t>& allowed) {
    const py::gil_scoped_release release;
    return miafast::tpr_at(scores.data(), bytes_of(is_member), scores.size(), non_members, allowed);
}

// Sums by record over the targets it is a member of, and over the others: see auc_components.h.
template <typename Score>
py::tuple auc_components(const Dense<Score>& scores, const Dense<bool>& is_member,
                         const Dense<Score>& thresholds, const Dense<std::int64_t>& false_positives,
                         const Dense<std::int64_t>& true_positives) {
    const std::int64_t targets = scores.shape(0), records = scores.shape(1);
    py::array_t<std::int64_t> of_members(records), of_others(records);
    std::int64_t *const members = of_members.mutable_data(), *const others = of_others.mutable_data();
    std::fill_n(members, records, 0);
    std::fill_n(others, records, 0);
    const miafast::Curve<Score> curve{thresholds.size(), thresholds.data(), false_positives.data(),
                                      true_positives.data()};
    {
        const py::gil_scoped_release release;
        miafast::auc_components(scores.data(), bytes_of(is_member), targets, records, curve, members, others);
    }
    return py::make_tuple(of_members, of_others);
}

template <typename Score>
void bind_auc_components(py::module_& m) {
    m.def("auc_components", &auc_components<Score>, py::arg("scores").noconvert(),
          py::arg("is_member").noconvert(), py::arg("thresholds").noconvert(),
          py::arg("false_positives").noconvert(), py::arg("true_positives").noconvert());
}

}  // namespace

void bind_roc(py::module_& m) {
    m.def("roc_counts", &roc_counts<float>, py::arg("scores").noconvert(), py::arg("is_member").noconvert());
    m.def("roc_counts", &roc_counts<double>, py::arg("scores").noconvert(), py::arg("is_member").noconvert());
    m.def("tpr_at", &tpr_at<float>, py::arg("scores").noconvert(), py::arg("is_member").noconvert(),
          py::arg("non_members"), py::arg("allowed"));
    m.def("tpr_at", &tpr_at<double>, py::arg("scores").noconvert(), py::arg("is_member").noconvert(),
          py::arg("non_members"), py::arg("allowed"));
    bind_auc_components<float>(m);
    bind_auc_components<double>(m);
}

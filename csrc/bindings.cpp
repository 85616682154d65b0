// The only C++ that knows Python: unpacks arrays, releases the GIL, calls the kernels declared beside it.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <string>
#include <vector>

#include "logit_confidence.h"
#include "logits.h"
#include "parallel.h"
#include "roc_counts.h"
#include "simd.h"

namespace py = pybind11;

namespace {

// Logits and labels as the kernels see them; contracts in miafast.ops have checked shapes and dtypes. Float16
// and bfloat16 arrive as their bits.
miafast::Logits logits_view(const py::array& array, const std::string& storage) {
    using miafast::Storage;
    const py::ssize_t axes = array.ndim();
    miafast::Logits view{};
    view.data = static_cast<const char*>(array.data());
    view.storage = storage == "float64"    ? Storage::float64
                   : storage == "float32"  ? Storage::float32
                   : storage == "bfloat16" ? Storage::bfloat16
                                           : Storage::float16;
    view.lead_shape.assign(array.shape(), array.shape() + axes - 2);
    view.lead_strides.assign(array.strides(), array.strides() + axes - 2);
    view.records = array.shape(axes - 2);
    view.classes = array.shape(axes - 1);
    view.record_stride = array.strides(axes - 2);
    view.class_stride = array.strides(axes - 1);
    return view;
}

miafast::Labels labels_view(const py::array& array) {
    return {static_cast<const char*>(array.data()), array.strides(0), static_cast<int>(array.itemsize()),
            array.dtype().kind() == 'i'};
}

}  // namespace

namespace {

// Scores and membership as dense arrays of one length; roc_counts and tpr_at check shapes before they come
// here.
template <typename Score>
using Dense = py::array_t<Score, py::array::c_style>;

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
        distinct =
            miafast::roc_counts(scores.data(), is_member.data(), size, threshold_data, false_data, true_data);
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
    return miafast::tpr_at(scores.data(), is_member.data(), scores.size(), non_members, allowed);
}

}  // namespace

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

    // Signals of logits
    m.def(
        "logit_confidence",
        [](const py::array& logits, const std::string& storage, const py::array& labels, py::array& phi) {
            const auto view = logits_view(logits, storage);
            const auto label_view = labels_view(labels);
            void* out = phi.mutable_data();
            py::gil_scoped_release released;
            return miafast::logit_confidence(view, label_view, out);
        },
        py::arg("logits"), py::arg("storage"), py::arg("labels"), py::arg("phi"));

    // Counts of scores
    m.def("roc_counts", &roc_counts<float>, py::arg("scores").noconvert(), py::arg("is_member").noconvert());
    m.def("roc_counts", &roc_counts<double>, py::arg("scores").noconvert(), py::arg("is_member").noconvert());
    m.def("tpr_at", &tpr_at<float>, py::arg("scores").noconvert(), py::arg("is_member").noconvert(),
          py::arg("non_members"), py::arg("allowed"));
    m.def("tpr_at", &tpr_at<double>, py::arg("scores").noconvert(), py::arg("is_member").noconvert(),
          py::arg("non_members"), py::arg("allowed"));
}

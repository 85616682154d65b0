// Python's side of linear_confidence and mlp_confidence.
#include <pybind11/stl.h>

#include <utility>
#include <vector>

#include "bindings.h"
#include "linear_confidence.h"

namespace {

// An array, and the name of its type.
using Stored = std::pair<py::array, std::string>;

// [rows, columns] or [models, rows, columns].
miafast::Logits matrix(const Stored& stored) { return logits_view(stored.first, stored.second); }

}  // namespace

void bind_linear_confidence(py::module_& m) {
    m.def(
        "linear_confidence",
        [](const Stored& features, const std::vector<std::pair<Stored, Stored>>& layers,
           const py::array& labels, py::array& phi, py::array& correct, bool tanh) {
            miafast::ConfidenceJob job{};
            job.features = matrix(features);
            for (const auto& [weight, bias] : layers) job.layers.push_back({matrix(weight), matrix(bias)});
            job.labels = labels_view(labels);
            job.tanh = tanh;
            job.models = phi.ndim() == 2 ? phi.shape(0) : 1;
            job.phi = phi.mutable_data();
            job.correct = static_cast<bool*>(correct.mutable_data());
            py::gil_scoped_release released;
            return miafast::linear_confidence(job);
        },
        py::arg("features"), py::arg("layers"), py::arg("labels"), py::arg("phi"), py::arg("correct"),
        py::kw_only(), py::arg("tanh"));
}

// Python's side of logit_confidence, signals and negative_loss.
#include "bindings.h"
#include "logit_confidence.h"
#include "negative_loss.h"
#include "signals.h"

void bind_signals(py::module_& m) {
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
    m.def(
        "signals",
        [](const py::array& logits, const std::string& storage, const py::array& labels, py::array& phi,
           py::array& loss, py::array& confidence, py::array& entropy, py::array& modified_entropy,
           py::array& margin, py::array& correct) {
            const auto view = logits_view(logits, storage);
            const auto label_view = labels_view(labels);
            const miafast::SignalsArrays arrays{
                {phi.mutable_data(), loss.mutable_data(), confidence.mutable_data(), entropy.mutable_data(),
                 modified_entropy.mutable_data(), margin.mutable_data()},
                static_cast<bool*>(correct.mutable_data())};
            py::gil_scoped_release released;
            return miafast::signals(view, label_view, arrays);
        },
        py::arg("logits"), py::arg("storage"), py::arg("labels"), py::arg("phi"), py::arg("loss"),
        py::arg("confidence"), py::arg("entropy"), py::arg("modified_entropy"), py::arg("margin"),
        py::arg("correct"));
    m.def(
        "negative_loss",
        [](const py::array& phi, const std::string& storage, py::array& scores) {
            const auto view = logits_view(phi, storage);
            void* out = scores.mutable_data();
            const bool wide = scores.itemsize() == sizeof(double);
            py::gil_scoped_release released;
            wide ? miafast::negative_loss(view, static_cast<double*>(out))
                 : miafast::negative_loss(view, static_cast<float*>(out));
        },
        py::arg("phi"), py::arg("storage"), py::arg("scores"));
}

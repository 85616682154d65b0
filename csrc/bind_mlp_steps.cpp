// Python's side of mlp_steps.
#include <pybind11/stl.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "bindings.h"
#include "mlp_steps.h"

namespace {

py::tuple mlp_steps(Contiguous<float> weights, Contiguous<float> first, Contiguous<float> second, py::array x,
                    Contiguous<std::int64_t> y, Contiguous<std::int64_t> batches,
                    Contiguous<std::int64_t> counts, Contiguous<double> rates, Contiguous<std::uint32_t> keys,
                    std::vector<std::int64_t> widths, std::int64_t taken, const std::string& activation,
                    const std::string& optimizer, float momentum, bool nesterov, float weight_decay,
                    float dropout, float label_smoothing, bool bfloat16, float scale, float shift) {
    auto copy = [](const Contiguous<float>& from) {
        py::array_t<float> made({from.shape(0), from.shape(1)});
        std::copy(from.data(), from.data() + from.size(), made.mutable_data());
        return made;
    };
    py::array_t<float> new_weights = copy(weights), new_first = copy(first), new_second = copy(second);
    const bool bytes = x.dtype().kind() == 'u' && x.itemsize() == 1;
    Contiguous<std::uint8_t> x_byte = bytes ? Contiguous<std::uint8_t>(x) : Contiguous<std::uint8_t>(0);
    Contiguous<float> x_float = bytes ? Contiguous<float>(0) : Contiguous<float>(x);
    miafast::MlpJob job{};
    job.models = weights.shape(0);
    job.parameters = weights.shape(1);
    job.records = x.shape(0);
    job.features = x.shape(1);
    job.steps = batches.shape(1);
    job.batch = batches.shape(2);
    job.taken = taken;
    job.widths = std::move(widths);
    job.weights = new_weights.mutable_data();
    job.first = new_first.mutable_data();
    job.second = new_second.mutable_data();
    job.x_float = bytes ? nullptr : x_float.data();
    job.x_byte = bytes ? x_byte.data() : nullptr;
    job.scale = scale;
    job.shift = shift;
    job.labels = y.data();
    job.batches = batches.data();
    job.counts = counts.data();
    job.rates = rates.data();
    job.keys = keys.data();
    job.tanh = activation == "tanh";
    job.nesterov = nesterov;
    job.bfloat16 = bfloat16;
    job.optimizer = optimizer == "sgd"    ? miafast::Optimizer::sgd
                    : optimizer == "adam" ? miafast::Optimizer::adam
                                          : miafast::Optimizer::adamw;
    job.momentum = momentum;
    job.weight_decay = weight_decay;
    job.dropout = dropout;
    job.label_smoothing = label_smoothing;
    {
        py::gil_scoped_release release;
        miafast::mlp_steps(job);
    }
    return py::make_tuple(new_weights, new_first, new_second);
}

}  // namespace

void bind_mlp_steps(py::module_& m) {
    m.def("mlp_steps", &mlp_steps, py::arg("weights"), py::arg("first"), py::arg("second"), py::arg("x"),
          py::arg("y"), py::arg("batches"), py::arg("counts"), py::arg("rates"), py::arg("keys"),
          py::kw_only(), py::arg("widths"), py::arg("taken"), py::arg("activation"), py::arg("optimizer"),
          py::arg("momentum"), py::arg("nesterov"), py::arg("weight_decay"), py::arg("dropout"),
          py::arg("label_smoothing"), py::arg("bfloat16"), py::arg("scale"), py::arg("shift"));
}

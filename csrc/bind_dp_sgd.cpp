// Python's side of dp_sgd_steps.
#include <pybind11/stl.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "bindings.h"
#include "dp_sgd.h"

namespace {

constexpr std::int64_t kRecordsAtATime = 256;

py::array_t<float> dp_sgd_steps(Contiguous<float> weights, py::array x, Contiguous<std::int64_t> y,
                                Contiguous<bool> in_mask, Contiguous<std::uint32_t> keys,
                                Contiguous<float> noise, Contiguous<std::int64_t> places,
                                Contiguous<bool> canary_in, std::vector<std::int64_t> widths,
                                std::int64_t taken, double sample_rate, float clip, float learning_rate,
                                float expected_batch, const std::string& activation,
                                const std::string& clipping, float scale, float shift) {
    py::array_t<float> trained({weights.shape(0), weights.shape(1)});
    std::copy(weights.data(), weights.data() + weights.size(), trained.mutable_data());
    const bool bytes = x.dtype().kind() == 'u' && x.itemsize() == 1;
    Contiguous<std::uint8_t> x_byte = bytes ? Contiguous<std::uint8_t>(x) : Contiguous<std::uint8_t>(0);
    Contiguous<float> x_float = bytes ? Contiguous<float>(0) : Contiguous<float>(x);
    miafast::DpJob job{};
    job.models = weights.shape(0);
    job.parameters = weights.shape(1);
    job.records = x.shape(0);
    job.features = x.shape(1);
    job.steps = noise.shape(0);
    job.batch = kRecordsAtATime;
    job.taken = taken;
    job.widths = std::move(widths);
    job.weights = trained.mutable_data();  // no moments
    job.x_float = bytes ? nullptr : x_float.data();
    job.x_byte = bytes ? x_byte.data() : nullptr;
    job.scale = scale;
    job.shift = shift;
    job.labels = y.data();
    job.tanh = activation == "tanh";
    job.in_mask = reinterpret_cast<const std::uint8_t*>(in_mask.data());
    job.keys2 = keys.data();
    job.sample_rate = sample_rate;
    job.clip = clip;
    job.learning_rate = learning_rate;
    job.expected_batch = expected_batch;
    job.noise = noise.data();
    job.clips_batch = clipping == "batch";
    job.canaries = places.shape(0);
    job.places = places.data();
    job.canary_in = reinterpret_cast<const std::uint8_t*>(canary_in.data());
    {
        py::gil_scoped_release release;
        miafast::dp_sgd_steps(job);
    }
    return trained;
}

}  // namespace

void bind_dp_sgd(py::module_& m) {
    m.def("dp_sgd_steps", &dp_sgd_steps, py::arg("weights"), py::arg("x"), py::arg("y"), py::arg("in_mask"),
          py::arg("keys"), py::arg("noise"), py::arg("places"), py::arg("canary_in"), py::kw_only(),
          py::arg("widths"), py::arg("taken"), py::arg("sample_rate"), py::arg("clip"),
          py::arg("learning_rate"), py::arg("expected_batch"), py::arg("activation"), py::arg("clipping"),
          py::arg("scale"), py::arg("shift"));
}

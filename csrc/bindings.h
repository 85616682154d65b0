// What the binding files share: each op family has one, and only they know Python. They unpack arrays,
// release the GIL and call the kernels; contracts in miafast.ops have checked shapes and dtypes before.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <string>

#include "lira.h"
#include "logits.h"

namespace py = pybind11;

template <typename T>
using Contiguous = py::array_t<T, py::array::c_style | py::array::forcecast>;

void bind_signals(py::module_& m);
void bind_lira(py::module_& m);
void bind_roc(py::module_& m);
void bind_log_ratio(py::module_& m);
void bind_rmia(py::module_& m);
void bind_mlp_steps(py::module_& m);
void bind_linear_confidence(py::module_& m);
void bind_dp_sgd(py::module_& m);
void bind_f_dp(py::module_& m);
void bind_redraw(py::module_& m);
void bind_neighbour_share(py::module_& m);
void bind_class_threshold(py::module_& m);
void bind_against_shadows(py::module_& m);

// Float16 and bfloat16 arrive as their bits.
inline miafast::Storage storage_named(const std::string& name) {
    using miafast::Storage;
    return name == "float64"    ? Storage::float64
           : name == "float32"  ? Storage::float32
           : name == "bfloat16" ? Storage::bfloat16
                                : Storage::float16;
}

// Logits and labels as the kernels see them; contracts in miafast.ops have checked shapes and dtypes.
inline miafast::Logits logits_view(const py::array& array, const std::string& storage) {
    const py::ssize_t axes = array.ndim();
    miafast::Logits view{};
    view.data = static_cast<const char*>(array.data());
    view.storage = storage_named(storage);
    view.lead_shape.assign(array.shape(), array.shape() + axes - 2);
    view.lead_strides.assign(array.strides(), array.strides() + axes - 2);
    view.records = array.shape(axes - 2);
    view.classes = array.shape(axes - 1);
    view.record_stride = array.strides(axes - 2);
    view.class_stride = array.strides(axes - 1);
    return view;
}

inline miafast::Labels labels_view(const py::array& array) {
    return {static_cast<const char*>(array.data()), array.strides(0), static_cast<int>(array.itemsize()),
            array.dtype().kind() == 'i'};
}

// phi and in_mask of shadow models, and phi of a target.
inline miafast::Shadow shadow_view(const py::array& phi, const std::string& storage,
                                   const py::array& in_mask) {
    return {static_cast<const char*>(phi.data()),
            storage_named(storage),
            phi.shape(0),
            phi.shape(1),
            phi.shape(2),
            phi.strides(0),
            phi.strides(1),
            phi.strides(2),
            static_cast<const char*>(in_mask.data()),
            in_mask.strides(0),
            in_mask.strides(1)};
}

inline miafast::Target target_view(const py::array& phi, const std::string& storage) {
    return {static_cast<const char*>(phi.data()), storage_named(storage), phi.strides(0), phi.strides(1)};
}

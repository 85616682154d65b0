// What the binding files share: each op family has one, and only they know Python. They unpack arrays,
// release the GIL and call the kernels; contracts in miafast.ops have checked shapes and dtypes before.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <string>

#include "logits.h"

namespace py = pybind11;

void bind_signals(py::module_& m);
void bind_lira(py::module_& m);
void bind_roc(py::module_& m);
void bind_mlp_steps(py::module_& m);

// Float16 and bfloat16 arrive as their bits.
inline miafast::Storage storage_named(const std::string& name) {
    using miafast::Storage;
    return name == "float64"    ? Storage::float64
           : name == "float32"  ? Storage::float32
           : name == "bfloat16" ? Storage::bfloat16
                                : Storage::float16;
}

// Python's side of log_ratio.
#include "bindings.h"
#include "log_ratio.h"

namespace {

// Kernels for results of type T; arrays are as miafast.ops.cpp makes them.
template <typename T>
void define_log_ratio(py::module_& m, const std::string& type) {
    using namespace miafast;
    m.def(("log_ratio_" + type).c_str(),
          [](const py::array& phi, const std::string& storage, const py::array& in_mask,
             const py::array& target, const std::string& target_storage, bool online, double a,
             double temperature, py::array& ratios) {
              const auto shadow = shadow_view(phi, storage, in_mask);
              const auto asked = target_view(target, target_storage);
              T* to = static_cast<T*>(ratios.mutable_data());
              py::gil_scoped_release released;
              log_ratio<T>(shadow, asked, {online, a, temperature}, to);
          });
    m.def(("log_ratio_leave_one_out_" + type).c_str(),
          [](const py::array& phi, const std::string& storage, const py::array& in_mask, bool same_counts,
             bool online, double a, double temperature, py::array& ratios) {
              const auto shadow = shadow_view(phi, storage, in_mask);
              T* to = static_cast<T*>(ratios.mutable_data());
              py::gil_scoped_release released;
              log_ratio_leave_one_out<T>(shadow, same_counts, {online, a, temperature}, to);
          });
}

}  // namespace

void bind_log_ratio(py::module_& m) {
    define_log_ratio<float>(m, "float32");
    define_log_ratio<double>(m, "float64");
}

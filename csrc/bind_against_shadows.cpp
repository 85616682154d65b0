// Python's side of difficulty, out_percentile and lira_released_code.
#include <pybind11/stl.h>

#include <optional>

#include "bindings.h"
#include "difficulty.h"
#include "lira_released_code.h"
#include "out_percentile.h"

namespace {

template <typename T>
using Dense = py::array_t<T, py::array::c_style>;

template <typename T>
miafast::AgainstShadows<T> job_of(const std::optional<Dense<T>>& target, const Dense<T>& shadow,
                                  const Dense<bool>& in_mask, bool same_counts, Dense<T>& scores) {
    return {shadow.shape(0), shadow.shape(1), shadow.shape(2), target ? target->data() : nullptr,
            shadow.data(),   in_mask.data(),  same_counts,     scores.mutable_data()};
}

template <typename T>
void bind_for(py::module_& m) {
    const auto add = [&](const char* name, auto run, auto... options) {
        m.def(name, run, py::arg("target").noconvert(), py::arg("shadow").noconvert(),
              py::arg("in_mask").noconvert(), py::arg("scores").noconvert(), py::kw_only(),
              py::arg("same_counts"), options...);
    };
    add(
        "difficulty",
        [](const std::optional<Dense<T>>& target, const Dense<T>& shadow, const Dense<bool>& in_mask,
           Dense<T>& scores, bool same_counts, bool online) {
            const auto job = job_of(target, shadow, in_mask, same_counts, scores);
            const py::gil_scoped_release release;
            miafast::difficulty(job, online);
        },
        py::arg("online"));
    add(
        "out_percentile",
        [](const std::optional<Dense<T>>& target, const Dense<T>& shadow, const Dense<bool>& in_mask,
           Dense<T>& scores, bool same_counts, const std::string& smooth, double variance_floor,
           double largest_loss) {
            const auto job = job_of(target, shadow, in_mask, same_counts, scores);
            const py::gil_scoped_release release;
            miafast::out_percentile(job, smooth, variance_floor, largest_loss);
        },
        py::arg("smooth"), py::arg("variance_floor"), py::arg("largest_loss"));
    add(
        "lira_released_code",
        [](const std::optional<Dense<T>>& target, const Dense<T>& shadow, const Dense<bool>& in_mask,
           Dense<T>& scores, bool same_counts, const Dense<std::int64_t>& kept, bool online, bool total) {
            const auto job = job_of(target, shadow, in_mask, same_counts, scores);
            const std::int64_t* const first = kept.data();
            const py::gil_scoped_release release;
            miafast::lira_released_code(job, first, online, total);
        },
        py::arg("kept").noconvert(), py::arg("online"), py::arg("total"));
}

}  // namespace

void bind_against_shadows(py::module_& m) {
    bind_for<float>(m);
    bind_for<double>(m);
}

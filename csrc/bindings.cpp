// The only C++ that knows Python: unpacks arrays, releases the GIL, calls the kernels declared beside it.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <string>
#include <vector>

#include "lira.h"
#include "logit_confidence.h"
#include "logits.h"
#include "parallel.h"
#include "signals.h"
#include "simd.h"

namespace py = pybind11;

namespace {

// Float16 and bfloat16 arrive as their bits.
miafast::Storage storage_named(const std::string& name) {
    using miafast::Storage;
    return name == "float64"    ? Storage::float64
           : name == "float32"  ? Storage::float32
           : name == "bfloat16" ? Storage::bfloat16
                                : Storage::float16;
}

// Logits and labels as the kernels see them; contracts in miafast.ops have checked shapes and dtypes.
miafast::Logits logits_view(const py::array& array, const std::string& storage) {
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

miafast::Labels labels_view(const py::array& array) {
    return {static_cast<const char*>(array.data()), array.strides(0), static_cast<int>(array.itemsize()),
            array.dtype().kind() == 'i'};
}

miafast::Shadow shadow_view(const py::array& phi, const std::string& storage, const py::array& in_mask) {
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

miafast::Center center_named(const std::string& name) {
    return name == "median" ? miafast::Center::median : miafast::Center::mean;
}

miafast::Pooling pooling_named(const std::string& name) {
    using miafast::Pooling;
    return name == "squares"       ? Pooling::squares
           : name == "log_squares" ? Pooling::log_squares
           : name == "total"       ? Pooling::total
                                   : Pooling::none;
}

miafast::LogTables log_tables(const py::array& shift, const py::array& sampling, double floor) {
    return {static_cast<const double*>(shift.data()), static_cast<const double*>(sampling.data()), floor};
}

// miafast.ops.lira_tables.Tables, one entry per target.
template <typename T>
std::vector<miafast::Rules<T>> rules_view(const std::string& verdict, double floor, const py::tuple& tables) {
    using miafast::Verdict;
    const auto whole = [&](int which) { return tables[which].cast<py::array>(); };
    const auto student = whole(0), keep = whole(1), above = whole(2), constant = whole(3), ratio = whole(4),
               half = whole(5);
    const auto side = [&](py::ssize_t target, py::ssize_t which) {
        const auto row = [&](const py::array& of) {
            return static_cast<const T*>(of.data(target, which, 0));
        };
        return miafast::SideRule<T>{
            *static_cast<const std::uint8_t*>(student.data(target, which)) != 0,
            static_cast<T>(*static_cast<const std::uint8_t*>(keep.data(target, which))),
            row(above),
            row(constant),
            row(ratio),
            row(half)};
    };
    const auto kind = verdict == "difference"   ? Verdict::difference
                      : verdict == "lower_tail" ? Verdict::lower_tail
                                                : Verdict::minus_density;
    std::vector<miafast::Rules<T>> rules;
    for (py::ssize_t target = 0; target < student.shape(0); ++target) {
        rules.push_back({kind, static_cast<T>(floor), side(target, 0), side(target, 1)});
    }
    return rules;
}

template <typename T>
miafast::Sides<T> sides_view(py::array& distance, py::array& squares, py::array& counts) {
    return {static_cast<T*>(distance.mutable_data()), static_cast<T*>(squares.mutable_data()),
            static_cast<std::int32_t*>(counts.mutable_data())};
}

// LiRA's kernels for results of type T; arrays are as miafast.ops.cpp makes them.
template <typename T>
void define_lira(py::module_& m, const std::string& type) {
    using namespace miafast;
    m.def(("lira_sides_" + type).c_str(),
          [](const py::array& phi, const std::string& storage, const py::array& in_mask,
             const py::array& target, const std::string& target_storage, const std::string& center,
             const std::string& pooling, const py::array& shift, const py::array& sampling, double floor,
             py::array& distance, py::array& squares, py::array& counts, py::array& moments) {
              const auto shadow = shadow_view(phi, storage, in_mask);
              const Target asked{static_cast<const char*>(target.data()), storage_named(target_storage),
                                 target.strides(0), target.strides(1)};
              const auto logs = log_tables(shift, sampling, floor);
              const auto sides = sides_view<T>(distance, squares, counts);
              auto* sums = static_cast<Moments*>(moments.mutable_data());
              py::gil_scoped_release released;
              lira_sides<T>(shadow, asked, center_named(center), pooling_named(pooling), logs, sides, sums);
          });
    m.def(("lira_scores_" + type).c_str(),
          [](py::array& distance, py::array& squares, py::array& counts, const std::string& verdict,
             double floor, const py::tuple& tables, py::array& scores) {
              const auto rules = rules_view<T>(verdict, floor, tables);
              const auto sides = sides_view<T>(distance, squares, counts);
              const std::int64_t queries = distance.shape(1), records = distance.shape(2);
              T* to = static_cast<T*>(scores.mutable_data());
              py::gil_scoped_release released;
              lira_scores<T>(sides, records, queries, rules[0], to);
          });
    m.def(("lira_leave_one_out_moments_" + type).c_str(),
          [](const py::array& phi, const std::string& storage, const py::array& in_mask, bool same_counts,
             const std::string& pooling, const py::array& shift, const py::array& sampling, double floor,
             py::array& moments) {
              const auto shadow = shadow_view(phi, storage, in_mask);
              const auto logs = log_tables(shift, sampling, floor);
              auto* sums = static_cast<Moments*>(moments.mutable_data());
              py::gil_scoped_release released;
              lira_leave_one_out_moments<T>(shadow, same_counts, pooling_named(pooling), logs, sums);
          });
    m.def(("lira_leave_one_out_" + type).c_str(),
          [](const py::array& phi, const std::string& storage, const py::array& in_mask, bool same_counts,
             const std::string& center, const std::string& verdict, double floor, const py::tuple& tables,
             py::array& scores) {
              const auto shadow = shadow_view(phi, storage, in_mask);
              const auto rules = rules_view<T>(verdict, floor, tables);
              T* to = static_cast<T*>(scores.mutable_data());
              py::gil_scoped_release released;
              lira_leave_one_out<T>(shadow, center_named(center), same_counts, rules, to);
          });
}

}  // namespace

namespace miafast {

// roc_counts.cpp, tpr_at.cpp
template <typename Score>
std::int64_t roc_counts(const Score*, const bool*, std::int64_t, Score*, std::int64_t*, std::int64_t*);
template <typename Score>
std::vector<std::int64_t> tpr_at(const Score*, const bool*, std::int64_t, std::int64_t,
                                 const std::vector<std::int64_t>&);

}  // namespace miafast

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

    // LiRA
    define_lira<float>(m, "float32");
    define_lira<double>(m, "float64");
    m.def(
        "has_fixed_counts",
        [](const py::array& phi, const std::string& storage, const py::array& in_mask) {
            const auto shadow = shadow_view(phi, storage, in_mask);
            py::gil_scoped_release released;
            return miafast::has_fixed_counts(shadow);
        },
        "Whether every record is IN the same number of models, some but not all.");
}

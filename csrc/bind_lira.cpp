// Python's side of LiRA.
#include <vector>

#include "bindings.h"
#include "lira.h"

namespace {

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
        rules.push_back({kind, half.shape(2) - 1, static_cast<T>(floor), side(target, 0), side(target, 1)});
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
              const auto asked = target_view(target, target_storage);
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
    m.def(("lira_at_once_" + type).c_str(),
          [](const py::array& phi, const std::string& storage, const py::array& in_mask,
             const py::array& target, const std::string& target_storage, const std::string& center,
             const std::string& verdict, double floor, const py::tuple& tables, py::array& scores) {
              const auto shadow = shadow_view(phi, storage, in_mask);
              const auto asked = target_view(target, target_storage);
              const auto rules = rules_view<T>(verdict, floor, tables);
              T* to = static_cast<T*>(scores.mutable_data());
              py::gil_scoped_release released;
              lira_at_once<T>(shadow, asked, center_named(center), rules[0], to);
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

void bind_lira(py::module_& m) {
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

#include "lira_released_code.h"

namespace miafast {
namespace {

// How many numbers, their mean, and the sum of squares about it.
struct Moments {
    double count = 0.0, mean = 0.0, squares = 0.0;

    static Moments of(const std::vector<double>& numbers) {
        Moments found;
        found.count = static_cast<double>(numbers.size());
        for (const double each : numbers) found.mean += each;
        found.mean /= found.count;
        for (const double each : numbers) found.squares += (each - found.mean) * (each - found.mean);
        return found;
    }
    // Chan, Golub and LeVeque 1983.
    void add(const Moments& other) {
        if (other.count == 0.0) return;
        const double all = count + other.count, apart = other.mean - mean;
        squares += other.squares + apart * apart * count * other.count / all;
        mean += apart * other.count / all;
        count = all;
    }
    double spread() const { return std::sqrt(squares / count) + 1e-30; }
};

// A record's first models of one side, in the models' order.
class FirstModels {
  public:
    explicit FirstModels(const std::int64_t* kept) : kept_(kept) {}

    void take(const Column& column) {
        for (auto& each : models_) each.clear();
        for (std::int64_t model = 0; model < column.models(); ++model)
            models_[!!column.is_in[model]].push_back(model);
    }
    void read(const Column& column, bool in, std::int64_t target, std::vector<double>& to) const {
        const std::int64_t lost = column.lost(in, target),
                           kept = kept_[2 * std::max<std::int64_t>(0, target) + in];
        to.clear();
        for (const std::int64_t model : models_[in]) {
            if (static_cast<std::int64_t>(to.size()) == kept) break;
            if (model != lost) to.push_back(column.values[model]);
        }
    }

  private:
    const std::int64_t* kept_;
    std::vector<std::int64_t> models_[2];
};

class ReleasedCode {
  public:
    ReleasedCode(const std::int64_t* kept, bool online, const std::vector<double>& spreads)
        : first_(kept), online_(online), spreads_(spreads) {}

    static double measure(double phi) { return phi; }
    void take(const Column& column) { first_.take(column); }
    double at(const Column& column, double own, std::int64_t target) {
        if (!std::isfinite(own)) return not_a_number;
        const double out = log_density(column, false, own, target);
        return online_ ? log_density(column, true, own, target) - out : -out;
    }

  private:
    // A Gaussian about the median; NaN where a number is not finite.
    double log_density(const Column& column, bool in, double own, std::int64_t target) {
        first_.read(column, in, target, numbers_);
        const auto finite = [](double each) { return std::isfinite(each); };
        if (!std::all_of(numbers_.begin(), numbers_.end(), finite)) return not_a_number;
        const double spread =
            spreads_.empty() ? Moments::of(numbers_).spread() : spreads_[std::max<std::int64_t>(0, target)];
        const double far = (own - median()) / spread;
        return -0.5 * far * far - std::log(spread * 2.5066282746310002);  // sqrt(2 pi)
    }
    // Puts the numbers in another order.
    double median() {
        const auto middle = numbers_.begin() + static_cast<std::int64_t>(numbers_.size() / 2);
        std::nth_element(numbers_.begin(), middle, numbers_.end());
        if (numbers_.size() % 2) return *middle;
        return (*std::max_element(numbers_.begin(), middle) + *middle) / 2;
    }

    FirstModels first_;
    bool online_;
    const std::vector<double>& spreads_;
    std::vector<double> numbers_;
};

// Every target's standard deviation over all records' data of one side. Blocks are the same whatever the
// threads.
template <typename T>
std::vector<double> total_spreads(const AgainstShadows<T>& job, const std::int64_t* kept, bool in) {
    constexpr std::int64_t block = 4096;
    const std::int64_t targets = job.target ? 1 : job.models, blocks = (job.records + block - 1) / block;
    std::vector<Moments> found(static_cast<std::size_t>(targets * blocks));
    parallel_for(blocks, 1, [&](std::int64_t begin, std::int64_t end) {
        FirstModels first(kept);
        std::vector<double> numbers;
        for (std::int64_t each = begin; each < end; ++each) {
            const std::int64_t stop = std::min(job.records, (each + 1) * block);
            each_column(
                job, each * block, stop, [](double phi) { return phi; },
                [&](std::int64_t, std::int64_t, const Column& column) {
                    first.take(column);
                    for (std::int64_t target = 0; target < targets; ++target) {
                        first.read(column, in, job.target ? -1 : target, numbers);
                        found[each * targets + target].add(Moments::of(numbers));
                    }
                });
        }
    });
    std::vector<double> spreads;
    for (std::int64_t target = 0; target < targets; ++target) {
        Moments all;
        for (std::int64_t each = 0; each < blocks; ++each) all.add(found[each * targets + target]);
        spreads.push_back(all.spread());
    }
    return spreads;
}

}  // namespace

template <typename T>
void lira_released_code(const AgainstShadows<T>& job, const std::int64_t* kept, bool online, bool total) {
    const std::vector<double> spreads = total ? total_spreads(job, kept, online) : std::vector<double>{};
    score_against_shadows(job, ReleasedCode(kept, online, spreads));
}

template void lira_released_code(const AgainstShadows<float>&, const std::int64_t*, bool, bool);
template void lira_released_code(const AgainstShadows<double>&, const std::int64_t*, bool, bool);

}  // namespace miafast

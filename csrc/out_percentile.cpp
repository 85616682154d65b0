#include "out_percentile.h"

namespace miafast {
namespace {

inline double finite_or_nan(double phi) { return std::isfinite(phi) ? phi : not_a_number; }

// The OUT models' signals in order, and how many are NaN.
class Share {
  public:
    static double measure(double phi) { return finite_or_nan(phi); }
    void take(const Column& column) {
        sorted_.clear();
        count_ = 0;
        for (std::int64_t model = 0; model < column.models(); ++model) {
            if (column.is_in[model]) continue;
            ++count_;
            if (!std::isnan(column.values[model])) sorted_.push_back(column.values[model]);
        }
        std::sort(sorted_.begin(), sorted_.end());
    }
    double at(const Column& column, double own, std::int64_t target) const {
        const std::int64_t lost = column.lost(false, target), missing = count_ - size();
        const double gone = lost < 0 ? 0.0 : column.values[lost];
        if (std::isnan(own) || missing > (lost >= 0 && std::isnan(gone))) return not_a_number;
        const auto low = std::lower_bound(sorted_.begin(), sorted_.end(), own);
        const auto high = std::upper_bound(low, sorted_.end(), own);
        double below = static_cast<double>(low - sorted_.begin()) + static_cast<double>(high - low) / 2;
        if (lost >= 0) below -= gone < own ? 1.0 : gone == own ? 0.5 : 0.0;
        return below / static_cast<double>(count_ - (lost >= 0));
    }

  private:
    std::int64_t size() const { return static_cast<std::int64_t>(sorted_.size()); }

    std::vector<double> sorted_;
    std::int64_t count_ = 0;
};

// The share linear between the OUT models' losses, 0 and the largest loss among them.
class Interpolated {
  public:
    explicit Interpolated(double largest_loss) : largest_loss_(largest_loss) {}

    static double measure(double phi) { return -loss_of(phi); }
    void take(const Column&) {}
    double at(const Column& column, double own, std::int64_t target) const {
        const std::int64_t lost = column.lost(false, target);
        std::int64_t count = 0, below = 0, equal = 0;
        double last = -largest_loss_, following = 0.0;
        for (std::int64_t model = 0; model < column.models(); ++model) {
            if (column.is_in[model] || model == lost) continue;
            const double signal = column.values[model];
            if (std::isnan(signal)) return not_a_number;
            ++count;
            below += signal < own;
            equal += signal == own;
            if (signal < own) last = std::max(last, signal);
            if (signal > own) following = std::min(following, signal);
        }
        if (std::isnan(own) || count == 0) return not_a_number;
        const double part = following > last ? std::clamp((own - last) / (following - last), 0.0, 1.0) : 1.0;
        const double place = static_cast<double>(below) + (equal ? static_cast<double>(1 + equal) / 2 : part);
        return place / static_cast<double>(count + 1);
    }

  private:
    double largest_loss_;
};

// The standard score under a Gaussian of the OUT models' losses or phi.
class StandardScore {
  public:
    StandardScore(bool by_loss, double variance_floor) : by_loss_(by_loss), floor_(variance_floor) {}

    double measure(double phi) const { return by_loss_ ? -loss_of(phi) : finite_or_nan(phi); }
    void take(const Column& column) {
        sorted_.clear();
        for (const double signal : column.values) sorted_.push_back(std::isnan(signal) ? 0.0 : signal);
        const auto middle = sorted_.begin() + (column.models() - 1) / 2;
        std::nth_element(sorted_.begin(), middle, sorted_.end());
        centre_ = *middle;  // sums about it keep their digits, be one model far off
        first_.take(column, false, [&](double signal) { return signal - centre_; });
        second_.take(column, false, [&](double signal) { return (signal - centre_) * (signal - centre_); });
    }
    double at(const Column& column, double own, std::int64_t target) const {
        const std::int64_t lost = column.lost(false, target);
        const double count = first_.count_without(lost), sum = first_.without(lost), mean = sum / count;
        if (!(count > 1)) return not_a_number;
        const double variance = std::max((second_.without(lost) - sum * mean) / (count - 1), floor_);
        return (own - centre_ - mean) / std::sqrt(variance);
    }

  private:
    bool by_loss_;
    double floor_, centre_ = 0.0;
    std::vector<double> sorted_;
    SideSums first_, second_;
};

}  // namespace

template <typename T>
void out_percentile(const AgainstShadows<T>& job, const std::string& smooth, double variance_floor,
                    double largest_loss) {
    if (smooth == "none")
        score_against_shadows(job, Share());
    else if (smooth == "linear")
        score_against_shadows(job, Interpolated(largest_loss));
    else
        score_against_shadows(job, StandardScore(smooth == "loss", variance_floor));
}

template void out_percentile(const AgainstShadows<float>&, const std::string&, double, double);
template void out_percentile(const AgainstShadows<double>&, const std::string&, double, double);

}  // namespace miafast

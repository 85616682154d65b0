#include "difficulty.h"

namespace miafast {
namespace {

class Difficulty {
  public:
    explicit Difficulty(bool online) : online_(online) {}

    static double measure(double phi) { return loss_of(phi); }
    void take(const Column& column) {
        for (const bool in : {false, true})
            if (online_ || !in) sides_[in].take(column, in, [](double loss) { return loss; });
    }
    double at(const Column& column, double own, std::int64_t target) const {
        const double out = mean(column, false, target);
        return (online_ ? (out + mean(column, true, target)) / 2 : out) - own;
    }

  private:
    double mean(const Column& column, bool in, std::int64_t target) const {
        const std::int64_t lost = column.lost(in, target);
        return sides_[in].without(lost) / sides_[in].count_without(lost);
    }

    bool online_;
    SideSums sides_[2];
};

}  // namespace

template <typename T>
void difficulty(const AgainstShadows<T>& job, bool online) {
    score_against_shadows(job, Difficulty(online));
}

template void difficulty(const AgainstShadows<float>&, bool);
template void difficulty(const AgainstShadows<double>&, bool);

}  // namespace miafast

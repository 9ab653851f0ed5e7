// SPDX-License-Identifier: MIT
// detail/sum.hpp and storage.hpp: the order of the sum against a scalar model, and each 16-bit
// number through load and store.
#include <rownorm/detail/eigen.hpp>
#include <rownorm/detail/gradient.hpp>

#include "reference.hpp"

namespace rn = rownorm;
using namespace test;

namespace {

// -----------------------------------------------------------------------------------------------
// The sum: 256 bytes of lanes; after every four numbers of a lane they are halved until 8 are left,
// which go to a second set of doubles; then halves of that.
// -----------------------------------------------------------------------------------------------

template <class T>
T fma(T a, T b, T c) {
#if defined(ROWNORM_SSE2)
  return a * b + c;
#else
  return std::fma(a, b, c);
#endif
}

/// Lane l takes lane l + half, from half of them down to one.
double in_halves(std::vector<double> lane) {
  for (std::size_t half = lane.size() / 2; half > 0; half /= 2)
    for (std::size_t l = 0; l < half; ++l) lane[l] += lane[l + half];
  return lane[0];
}

/// add(lane, number) for each number, and the sum of the lanes: in double, or for doubles with what
/// the second set rounds away kept beside it.
template <class T, class Add>
double model(const std::vector<T>& x, Add add) {
  constexpr std::size_t lanes = 256 / sizeof(T), folded = 8;
  std::vector<T> lane(lanes);
  std::vector<double> second(folded), rest(folded);
  for (std::size_t i = 0; i < x.size(); ++i) {
    add(lane[i % lanes], x[i]);
    if ((i + 1) % (4 * lanes) != 0 && i + 1 != x.size()) continue;
    for (std::size_t half = lanes / 2; half >= folded; half /= 2)
      for (std::size_t l = 0; l < half; ++l) lane[l] += lane[l + half];
    for (std::size_t l = 0; l < folded; ++l) {
      const double v = static_cast<double>(lane[l]);
      const double sum = second[l] + v, part = sum - second[l];
      rest[l] += (second[l] - (sum - part)) + (v - part);
      second[l] = sum;
    }
    std::fill(lane.begin(), lane.end(), T(0));
  }
  return std::is_same_v<T, double> ? in_halves(second) + in_halves(rest) : in_halves(second);
}

/// The sums of a row of S that is computed in T.
template <class S, class T>
void check_sums() {
  std::vector<std::size_t> all = lengths();
  all.insert(all.end(), {4096 + 1024, 2 * 4096 - 1, 2 * 4096 + 1, 3 * 4096 + 33});
  for (const std::size_t n : all) {
    matrix<S> numbers = normals<S>(1, n, static_cast<unsigned>(n), 1, 0.5);
    // Of sizes so far apart that doubles round: else the order of the last lanes would not show.
    for (Eigen::Index i = 0; i < numbers.cols(); ++i)
      numbers(0, i) = number<S>(std::ldexp(static_cast<double>(numbers(0, i)), -5 * int(i % 7)));
    std::vector<T> x(n);
    std::transform(numbers.data(), numbers.data() + n, x.begin(),
                   [](S v) { return static_cast<T>(v); });
    using stored = typename rn::storage<S>::type;
    const rn::detail::memory_row<const stored> row{reinterpret_cast<const stored*>(numbers.data())};
    const double squares = model(x, [](T& lane, T v) { lane = fma(v, v, lane); });
    EXPECT_EQ(rn::detail::sum_of_squares<T>(n, row), squares) << format<S>::name << ' ' << n;

    const T shift = T(0.3);
    const auto around = rn::detail::sums_around(shift, n, row);
    EXPECT_EQ(around.of[0], model(x, [=](T& lane, T v) { lane += v - shift; }))
        << format<S>::name << ' ' << n;
    EXPECT_EQ(around.of[1], model(x,
                                  [=](T& lane, T v) {
                                    const T d = v - shift;
                                    lane = fma(d, d, lane);
                                  }))
        << format<S>::name << ' ' << n;

    // Four sums at once, which not every ISA has the registers for.
    const auto four =
        rn::detail::gradient_sums_around(shift, n, row, row, rn::detail::absent_row{});
    EXPECT_EQ(four.of[0], around.of[0]) << format<S>::name << ' ' << n;
    EXPECT_EQ(four.of[1], around.of[1]) << format<S>::name << ' ' << n;
    EXPECT_EQ(four.of[2], model(x, [](T& lane, T v) { lane += v; })) << format<S>::name << ' ' << n;
    EXPECT_EQ(four.of[3], model(x, [=](T& lane, T v) { lane = fma(v, v - shift, lane); }))
        << format<S>::name << ' ' << n;
  }
}

TEST(Sum, IsTheWrittenOrder) {
  check_sums<float, float>();
  check_sums<double, double>();
}
TEST(Sum, OfOtherStorageIsThatOfItsCopy) {
  check_sums<Eigen::half, float>();
  check_sums<Eigen::bfloat16, float>();
  check_sums<float, double>();
  check_sums<Eigen::bfloat16, double>();
}

}  // namespace

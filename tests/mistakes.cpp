// SPDX-License-Identifier: MIT
// The four mistakes that people make with RMSNorm: the checks agree with rownorm and with its
// formula, and catch each mistake.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <rownorm/rms_norm.hpp>
#include <string>
#include <vector>

namespace {

using row = std::vector<double>;
using names = std::vector<std::string>;

/// The formula, right or with a mistake in it.
enum class mistake { none, mean_subtracted, beta_added, root_of_the_mean, eps_outside_the_root };

row formula(mistake made, const row& x, const row& gamma, double eps) {
  const auto n = static_cast<double>(x.size());
  double mean = 0, mean_square = 0;
  for (const double v : x) mean += v / n, mean_square += v * v / n;
  const double centre = made == mistake::mean_subtracted ? mean : 0;
  const double shift = made == mistake::beta_added ? 0.01 : 0;
  if (made == mistake::mean_subtracted) mean_square -= mean * mean;
  if (made == mistake::root_of_the_mean) mean_square = mean;
  const double root = made == mistake::eps_outside_the_root ? std::sqrt(mean_square) + eps
                                                            : std::sqrt(mean_square + eps);
  row y;
  for (std::size_t i = 0; i < x.size(); ++i) y.push_back(gamma[i] * (x[i] - centre) / root + shift);
  return y;
}

/// The checks that a norm of (x, gamma, eps) does not meet.
template <class Norm>
names misses(Norm norm) {
  names missed;
  const auto expect = [&](const char* check, const row& y, const row& expected) {
    bool met = true;
    for (std::size_t i = 0; i < y.size(); ++i)
      met = met && std::abs(y[i] - expected[i]) <= 1e-6 * (1 + std::abs(expected[i]));
    if (!met) missed.push_back(check);
  };
  const row ones(4, 1);
  expect("worked example", norm({1, 2, 3, 4}, ones, 1e-6),
         {0.365148347326, 0.730296694653, 1.095445041980, 1.460593389307});
  expect("equal numbers keep their mean", norm({5, 5, 5, 5}, ones, 0), ones);
  expect("gamma 0 gives 0", norm({1, 2, 3, 4}, {0, 0, 0, 0}, 1e-6), {0, 0, 0, 0});
  expect("blind to scale", norm({10, 20, 30, 40}, ones, 0), norm({1, 2, 3, 4}, ones, 0));
  // mean(x^2) = 5 and eps = 4 make a root of 3.
  expect("eps under the root", norm({1, 3, 1, 3}, ones, 4), {1. / 3, 1, 1. / 3, 1});
  expect("a tiny row beside eps", norm({1e-6, 1e-6, 1e-6, 1e-6}, ones, 1e-6),
         row(4, 1e-6 / std::sqrt(1e-6 + 1e-12)));
  return missed;
}

names misses(mistake made) {
  return misses(
      [=](const row& x, const row& gamma, double eps) { return formula(made, x, gamma, eps); });
}

bool caught(mistake made, const char* check) {
  const names missed = misses(made);
  return std::find(missed.begin(), missed.end(), check) != missed.end();
}

template <class T>
names misses_of_rownorm() {
  return misses([](const row& x, const row& gamma, double eps) {
    const std::vector<T> in(x.begin(), x.end()), gain(gamma.begin(), gamma.end());
    std::vector<T> y(x.size());
    rownorm::rms_norm(in, gain, y, eps);
    return row(y.begin(), y.end());
  });
}

TEST(Mistakes, AreNotInRownorm) {
  EXPECT_EQ(misses_of_rownorm<float>(), names{});
  EXPECT_EQ(misses_of_rownorm<double>(), names{});
  EXPECT_EQ(misses(mistake::none), names{});
}
TEST(Mistakes, SubtractingTheMeanIsCaught) {
  EXPECT_TRUE(caught(mistake::mean_subtracted, "worked example"));
  EXPECT_TRUE(caught(mistake::mean_subtracted, "equal numbers keep their mean"));
}
TEST(Mistakes, AddingABetaIsCaught) {
  EXPECT_TRUE(caught(mistake::beta_added, "worked example"));
  EXPECT_TRUE(caught(mistake::beta_added, "gamma 0 gives 0"));
}
TEST(Mistakes, TheRootOfTheMeanIsCaught) {
  EXPECT_TRUE(caught(mistake::root_of_the_mean, "worked example"));
  EXPECT_TRUE(caught(mistake::root_of_the_mean, "blind to scale"));
}
TEST(Mistakes, EpsOutsideTheRootIsCaught) {
  EXPECT_TRUE(caught(mistake::eps_outside_the_root, "eps under the root"));
  EXPECT_TRUE(caught(mistake::eps_outside_the_root, "a tiny row beside eps"));
}

}  // namespace

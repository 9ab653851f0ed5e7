// SPDX-License-Identifier: MIT
// Promise 3: every finite row has a finite, right answer, whatever its squares do.
#include <cmath>
#include <functional>
#include <limits>
#include <memory>
#include <random>
#include <rownorm/rownorm.hpp>
#include <string>
#include <vector>

#include "reference.hpp"

namespace {

using rownorm::epsilon, rownorm::outside_root, test::real;

template <class S>
const real largest = test::exact(std::numeric_limits<S>::max());
template <class S>
const real smallest = std::ldexp(real{1}, test::format<S>::lowest + test::format<S>::digits - 1);
template <class S>
const real least = std::ldexp(real{1}, test::format<S>::lowest);  // subnormal

/// A kind of row: number i of it.
struct kind {
  const char* name;
  std::function<real(std::size_t)> number;
};

/// Rows at the ends of what S can hold, and at the roots of the ends.
template <class S>
std::vector<kind> hard_rows() {
  const auto bits = std::make_shared<std::mt19937_64>();
  const auto uniform = [bits](real low, real high) {
    return std::uniform_real_distribution<real>(low, high)(*bits);
  };
  const auto sign = [bits] { return (*bits)() % 2 == 0 ? real{1} : real{-1}; };
  return {
      {"near the largest", [=](auto) { return sign() * uniform(0.3L, 0.99L) * largest<S>; }},
      {"equal, the largest", [](auto) { return largest<S>; }},
      {"the largest among ones", [](auto i) { return i % 7 == 3 ? largest<S> : 1; }},
      {"one large among small",
       [=](auto i) { return i == 0 ? largest<S> / 3 : sign() * smallest<S>; }},
      {"a large mean", [=](auto) { return uniform(0.9L, 0.99L) * largest<S>; }},
      {"squares about the largest",
       [=](auto) { return sign() * std::sqrt(largest<S>) * std::exp(uniform(-5, 5)); }},
      {"squares about the smallest",
       [=](auto) { return sign() * std::sqrt(smallest<S>) * std::exp(uniform(-9, 9)); }},
      {"near the smallest normal", [=](auto) { return sign() * uniform(1, 2) * smallest<S>; }},
      {"subnormal", [=](auto) { return sign() * std::floor(uniform(1, 100)) * least<S>; }},
      {"equal, subnormal", [](auto) { return 3 * least<S>; }},
      {"one subnormal among zeros", [](auto i) { return i == 0 ? least<S> : 0; }},
      {"every exponent",
       [=](auto) { return sign() * std::exp(uniform(std::log(least<S>), std::log(largest<S>))); }},
      {"one far below the rms",
       [](auto i) { return (i == 0 ? 0.1L : 8 * largest<S>) / std::sqrt(largest<S>); }},
      {"zeros", [](auto) { return 0; }},
  };
}

template <class S>
test::vector<S> draw(const kind& of, std::size_t length) {
  test::vector<S> x(static_cast<Eigen::Index>(length));
  for (std::size_t i = 0; i < length; ++i)
    x[static_cast<Eigen::Index>(i)] = test::number<S>(static_cast<double>(of.number(i)));
  return x;
}

constexpr std::size_t lengths[] = {1, 5, 64, 100, 1000, 4100};
const epsilon all_eps[] = {0,
                           1e-300,
                           1e-40,
                           1e-6,
                           1,
                           1e6,
                           1e30,
                           1e300,
                           outside_root(0),
                           outside_root(1e-42),
                           outside_root(1e-6),
                           outside_root(1e30)};

/// What a number that is subnormal itself may be off by beside its error.
template <class T, class S>
real subnormal_error(real y, real gamma) {
  if (!std::is_same_v<T, S> || std::abs(y) >= smallest<S>) return 0;
  return least<S> * std::max(real{1}, std::abs(gamma));
}

/// Numbers of storage S, arithmetic T; norm(x, gamma, beta, y, eps, rstd) against what exact(x,
/// gamma, beta, eps) gives, each number within error(y, gamma, beta).
template <class T, class S, class Norm, class Exact, class Error>
void every_row_is_right(Norm norm, Exact exact, Error error) {
  for (const kind& of : hard_rows<S>())
    for (const std::size_t n : lengths) {
      const test::vector<S> x = draw<S>(of, n);
      const test::vector<S> gamma = test::normals<S>(1, n, 1), beta = test::normals<S>(1, n, 2);
      const reference::row g = test::values(gamma), b = test::values(beta);
      for (const epsilon eps : all_eps) {
        test::vector<S> y(x.size());
        double rstd = -1;
        norm(x, gamma, beta, y, eps, rownorm::rows<double>(&rstd, 1, 1));
        const reference::normalized right = exact(test::values(x), g, b, eps);
        const std::string what = std::string(of.name) + ", " + std::to_string(n) +
                                 " numbers, eps " + (eps.outside ? "outside " : "") +
                                 testing::PrintToString(eps.value);
        EXPECT_TRUE(test::within(test::values(y), right.y, [&](std::size_t i) {
          return error(right.y[i], g[i], b[i]) + subnormal_error<T, S>(right.y[i], g[i]);
        })) << what;
        // Among others, which are done side by side, as alone.
        test::matrix<S> rows = x.replicate(5, 1), all_y(rows.rows(), rows.cols());
        std::vector<double> all_rstd(5, -1);
        norm(rows, gamma, beta, all_y, eps, rownorm::rows<double>(all_rstd.data(), 1, 5));
        for (Eigen::Index i = 0; i < 5; ++i)
          EXPECT_TRUE(test::same_bits(all_y.row(i), y)) << what << ", row " << i << " of 5";
        EXPECT_EQ(all_rstd, std::vector<double>(5, rstd)) << what;
        if (right.rstd > std::numeric_limits<double>::max()) continue;
        EXPECT_NEAR(static_cast<double>(rstd / (right.rstd == 0 ? 1 : right.rstd)),
                    right.rstd == 0 ? 0 : 1, static_cast<double>(test::rstd_error<T>))
            << what;
      }
    }
}

template <class T, class S>
void rms_norm_is_right() {
  every_row_is_right<T, S>([](const auto& x, const auto& gamma, const auto&, auto& y, epsilon eps,
                              auto rstd) { rownorm::rms_norm<T>(x, gamma, y, eps, rstd); },
                           [](const auto& x, const auto& gamma, const auto&, epsilon eps) {
                             return reference::rms_norm(x, gamma, eps);
                           },
                           [](real y, real, real) { return test::rms_norm_error<T, S>(y); });
}
template <class T, class S>
void layer_norm_is_right() {
  every_row_is_right<T, S>(
      [](const auto& x, const auto& gamma, const auto& beta, auto& y, epsilon eps, auto rstd) {
        rownorm::layer_norm<T>(x, gamma, beta, y, eps, rownorm::none, rstd);
      },
      [](const auto& x, const auto& gamma, const auto& beta, epsilon eps) {
        return reference::layer_norm(x, gamma, beta, eps);
      },
      [](real y, real gamma, real beta) {
        return test::layer_norm_error<T, S>(
            y, std::max({std::abs(y), std::abs(gamma), std::abs(beta)}));
      });
}

TEST(Extremes, RmsNormOfFloat) {
  rms_norm_is_right<float, float>();
}
TEST(Extremes, RmsNormOfFloatInDouble) {
  rms_norm_is_right<double, float>();
}
TEST(Extremes, RmsNormOfDouble) {
  rms_norm_is_right<double, double>();
}
TEST(Extremes, RmsNormOfHalf) {
  rms_norm_is_right<float, Eigen::half>();
}
TEST(Extremes, RmsNormOfBfloat16) {
  rms_norm_is_right<float, Eigen::bfloat16>();
}
// Numbers behind the first k may be far from those that the statistic is of.
TEST(Extremes, PartialRmsNormOfDouble) {
  for (const auto& [first, other] : {std::pair{1e160, 1e300},
                                     {1e300, 1e155},
                                     {1e155, 1e-150},
                                     {1e-160, 1e130},
                                     {1e-310, 1e-20},
                                     {1e-310, 1e-310},
                                     {0.0, 1e300}}) {
    const Eigen::RowVectorXd x =
        (Eigen::RowVectorXd(6) << first, -first, other, other / 3, -other, first).finished();
    Eigen::RowVectorXd y(6);
    rownorm::partial_rms_norm(x, 2, rownorm::none, y, 0);
    const auto right = reference::partial_rms_norm(test::values(x), 2, {}, 0).y;
    for (std::size_t i = 0; i < 6; ++i) {
      const real allowed = test::rms_norm_error<double, double>(right[i]);
      EXPECT_LE(std::abs(test::exact(y(static_cast<Eigen::Index>(i))) - right[i]), allowed)
          << first << " then " << other << ", " << i;
    }
  }
}

/// Squares of the first number are 0, and one behind it is NaN, wherever that stands.
template <class T>
void check_tiny_before_nan() {
  using row = Eigen::Matrix<T, 1, Eigen::Dynamic>;
  for (const Eigen::Index n : {9, 40, 80})
    for (Eigen::Index nan = 1; nan < n; ++nan) {
      row x = row::Zero(n), y(n);
      x[0] = 9 * std::numeric_limits<T>::denorm_min();
      x[nan] = std::numeric_limits<T>::quiet_NaN();
      rownorm::partial_rms_norm(x, 1, rownorm::none, y, 0);
      for (Eigen::Index i = 0; i < n; ++i) {
        if (i == nan) EXPECT_TRUE(std::isnan(y[i])) << nan;
        else EXPECT_EQ(y[i], i == 0 ? 1 : 0) << "at " << i << ", NaN at " << nan;
      }
    }
}
TEST(Extremes, PartialRmsNormOfTinyNumbersBeforeNan) {
  check_tiny_before_nan<float>();
  check_tiny_before_nan<double>();
}

TEST(Extremes, LayerNormOfFloat) {
  layer_norm_is_right<float, float>();
}
TEST(Extremes, LayerNormOfFloatInDouble) {
  layer_norm_is_right<double, float>();
}
TEST(Extremes, LayerNormOfDouble) {
  layer_norm_is_right<double, double>();
}
TEST(Extremes, LayerNormOfHalf) {
  layer_norm_is_right<float, Eigen::half>();
}
TEST(Extremes, LayerNormOfBfloat16) {
  layer_norm_is_right<float, Eigen::bfloat16>();
}

}  // namespace

// SPDX-License-Identifier: MIT
// What a user's -ffast-math leaves of the promises: rows of any size stay right, and NaN and Inf
// harm no other row. This file is built without it, the calls (fast_math.cpp) with it.
#include <cmath>
#include <limits>

#include "reference.hpp"

using namespace test;

namespace fast {
void rms_norm(rownorm::rows<const float> x, rownorm::rows<float> y, double eps);
void layer_norm(rownorm::rows<const float> x, rownorm::rows<float> y, double eps);
}  // namespace fast

namespace {

/// The largest error in steps of float at 1: of RMSNorm relative, of LayerNorm to the row's
/// largest.
real rms_norm_error_of(const matrix<float>& x, double eps) {
  matrix<float> y = x;
  fast::rms_norm(rows_of(x), rownorm::rows<float>(y.data(), 3, static_cast<std::size_t>(x.cols())),
                 eps);
  real most = 0;
  for (Eigen::Index i = 0; i < 3; ++i) {
    const auto right = reference::rms_norm(values(x.row(i)), {}, eps);
    for (std::size_t j = 0; j < right.y.size(); ++j) {
      const real got = exact(y(i, static_cast<Eigen::Index>(j)));
      if (!std::isfinite(got)) return std::numeric_limits<real>::infinity();
      if (right.y[j] != 0) most = std::max(most, std::abs(got / right.y[j] - 1));
    }
  }
  return most / step<float>;
}
real layer_norm_error_of(const matrix<float>& x, double eps) {
  matrix<float> y = x;
  fast::layer_norm(rows_of(x),
                   rownorm::rows<float>(y.data(), 3, static_cast<std::size_t>(x.cols())), eps);
  real most = 0;
  for (Eigen::Index i = 0; i < 3; ++i) {
    const auto right = reference::layer_norm(values(x.row(i)), {}, {}, eps);
    real largest = 1;
    for (const real v : right.y) largest = std::max(largest, std::abs(v));
    for (std::size_t j = 0; j < right.y.size(); ++j) {
      const real got = exact(y(i, static_cast<Eigen::Index>(j)));
      if (!std::isfinite(got)) return std::numeric_limits<real>::infinity();
      most = std::max(most, std::abs(got - right.y[j]) / largest);
    }
  }
  return most / step<float>;
}

constexpr std::size_t row_lengths[] = {1, 64, 100, 4097};

TEST(FastMath, RowsOfAnySize) {
  for (const std::size_t n : row_lengths)
    for (const double scale : {1.0, 1e-18, 1e-25, 1e-37, 1e25, 1e37}) {
      SCOPED_TRACE(testing::Message() << n << " numbers of " << scale);
      const matrix<float> x = normals<float>(3, n, 1, scale);
      EXPECT_LE(rms_norm_error_of(x, 0), 2);
      EXPECT_LE(rms_norm_error_of(x, 1e-6), 2);
      if (n > 1) {
        EXPECT_LE(layer_norm_error_of(x, 0), 4);
      }
      EXPECT_LE(layer_norm_error_of(x, 1e-5), 4);
    }
}

TEST(FastMath, ALargeMean) {
  for (const std::size_t n : {64u, 100u, 4097u})
    for (const double mean : {1e4, 1e6})
      EXPECT_LE(layer_norm_error_of(normals<float>(3, n, 2, 1, mean), 1e-5), 4) << n << ' ' << mean;
}

TEST(FastMath, ZerosGiveZeros) {
  const matrix<float> x = matrix<float>::Zero(3, 100);
  matrix<float> y = matrix<float>::Ones(3, 100);
  fast::rms_norm(rows_of(x), rownorm::rows<float>(y.data(), 3, 100), 0);
  EXPECT_EQ(y, x);
}

TEST(FastMath, NanAndInfStayInTheirRow) {
  for (const float value :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    const matrix<float> clean = normals<float>(3, 100, 3);
    matrix<float> spoiled = clean, y = clean, expected = clean;
    spoiled(1, 17) = value;
    for (const auto norm : {fast::rms_norm, fast::layer_norm}) {
      norm(rows_of(clean), rownorm::rows<float>(expected.data(), 3, 100), 1e-6);
      norm(rows_of(spoiled), rownorm::rows<float>(y.data(), 3, 100), 1e-6);
      EXPECT_TRUE(same_bits(y.row(0), expected.row(0)));
      EXPECT_TRUE(same_bits(y.row(2), expected.row(2)));
      EXPECT_TRUE(std::isnan(y(1, 17)));
    }
  }
}

}  // namespace

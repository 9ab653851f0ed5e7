// SPDX-License-Identifier: MIT
// Rows of numbers of every size, which all have a finite, right answer, and rows with NaN and Inf,
// which harm no other row.
#include <rownorm/layer_norm.hpp>
#include <rownorm/rms_norm.hpp>

#include "reference.hpp"

namespace rn = rownorm;
using namespace test;

namespace {

/// Against the formula; where a product is subnormal its rounding is no longer relative to it.
template <class T>
void check_rms_norm(const matrix<T>& x, rn::epsilon eps) {
  const matrix<T> gamma = normals<T>(1, static_cast<std::size_t>(x.cols()), 1);
  matrix<T> y(x.rows(), x.cols());
  std::vector<double> rstd(static_cast<std::size_t>(x.rows()));
  rn::rms_norm(x, gamma, y, eps, rstd);
  for (Eigen::Index i = 0; i < x.rows(); ++i) {
    const auto r = reference::rms_norm(values(x.row(i)), values(gamma), eps);
    EXPECT_TRUE(within(values(y.row(i)), r.y, [&](std::size_t j) {
      return rms_norm_error<T, T>(r.y[j]) + 5 * ulp<T>(0);
    }));
    if (r.rstd < real{std::numeric_limits<double>::max()}) {
      EXPECT_LE(std::abs(exact(rstd[static_cast<std::size_t>(i)]) / r.rstd - 1), rstd_error<T>);
    }
  }
}

template <class T>
void check_layer_norm(const matrix<T>& x, rn::epsilon eps) {
  const matrix<T> gamma = normals<T>(1, static_cast<std::size_t>(x.cols()), 2);
  matrix<T> y(x.rows(), x.cols());
  std::vector<double> mean(static_cast<std::size_t>(x.rows()));
  rn::layer_norm(x, gamma, rn::none, y, eps, mean);
  for (Eigen::Index i = 0; i < x.rows(); ++i) {
    const auto right = reference::layer_norm(values(x.row(i)), values(gamma), {}, eps);
    const reference::row& r = right.y;
    EXPECT_TRUE(within(values(y.row(i)), r, [&](std::size_t j) {
      return layer_norm_error<T, T>(
          r[j], std::max(std::abs(r[j]), std::abs(exact(gamma(0, static_cast<Eigen::Index>(j))))));
    }));
    const real largest = exact(x.row(i).cwiseAbs().maxCoeff());
    EXPECT_LE(std::abs(exact(mean[static_cast<std::size_t>(i)]) - right.mean),
              2 * step<T> * largest + ulp<double>(0));
  }
}

template <class T>
void check(std::initializer_list<double> scales, std::initializer_list<double> epsilons) {
  for (const double scale : scales)
    for (const double eps : epsilons)
      for (const std::size_t n : {2u, 5u, 100u, 5000u}) {
        SCOPED_TRACE(testing::Message() << scale << ", eps " << eps << ", length " << n);
        const matrix<T> x = normals<T>(2, n, 3, scale);
        check_rms_norm(x, eps);
        check_layer_norm(x, eps);
        check_rms_norm(x, rn::outside_root(eps));
        check_layer_norm(x, rn::outside_root(eps));
      }
}

TEST(Range, Floats) {
  check<float>({1e-44, 1e-42, 1e-38, 1e-30, 1e-20, 1e-16, 1e-15, 1e-12, 1, 1e12, 1e17, 1e18, 1e19,
                1e20, 1e25, 1e30, 4e37},
               {0.0, 1e-40, 1e-30, 1e-6, 1.0, 1e30, 1e40, 1e80, 1e300});
}

TEST(Range, Doubles) {
  check<double>({1e-323, 1e-310, 1e-300, 1e-200, 1e-160, 1e-150, 1e-140, 1e-130, 1, 1e130, 1e140,
                 1e150, 1e155, 1e160, 1e200, 1e300, 2e307},
                {0.0, 1e-300, 1e-6, 1.0, 1e100});
}

/// Rows of double in float arithmetic: those that float does not hold are right nevertheless.
TEST(Range, DoublesInFloat) {
  for (const double scale : {1e-310, 1e-200, 1e-46, 1e-40, 1e-30, 1e19, 1e39, 1e200, 1e307})
    for (const std::size_t n : {2u, 5u, 100u, 5000u}) {
      SCOPED_TRACE(testing::Message() << scale << ", length " << n);
      const matrix<double> x = normals<double>(2, n, 6, scale);
      const matrix<float> gamma = normals<float>(1, n, 7), dy = normals<float>(1, n, 8);
      matrix<float> y(2, x.cols()), z(2, x.cols());
      rn::rms_norm<float>(x, gamma, y, 0);
      rn::layer_norm<float>(x, gamma, rn::none, z, 0);
      for (Eigen::Index i = 0; i < 2; ++i) {
        const reference::row row = values(x.row(i)), g = values(gamma), d = values(dy);
        // Of rows that float holds, each number is rounded as it is loaded.
        const real load = step<float> / 2;
        const reference::row rms = reference::rms_norm(row, g, 0).y;
        EXPECT_TRUE(within(values(y.row(i)), rms, [&](std::size_t j) {
          return rms_norm_error<float, float>(rms[j]) + 2 * load * std::abs(rms[j]);
        }));
        const reference::normalized layer = reference::layer_norm(row, g, {}, 0);
        EXPECT_TRUE(within(values(z.row(i)), layer.y, [&](std::size_t j) {
          const real scaled = std::max(std::abs(layer.y[j]), std::abs(g[j]));
          return layer_norm_error<float, float>(layer.y[j], scaled) + 4 * load * scaled;
        }));
        matrix<double> dx(1, x.cols());
        matrix<float> dgamma = matrix<float>::Zero(1, x.cols()), dbeta = dgamma;
        const auto near = [&](const reference::gradient& right) {
          return within(values(dgamma), right.h, [&](std::size_t j) {
            return 8 * step<float> * std::max(real{1}, std::abs(right.h[j]));
          });
        };
        const matrix<float> ones = matrix<float>::Ones(1, x.cols());
        rn::rms_norm_backward<float>(ones, x.row(i), rn::none, dx, dgamma, 0);
        EXPECT_TRUE(near(reference::rms_norm_backward(values(ones), row, {}, 0)));
        dgamma.setZero();
        rn::layer_norm_backward<float>(ones, x.row(i), rn::none, dx, dgamma, dbeta, 0);
        EXPECT_TRUE(near(reference::layer_norm_backward(values(ones), row, {}, 0)));
      }
    }
}
/// Those that it holds are rounded to it first: the norm is that of the floats.
TEST(Range, DoublesThatFloatHoldsAreRounded) {
  for (const std::size_t n : {5u, 100u, 5000u}) {
    const matrix<double> x = normals<double>(2, n, 9, 1e3, 1e9);
    const matrix<float> rounded = x.cast<float>(), dy = normals<float>(2, n, 10);
    matrix<float> y(2, x.cols()), expected(2, x.cols());
    rn::layer_norm<float>(x, rn::none, rn::none, y);
    rn::layer_norm(rounded, rn::none, rn::none, expected);
    EXPECT_TRUE(same_bits(y, expected));
    rn::rms_norm<float>(x, rn::none, y);
    rn::rms_norm(rounded, rn::none, expected);
    EXPECT_TRUE(same_bits(y, expected));
    rn::layer_norm_backward<float>(dy, x, rn::none, y, rn::none, rn::none);
    rn::layer_norm_backward(dy, rounded, rn::none, expected, rn::none, rn::none);
    EXPECT_TRUE(same_bits(y, expected));
  }
}

/// What the gradients say of a dgamma of 16 bits: less than half a step of it goes lost.
TEST(Range, ASumOf16BitsStopsGrowing) {
  const matrix<float> ones = matrix<float>::Ones(1, 40), dy = 0.4f * ones;
  matrix<float> dx(1, 40), wide = 256 * ones;
  matrix<Eigen::bfloat16> narrow = wide.cast<Eigen::bfloat16>();
  const matrix<Eigen::bfloat16> before = narrow;
  for (int call = 0; call < 100; ++call) {
    rn::rms_norm_backward(dy, ones, rn::none, dx, wide, 0);
    rn::rms_norm_backward(dy, ones, rn::none, dx, narrow, 0);
  }
  EXPECT_TRUE(same_bits(narrow, before));
  EXPECT_NEAR(wide(0, 0), 296, 0.01f);
}

template <class T>
void check_equal_numbers() {
  using limits = std::numeric_limits<T>;
  for (const T value : {limits::denorm_min(), limits::min(), T(1), T(1e30)})
    for (const Eigen::Index n : {1, 70, 5000}) {
      SCOPED_TRACE(testing::Message() << value << ", length " << n);
      const matrix<T> x = matrix<T>::Constant(1, n, value);
      check_rms_norm<T>(x, 0);
      check_layer_norm<T>(x, 0);
    }
}
TEST(Range, EqualNumbers) {
  check_rms_norm<float>(matrix<float>::Constant(1, 70, std::numeric_limits<float>::max()), 0);
  check_rms_norm<double>(matrix<double>::Constant(1, 70, std::numeric_limits<double>::max()), 0);
  check_equal_numbers<float>();
  check_equal_numbers<double>();
}

TEST(Range, ANumberFarFromItsRow) {
  for (const double far : {1e-40, 1e-20, 1e15, 1e25, 3e38}) {
    matrix<float> x = normals<float>(1, 200, 4);
    x(0, 130) = static_cast<float>(far);
    SCOPED_TRACE(far);
    check_rms_norm(x, 1e-6);
    check_layer_norm(x, 1e-6);
  }
}

TEST(Range, NumbersNextToEachOther) {
  matrix<float> x = matrix<float>::Constant(1, 1000, 1);
  x(0, 77) = std::nextafter(1.0f, 2.0f);
  check_layer_norm(x, 0);
  check_layer_norm<double>(x.cast<double>(), 0);
}

template <class T>
class OtherRows : public testing::Test {};
TYPED_TEST_SUITE(OtherRows, storage_types, storage_name);

/// Rows 1, 2 and 3 hold a NaN, Inf and -Inf at `at`; norm(x, y) must leave rows 0 and 4 as they
/// are.
template <class T, class Norm>
matrix<T> spoiled(std::size_t n, Eigen::Index at, Norm norm) {
  matrix<T> x = normals<T>(5, n, 5);
  matrix<T> y(5, x.cols()), clean(5, x.cols());
  norm(x, clean);
  x(1, at) = std::numeric_limits<T>::quiet_NaN();
  x(2, at) = std::numeric_limits<T>::infinity();
  x(3, at) = -std::numeric_limits<T>::infinity();
  norm(x, y);
  EXPECT_TRUE(same_bits(y.row(0), clean.row(0)));
  EXPECT_TRUE(same_bits(y.row(4), clean.row(4)));
  return y;
}

TYPED_TEST(OtherRows, KeepTheirRmsNorm) {
  for (const std::size_t n : {1u, 3u, 33u, 64u, 200u, 5000u})
    for (const Eigen::Index at : {Eigen::Index{0}, static_cast<Eigen::Index>(n) - 1}) {
      SCOPED_TRACE(testing::Message() << "number " << at << " of " << n);
      const auto y = spoiled<TypeParam>(
          n, at, [](const auto& in, auto& out) { rn::rms_norm(in, rn::none, out); });
      for (Eigen::Index j = 0; j < y.cols(); ++j) {
        EXPECT_TRUE(std::isnan(exact(y(1, j)))) << j;
        for (const Eigen::Index inf : {2, 3})
          EXPECT_TRUE(j == at ? std::isnan(exact(y(inf, j))) : exact(y(inf, j)) == 0) << j;
      }
    }
}

TYPED_TEST(OtherRows, KeepTheirLayerNorm) {
  for (const std::size_t n : {1u, 3u, 33u, 64u, 200u, 5000u})
    for (const Eigen::Index at : {Eigen::Index{0}, static_cast<Eigen::Index>(n) - 1}) {
      SCOPED_TRACE(testing::Message() << "number " << at << " of " << n);
      const auto y = spoiled<TypeParam>(
          n, at, [](const auto& in, auto& out) { rn::layer_norm(in, rn::none, rn::none, out); });
      for (const Eigen::Index row : {1, 2, 3})
        for (Eigen::Index j = 0; j < y.cols(); ++j) EXPECT_TRUE(std::isnan(exact(y(row, j)))) << j;
    }
}

}  // namespace

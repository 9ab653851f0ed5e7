// SPDX-License-Identifier: MIT
// A caller's rounding mode (fesetround) and its FTZ and DAZ: what the norms promise there. The
// exact results are found in the default mode.
#include <cfenv>
#include <random>
#include <rownorm/rownorm.hpp>
#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

#include "norms.hpp"

namespace {

using mode = int;
struct name_of_mode {
  std::string operator()(const testing::TestParamInfo<mode>& info) const {
    return info.param == FE_UPWARD     ? "Upward"
           : info.param == FE_DOWNWARD ? "Downward"
                                       : "TowardZero";
  }
};

/// call() in the mode of the test.
class RoundingMode : public testing::TestWithParam<mode> {
 protected:
  template <class Call>
  static void in_mode(Call call) {
    ASSERT_EQ(std::fesetround(GetParam()), 0);
    call();
    ASSERT_EQ(std::fesetround(FE_TONEAREST), 0);
  }
};
INSTANTIATE_TEST_SUITE_P(Each, RoundingMode, testing::Values(FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO),
                         name_of_mode{});

/// A rounding costs a whole step in place of a half: so many times the bounds of the default mode.
constexpr real multiple = 2;

constexpr std::size_t row_lengths[] = {1, 2, 3, 33, 64, 100, 128, 300, 1000, 5000};

/// Rows as others bring them: some of each kind, drawn anew.
template <class S>
std::vector<matrix<S>> usual_rows(std::size_t n) {
  std::mt19937_64 bits(n);
  std::normal_distribution<double> normal;
  std::vector<matrix<S>> all;
  for (const auto& [scale, shift] : {std::pair{1.0, 0.0}, {1e-3, 0.0}, {1.0, 3.0}, {1.0, 1e4}})
    if (shift < 1e3 || sizeof(S) > 2)
      all.push_back(normals<S>(4, n, static_cast<unsigned>(n), scale, shift));
  matrix<S> m(3, static_cast<Eigen::Index>(n));
  for (Eigen::Index j = 0; j < m.cols(); ++j) {
    m(0, j) = number<S>(std::exp(normal(bits)));
    m(1, j) = number<S>(0.1);
    m(2, j) = number<S>(j == 0 ? 3 : 0);
  }
  all.push_back(m);
  return all;
}

/// Numbers of storage S in arithmetic T, both norms, against the formulas.
template <class T, class S, class InMode>
void check(const matrix<S>& x, rn::epsilon eps, InMode in_mode) {
  const auto n = static_cast<std::size_t>(x.cols());
  const matrix<S> gamma = normals<S>(1, n, 1, 0.25, 1), beta = normals<S>(1, n, 2, 0.25);
  matrix<S> y(x.rows(), x.cols()), z(x.rows(), x.cols());
  in_mode([&] {
    rn::rms_norm<T>(x, gamma, y, eps);
    rn::layer_norm<T>(x, gamma, beta, z, eps);
  });
  for (Eigen::Index i = 0; i < x.rows(); ++i) {
    SCOPED_TRACE(testing::Message() << format<S>::name << ", row " << i << ", from "
                                    << exact(x(i, 0)) << ", " << n << " numbers");
    const reference::row row = values(x.row(i)), g = values(gamma), b = values(beta);
    const reference::row rms = reference::rms_norm(row, g, eps).y;
    EXPECT_TRUE(within(values(y.row(i)), rms, [&](std::size_t j) {
      return multiple * (rms_norm_error<T, S>(rms[j]) + ulp<S>(0));
    })) << "rms_norm";
    const reference::row layer = reference::layer_norm(row, g, b, eps).y;
    EXPECT_TRUE(within(values(z.row(i)), layer, [&](std::size_t j) {
      const real scale = std::max({std::abs(layer[j]), std::abs(g[j]), std::abs(b[j])});
      return multiple * (layer_norm_error<T, S>(layer[j], scale) + ulp<S>(0));
    })) << "layer_norm";
  }
}

template <class T, class S, class InMode>
void check_usual(InMode in_mode) {
  for (const std::size_t n : row_lengths)
    for (const matrix<S>& x : usual_rows<S>(n)) check<T, S>(x, 1e-6, in_mode);
}
TEST_P(RoundingMode, Float) {
  check_usual<float, float>([](auto call) { in_mode(call); });
}
TEST_P(RoundingMode, FloatInDouble) {
  check_usual<double, float>([](auto call) { in_mode(call); });
}
TEST_P(RoundingMode, Double) {
  check_usual<double, double>([](auto call) { in_mode(call); });
}
TEST_P(RoundingMode, Bfloat16) {
  check_usual<float, Eigen::bfloat16>([](auto call) { in_mode(call); });
}
TEST_P(RoundingMode, Half) {
  check_usual<float, Eigen::half>([](auto call) { in_mode(call); });
}

/// A sum that overflows stops at the largest number where it is not rounded away from zero.
TEST_P(RoundingMode, RowsOfEverySize) {
  for (const std::size_t n : {2u, 5u, 100u, 5000u}) {
    for (const double scale : {1e-44, 1e-30, 1e-20, 1e-15, 1e17, 1e18, 1e19, 1e20, 1e30, 4e37})
      check<float, float>(normals<float>(2, n, 3, scale), 0, [](auto call) { in_mode(call); });
    for (const double scale : {1e-310, 1e-200, 1e-155, 1e152, 1e154, 1e155, 1e200, 1e306})
      check<double, double>(normals<double>(2, n, 3, scale), 0, [](auto call) { in_mode(call); });
  }
  matrix<float> x = matrix<float>::Constant(1, 64, 1e30f);
  x(0, 0) = -1e38f;
  check<float, float>(x, 1e-6, [](auto call) { in_mode(call); });
  x.setConstant(std::numeric_limits<float>::max());
  x(0, 0) = -x(0, 1);
  check<float, float>(x, 1e-6, [](auto call) { in_mode(call); });
}

/// dx in its own scale, and the sums over up to 32 rows, whose chain of roundings is as long.
template <class Norm, class T, class InMode>
void check_gradient(InMode in_mode) {
  using bound = bounds::of<T>;
  const real eps =
      step<T> * (Norm::centred ? bound::layer_norm_backward.usual : bound::rms_norm_backward.usual);
  for (const std::size_t n : row_lengths)
    for (const matrix<T>& x : usual_rows<T>(n)) {
      SCOPED_TRACE(testing::Message() << "from " << x(0, 0) << ", " << n << " numbers");
      const auto count = static_cast<std::size_t>(x.rows());
      const matrix<T> dy = normals<T>(count, n, 4), gamma = normals<T>(1, n, 5, 0.25, 1);
      matrix<T> dx(x.rows(), x.cols()), dgamma = matrix<T>::Zero(1, x.cols()), dbeta = dgamma;
      in_mode(
          [&] { Norm::template backward<T>(dy, x, gamma, dx, dgamma, dbeta, rn::epsilon(1e-6)); });
      reference::row sum(n), error(n);
      for (Eigen::Index i = 0; i < x.rows(); ++i) {
        const reference::row v = values(dy.row(i));
        const reference::gradient d = Norm::gradient(v, values(x.row(i)), values(gamma), 1e-6);
        EXPECT_TRUE(within(values(dx.row(i)), d.dx, [&](std::size_t j) {
          return multiple * (eps * d.size[j] + ulp<T>(0));
        })) << "dx";
        for (std::size_t j = 0; j < n; ++j) {
          sum[j] += v[j] * d.h[j];
          error[j] += std::abs(v[j]) * step<T> *
                      (static_cast<real>(count) / 2 * std::abs(d.h[j]) + Norm::h_error(d.h[j]));
        }
      }
      EXPECT_TRUE(within(values(dgamma), sum, [&](std::size_t j) {
        return multiple * (error[j] + ulp<T>(0));
      })) << "dgamma";
    }
}
TEST_P(RoundingMode, GradientsOfRmsNorm) {
  check_gradient<norms::rms_norm, float>([](auto call) { in_mode(call); });
  check_gradient<norms::rms_norm, double>([](auto call) { in_mode(call); });
}
TEST_P(RoundingMode, GradientsOfLayerNorm) {
  check_gradient<norms::layer_norm, float>([](auto call) { in_mode(call); });
  check_gradient<norms::layer_norm, double>([](auto call) { in_mode(call); });
}

/// An integer is one of the two beside y / scale: which of them is promised in the default mode
/// alone. The largest is 127 in every mode.
template <class T, class InMode>
void check_int8(InMode in_mode) {
  for (const std::size_t n : row_lengths) {
    const matrix<T> x = normals<T>(2, n, 6), gamma = normals<T>(1, n, 7);
    matrix<T> y(2, x.cols());
    matrix<std::int8_t> q(2, x.cols());
    std::vector<double> scales(2), given(2, 0.02);
    const auto near = [&](const std::vector<double>& scale) {
      for (Eigen::Index i = 0; i < 2; ++i)
        for (Eigen::Index j = 0; j < x.cols(); ++j) {
          const double s = scale[static_cast<std::size_t>(i)];
          const double quotient = s == 0 ? 0 : static_cast<double>(y(i, j)) / s;
          EXPECT_LT(std::abs(q(i, j) - std::clamp(quotient, -128.0, 127.0)), 1.001)
              << j << " of " << n << ", " << quotient;
        }
    };
    rn::rms_norm(x, gamma, y);
    in_mode([&] { rn::rms_norm(x, gamma, rn::quantized(q, scales)); });
    near(scales);
    in_mode([&] { rn::rms_norm(x, gamma, rn::quantized(q, given[0])); });
    near(given);
    rn::layer_norm(x, gamma, rn::none, y);
    in_mode([&] { rn::layer_norm(x, gamma, rn::none, rn::quantized(q, scales)); });
    near(scales);
  }
}
TEST_P(RoundingMode, Int8) {
  check_int8<float>([](auto call) { in_mode(call); });
  check_int8<double>([](auto call) { in_mode(call); });
}

/// A gate is within so many steps of T at 1: e^z is taken apart at the wrong integer.
template <class T, class InMode>
void check_gate(InMode in_mode) {
  constexpr real steps = sizeof(T) == 4 ? 30 : 600, least = sizeof(T) == 4 ? 4e-37L : 6e-306L;
  matrix<T> z = normals<T>(1, 1000, 8, 4), x = matrix<T>::Ones(1, 1000), y(1, 1000);
  z(0, 0) = std::numeric_limits<T>::lowest();
  z(0, 1) = std::numeric_limits<T>::lowest() / 64;
  z(0, 2) = -1000;
  z(0, 3) = 1000;
  in_mode([&] { rn::gated_rms_norm(x, z, rn::none, y, 0, rn::norm_first); });
  for (Eigen::Index j = 0; j < 1000; ++j) {
    const real v = exact(z(0, j)), right = v / (1 + std::exp(-v));
    EXPECT_LE(std::abs(exact(y(0, j)) - right), steps * step<T> * std::abs(right) + least)
        << z(0, j);
  }
}
TEST_P(RoundingMode, Gates) {
  check_gate<float>([](auto call) { in_mode(call); });
  check_gate<double>([](auto call) { in_mode(call); });
}

#if defined(__SSE2__)
/// With FTZ and DAZ a subnormal float or bfloat16 is a zero. One of binary16 is a usual float.
TEST(FlushToZero, SubnormalsAreZeros) {
  constexpr unsigned flush_and_take_for_zero = 0x8040;
  const auto norms_of = [](const auto& x, auto& y, auto& z) {
    const unsigned before = _mm_getcsr();
    _mm_setcsr(before | flush_and_take_for_zero);
    rn::rms_norm(x, rn::none, y, 0);
    rn::layer_norm(x, rn::none, rn::none, z, 0);
    _mm_setcsr(before);
  };
  const auto of = [&](auto least) {
    using T = decltype(least);
    matrix<T> x(1, 40), y(1, 40), z(1, 40), expected(1, 40);
    for (Eigen::Index j = 0; j < 40; ++j)
      x(0, j) = number<T>(static_cast<double>(j + 1) * static_cast<double>(exact(least)));
    norms_of(x, y, z);
    if constexpr (std::is_same_v<T, Eigen::half>) {
      rn::rms_norm(x, rn::none, expected, 0);
      EXPECT_TRUE(same_bits(y, expected));
      rn::layer_norm(x, rn::none, rn::none, expected, 0);
      EXPECT_TRUE(same_bits(z, expected));
    } else {
      for (Eigen::Index j = 0; j < 40; ++j) {
        EXPECT_EQ(exact(y(0, j)), 0) << format<T>::name;
        EXPECT_EQ(exact(z(0, j)), 0) << format<T>::name;
      }
    }
  };
  of(std::numeric_limits<float>::denorm_min());
  of(std::numeric_limits<double>::denorm_min());
  of(number<Eigen::bfloat16>(0x1p-133));
  of(number<Eigen::half>(0x1p-24));
}
#endif

}  // namespace

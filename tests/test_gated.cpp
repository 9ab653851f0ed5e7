// SPDX-License-Identifier: MIT
// gated_rms_norm, both orders, against the formula.
#include <rownorm/rms_norm.hpp>

#include "reference.hpp"

namespace rn = rownorm;
using namespace test;

namespace {

real silu(real z) {
  return z / (1 + std::exp(-z));
}

reference::row gated(const reference::row& x, const reference::row& z, const reference::row& gamma,
                     rn::gate_order order, double eps = 1e-6) {
  reference::row in = x;
  if (order == rn::gate_first)
    for (std::size_t i = 0; i < in.size(); ++i) in[i] *= silu(z[i]);
  reference::row y = reference::rms_norm(in, gamma, eps).y;
  if (order == rn::norm_first)
    for (std::size_t i = 0; i < y.size(); ++i) y[i] *= silu(z[i]);
  return y;
}

/// silu is within 3 steps; a rounding of the product with it more, and y has at most 2 of its own:
/// 6 where the norm is first. A gate before the norm is in the statistic too: 10.
template <class X, class Z, class G, class Y>
void check(std::size_t n, double spread = 3) {
  using T = arithmetic<X, Z, G, Y>;
  const matrix<X> x = normals<X>(2, n, 1);
  const matrix<Z> z = normals<Z>(2, n, 2, spread);
  const matrix<G> gamma = normals<G>(1, n, 3);
  const guarded<X> in(x, n + 3, n % 16);
  const guarded<Z> gate(z, n + 1, n % 5);
  for (const rn::gate_order order : {rn::norm_first, rn::gate_first}) {
    SCOPED_TRACE(testing::Message()
                 << (order == rn::gate_first ? "gate first, " : "norm first, ") << n << ' '
                 << format<X>::name << ' ' << format<Z>::name << ' ' << format<G>::name << ' '
                 << format<Y>::name << ", gates of " << spread);
    guarded<Y> y(2, n, n + 2, n % 7);
    rn::gated_rms_norm(in.rows(), gate.rows(), gamma, y.rows(), 1e-6, order);
    for (Eigen::Index i = 0; i < 2; ++i) {
      const reference::row r = gated(values(x.row(i)), values(z.row(i)), values(gamma), order);
      EXPECT_TRUE(within(values(y.map().row(i)), r, [&](std::size_t j) {
        return (order == rn::gate_first ? 10 : 6) * step<T> * std::abs(r[j]) +
               stored_error<T, Y>(r[j]);
      }));
    }
    EXPECT_TRUE(y.untouched());
  }
}

template <class T>
class Gated : public testing::Test {};
TYPED_TEST_SUITE(Gated, storage_types, storage_name);

TYPED_TEST(Gated, EveryLength) {
  using T = TypeParam;
  for (const std::size_t n : lengths())
    if (n < 140 || n == 4097 || n == 10000) check<T, T, T, T>(n);
  for (const double spread : {1e-30, 1e-3, 20.0}) check<T, T, T, T>(1000, spread);
}

TEST(Gated, EachTypeInEachRole) {
  using Eigen::bfloat16;
  using Eigen::half;
  for (const std::size_t n : some_lengths()) {
    check<bfloat16, float, float, bfloat16>(n);
    check<float, half, bfloat16, float>(n);
    check<bfloat16, bfloat16, double, half>(n);
  }
}

TEST(Gated, GateFirstIsTheDefault) {
  const matrix<float> x = normals<float>(2, 70, 4), z = normals<float>(2, 70, 5);
  matrix<float> y(2, 70), expected(2, 70);
  rn::gated_rms_norm(x, z, rn::none, y);
  rn::gated_rms_norm(x, z, rn::none, expected, 1e-6, rn::gate_first);
  EXPECT_TRUE(same_bits(y, expected));
}

TEST(Gated, WordsForGamma) {
  const matrix<float> x = normals<float>(2, 70, 6), z = normals<float>(2, 70, 7),
                      gamma = normals<float>(1, 70, 8, 0.25), ones = matrix<float>::Ones(1, 70),
                      gain = ones + gamma;
  matrix<float> y(2, 70), expected(2, 70);
  for (const rn::gate_order order : {rn::norm_first, rn::gate_first}) {
    rn::gated_rms_norm(x, z, rn::none, y, 0.1, order);
    rn::gated_rms_norm(x, z, ones, expected, 0.1, order);
    EXPECT_TRUE(same_bits(y, expected));
    rn::gated_rms_norm(x, z, rn::one_plus(gamma), y, 0.1, order);
    rn::gated_rms_norm(x, z, gain, expected, 0.1, order);
    EXPECT_TRUE(same_bits(y, expected));
  }
}

// The normalized number is rounded before gamma and the gate.
TEST(Gated, AfterRoundingBeforeTheGate) {
  const matrix<Eigen::bfloat16> x = normals<Eigen::bfloat16>(2, 70, 9);
  const matrix<float> z = normals<float>(2, 70, 10), gamma = normals<float>(1, 70, 11);
  matrix<Eigen::bfloat16> normalized(2, 70);
  matrix<float> y(2, 70);
  rn::rms_norm(x, rn::none, normalized);
  rn::gated_rms_norm(x, z, rn::after_rounding(gamma), y, 1e-6, rn::norm_first);
  for (Eigen::Index i = 0; i < 2; ++i)
    for (Eigen::Index j = 0; j < 70; ++j) {
      const real gate = exact(z(i, j)) / (1 + std::exp(-exact(z(i, j))));
      const real expected = exact(normalized(i, j)) * exact(gamma(0, j)) * gate;
      EXPECT_LE(std::abs(exact(y(i, j)) - expected), 8 * step<float> * std::abs(expected)) << j;
    }
}

TYPED_TEST(Gated, MayWriteOverItsInputs) {
  using T = TypeParam;
  for (const std::size_t n : {5u, 64u, 77u, 5000u})
    for (const rn::gate_order order : {rn::norm_first, rn::gate_first}) {
      const matrix<T> x = normals<T>(3, n, 9), z = normals<T>(3, n, 10),
                      gamma = normals<T>(1, n, 11);
      matrix<T> y(3, x.cols()), over_x = x, over_z = z;
      rn::gated_rms_norm(x, z, gamma, y, 1e-6, order);
      rn::gated_rms_norm(over_x, z, gamma, over_x, 1e-6, order);
      rn::gated_rms_norm(x, over_z, gamma, over_z, 1e-6, order);
      EXPECT_TRUE(same_bits(over_x, y)) << n;
      EXPECT_TRUE(same_bits(over_z, y)) << n;
    }
}

/// Open gates let a number through, closed ones leave less than the smallest gate that T can tell
/// from a closed one.
template <class T>
void check_open_and_closed() {
  const std::vector<double> gates{1e4, -1e4, 0, 50, -50, 1e-30, 700, -700};
  const auto n = static_cast<Eigen::Index>(gates.size());
  const matrix<T> x = normals<T>(1, gates.size(), 12);
  matrix<T> z(1, n), y(1, n);
  for (Eigen::Index j = 0; j < n; ++j) z(0, j) = number<T>(gates[static_cast<std::size_t>(j)]);
  for (const rn::gate_order order : {rn::norm_first, rn::gate_first}) {
    rn::gated_rms_norm(x, z, rn::none, y, 1e-6, order);
    const reference::row r = gated(values(x), values(z), {}, order);
    EXPECT_TRUE(within(values(y), r, [&](std::size_t j) {
      return 10 * step<arithmetic<T>> * std::abs(r[j]) + stored_error<arithmetic<T>, T>(r[j]) +
             (gates[j] < -87 ? 1e-30L : 0);
    })) << format<T>::name;
  }
}
TEST(Gated, OpenAndClosed) {
  check_open_and_closed<float>();
  check_open_and_closed<double>();
  check_open_and_closed<Eigen::bfloat16>();
}

/// The most closed gate leaves -0; of one at minus infinity the formula is infinity by infinity.
TYPED_TEST(Gated, FarBelow) {
  using T = TypeParam;
  const T lowest = std::numeric_limits<T>::lowest();
  matrix<T> x(1, 40), z(1, 40), y(1, 40);
  x.setOnes();
  for (const T gate : {lowest, number<T>(static_cast<double>(lowest) / 16), number<T>(-1000)}) {
    z.setConstant(gate);
    rn::gated_rms_norm(x, z, rn::none, y);
    for (Eigen::Index j = 0; j < y.cols(); ++j)
      EXPECT_TRUE(exact(y(0, j)) == 0 && std::signbit(exact(y(0, j)))) << exact(gate) << ' ' << j;
  }
  z.setConstant(-std::numeric_limits<T>::infinity());
  rn::gated_rms_norm(x, z, rn::none, y);
  for (Eigen::Index j = 0; j < y.cols(); ++j) EXPECT_TRUE(std::isnan(exact(y(0, j)))) << j;
}

/// After the norm a gate far below leaves -0 too, whatever its size.
TYPED_TEST(Gated, FarBelowAfterTheNorm) {
  using T = TypeParam;
  const T lowest = std::numeric_limits<T>::lowest();
  const std::vector<double> gates{static_cast<double>(lowest), static_cast<double>(lowest) / 1e3,
                                  -1000};
  matrix<T> x = matrix<T>::Ones(1, 3), z(1, 3), y(1, 3);
  for (Eigen::Index j = 0; j < 3; ++j) z(0, j) = number<T>(gates[static_cast<std::size_t>(j)]);
  rn::gated_rms_norm(x, z, rn::none, y, 1e-6, rn::norm_first);
  for (Eigen::Index j = 0; j < 3; ++j)
    EXPECT_TRUE(exact(y(0, j)) == 0 && std::signbit(exact(y(0, j)))) << exact(z(0, j));
  z(0, 1) = -std::numeric_limits<T>::infinity();
  rn::gated_rms_norm(x, z, rn::none, y, 1e-6, rn::norm_first);
  for (Eigen::Index j = 0; j < 3; ++j) EXPECT_EQ(std::isnan(exact(y(0, j))), j == 1) << j;
}

TYPED_TEST(Gated, NanAndZeros) {
  using T = TypeParam;
  for (const std::size_t n : {3u, 40u, 200u}) {
    const matrix<T> x = normals<T>(3, n, 13), gamma = normals<T>(1, n, 14);
    matrix<T> z = normals<T>(3, n, 15), clean(3, x.cols()), y(3, x.cols());
    for (const rn::gate_order order : {rn::norm_first, rn::gate_first}) {
      z = normals<T>(3, n, 15);
      rn::gated_rms_norm(x, z, gamma, clean, 1e-6, order);
      z(0, 1) = std::numeric_limits<T>::quiet_NaN();
      z.row(2).setZero();
      rn::gated_rms_norm(x, z, gamma, y, 1e-6, order);
      for (Eigen::Index j = 0; j < x.cols(); ++j) {
        EXPECT_EQ(std::isnan(exact(y(0, j))), order == rn::gate_first || j == 1) << j;
        EXPECT_EQ(exact(y(2, j)), 0) << j;
      }
      EXPECT_TRUE(same_bits(y.row(1), clean.row(1)));
    }
  }
}

template <class T>
void check_huge_and_tiny(std::initializer_list<double> scales) {
  for (const double scale : scales) {
    const matrix<T> x = normals<T>(2, 100, 16, scale), z = normals<T>(2, 100, 17);
    matrix<T> y(2, 100);
    for (const rn::gate_order order : {rn::norm_first, rn::gate_first}) {
      rn::gated_rms_norm(x, z, rn::none, y, 0, order);
      for (Eigen::Index i = 0; i < 2; ++i) {
        const reference::row r = gated(values(x.row(i)), values(z.row(i)), {}, order, 0);
        EXPECT_TRUE(within(values(y.row(i)), r, [&](std::size_t j) {
          return 10 * step<T> * std::abs(r[j]);
        })) << scale;
      }
    }
  }
}
TEST(Gated, HugeAndTinyRows) {
  check_huge_and_tiny<float>({1e-42, 1e-30, 1e-20, 1e25, 4e37});
  check_huge_and_tiny<double>({1e-300, 1e-200, 1e-160, 1e155, 1e200, 1e306});
}
// x or z alone makes the product large or small.
TEST(Gated, HugeGates) {
  for (const double size : {1e155, 1e200, 1e300}) {
    Eigen::RowVector2d x(1, 1), z(size, size), y;
    rn::gated_rms_norm(x, z, rn::none, y);
    EXPECT_EQ(y, x) << size;
    z /= size;
    x /= size;
    rn::gated_rms_norm(x, z, rn::none, y, 0);
    EXPECT_NEAR(y[0], 1, 1e-15) << size;
    EXPECT_NEAR(y[1], 1, 1e-15) << size;
  }
}

}  // namespace

// SPDX-License-Identifier: MIT
// layer_norm.hpp against the formula.
#include <rownorm/layer_norm.hpp>

#include "reference.hpp"

namespace rn = rownorm;
using namespace test;

namespace {

constexpr double large_eps = 0.37;

TEST(LayerNorm, WorkedExample) {
  const Eigen::RowVector4f x(1, 2, 3, 4);
  Eigen::RowVector4f y;
  rn::layer_norm(x, Eigen::RowVector4f(1, 1, 1, 1), Eigen::RowVector4f(0, 0, 0, 0), y, 1e-5);
  const double exactly[] = {-1.341635419969, -0.447211806656, 0.447211806656, 1.341635419969};
  for (int i = 0; i < 4; ++i) EXPECT_NEAR(static_cast<double>(y[i]), exactly[i], 2e-7);
  rn::layer_norm(x, Eigen::RowVector4f(1, 2, 3, 4), Eigen::RowVector4f(4, 3, 2, 1), y, 1e-5);
  for (int i = 0; i < 4; ++i)
    EXPECT_NEAR(static_cast<double>(y[i]), exactly[i] * (i + 1) + (4 - i), 1e-6);
}

TEST(LayerNorm, EpsUnderAndOutsideTheRoot) {
  const Eigen::RowVector2f x(3, 1);
  Eigen::RowVector2f y;
  rn::layer_norm(x, rn::none, rn::none, y, 3);
  EXPECT_EQ(y, Eigen::RowVector2f(0.5f, -0.5f));
  rn::layer_norm(x, rn::none, rn::none, y, rn::outside_root(3));
  EXPECT_EQ(y, Eigen::RowVector2f(0.25f, -0.25f));
}

/// The largest of |y|, |gamma| and |beta| at each number: what the errors are held against.
reference::row scales(const reference::row& y, const reference::row& gamma,
                      const reference::row& beta) {
  reference::row r(y.size());
  for (std::size_t i = 0; i < r.size(); ++i)
    r[i] = std::max({std::abs(y[i]), gamma.empty() ? 1 : std::abs(gamma[i]),
                     beta.empty() ? 0 : std::abs(beta[i])});
  return r;
}

// The guess of the mean comes from the first numbers; these say nothing of it.
TEST(LayerNorm, FirstNumbersUnlikeTheRest) {
  const std::size_t n = 1 << 14;
  matrix<float> x = normals<float>(1, n, 1, 1, 1e4), y(1, static_cast<Eigen::Index>(n));
  x.leftCols(17).setZero();
  rn::layer_norm(x, rn::none, rn::none, y, 0);
  const auto r = reference::layer_norm(values(x), {}, {}, 0);
  const reference::row scale = scales(r.y, {}, {});
  for (std::size_t i = 0; i < n; ++i)
    EXPECT_LE(std::abs(real(y(0, static_cast<Eigen::Index>(i))) - r.y[i]),
              4 * step<float> * scale[i])
        << i;
}

// What the mean of these is off by, found around 0, is more than they deviate.
TEST(LayerNorm, DoublesAllEqualButOne) {
  for (const std::size_t n : {10u, 67u, 114u})
    for (int k = 0; k < 20; ++k) {
      matrix<double> x = matrix<double>::Constant(1, static_cast<Eigen::Index>(n), 1.4 + k / 50.0);
      x(0, 0) = std::nextafter(x(0, 0), 2);
      matrix<double> y(x.rows(), x.cols());
      rn::layer_norm(x, rn::none, rn::none, y, 0);
      const auto r = reference::layer_norm(values(x), {}, {}, 0);
      const reference::row scale = scales(r.y, {}, {});
      EXPECT_TRUE(
          within(values(y), r.y,
                 [&](std::size_t j) { return 3 * step<double> * std::max(real{1}, scale[j]); }))
          << n << " numbers, the first " << x(0, 0);
    }
}

// The mean just within a standard deviation of 0. With the bound that floats have half of the
// variance would cancel here, for up to 3.8 eps.
TEST(LayerNorm, DoublesWhoseMeanIsAStandardDeviation) {
  constexpr std::size_t lengths[] = {3, 5, 6, 7, 9};
  for (const std::size_t n : lengths) {
    matrix<double> x = normals<double>(20000, n, static_cast<unsigned>(n));
    for (auto row : x.rowwise()) {
      row.array() -= row.mean();
      row.array() += 0.985 * row.norm() / std::sqrt(static_cast<double>(n));
    }
    matrix<double> y(x.rows(), x.cols());
    rn::layer_norm(x, rn::none, rn::none, y, 0);
    for (Eigen::Index i = 0; i < x.rows(); ++i) {
      const auto r = reference::layer_norm(values(x.row(i)), {}, {}, 0);
      const reference::row scale = scales(r.y, {}, {});
      EXPECT_TRUE(
          within(values(y.row(i)), r.y,
                 [&](std::size_t j) { return 3 * step<double> * std::max(real{1}, scale[j]); }))
          << n << " numbers";
    }
  }
}

/// Two rows against the reference, x and y with guard numbers around the rows.
template <class X, class G, class B, class Y, class T = arithmetic<X, G, B, Y>>
void check(std::size_t n, rn::epsilon eps, double centre = 0) {
  SCOPED_TRACE(testing::Message() << "length " << n << ", eps " << eps.value << ", centre "
                                  << centre);
  const auto seed = static_cast<unsigned>(n);
  const matrix<G> gamma = normals<G>(1, n, seed + 1);
  const matrix<B> beta = normals<B>(1, n, seed + 2);
  const matrix<X> x = normals<X>(2, n, seed, 1, centre);
  const guarded<X> in(x, n + 3, n % 16);
  guarded<Y> out(2, n, n + 5, n % 7);
  std::vector<double> mean(2), rstd(2);
  rn::layer_norm<T>(in.rows(), gamma, beta, out.rows(), eps, mean, rstd);
  for (std::size_t i = 0; i < 2; ++i) {
    const auto row = static_cast<Eigen::Index>(i);
    const auto r = reference::layer_norm(values(x.row(row)), values(gamma), values(beta), eps);
    const reference::row scale = scales(r.y, values(gamma), values(beta));
    EXPECT_TRUE(within(values(out.map().row(row)), r.y,
                       [&](std::size_t j) { return layer_norm_error<T, Y>(r.y[j], scale[j]); }))
        << format<X>::name << ' ' << format<G>::name << ' ' << format<B>::name << ' '
        << format<Y>::name;
    const real rounding = sizeof(X) > sizeof(T) ? step<T> : step<double>;
    EXPECT_LE(std::abs(exact(mean[i]) - r.mean),
              rstd_error<T> / r.rstd + rounding * std::abs(r.mean));
    EXPECT_LE(std::abs(exact(rstd[i]) - r.rstd), rstd_error<T> * r.rstd);
  }
  EXPECT_TRUE(out.untouched());
}

template <class T>
class LayerNormOf : public testing::Test {};
TYPED_TEST_SUITE(LayerNormOf, storage_types, storage_name);

TYPED_TEST(LayerNormOf, EveryLength) {
  using T = TypeParam;
  for (const std::size_t n : lengths()) {
    check<T, T, T, T>(n, 1e-5);
    check<T, T, T, T>(n, large_eps, 3);
    check<T, T, T, T>(n, rn::outside_root(large_eps), 1);
  }
}

TYPED_TEST(LayerNormOf, RowsFarFromZero) {
  using T = TypeParam;
  for (const double centre : {1e2, 1e3, 1e4, -5e4, 1e6, -1e7, 1e12})
    if (std::abs(centre) < 6e4 || sizeof(T) > 2)
      for (const std::size_t n : {1u, 2u, 3u, 17u, 64u, 100u, 768u, 1000u}) {
        check<T, T, T, T>(n, 1e-5, centre);
        check<T, T, T, T>(n, 0, centre);
      }
}

TEST(LayerNorm, EachTypeInEachRole) {
  using Eigen::bfloat16;
  using Eigen::half;
  for (const std::size_t n : some_lengths()) {
    check<half, float, float, half>(n, 1e-5);
    check<bfloat16, float, half, bfloat16>(n, 1e-5);
    check<float, bfloat16, half, bfloat16>(n, 1e-5);
    check<bfloat16, half, bfloat16, float>(n, 1e-5);
    check<double, float, float, half>(n, 1e-5);
    check<half, double, bfloat16, float>(n, 1e-5);
    check<float, half, double, double>(n, 1e-5);
  }
}

TEST(LayerNorm, ArithmeticThatTheCallNames) {
  for (const std::size_t n : some_lengths()) {
    check<float, float, float, float, double>(n, 1e-5, 100);
    check<double, double, double, double, float>(n, 1e-5);
  }
}

// -----------------------------------------------------------------------------------------------
// The words.
// -----------------------------------------------------------------------------------------------

template <class T>
void check_none() {
  for (const std::size_t n : some_lengths()) {
    const matrix<T> x = normals<T>(3, n, 1), gamma = normals<T>(1, n, 2),
                    beta = normals<T>(1, n, 3);
    const vector<T> ones = vector<T>::Ones(x.cols()), zeros = vector<T>::Zero(x.cols());
    matrix<T> y(3, x.cols()), expected(3, x.cols());
    std::vector<double> mean(3), rstd(3);
    rn::layer_norm(x, rn::none, rn::none, y);
    rn::layer_norm(x, ones, zeros, expected, 1e-5, mean, rstd);
    EXPECT_EQ(values(y), values(expected)) << n;  // not the bits: -0 + 0 is 0
    rn::layer_norm(x, gamma, rn::none, y);
    rn::layer_norm(x, gamma, zeros, expected, 1e-5, mean, rstd);
    EXPECT_EQ(values(y), values(expected)) << n;
    rn::layer_norm(x, rn::none, beta, y);
    rn::layer_norm(x, ones, beta, expected, 1e-5, mean, rstd);
    EXPECT_TRUE(same_bits(y, expected)) << n;
  }
}
TEST(LayerNorm, NoneIsAGammaOfOnesAndABetaOfZeros) {
  check_none<float>();
  check_none<Eigen::bfloat16>();
}

TEST(LayerNorm, OnePlus) {
  for (const std::size_t n : some_lengths()) {
    const matrix<float> x = normals<float>(1, n, 4), gamma = normals<float>(1, n, 5, 0.25),
                        beta = normals<float>(1, n, 6);
    matrix<float> y(1, x.cols());
    rn::layer_norm(x, rn::one_plus(gamma), beta, y);
    const reference::row gain = reference::one_plus(values(gamma));
    const reference::row r = reference::layer_norm(values(x), gain, values(beta), 1e-5).y;
    const reference::row scale = scales(r, gain, values(beta));
    EXPECT_TRUE(within(values(y), r, [&](std::size_t i) {
      return layer_norm_error<float, float>(r[i], scale[i]);
    })) << n;
  }
}

template <class X, class Y>
void check_after_rounding() {
  for (const std::size_t n : some_lengths()) {
    const matrix<X> x = normals<X>(2, n, 7);
    const matrix<float> gamma = normals<float>(1, n, 8);
    matrix<X> z(2, x.cols());
    matrix<Y> y(2, x.cols()), two_steps(2, x.cols());
    rn::layer_norm(x, rn::after_rounding(gamma), rn::none, y);
    rn::layer_norm(x, rn::none, rn::none, z);
    for (Eigen::Index i = 0; i < 2; ++i)
      for (Eigen::Index j = 0; j < x.cols(); ++j)
        two_steps(i, j) = static_cast<Y>(static_cast<float>(z(i, j)) * gamma(0, j));
    EXPECT_TRUE(same_bits(y, two_steps)) << n;
  }
}
TEST(LayerNorm, AfterRoundingIsTheTwoSteps) {
  check_after_rounding<Eigen::bfloat16, float>();
  check_after_rounding<Eigen::half, Eigen::half>();
}

TEST(LayerNorm, StatisticsInFloat) {
  const matrix<float> x = normals<float>(5, 77, 9, 2, 1);
  matrix<float> y(5, 77);
  std::vector<float> mean(5), rstd(5);
  std::vector<double> wide_mean(5), wide_rstd(5);
  rn::layer_norm(x, rn::none, rn::none, y, 1e-5, mean, rstd);
  rn::layer_norm(x, rn::none, rn::none, y, 1e-5, wide_mean, wide_rstd);
  for (std::size_t i = 0; i < 5; ++i) {
    EXPECT_EQ(mean[i], static_cast<float>(wide_mean[i]));
    EXPECT_EQ(rstd[i], static_cast<float>(wide_rstd[i]));
  }
}

// -----------------------------------------------------------------------------------------------
// What LayerNorm is.
// -----------------------------------------------------------------------------------------------

TEST(LayerNorm, RowsComeOutWithMeanZeroAndVarianceOne) {
  for (const double scale : {1e-10, 1.0, 1e10}) {
    const matrix<float> x = normals<float>(4, 500, 20, scale, 1000 * scale);
    matrix<float> y(4, 500);
    rn::layer_norm(x, rn::none, rn::none, y, 0);
    for (Eigen::Index i = 0; i < 4; ++i) {
      const reference::row r = values(y.row(i));
      const real sum = reference::sum(500, [&](std::size_t j) { return r[j]; });
      const real squares = reference::sum(500, [&](std::size_t j) { return r[j] * r[j]; });
      EXPECT_NEAR(static_cast<double>(sum / 500), 0, 1e-6) << scale;
      EXPECT_NEAR(static_cast<double>(squares / 500), 1, 1e-6) << scale;
    }
  }
}

TEST(LayerNorm, IsBlindToScaleAndShift) {
  const matrix<float> x = normals<int>(3, 333, 21, 1000).cast<float>();
  const matrix<float> moved = (3 * x).array() + 4096.0f;  // exact
  matrix<float> y(3, 333), y_moved(3, 333);
  rn::layer_norm(x, rn::none, rn::none, y, 0);
  rn::layer_norm(moved, rn::none, rn::none, y_moved, 0);
  for (Eigen::Index i = 0; i < 3; ++i) {
    const reference::row r = values(y.row(i));
    EXPECT_TRUE(within(values(y_moved.row(i)), r, [&](std::size_t j) {
      return 8 * step<float> * std::max(real{1}, std::abs(r[j]));
    }));
  }
}

TYPED_TEST(LayerNormOf, ARowOfEqualNumbersGivesBeta) {
  using T = TypeParam;
  for (const std::size_t n : some_lengths())
    for (const double value : {0.0, 1.0, -0.1, 3.3, 1e-3, 1234.5, 6e4})
      for (const rn::epsilon eps :
           {rn::epsilon(0), rn::epsilon(1e-5), rn::epsilon(rn::outside_root(0))}) {
        const auto length = static_cast<Eigen::Index>(n);
        const matrix<T> x = matrix<T>::Constant(1, length, number<T>(value));
        const matrix<T> gamma = normals<T>(1, n, 22), beta = normals<T>(1, n, 23);
        matrix<T> y(1, length);
        double mean, rstd;
        rn::layer_norm(x, gamma, beta, y, eps, rn::rows<double>(&mean, 1, 1),
                       rn::rows<double>(&rstd, 1, 1));
        EXPECT_EQ(mean, static_cast<double>(x(0, 0)));
        EXPECT_TRUE(same_bits(y, beta)) << value << ", length " << n << ", eps " << eps.value;
      }
}

/// At eps = 0 the least that is left of a variance would show.
TYPED_TEST(LayerNormOf, EqualNumbersOfAnyValueGiveZeros) {
  using T = TypeParam;
  for (std::size_t n = 2; n <= 700; ++n) {
    const matrix<T> values = normals<T>(8, 1, static_cast<unsigned>(n), 40);
    const matrix<T> x = values.replicate(1, static_cast<Eigen::Index>(n));
    matrix<T> y(x.rows(), x.cols());
    rn::layer_norm(x, rn::none, rn::none, y, 0);
    EXPECT_TRUE((y.array() == number<T>(0)).all()) << "length " << n;
  }
}

// -----------------------------------------------------------------------------------------------
// heads, and rows that are not there.
// -----------------------------------------------------------------------------------------------

TEST(LayerNorm, HeadsOfPackedRows) {
  constexpr std::size_t tokens = 5, heads = 3, length = 20, token_stride = 100;
  const matrix<float> packed = normals<float>(tokens, token_stride, 50);
  const matrix<float> gamma = normals<float>(1, length, 51),
                      beta = normals<float>(heads, length, 52);
  matrix<float> in_place = packed, expected = packed;
  for (Eigen::Index t = 0; t < 5; ++t)
    for (Eigen::Index h = 0; h < 3; ++h)
      rn::layer_norm(packed.block(t, 7 + h * 20, 1, 20), gamma, beta.row(h),
                     expected.block(t, 7 + h * 20, 1, 20));
  const rn::heads<float> rows(in_place.data() + 7, tokens, heads, length, token_stride);
  rn::layer_norm(rows, gamma, beta, rows);
  EXPECT_TRUE(same_bits(in_place, expected));
}

// Kernels take heads token by token or head by head: rows and what is kept of them are those of
// rows one by one.
TEST(LayerNorm, HeadsOfManyTokens) {
  constexpr std::size_t n = 72, gap = 5;
  for (const std::size_t tokens : {1u, 2u, 33u, 70u})
    for (const std::size_t heads : {1u, 2u, 5u, 6u, 9u}) {
      const std::size_t stride = heads * n + gap, count = tokens * heads;
      const matrix<float> packed = normals<float>(tokens, stride, 57),
                          gamma = normals<float>(heads, n, 58), beta = normals<float>(heads, n, 59);
      const auto in = rn::heads(packed.data(), tokens, heads, n, stride);
      const rn::rows<const float> gains(gamma.data(), heads, n), shifts(beta.data(), heads, n);
      matrix<float> y(tokens, stride);
      y.setConstant(7);
      matrix<float> expected = y, again = y;
      std::vector<float> mean(count), rstd(count);
      const auto heads_of = [&](auto& m) { return rn::heads(m.data(), tokens, heads, n, stride); };
      rn::layer_norm(in, gains, shifts, heads_of(y), 1e-5, mean, rstd);
      rn::layer_norm(in, gains, shifts, heads_of(again), rn::saved(mean, rstd));
      matrix<float> expected_again = expected;
      for (std::size_t i = 0; i < count; ++i) {
        const std::size_t at = i / heads * stride + i % heads * n, h = i % heads;
        const auto one = [&](auto* p) { return rn::rows(p, 1, n); };
        std::vector<float> m(1), r(1);
        rn::layer_norm(one(packed.data() + at), one(gamma.data() + h * n), one(beta.data() + h * n),
                       one(expected.data() + at), 1e-5, m, r);
        rn::layer_norm(one(packed.data() + at), one(gamma.data() + h * n), one(beta.data() + h * n),
                       one(expected_again.data() + at), rn::saved(m, r));
        EXPECT_EQ(mean[i], m[0]) << tokens << " tokens, " << heads << " heads, row " << i;
        EXPECT_EQ(rstd[i], r[0]) << tokens << " tokens, " << heads << " heads, row " << i;
      }
      EXPECT_TRUE(same_bits(y, expected)) << tokens << " tokens, " << heads << " heads";
      EXPECT_TRUE(same_bits(again, expected_again)) << tokens << " tokens, " << heads << " heads";
    }
}

TEST(LayerNorm, NothingToDo) {
  matrix<float> y = normals<float>(2, 8, 53);
  const matrix<float> before = y;
  std::vector<float> nobody;
  rn::layer_norm(rn::rows<const float>(nullptr, 0, 8), rn::none, rn::none,
                 rn::rows<float>(nullptr, 0, 8), 1e-5, nobody, nobody);
  rn::layer_norm(y.leftCols(0), rn::none, rn::none, y.leftCols(0));
  rn::add_layer_norm(y.topRows(0), y.topRows(0), rn::none, rn::none, y.topRows(0));
  EXPECT_TRUE(same_bits(y, before));
}

}  // namespace

// SPDX-License-Identifier: MIT
// rms_norm.hpp against the formula, and the promises of RMSNorm's numbers.
#include <algorithm>
#include <rownorm/rms_norm.hpp>
#include <vector>

#include "reference.hpp"

namespace rn = rownorm;
using namespace test;

namespace {

constexpr double large_eps = 0.37;

TEST(RmsNorm, WorkedExample) {
  const Eigen::RowVector4f x(1, 2, 3, 4);
  Eigen::RowVector4f y;
  rn::rms_norm(x, Eigen::RowVector4f(1, 1, 1, 1), y, 1e-6);
  const float decimals[] = {0.365f, 0.730f, 1.095f, 1.461f};
  const double exactly[] = {0.365148347326, 0.730296694653, 1.095445041980, 1.460593389307};
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(std::round(y[i] * 1000) / 1000, decimals[i]);
    EXPECT_NEAR(static_cast<double>(y[i]), exactly[i], 2e-7);
  }
}

TEST(RmsNorm, EpsUnderAndOutsideTheRoot) {
  const Eigen::RowVector2f x(2, -2);
  Eigen::RowVector2f y;
  rn::rms_norm(x, rn::none, y, 12);
  EXPECT_EQ(y, Eigen::RowVector2f(0.5f, -0.5f));
  rn::rms_norm(x, rn::none, y, rn::outside_root(6));
  EXPECT_EQ(y, Eigen::RowVector2f(0.25f, -0.25f));
}

/// Two rows against the reference, x and y with guard numbers around the rows; `call` is a norm of
/// (x, y, rstd), `formula` what it should be of a row's values.
template <class X, class Y, class T, class Call, class Formula>
void check(std::size_t n, Call call, Formula formula) {
  const matrix<X> x = normals<X>(2, n, static_cast<unsigned>(n), 1, 0.25);
  const guarded<X> in(x, n + 3, n % 16);
  guarded<Y> out(2, n, n + 5, n % 7);
  double rstd[2];
  call(in.rows(), out.rows(), rn::rows<double>(rstd, 1, 2));
  for (Eigen::Index i = 0; i < 2; ++i) {
    const reference::normalized r = formula(values(x.row(i)));
    EXPECT_TRUE(within(values(out.map().row(i)), r.y,
                       [&](std::size_t j) { return rms_norm_error<T, Y>(r.y[j]); }))
        << format<X>::name << " to " << format<Y>::name << ", row " << i;
    EXPECT_LE(std::abs(exact(rstd[i]) / r.rstd - 1), rstd_error<T>);
  }
  EXPECT_TRUE(out.untouched());
}

template <class X, class G, class Y, class T = arithmetic<X, G, Y>>
void check_with_gamma(std::size_t n, rn::epsilon eps) {
  SCOPED_TRACE(testing::Message() << "length " << n << ", eps " << eps.value);
  const matrix<G> gamma = normals<G>(1, n, static_cast<unsigned>(n) + 1);
  check<X, Y, T>(
      n, [&](auto x, auto y, auto rstd) { rn::rms_norm<T>(x, gamma, y, eps, rstd); },
      [&](const reference::row& x) { return reference::rms_norm(x, values(gamma), eps); });
}

template <class T>
class RmsNormOf : public testing::Test {};
TYPED_TEST_SUITE(RmsNormOf, storage_types, storage_name);

TYPED_TEST(RmsNormOf, EveryLength) {
  using T = TypeParam;
  for (const std::size_t n : lengths()) {
    check_with_gamma<T, T, T>(n, 1e-6);
    check_with_gamma<T, T, T>(n, large_eps);
    check_with_gamma<T, T, T>(n, rn::outside_root(large_eps));
  }
}

TEST(RmsNorm, EachTypeInEachRole) {
  using Eigen::bfloat16;
  using Eigen::half;
  for (const std::size_t n : some_lengths()) {
    check_with_gamma<half, float, half>(n, 1e-6);
    check_with_gamma<bfloat16, float, bfloat16>(n, 1e-6);
    check_with_gamma<float, bfloat16, half>(n, 1e-6);
    check_with_gamma<bfloat16, half, float>(n, 1e-6);
    check_with_gamma<double, float, bfloat16>(n, 1e-6);
    check_with_gamma<float, double, half>(n, 1e-6);
    check_with_gamma<half, bfloat16, double>(n, 1e-6);
  }
}

TEST(RmsNorm, ArithmeticThatTheCallNames) {
  for (const std::size_t n : some_lengths()) {
    check_with_gamma<float, float, float, double>(n, 1e-6);
    check_with_gamma<Eigen::half, float, Eigen::half, double>(n, 1e-6);
    check_with_gamma<double, double, double, float>(n, 1e-6);
  }
}

// -----------------------------------------------------------------------------------------------
// The words.
// -----------------------------------------------------------------------------------------------

TYPED_TEST(RmsNormOf, NoneIsAGammaOfOnes) {
  using T = TypeParam;
  for (const std::size_t n : some_lengths()) {
    const matrix<T> x = normals<T>(3, n, 1);
    const vector<T> ones = vector<T>::Ones(x.cols());
    matrix<T> y(3, x.cols()), expected(3, x.cols());
    std::vector<double> rstd(3);
    rn::rms_norm(x, rn::none, y);
    rn::rms_norm(x, ones, expected, 1e-6, rstd);
    EXPECT_TRUE(same_bits(y, expected)) << n;
  }
}

template <class T>
void check_one_plus() {
  for (const std::size_t n : some_lengths()) {
    const matrix<T> x = normals<T>(1, n, 2), gamma = normals<T>(1, n, 3, 0.25);
    matrix<T> y(1, x.cols());
    rn::rms_norm(x, rn::one_plus(gamma), y);
    const reference::row r =
        reference::rms_norm(values(x), reference::one_plus(values(gamma)), 1e-6).y;
    using A = arithmetic<T>;
    EXPECT_TRUE(within(values(y), r, [&](std::size_t i) {
      return rms_norm_error<A, T>(r[i]) + step<A> / 2 * std::abs(r[i]);  // 1 + gamma rounds as well
    })) << n;
  }
}
TEST(RmsNorm, OnePlus) {
  check_one_plus<float>();
  check_one_plus<double>();
  check_one_plus<Eigen::bfloat16>();
}

template <class X, class G, class Y>
void check_after_rounding() {
  for (const std::size_t n : some_lengths()) {
    const matrix<X> x = normals<X>(2, n, 4);
    const matrix<G> gamma = normals<G>(1, n, 5);
    matrix<X> z(2, x.cols());
    matrix<Y> y(2, x.cols()), two_steps(2, x.cols());
    rn::rms_norm(x, rn::after_rounding(gamma), y);
    rn::rms_norm(x, rn::none, z);
    for (Eigen::Index i = 0; i < 2; ++i)
      for (Eigen::Index j = 0; j < x.cols(); ++j)
        two_steps(i, j) =
            static_cast<Y>(static_cast<float>(z(i, j)) * static_cast<float>(gamma(0, j)));
    EXPECT_TRUE(same_bits(y, two_steps)) << n;
  }
}
TEST(RmsNorm, OnePlusAndAfterRoundingTogether) {
  const matrix<Eigen::bfloat16> x = normals<Eigen::bfloat16>(3, 100, 12);
  const matrix<float> gamma = normals<float>(1, 100, 13);
  const matrix<float> plus = (gamma.array() + 1.0f).matrix();
  matrix<Eigen::bfloat16> expected = x, y = x;
  rn::rms_norm(x, rn::after_rounding(plus), expected);
  rn::rms_norm(x, rn::one_plus(rn::after_rounding(gamma)), y);
  EXPECT_TRUE(same_bits(y, expected));
  rn::rms_norm(x, rn::after_rounding(rn::one_plus(gamma)), y);
  EXPECT_TRUE(same_bits(y, expected));
}

TEST(RmsNorm, AfterRoundingIsTheTwoSteps) {
  check_after_rounding<Eigen::bfloat16, Eigen::bfloat16, Eigen::bfloat16>();
  check_after_rounding<Eigen::half, Eigen::bfloat16, float>();
  check_after_rounding<float, float, float>();
}

TYPED_TEST(RmsNormOf, PartialTakesTheFirstK) {
  using T = TypeParam;
  for (const std::size_t n : some_lengths())
    for (const std::size_t k : {std::size_t{1}, std::size_t{3}, n / 16, n / 2, n - 1, n}) {
      if (k < 1 || k > n) continue;
      SCOPED_TRACE(testing::Message() << k << " of " << n);
      const matrix<T> gamma = normals<T>(1, n, 9);
      check<T, T, arithmetic<T>>(
          n, [&](auto x, auto y, auto rstd) { rn::partial_rms_norm(x, k, gamma, y, 1e-6, rstd); },
          [&](const reference::row& x) {
            return reference::partial_rms_norm(x, k, values(gamma), 1e-6);
          });
    }
}

TEST(RmsNorm, RstdInFloat) {
  const matrix<float> x = normals<float>(5, 77, 10);
  matrix<float> y(5, 77);
  std::vector<float> narrow(5);
  Eigen::VectorXd wide(5);
  rn::rms_norm(x, rn::none, y, 1e-6, narrow);
  rn::rms_norm(x, rn::none, y, 1e-6, wide);
  for (std::size_t i = 0; i < 5; ++i)
    EXPECT_EQ(narrow[i], static_cast<float>(wide[static_cast<Eigen::Index>(i)]));
}

// -----------------------------------------------------------------------------------------------
// What RMSNorm is.
// -----------------------------------------------------------------------------------------------

real mean_square(const reference::row& y) {
  return reference::sum(y.size(), [&](std::size_t i) { return y[i] * y[i]; }) /
         static_cast<real>(y.size());
}

TEST(RmsNorm, RowsComeOutWithRootMeanSquareOne) {
  for (const double scale : {1e-15, 1e-3, 1.0, 1e3, 1e15}) {
    const matrix<float> x = normals<float>(4, 500, 20, scale);
    matrix<float> y(4, 500);
    rn::rms_norm(x, rn::none, y, 0);
    for (Eigen::Index i = 0; i < 4; ++i)
      EXPECT_NEAR(static_cast<double>(mean_square(values(y.row(i)))), 1, 1e-6) << scale;
  }
}

TEST(RmsNorm, DoesNotCentre) {
  const matrix<float> x = normals<float>(1, 1000, 21, 1, 1000);
  matrix<float> y(1, 1000);
  rn::rms_norm(x, rn::none, y);
  for (const real v : values(y)) EXPECT_NEAR(static_cast<double>(v), 1, 0.01);
}

TEST(RmsNorm, IsBlindToAPositiveScale) {
  const matrix<float> x = normals<float>(3, 333, 22);
  matrix<float> y(3, 333), scaled(3, 333);
  rn::rms_norm(x, rn::none, y, 0);
  rn::rms_norm((8 * x).eval(), rn::none, scaled, 0);
  EXPECT_TRUE(same_bits(scaled, y));
  rn::rms_norm((3.7f * x).eval(), rn::none, scaled, 0);
  for (Eigen::Index i = 0; i < 3; ++i) {
    const reference::row r = values(y.row(i));
    EXPECT_TRUE(within(values(scaled.row(i)), r,
                       [&](std::size_t j) { return 5 * step<float> * std::abs(r[j]); }));
  }
}

TYPED_TEST(RmsNormOf, ZerosGiveZeros) {
  using T = TypeParam;
  const matrix<T> x = matrix<T>::Zero(2, 130);
  for (const rn::epsilon eps :
       {rn::epsilon(0), rn::epsilon(1e-6), rn::epsilon(rn::outside_root(0))}) {
    matrix<T> y = normals<T>(2, 130, 23);
    rn::rms_norm(x, rn::none, y, eps);
    EXPECT_TRUE(same_bits(y, x)) << eps.value;
  }
}

// -----------------------------------------------------------------------------------------------
// heads, and rows that are not there.
// -----------------------------------------------------------------------------------------------

template <class T>
void check_heads() {
  constexpr std::size_t tokens = 5, heads = 3, length = 20, token_stride = 100;
  const matrix<T> packed = normals<T>(tokens, token_stride, 50);
  const matrix<T> shared = normals<T>(1, length, 51), own = normals<T>(heads, length, 52);
  for (const bool own_gamma : {false, true}) {
    matrix<T> in_place = packed, expected = packed;
    double rstd;
    for (Eigen::Index t = 0; t < 5; ++t)
      for (Eigen::Index h = 0; h < 3; ++h)
        rn::rms_norm(packed.block(t, 7 + h * 20, 1, 20), own_gamma ? own.row(h) : shared.row(0),
                     expected.block(t, 7 + h * 20, 1, 20), 1e-6, rn::rows<double>(&rstd, 1, 1));
    const rn::heads<T> rows(in_place.data() + 7, tokens, heads, length, token_stride);
    rn::rms_norm(rows, own_gamma ? own : shared, rows);
    EXPECT_TRUE(same_bits(in_place, expected)) << own_gamma;
  }
}
TEST(RmsNorm, HeadsOfPackedRows) {
  check_heads<float>();
  check_heads<Eigen::bfloat16>();
}

TEST(RmsNorm, HeadsOfAnyNumber) {
  for (Eigen::Index heads = 1; heads < 130; ++heads) {
    const auto h = static_cast<std::size_t>(heads);
    const matrix<float> packed = normals<float>(9, h + 2, 54);
    matrix<float> y = packed, expected = packed;
    const rn::heads<float> rows(y.data() + 1, 9, h, 1, h + 2);
    rn::rms_norm(rows, rn::none, rows, 1.0);
    for (Eigen::Index t = 0; t < 9; ++t)
      for (Eigen::Index i = 1; i <= heads; ++i)
        rn::rms_norm(packed.block(t, i, 1, 1), rn::none, expected.block(t, i, 1, 1), 1.0);
    EXPECT_TRUE(same_bits(y, expected)) << heads;
  }
}

// The rows of x and of y may be heads of different tokens, or of none.
TEST(RmsNorm, HeadsToOtherHeads) {
  constexpr std::size_t n = 20, count = 24;
  const matrix<float> x = normals<float>(count, n, 55), gamma = normals<float>(4, n, 56);
  const auto packed = [&](auto* p, std::size_t of_token) {
    return rn::heads(p, count / of_token, of_token, n, of_token * n + 7);
  };
  for (const std::size_t a : {1u, 2u, 4u})
    for (const std::size_t b : {1u, 3u, 4u, 8u, 24u}) {
      std::vector<float> in(count * (n + 7)), out(count * (n + 7));
      matrix<float> dense(count, n), expected(count, n), found(count, n);
      for (std::size_t i = 0; i < count; ++i) {
        const auto r = static_cast<Eigen::Index>(i);
        const auto row_of = [&](std::vector<float>& m, std::size_t of_token) {
          return rn::rows<float>(&m[i / of_token * (of_token * n + 7) + i % of_token * n], 1, n);
        };
        std::copy_n(x.row(r).data(), n, row_of(in, a).data);
        rn::rms_norm(row_of(in, a), a == 4 ? gamma.row(r % 4) : gamma.row(0), expected.row(r));
      }
      const rn::rows<const float> all(gamma.data(), 4, n), one(gamma.data(), 1, n);
      rn::rms_norm(packed(in.data(), a), a == 4 ? all : one, packed(out.data(), b));
      rn::rms_norm(packed(in.data(), a), a == 4 ? all : one, dense);
      for (std::size_t i = 0; i < count; ++i)
        std::copy_n(&out[i / b * (b * n + 7) + i % b * n], n,
                    found.row(static_cast<Eigen::Index>(i)).data());
      EXPECT_TRUE(same_bits(found, expected)) << a << " to " << b;
      EXPECT_TRUE(same_bits(dense, expected)) << a << " to rows";
    }
}

// Kernels take heads token by token or head by head: rows and what is kept of them are those of
// rows one by one.
TEST(RmsNorm, HeadsOfManyTokens) {
  constexpr std::size_t n = 72, gap = 5;
  for (const std::size_t tokens : {1u, 2u, 33u, 70u})
    for (const std::size_t heads : {1u, 2u, 5u, 6u, 9u}) {
      const std::size_t stride = heads * n + gap, count = tokens * heads;
      const matrix<float> packed = normals<float>(tokens, stride, 57),
                          gamma = normals<float>(heads, n, 58), z = normals<float>(count, n, 59);
      const auto in = rn::heads(packed.data(), tokens, heads, n, stride);
      const rn::rows<const float> gains(gamma.data(), heads, n);
      matrix<float> y(tokens, stride), again(tokens, stride), gated(count, n);
      y.setConstant(7);
      again.setConstant(7);
      matrix<std::int8_t> q(count, n);
      std::vector<float> rstd(count), scales(count);
      rn::rms_norm(in, gains, rn::heads(y.data(), tokens, heads, n, stride), 1e-5, rstd);
      rn::rms_norm(in, gains, rn::heads(again.data(), tokens, heads, n, stride), rn::saved(rstd));
      rn::rms_norm(in, gains, rn::quantized(q, scales), 1e-5);
      rn::gated_rms_norm(in, z, gains, gated, 1e-5, rn::norm_first);
      matrix<float> expected(tokens, stride), expected_again(tokens, stride);
      expected.setConstant(7);
      expected_again.setConstant(7);
      for (std::size_t i = 0; i < count; ++i) {
        const auto r = static_cast<Eigen::Index>(i);
        const std::size_t at = i / heads * stride + i % heads * n;
        const rn::rows<const float> x(packed.data() + at, 1, n),
            g(&gamma(r % gamma.rows(), 0), 1, n);
        const rn::rows<float> out(expected.data() + at, 1, n);
        matrix<float> gate(1, n);
        matrix<std::int8_t> integers(1, n);
        std::vector<float> one(1), scale(1);
        rn::rms_norm(x, g, out, 1e-5, one);
        rn::rms_norm(x, g, rn::rows<float>(expected_again.data() + at, 1, n), rn::saved(one));
        rn::rms_norm(x, g, rn::quantized(integers, scale), 1e-5);
        rn::gated_rms_norm(x, z.row(r), g, gate, 1e-5, rn::norm_first);
        EXPECT_EQ(rstd[i], one[0]) << tokens << " tokens, " << heads << " heads, row " << i;
        EXPECT_EQ(scales[i], scale[0]) << tokens << " tokens, " << heads << " heads, row " << i;
        EXPECT_EQ(q.row(r), integers.row(0)) << tokens << " tokens, " << heads << " heads";
        EXPECT_TRUE(same_bits(matrix<float>(gated.row(r)), gate)) << tokens << ' ' << heads;
      }
      EXPECT_TRUE(same_bits(y, expected)) << tokens << " tokens, " << heads << " heads";
      EXPECT_TRUE(same_bits(again, expected_again)) << tokens << " tokens, " << heads << " heads";
    }
}

TEST(RmsNorm, NothingToDo) {
  matrix<float> y = normals<float>(2, 8, 53);
  const matrix<float> before = y;
  rn::rms_norm(rn::rows<const float>(nullptr, 0, 8), rn::none, rn::rows<float>(nullptr, 0, 8));
  rn::rms_norm(rn::rows<const float>(nullptr, 2, 0), rn::none, rn::rows<float>(y.data(), 2, 0, 8));
  rn::rms_norm(y.topRows(0), rn::none, y.topRows(0));
  const rn::heads<float> no_heads(y.data(), 2, 0, 8, 8), no_tokens(y.data(), 0, 2, 8, 16);
  rn::rms_norm(no_heads, rn::none, no_heads);
  rn::rms_norm(no_tokens, rn::none, no_tokens);
  rn::partial_rms_norm(y.leftCols(0), 3, rn::none, y.leftCols(0));
  rn::add_rms_norm(y.topRows(0), y.topRows(0), rn::none, y.topRows(0));
  EXPECT_TRUE(same_bits(y, before));
}

}  // namespace

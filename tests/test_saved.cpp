// SPDX-License-Identifier: MIT
// saved(rstd) and saved(mean, rstd) in place of eps in a forward call.
#include <rownorm/layer_norm.hpp>
#include <rownorm/rms_norm.hpp>

#include "reference.hpp"

namespace rn = rownorm;
using namespace test;

namespace {

template <class T>
class Saved : public testing::Test {};
TYPED_TEST_SUITE(Saved, storage_types, storage_name);

TYPED_TEST(Saved, GivesTheBitsOfTheCallThatGaveThem) {
  for (const std::size_t n : some_lengths()) {
    const matrix<TypeParam> x = normals<TypeParam>(3, n, 1, 2, 5),
                            gamma = normals<TypeParam>(1, n, 2);
    matrix<TypeParam> y(3, x.cols()), again(3, x.cols());
    std::vector<double> mean(3), rstd(3);
    rn::rms_norm(x, rows_of(gamma), y, 1e-3, rstd);
    rn::rms_norm(x, rows_of(gamma), again, rn::saved(rstd));
    EXPECT_TRUE(same_bits(again, y)) << n;
    // A mean of doubles is kept in two numbers, of which the caller is given the sum.
    if (std::is_same_v<TypeParam, double>) continue;
    rn::layer_norm(x, rows_of(gamma), rn::none, y, 1e-3, mean, rstd);
    rn::layer_norm(x, rows_of(gamma), rn::none, again, rn::saved(mean, rstd));
    EXPECT_TRUE(same_bits(again, y)) << n;
  }
}

TYPED_TEST(Saved, AreTakenAsTheyAre) {
  const matrix<TypeParam> x = normals<TypeParam>(2, 100, 3), gamma = normals<TypeParam>(1, 100, 4),
                          beta = normals<TypeParam>(1, 100, 5);
  const std::vector<float> mean{0.25f, -3}, rstd{2, 0.5f};
  matrix<double> y(2, 100);
  rn::rms_norm<double>(x, rows_of(gamma), y, rn::saved(rstd));
  for (Eigen::Index i = 0; i < 2; ++i)
    for (Eigen::Index j = 0; j < 100; ++j) {
      const double v = static_cast<double>(x(i, j)) * static_cast<double>(gamma(0, j));
      EXPECT_DOUBLE_EQ(y(i, j), v * static_cast<double>(rstd[static_cast<std::size_t>(i)]));
    }
  rn::layer_norm<double>(x, rows_of(gamma), rows_of(beta), y, rn::saved(mean, rstd));
  for (Eigen::Index i = 0; i < 2; ++i)
    for (Eigen::Index j = 0; j < 100; ++j) {
      const auto row = static_cast<std::size_t>(i);
      const double h = (static_cast<double>(x(i, j)) - static_cast<double>(mean[row])) *
                       static_cast<double>(rstd[row]);
      EXPECT_NEAR(y(i, j), h * static_cast<double>(gamma(0, j)) + static_cast<double>(beta(0, j)),
                  1e-14);
    }
}

TEST(Saved, OutsideTheRangeOfFloat) {
  const Eigen::RowVector4f x(3e38f, -3e38f, 1e38f, 0);
  const std::vector<double> mean{-3e38}, rstd{1e-40};
  Eigen::RowVector4f y;
  rn::rms_norm(x, rn::none, y, rn::saved(rstd));
  EXPECT_FLOAT_EQ(y[0], 0.03f);
  rn::layer_norm(x, rn::none, rn::none, y, rn::saved(mean, rstd));
  EXPECT_FLOAT_EQ(y[0], 0.06f);
  EXPECT_EQ(y[1], x[1] == -3e38f ? static_cast<float>((-3e38f + 3e38) * 1e-40) : 0);
}

/// A 1/rms that left float, where it is saved as infinity or as a subnormal, is found again.
TEST(Saved, AReciprocalBeyondFloatIsFoundAgain) {
  for (const double scale : {1e-44, 1e-40, 3e38})
    for (const std::size_t n : {2u, 40u, 300u}) {
      SCOPED_TRACE(testing::Message() << scale << ", length " << n);
      std::mt19937_64 bits(6);
      const matrix<float> gamma = normals<float>(1, n, 7);
      const matrix<float> x = matrix<float>::NullaryExpr(3, gamma.cols(), [&] {
        const float sign = bits() % 2 == 0 ? 1.0f : -1.0f;
        return sign * static_cast<float>(scale / (1 + static_cast<double>(bits() % 8) / 16));
      });
      matrix<float> y(3, x.cols()), again(3, x.cols());
      std::vector<float> mean(3), rstd(3);
      const auto same_where_it_left = [&] {
        int left = 0;
        for (std::size_t i = 0; i < 3; ++i) {
          if (std::isnormal(rstd[i])) continue;
          ++left;
          const auto row = static_cast<Eigen::Index>(i);
          EXPECT_TRUE(same_bits(again.row(row), y.row(row))) << i << ": " << rstd[i];
        }
        EXPECT_GT(left, 0);
      };
      rn::rms_norm(x, gamma, y, 0, rstd);
      rn::rms_norm(x, gamma, again, rn::saved(rstd));
      same_where_it_left();
      rn::layer_norm(x, gamma, rn::none, y, 0, mean, rstd);
      rn::layer_norm(x, gamma, rn::none, again, rn::saved(mean, rstd));
      same_where_it_left();
      rn::rms_norm<double>(x, gamma, y, 0, rstd);
      rn::rms_norm<double>(x, gamma, again, rn::saved(rstd));
      same_where_it_left();
    }
}

/// A large mean saved in float costs the forward call what it was rounded by; in double it does
/// not, and the gradient finds it again.
TEST(Saved, ALargeMeanIsKeptInDouble) {
  const matrix<float> x = normals<float>(4, 1000, 8, 1, 1e6), dy = normals<float>(4, 1000, 9);
  matrix<float> y(4, 1000), dx(4, 1000);
  std::vector<double> mean(4), rstd(4);
  std::vector<float> rounded(4), rounded_rstd(4);
  rn::layer_norm(x, rn::none, rn::none, y, 1e-5, mean, rstd);
  rn::layer_norm(x, rn::none, rn::none, y, 1e-5, rounded, rounded_rstd);
  const auto error_of_forward = [&](const auto& statistics) {
    rn::layer_norm(x, rn::none, rn::none, y, statistics);
    real worst = 0;
    for (Eigen::Index i = 0; i < 4; ++i) {
      const reference::row r = reference::layer_norm(values(x.row(i)), {}, {}, 1e-5).y;
      const reference::row got = values(y.row(i));
      for (std::size_t j = 0; j < r.size(); ++j)
        worst = std::max(worst, std::abs(got[j] - r[j]) / std::max(real{1}, std::abs(r[j])));
    }
    return worst;
  };
  EXPECT_LE(error_of_forward(rn::saved(mean, rstd)), 4 * step<float>);
  const real of_rounded = error_of_forward(rn::saved(rounded, rounded_rstd));
  EXPECT_LE(of_rounded, 0.032);  // half a step of float at 1e6
  EXPECT_GE(of_rounded, 100 * step<float>);
  rn::layer_norm_backward(dy, x, rn::none, dx, rn::none, rn::none,
                          rn::saved(rounded, rounded_rstd));
  for (Eigen::Index i = 0; i < 4; ++i) {
    const reference::gradient r =
        reference::layer_norm_backward(values(dy.row(i)), values(x.row(i)), {}, 1e-5);
    EXPECT_TRUE(within(values(dx.row(i)), r.dx,
                       [&](std::size_t j) { return 4 * step<float> * r.size[j]; }));
  }
}

// Of numbers so small or so large 1/rms is infinite or subnormal as a float; it is found again.
TEST(Saved, OutsideTheRangeOfTheirOwnType) {
  for (const double scale : {1e-42, 1.3e38})
    for (const std::size_t n : {64u, 100u}) {
      const matrix<float> x = normals<float>(3, n, 6, scale).cwiseMin(3e38f).cwiseMax(-3e38f),
                          gamma = normals<float>(1, n, 7);
      matrix<float> y(3, x.cols()), again(3, x.cols());
      std::vector<float> mean(3), rstd(3);
      rn::rms_norm(x, gamma, y, 0, rstd);
      EXPECT_FALSE(std::isnormal(rstd[0]));
      rn::rms_norm(x, gamma, again, rn::saved(rstd));
      EXPECT_TRUE(same_bits(again, y)) << scale << ", " << n;
      rn::layer_norm(x, gamma, rn::none, y, 0, mean, rstd);
      EXPECT_FALSE(std::isnormal(rstd[0]));
      rn::layer_norm(x, gamma, rn::none, again, rn::saved(mean, rstd));
      EXPECT_TRUE(same_bits(again, y)) << scale << ", " << n;
    }
}

TEST(Saved, OfAnotherNumberOfRowsIsAnError) {
  const Eigen::RowVector4f x(1, 2, 3, 4);
  const std::vector<float> two(2, 1), one(1, 1);
  Eigen::RowVector4f y(9, 9, 9, 9);
  EXPECT_EQ(error_of([&] { rn::rms_norm(x, rn::none, y, rn::saved(two)); }),
            "rms_norm: rstd has 2 numbers, x has 1 row");
  EXPECT_EQ(error_of([&] { rn::layer_norm(x, rn::none, rn::none, y, rn::saved(two, one)); }),
            "layer_norm: mean has 2 numbers, x has 1 row");
  EXPECT_EQ(y, Eigen::RowVector4f(9, 9, 9, 9));
}

}  // namespace

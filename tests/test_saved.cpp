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

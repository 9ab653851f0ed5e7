// SPDX-License-Identifier: MIT
// Equal bits: of a row wherever it stands, and of a fused call and the calls that it fuses.
#include <rownorm/layer_norm.hpp>
#include <rownorm/rms_norm.hpp>

#include "reference.hpp"

namespace rn = rownorm;
using namespace test;

namespace {

// -----------------------------------------------------------------------------------------------
// Any batch size and row position, alignment and stride, in place or not.
// -----------------------------------------------------------------------------------------------

/// norm(x, gamma, y) of 9 rows, together and one by one.
template <class T, class Norm>
void check_places(Norm norm) {
  using row = rn::rows<const T>;
  for (const std::size_t n : some_lengths()) {
    const matrix<T> x = normals<T>(9, n, 1), gamma = normals<T>(1, n, 2);
    const row gain = rows_of(gamma);
    matrix<T> alone(9, x.cols());
    for (Eigen::Index i = 0; i < 9; ++i)
      norm(row(&x(i, 0), 1, n), gain, rn::rows<T>(&alone(i, 0), 1, n));
    for (std::size_t offset = 0; offset < 33; offset += n < 200 ? 1 : 11) {
      const guarded<T> in(x, n + offset % 5, offset), moved_gain(gamma, n, 32 - offset);
      guarded<T> out(9, n, n + offset % 3, offset / 2), in_place(x, n + offset % 7, offset);
      norm(in.rows(), moved_gain.rows(), out.rows());
      norm(row(in_place.rows()), gain, in_place.rows());
      EXPECT_TRUE(same_bits(out.map(), alone)) << n << " at " << offset;
      EXPECT_TRUE(same_bits(in_place.map(), alone)) << n << " in place at " << offset;
      EXPECT_TRUE(out.untouched() && in_place.untouched()) << n << " at " << offset;
    }
  }
}

template <class T>
class SameBits : public testing::Test {};
TYPED_TEST_SUITE(SameBits, storage_types, storage_name);

TYPED_TEST(SameBits, RmsNormWhereverTheRowStands) {
  check_places<TypeParam>([](auto x, auto gamma, auto y) { rn::rms_norm(x, gamma, y); });
}
TYPED_TEST(SameBits, LayerNormWhereverTheRowStands) {
  check_places<TypeParam>([](auto x, auto gamma, auto y) { rn::layer_norm(x, gamma, gamma, y); });
}

/// Blocks of short rows, what is left of a block, and lengths that are constants, against one row
/// after the other whose statistics are kept, which are none of that.
template <class T>
void check_blocks() {
  for (const std::size_t n : {1u, 33u, 64u, 128u, 256u, 300u, 768u, 2000u}) {
    const matrix<T> x = normals<T>(37, n, 1), gamma = normals<T>(1, n, 2);
    const auto gain = rows_of(gamma);
    matrix<T> y(37, x.cols()), expected = y;
    double mean_of_row, rstd_of_row;
    const rn::rows<double> mean(&mean_of_row, 1, 1), rstd(&rstd_of_row, 1, 1);
    const auto check = [&](const char* name, auto norm, auto norm_of_row) {
      norm(rows_of(x), rn::rows<T>(y.data(), 37, n));
      for (Eigen::Index i = 0; i < 37; ++i)
        norm_of_row(rn::rows<const T>(&x(i, 0), 1, n), rn::rows<T>(&expected(i, 0), 1, n));
      EXPECT_TRUE(same_bits(y, expected)) << name << " of " << n;
    };
    check(
        "rms_norm", [&](auto in, auto out) { rn::rms_norm(in, gain, out); },
        [&](auto in, auto out) { rn::rms_norm(in, gain, out, 1e-6, rstd); });
    check(
        "rms_norm outside the root",
        [&](auto in, auto out) { rn::rms_norm(in, gain, out, rn::outside_root(1e-3)); },
        [&](auto in, auto out) { rn::rms_norm(in, gain, out, rn::outside_root(1e-3), rstd); });
    check(
        "layer_norm", [&](auto in, auto out) { rn::layer_norm(in, gain, gain, out); },
        [&](auto in, auto out) { rn::layer_norm(in, gain, gain, out, 1e-5, mean, rstd); });
  }
}
TEST(SameBits, InABlockOfShortRows) {
  check_blocks<float>();
  check_blocks<double>();
  check_blocks<Eigen::bfloat16>();
}

/// Rows whose type fixes their length against the same rows without.
template <class T, std::size_t n>
void check_fixed() {
  const matrix<T> x = normals<T>(9, n, 1), gamma = normals<T>(1, n, 2), dy = normals<T>(9, n, 3);
  const vector<T> gain = gamma;
  const rn::rows<const T, n> fixed(x.data(), 9), fixed_dy(dy.data(), 9);
  matrix<T> y(9, x.cols()), expected(9, x.cols());
  vector<float> sums = vector<float>::Zero(x.cols()), expected_sums = sums;
  const rn::rows<T, n> out(y.data(), 9);
  rn::rms_norm(x, gain, expected);
  rn::rms_norm(fixed, gain, out);
  EXPECT_TRUE(same_bits(y, expected)) << "rms_norm of " << n;
  rn::layer_norm(x, gain, gain, expected);
  rn::layer_norm(fixed, gain, gain, out);
  EXPECT_TRUE(same_bits(y, expected)) << "layer_norm of " << n;
  rn::layer_norm_backward(dy, x, gain, expected, expected_sums, rn::none);
  rn::layer_norm_backward(fixed_dy, fixed, gain, out, sums, rn::none);
  EXPECT_TRUE(same_bits(y, expected) && same_bits(sums, expected_sums)) << "gradient of " << n;
}

TEST(SameBits, OfRowsWhoseTypeFixesTheirLength) {
  check_fixed<float, 64>();
  check_fixed<float, 100>();
  check_fixed<Eigen::bfloat16, 256>();
}

TYPED_TEST(SameBits, PastTheCacheOrThroughIt) {
  check_places<TypeParam>(
      [](auto x, auto gamma, auto y) { rn::rms_norm(x, gamma, rn::streaming(y)); });
  check_places<TypeParam>(
      [](auto x, auto gamma, auto y) { rn::layer_norm(x, gamma, gamma, rn::streaming(y)); });
}

TEST(SameBits, OfAMatrixThatIsStreamedForItsSize) {
  const std::size_t n = 1000, count = rn::detail::streaming_bytes() / (n * sizeof(float)) + 1;
  const matrix<float> x = normals<float>(count, n, 4), gamma = normals<float>(1, n, 5);
  matrix<float> y(x.rows(), x.cols()), expected(x.rows(), x.cols()), in_place = x;
  rn::rms_norm(x, rows_of(gamma), y);
  rn::rms_norm(x, rows_of(gamma), rn::cached(expected));
  rn::rms_norm(in_place, rows_of(gamma), in_place);
  EXPECT_TRUE(same_bits(y, expected));
  EXPECT_TRUE(same_bits(in_place, expected));
}

TEST(SameBits, RowsThatAreDoneAgainLeaveTheOthersAsTheyAre) {
  const matrix<float> plain = normals<float>(3, 100, 3);
  matrix<float> mixed = plain, y(3, 100), expected(3, 100);
  mixed.row(1) *= 1e30f;
  rn::rms_norm(plain, rn::none, expected);
  rn::rms_norm(mixed, rn::none, y);
  EXPECT_TRUE(same_bits(y.row(0), expected.row(0)));
  EXPECT_TRUE(same_bits(y.row(2), expected.row(2)));
}

// -----------------------------------------------------------------------------------------------
// add_rms_norm and add_layer_norm are the add, stored in residual's type, and then the norm.
// -----------------------------------------------------------------------------------------------

/// norm(sum, y, rstd) and add_norm(x, residual, y, rstd), in the arithmetic A.
template <class X, class R, class Y, class A, class Norm, class AddNorm>
void check_add(Norm norm, AddNorm add_norm, double scale = 1) {
  for (const std::size_t n : some_lengths()) {
    const matrix<X> x = normals<X>(3, n, 11, scale);
    const matrix<R> before = normals<R>(3, n, 12, scale);
    matrix<R> sum(3, x.cols());
    for (Eigen::Index i = 0; i < sum.size(); ++i)
      sum.data()[i] =
          static_cast<R>(static_cast<A>(before.data()[i]) + static_cast<A>(x.data()[i]));
    matrix<Y> y(3, x.cols());
    std::vector<double> rstd(3), fused_rstd(3);
    norm(rn::rows<const R>(rows_of(sum)), rn::rows<Y>(y.data(), 3, n), rstd);

    const guarded<X> in(x, n + 1, 1);
    guarded<R> residual(before, n + 2, 5);
    guarded<Y> out(3, n, n + 3, 3);
    add_norm(in.rows(), residual.rows(), out.rows(), fused_rstd);
    EXPECT_TRUE(same_bits(residual.map(), sum)) << n;
    EXPECT_TRUE(same_bits(out.map(), y)) << n;
    EXPECT_EQ(fused_rstd, rstd) << n;
    EXPECT_TRUE(residual.untouched() && out.untouched()) << n;
  }
}

template <class X, class R, class Y>
void check_add_rms_norm(double scale = 1) {
  using A = arithmetic<X, R, Y>;
  const matrix<R> gamma = normals<R>(1, 10000, 13);
  const auto gain = [&](std::size_t n) { return rn::rows<const R>(gamma.data(), 1, n); };
  check_add<X, R, Y, A>(
      [&](auto sum, auto y, auto& rstd) { rn::rms_norm<A>(sum, gain(sum.length), y, 0, rstd); },
      [&](auto x, auto residual, auto y, auto& rstd) {
        rn::add_rms_norm(x, residual, gain(x.length), y, 0, rstd);
      },
      scale);
}
template <class X, class R, class Y>
void check_add_layer_norm(double scale = 1) {
  using A = arithmetic<X, R, Y>;
  const matrix<R> gamma = normals<R>(1, 10000, 14);
  const auto gain = [&](std::size_t n) { return rn::rows<const R>(gamma.data(), 1, n); };
  check_add<X, R, Y, A>(
      [&](auto sum, auto y, auto& rstd) {
        std::vector<double> mean(3);
        rn::layer_norm<A>(sum, gain(sum.length), gain(sum.length), y, 1e-5, mean, rstd);
      },
      [&](auto x, auto residual, auto y, auto& rstd) {
        std::vector<double> mean(3);
        rn::add_layer_norm(x, residual, gain(x.length), gain(x.length), y, 1e-5, mean, rstd);
      },
      scale);
}

TEST(SameBits, AddRmsNormIsTheTwoCalls) {
  check_add_rms_norm<float, float, float>();
  check_add_rms_norm<double, double, double>();
  check_add_rms_norm<Eigen::bfloat16, Eigen::bfloat16, Eigen::bfloat16>();
  check_add_rms_norm<Eigen::half, Eigen::half, Eigen::half>();
  check_add_rms_norm<Eigen::bfloat16, float, Eigen::bfloat16>();
  check_add_rms_norm<float, Eigen::half, float>();
  check_add_rms_norm<double, float, Eigen::bfloat16>();
}
TEST(SameBits, AddLayerNormIsTheTwoCalls) {
  check_add_layer_norm<float, float, float>();
  check_add_layer_norm<double, double, double>();
  check_add_layer_norm<Eigen::bfloat16, Eigen::bfloat16, Eigen::bfloat16>();
  check_add_layer_norm<Eigen::half, float, Eigen::half>();
}
TEST(SameBits, AddOfRowsThatAreDoneAgain) {
  for (const double scale : {1e30, 1e-30, 1e-42}) {
    check_add_rms_norm<float, float, float>(scale);
    check_add_layer_norm<float, float, float>(scale);
  }
  for (const double scale : {1e200, 1e-200, 1e-315}) {
    check_add_rms_norm<double, double, double>(scale);
    check_add_layer_norm<double, double, double>(scale);
  }
}

TEST(SameBits, AddMayWriteOverX) {
  const matrix<float> x = normals<float>(3, 100, 15), before = normals<float>(3, 100, 16);
  matrix<float> residual = before, y(3, 100), in_place = x, residual_in_place = before;
  std::vector<double> mean(3), rstd(3);
  rn::add_layer_norm(x, residual, x.row(0), x.row(0), y, 1e-5, mean, rstd);
  rn::add_layer_norm(in_place, residual_in_place, x.row(0), x.row(0), in_place, 1e-5, mean, rstd);
  EXPECT_TRUE(same_bits(in_place, y));
  EXPECT_TRUE(same_bits(residual_in_place, residual));
}

}  // namespace

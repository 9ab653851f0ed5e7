// SPDX-License-Identifier: MIT
// quantized(q, scales): int8 rows against the same call's numbers.
#include <numeric>
#include <rownorm/layer_norm.hpp>
#include <rownorm/rms_norm.hpp>

#include "reference.hpp"

namespace rn = rownorm;
using namespace test;

namespace {

/// q is y / scale, rounded to nearest even and saturated; next to a tie it may be either neighbour.
void expect_integers(const reference::row& q, const reference::row& y, real scale) {
  for (std::size_t j = 0; j < y.size(); ++j) {
    const real quotient = scale == 0 ? 0 : y[j] / scale;
    const real rounded = std::clamp(std::nearbyint(quotient), real{-128}, real{127});
    const real from_tie = std::abs(std::abs(quotient - std::trunc(quotient)) - 0.5L);
    EXPECT_LE(std::abs(q[j] - rounded), from_tie < 1e-4L ? 1 : 0)
        << "number " << j << " of " << y.size() << ", " << quotient;
  }
}
reference::row integers(const std::int8_t* q, std::size_t n) {
  return {q, q + n};
}

/// norm(y) is one call; T is the type of its arithmetic.
template <class T, class Norm>
void check(std::size_t count, std::size_t n, Norm norm) {
  SCOPED_TRACE(testing::Message() << count << " rows of " << n);
  const auto rows = static_cast<Eigen::Index>(count), length = static_cast<Eigen::Index>(n);
  matrix<T> y(rows, length);
  norm(y);
  matrix<std::int8_t> q(rows, length);
  std::vector<double> scales(count), strided_scales(count);
  norm(rn::quantized(q, scales));
  guarded<std::int8_t> strided(count, n, n + 5, n % 7);
  norm(rn::quantized(strided.rows(), strided_scales));
  EXPECT_TRUE(strided.untouched());
  EXPECT_EQ(strided_scales, scales);
  EXPECT_EQ(strided.map(), q);
  for (std::size_t i = 0; i < count; ++i) {
    const auto row = static_cast<Eigen::Index>(i);
    const reference::row v = values(y.row(row));
    const real peak = std::accumulate(v.begin(), v.end(), real{0},
                                      [](real m, real x) { return std::max(m, std::abs(x)); });
    EXPECT_LE(std::abs(exact(scales[i]) - peak / 127), 2 * step<T> * peak / 127 + ulp<double>(0));
    expect_integers(integers(&q(row, 0), n), v, exact(scales[i]));
  }
}

const std::vector<std::size_t>& int8_lengths() {
  static const std::vector<std::size_t> some = [] {
    std::vector<std::size_t> l(130);
    for (std::size_t i = 0; i < l.size(); ++i) l[i] = i + 1;
    l.insert(l.end(), {1000, 4097, 10000});
    return l;
  }();
  return some;
}

template <class T>
class Quantized : public testing::Test {};
TYPED_TEST_SUITE(Quantized, storage_types, storage_name);

TYPED_TEST(Quantized, BothNorms) {
  using X = TypeParam;
  using T = arithmetic<X>;
  for (const std::size_t n : int8_lengths()) {
    const matrix<X> x = normals<X>(3, n, 1, 2, 1), gamma = normals<X>(1, n, 2),
                    beta = normals<X>(1, n, 3);
    check<T>(3, n, [&](auto&& y) { rn::rms_norm(x, gamma, y, 1e-6); });
    check<T>(3, n, [&](auto&& y) { rn::layer_norm(x, gamma, beta, y, 1e-5); });
  }
}

template <class X>
void check_words_of_models() {
  for (const std::size_t n : some_lengths()) {
    const matrix<X> x = normals<X>(2, n, 4), residual = normals<X>(2, n, 5),
                    gamma = normals<X>(1, n, 6, 0.25);
    check<float>(2, n, [&](auto&& y) { rn::rms_norm(x, rn::one_plus(gamma), y); });
    check<float>(2, n, [&](auto&& y) { rn::rms_norm(x, rn::after_rounding(gamma), y); });
    check<float>(2, n, [&](auto&& y) {
      matrix<X> sum = residual;
      rn::add_rms_norm(x, sum, gamma, y);
    });
  }
}
TEST(Quantized, WordsOfModels) {
  check_words_of_models<float>();
  check_words_of_models<Eigen::bfloat16>();
}
TEST(Quantized, WordsOfRmsNorm) {
  for (const std::size_t n : some_lengths()) {
    const matrix<float> x = normals<float>(2, n, 4), gamma = normals<float>(1, n, 6);
    check<float>(2, n, [&](auto&& y) { rn::rms_norm(x, rn::none, y); });
    check<float>(2, n, [&](auto&& y) { rn::rms_norm(x, gamma, y, rn::outside_root(0.37)); });
    check<float>(2, n, [&](auto&& y) { rn::partial_rms_norm(x, (n + 1) / 2, gamma, y); });
  }
}
// Where the first half does not find the largest of |y|, a factor of 0 must not pass for one found.
TEST(Quantized, ZerosWithoutEps) {
  const matrix<float> zeros = matrix<float>::Zero(1, 40), gamma = normals<float>(1, 40, 6);
  matrix<float> half = normals<float>(1, 40, 7);
  half.leftCols(20).setZero();
  const auto check_zeros = [](auto call) {
    std::vector<std::int8_t> q(40, 9);
    std::vector<double> scale(1, 9);
    call(rn::quantized(q, scale));
    EXPECT_EQ(scale[0], 0);
    EXPECT_EQ(q, std::vector<std::int8_t>(40, 0));
  };
  check_zeros([&](auto&& y) { rn::rms_norm(zeros, gamma, y, 0); });
  check_zeros([&](auto&& y) { rn::rms_norm(zeros, rn::after_rounding(gamma), y, 0); });
  check_zeros([&](auto&& y) { rn::partial_rms_norm(half, 20, gamma, y, 0); });
}
TEST(Quantized, WordsOfLayerNorm) {
  for (const std::size_t n : some_lengths()) {
    const matrix<float> x = normals<float>(2, n, 7), residual = normals<float>(2, n, 8),
                        gamma = normals<float>(1, n, 9);
    check<float>(2, n, [&](auto&& y) { rn::layer_norm(x, rn::none, rn::none, y); });
    check<float>(2, n, [&](auto&& y) { rn::layer_norm(x, rn::one_plus(gamma), gamma, y); });
    check<float>(2, n, [&](auto&& y) {
      matrix<float> sum = residual;
      rn::add_layer_norm(x, sum, gamma, rn::none, y);
    });
  }
}

TEST(Quantized, HugeAndTinyRows) {
  for (const std::size_t n : {1u, 5u, 100u, 5000u}) {
    for (const double scale : {1e-42, 1e-30, 1e-20, 1e10, 1e25, 4e37}) {
      const matrix<float> x = normals<float>(2, n, 10, scale), gamma = normals<float>(1, n, 11);
      check<float>(2, n, [&](auto&& y) { rn::rms_norm(x, gamma, y, 0); });
      check<float>(2, n, [&](auto&& y) { rn::layer_norm(x, gamma, gamma, y, 0); });
    }
    for (const double scale : {1e-310, 1e-200, 1e200, 1e307}) {
      const matrix<double> x = normals<double>(2, n, 12, scale), gamma = normals<double>(1, n, 13);
      check<double>(2, n, [&](auto&& y) { rn::rms_norm(x, gamma, y, 0); });
      check<double>(2, n, [&](auto&& y) { rn::layer_norm(x, gamma, gamma, y, 0); });
    }
  }
}

// 1 / scale is no float, or x * gamma is none where y is one.
TEST(Quantized, GainsAtTheEndsOfFloat) {
  for (const std::size_t n : {1u, 5u, 100u, 5000u})
    for (const double gain : {1e-42, 1e-38, 1e37})
      for (const double scale : {1e-3, 1.0, 1e3}) {
        const matrix<float> x = normals<float>(2, n, 21, scale),
                            gamma = normals<float>(1, n, 22, gain);
        check<float>(2, n, [&](auto&& y) { rn::rms_norm(x, gamma, y, 0); });
        check<float>(2, n, [&](auto&& y) { rn::layer_norm(x, gamma, rn::none, y, 1e-6); });
      }
}

TEST(Quantized, ARowOfZerosHasZerosAndAScaleOfZero) {
  for (const std::size_t n : some_lengths()) {
    const matrix<float> x = matrix<float>::Zero(2, static_cast<Eigen::Index>(n));
    for (const double eps : {0.0, 1e-6}) {
      check<float>(2, n, [&](auto&& y) { rn::rms_norm(x, rn::none, y, eps); });
      check<float>(2, n, [&](auto&& y) { rn::layer_norm(x, rn::none, rn::none, y, eps); });
    }
  }
}

/// Row 1 of norm(y) holds a NaN or Inf.
template <class Norm>
void expect_spoiled(std::size_t n, const char* what, Norm norm) {
  SCOPED_TRACE(testing::Message() << what << ", length " << n);
  matrix<std::int8_t> q = matrix<std::int8_t>::Constant(3, static_cast<Eigen::Index>(n), 5);
  std::vector<float> scales(3);
  norm(rn::quantized(q, scales));
  EXPECT_TRUE(std::isnan(scales[1]));
  EXPECT_EQ(q.row(1), matrix<std::int8_t>::Zero(1, q.cols()).row(0));
  for (const Eigen::Index i : {0, 2}) {
    EXPECT_GT(scales[static_cast<std::size_t>(i)], 0);
    const reference::row others = integers(&q(i, 0), n);
    EXPECT_TRUE(
        std::any_of(others.begin(), others.end(), [](real v) { return std::abs(v) == 127; }));
  }
}

TEST(Quantized, ARowWithNanOrInfHasZerosAndAScaleOfNan) {
  for (const float value :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
        -std::numeric_limits<float>::infinity()})
    for (const std::size_t n : {3u, 16u, 33u, 40u, 64u, 70u, 100u, 200u, 5000u})
      for (const Eigen::Index at : {Eigen::Index{0}, static_cast<Eigen::Index>(n) - 1}) {
        matrix<float> x = normals<float>(3, n, 14);
        const matrix<float> ones = matrix<float>::Ones(1, x.cols());
        x(1, at) = value;
        expect_spoiled(n, "rms_norm", [&](auto&& y) { rn::rms_norm(x, ones, y); });
        expect_spoiled(n, "after_rounding",
                       [&](auto&& y) { rn::rms_norm(x, rn::after_rounding(ones), y); });
        expect_spoiled(n, "layer_norm", [&](auto&& y) { rn::layer_norm(x, ones, rn::none, y); });
        // Here the statistic may know nothing of it.
        expect_spoiled(n, "partial_rms_norm",
                       [&](auto&& y) { rn::partial_rms_norm(x, 2, ones, y); });
      }
}

TEST(Quantized, WhereScalesMayGo) {
  const matrix<float> x = normals<float>(5, 77, 16);
  matrix<std::int8_t> q(5, 77), expected(5, 77);
  std::vector<double> wide(5);
  rn::rms_norm(x, rn::none, rn::quantized(expected, wide));
  Eigen::VectorXf column(5);
  Eigen::RowVectorXd row(5);
  std::vector<float> vector(5);
  const auto same = [&](const auto& scales) {
    EXPECT_EQ(q, expected);
    for (Eigen::Index i = 0; i < 5; ++i) {
      const auto k = static_cast<std::size_t>(i);
      const auto* p = scales.data();
      EXPECT_EQ(p[k],
                static_cast<std::remove_const_t<std::remove_pointer_t<decltype(p)>>>(wide[k]));
    }
    q.setZero();
  };
  rn::rms_norm(x, rn::none, rn::quantized(q, column));
  same(column);
  rn::rms_norm(x, rn::none, rn::quantized(q, row));
  same(row);
  rn::rms_norm(x, rn::none, rn::quantized(q, vector));
  same(vector);
  std::vector<double> memory(5);
  rn::rms_norm(x, rn::none, rn::quantized(q, rn::rows<double>(memory.data(), 5, 1)));
  same(memory);
  Eigen::Matrix<std::int8_t, 1, 77> one_row;
  rn::rms_norm(x.row(2), rn::none, rn::quantized(one_row, rn::rows<float>(vector.data(), 1, 1)));
  EXPECT_EQ(one_row, expected.row(2));
  EXPECT_EQ(vector[0], vector[2]);
}

template <class X>
void check_given_scale() {
  using T = arithmetic<X>;
  for (const std::size_t n : int8_lengths()) {
    const matrix<X> x = normals<X>(2, n, 17), gamma = normals<X>(1, n, 18);
    const auto length = static_cast<Eigen::Index>(n);
    for (const double scale : {0.02, 0.005, 3.0}) {
      matrix<T> y(2, length);
      rn::rms_norm(x, gamma, y);
      guarded<std::int8_t> q(2, n, n + 3);
      rn::rms_norm(x, gamma, rn::quantized(q.rows(), scale));
      EXPECT_TRUE(q.untouched());
      for (Eigen::Index i = 0; i < 2; ++i) {
        const matrix<std::int8_t> row = q.map().row(i);
        expect_integers(integers(row.data(), n), values(y.row(i)), scale);
      }
      if (scale == 0.005 && n >= 1000) {
        EXPECT_EQ(q.map().row(0).minCoeff(), -128);
        EXPECT_EQ(q.map().row(0).maxCoeff(), 127);
      }
    }
  }
}
TEST(Quantized, AGivenScaleSaturates) {
  check_given_scale<float>();
  check_given_scale<Eigen::bfloat16>();
}
TEST(Quantized, AGivenScaleWhoseInverseIsNoFloat) {
  for (const std::size_t n : {5u, 100u}) {
    matrix<float> x = normals<float>(2, n, 23);
    x(0, 3) = 0;
    const matrix<float> gamma = normals<float>(1, n, 24, 3e-39);
    matrix<float> y(2, x.cols());
    rn::rms_norm(x, gamma, y);
    for (const double scale : {1e-40, 1e-80, 1e-300}) {
      matrix<std::int8_t> q(2, x.cols());
      rn::rms_norm(x, gamma, rn::quantized(q, scale));
      for (Eigen::Index i = 0; i < 2; ++i)
        expect_integers(integers(&q(i, 0), n), values(y.row(i)), scale);
    }
  }
}
TEST(Quantized, AGivenScaleForLayerNorm) {
  const matrix<float> x = normals<float>(3, 1000, 19, 1, 5);
  matrix<float> y(3, 1000);
  matrix<std::int8_t> q(3, 1000);
  rn::layer_norm(x, rn::none, x.row(0), y);
  rn::layer_norm(x, rn::none, x.row(0), rn::quantized(q, 0.04f));
  for (Eigen::Index i = 0; i < 3; ++i)
    expect_integers(integers(&q(i, 0), 1000), values(y.row(i)), exact(0.04f));
}

/// A scale so small that its inverse leaves the type of the arithmetic, or double.
template <class T>
void check_tiny_scales() {
  for (const double scale : {0x1p-120, 2.9e-39, 1e-40, 1e-45, 1e-60, 1e-200, 1e-310, 5e-324}) {
    const Eigen::Matrix<T, 1, 4> x(1, 0, -1, 0);
    Eigen::Matrix<std::int8_t, 1, 4> q;
    rn::rms_norm(x, rn::none, rn::quantized(q, scale));
    EXPECT_TRUE(q[0] == 127 && q[1] == 0 && q[2] == -128 && q[3] == 0) << scale << ' ' << +q[0];
    // What such a scale is for: y as small.
    const double least = static_cast<double>(std::numeric_limits<T>::min());
    if (scale < least || scale > 1e-38) continue;
    const Eigen::Matrix<T, 1, 4> gamma =
        Eigen::Matrix<T, 1, 4>(10, 20, 30, 40) * static_cast<T>(scale);
    rn::rms_norm(Eigen::Matrix<T, 1, 4>(1, -1, 1, -1), gamma, rn::quantized(q, scale), 0);
    EXPECT_TRUE(q[0] == 10 && q[1] == -20 && q[2] == 30 && q[3] == -40) << scale << ' ' << +q[0];
  }
}
TEST(Quantized, AGivenScaleMayBeTiny) {
  check_tiny_scales<float>();
  check_tiny_scales<double>();
}

/// Of float rows, y and its largest number as the same call gives them in float.
TEST(Quantized, WhereYIsTiny) {
  for (const float gain : {1e-36f, 7e-37f, 1e-38f, 1e-39f, 1e-41f})
    for (const std::size_t n : {8u, 40u, 300u}) {
      const matrix<float> gamma = matrix<float>::Constant(1, static_cast<Eigen::Index>(n), gain);
      matrix<float> x = normals<float>(2, n, 21);
      x.row(0).leftCols(8) << 0, 1, -2, 3, 0, .5f, -.25f, 4;
      check<float>(2, n, [&](auto&& y) { rn::rms_norm(x, gamma, y); });
      check<float>(2, n, [&](auto&& y) { rn::layer_norm(x, gamma, rn::none, y); });
      check<float>(2, n,
                   [&](auto&& y) { rn::layer_norm(x, rn::after_rounding(gamma), rn::none, y); });
    }
  for (const double gain : {1e-37, 1e-200, 1e-307}) {
    const matrix<double> x = normals<double>(2, 40, 21),
                         gamma = matrix<double>::Constant(1, 40, gain);
    check<double>(2, 40, [&](auto&& y) { rn::rms_norm(x, gamma, y); });
    check<double>(2, 40, [&](auto&& y) { rn::layer_norm(x, gamma, rn::none, y); });
  }
}
// x * gamma, from which the largest |y| is found, leaves float at the one end or the other.
TEST(Quantized, WhereYIsUsualAndXTimesGammaIsNot) {
  for (const auto& [size, gain] :
       {std::pair{1e18, 1e25}, {1e18, 1e37}, {1e-18, 1e-25}, {1e15, 1e22}})
    for (const std::size_t n : {8u, 40u, 300u}) {
      const matrix<float> x = normals<float>(2, n, 22, size),
                          gamma = normals<float>(1, n, 23, gain);
      check<float>(2, n, [&](auto&& y) { rn::rms_norm(x, gamma, y, 0); });
      check<float>(2, n, [&](auto&& y) { rn::layer_norm(x, gamma, rn::none, y, 0); });
    }
}

TEST(Quantized, HeadsOfPackedRows) {
  constexpr std::size_t tokens = 5, heads = 3, length = 20, token_stride = 100;
  const matrix<float> packed = normals<float>(tokens, token_stride, 20);
  matrix<std::int8_t> q(15, 20), expected(1, 20);
  std::vector<float> scales(15), scale(1);
  rn::rms_norm(rn::heads<const float>(packed.data() + 7, tokens, heads, length, token_stride),
               rn::none, rn::quantized(q, scales));
  for (Eigen::Index i = 0; i < 15; ++i) {
    rn::rms_norm(packed.block(i / 3, 7 + i % 3 * 20, 1, 20), rn::none,
                 rn::quantized(expected, scale));
    EXPECT_EQ(q.row(i), expected.row(0)) << i;
    EXPECT_EQ(scales[static_cast<std::size_t>(i)], scale[0]) << i;
  }
}

}  // namespace

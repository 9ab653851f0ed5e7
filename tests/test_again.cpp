// SPDX-License-Identifier: MIT
// Rows that are done again in double because their sums leave the range of float: every word and
// type keeps its meaning there. The bits are those of the same call in double.
#include <cstdint>
#include <rownorm/rownorm.hpp>
#include <vector>

#include "reference.hpp"

namespace rn = rownorm;
using namespace test;

namespace {

using half = Eigen::half;
using bf16 = Eigen::bfloat16;

constexpr std::size_t row_lengths[] = {1, 7, 64, 100};

/// check(x) for rows whose squares no float holds, small ones and large ones.
template <class X, class Check>
void of_odd_rows(Check check) {
  for (const std::size_t n : row_lengths)
    for (const double scale : {1e-25, 1e25}) {
      SCOPED_TRACE(testing::Message() << n << " numbers of " << format<X>::name << ", " << scale);
      check(normals<X>(3, n, 1, scale));
    }
}

/// call(T(0), y) in float and in double: the same bits of y, a matrix of Y like x.
template <class Y, class X, class Call>
void same_in_double(const matrix<X>& x, Call call) {
  matrix<Y> single = normals<Y>(3, static_cast<std::size_t>(x.cols()), 9), wide = single;
  call(0.0f, single);
  call(0.0, wide);
  EXPECT_TRUE(same_bits(single, wide));
}

template <class S>
matrix<S> some(const Eigen::Index length, unsigned seed, std::size_t count = 1) {
  return normals<S>(count, static_cast<std::size_t>(length), seed);
}

TEST(Again, OnePlus) {
  of_odd_rows<float>([](const matrix<float>& x) {
    const auto gamma = some<half>(x.cols(), 2);
    same_in_double<bf16>(
        x, [&](auto t, auto& y) { rn::rms_norm<decltype(t)>(x, rn::one_plus(gamma), y, 0); });
  });
}

TEST(Again, AfterRounding) {
  of_odd_rows<bf16>([](const matrix<bf16>& x) {
    const auto gamma = some<float>(x.cols(), 2);
    same_in_double<float>(
        x, [&](auto t, auto& y) { rn::rms_norm<decltype(t)>(x, rn::after_rounding(gamma), y, 0); });
  });
}

TEST(Again, AddToABfloat16Residual) {
  of_odd_rows<float>([](const matrix<float>& x) {
    const auto gamma = some<bf16>(x.cols(), 2);
    same_in_double<half>(x, [&](auto t, auto& y) {
      matrix<bf16> residual = matrix<bf16>::Zero(x.rows(), x.cols());
      rn::add_rms_norm<decltype(t)>(x, residual, gamma, y, 0);
    });
  });
}

TEST(Again, LayerNorm) {
  of_odd_rows<bf16>([](const matrix<bf16>& x) {
    const auto gamma = some<bf16>(x.cols(), 2);
    const auto beta = some<half>(x.cols(), 3);
    same_in_double<float>(
        x, [&](auto t, auto& y) { rn::layer_norm<decltype(t)>(x, gamma, beta, y, 0); });
    same_in_double<float>(
        x, [&](auto t, auto& y) { rn::layer_norm<decltype(t)>(x, rn::none, rn::none, y, 0); });
  });
}

// An eps so large that float holds the sums, but not the factor that comes of them.
TEST(Again, FactorsThatAreNoFloat) {
  for (const std::size_t n : row_lengths)
    for (const rn::epsilon eps : {rn::epsilon(1e80), rn::epsilon(rn::outside_root(1e40))}) {
      SCOPED_TRACE(testing::Message() << n << " numbers, eps " << eps.value);
      const matrix<float> x = normals<float>(3, n, 1, 1e17);
      const auto gamma = some<half>(x.cols(), 2);
      same_in_double<float>(x,
                            [&](auto t, auto& y) { rn::rms_norm<decltype(t)>(x, gamma, y, eps); });
      same_in_double<float>(
          x, [&](auto t, auto& y) { rn::layer_norm<decltype(t)>(x, gamma, rn::none, y, eps); });
    }
}

TEST(Again, Gates) {
  of_odd_rows<float>([](const matrix<float>& x) {
    const auto gamma = some<half>(x.cols(), 2);
    const auto z = some<bf16>(x.cols(), 3, 3);
    for (const rn::gate_order order : {rn::norm_first, rn::gate_first})
      same_in_double<float>(
          x, [&](auto t, auto& y) { rn::gated_rms_norm<decltype(t)>(x, z, gamma, y, 0, order); });
  });
}

TEST(Again, Int8WithOneScale) {
  of_odd_rows<float>([](const matrix<float>& x) {
    std::vector<std::int8_t> single(static_cast<std::size_t>(x.size())), wide = single;
    const auto q = [&](std::vector<std::int8_t>& to) {
      return rn::rows<std::int8_t>(to.data(), 3, static_cast<std::size_t>(x.cols()));
    };
    rn::rms_norm<float>(x, rn::none, rn::quantized(q(single), 0.03), 0);
    rn::rms_norm<double>(x, rn::none, rn::quantized(q(wide), 0.03), 0);
    EXPECT_EQ(single, wide);
    EXPECT_NE(single, std::vector<std::int8_t>(single.size()));
  });
}

TEST(Again, SavedStatistics) {
  of_odd_rows<float>([](const matrix<float>& x) {
    const auto gamma = some<half>(x.cols(), 2);
    const auto beta = some<bf16>(x.cols(), 3);
    std::vector<double> mean(3), rstd(3);
    matrix<float> y = x;
    rn::layer_norm(x, rn::none, rn::none, y, 1e-60, mean, rstd);
    for (double& r : rstd) r *= r > 1 ? 1e20 : 1e-20;  // beyond what float can multiply by
    same_in_double<float>(
        x, [&](auto t, auto& to) { rn::rms_norm<decltype(t)>(x, gamma, to, rn::saved(rstd)); });
    same_in_double<float>(x, [&](auto t, auto& to) {
      rn::layer_norm<decltype(t)>(x, gamma, beta, to, rn::saved(mean, rstd));
    });
  });
}

/// The gradients of each row by itself: over rows they are summed in the arithmetic's type.
template <class DX, class X, class Call>
void same_gradients(const matrix<X>& x, Call call) {
  matrix<DX> dx = some<DX>(x.cols(), 7, 3), dx_wide = dx;
  matrix<float> dgamma = matrix<float>::Zero(3, x.cols()), dgamma_wide = dgamma;
  matrix<float> dbeta = dgamma, dbeta_wide = dgamma;
  for (Eigen::Index i = 0; i < x.rows(); ++i) {
    call(0.0f, i, dx.row(i), dgamma.row(i), dbeta.row(i));
    call(0.0, i, dx_wide.row(i), dgamma_wide.row(i), dbeta_wide.row(i));
  }
  EXPECT_TRUE(same_bits(dx, dx_wide));
  EXPECT_TRUE(same_bits(dgamma, dgamma_wide));
  EXPECT_TRUE(same_bits(dbeta, dbeta_wide));
}

TEST(Again, RmsNormBackward) {
  of_odd_rows<bf16>([](const matrix<bf16>& x) {
    const auto gamma = some<half>(x.cols(), 2);
    const auto dy = some<float>(x.cols(), 3, 3);
    same_gradients<float>(x, [&](auto t, Eigen::Index i, auto dx, auto dgamma, auto) {
      rn::rms_norm_backward<decltype(t)>(dy.row(i), x.row(i), rn::one_plus(gamma), dx, dgamma, 0);
    });
    same_gradients<bf16>(x, [&](auto t, Eigen::Index i, auto dh, auto dgamma, auto) {
      rn::add_rms_norm_backward<decltype(t)>(dy.row(i), x.row(i), gamma, dh, dgamma, 0);
    });
  });
}

TEST(Again, LayerNormBackward) {
  of_odd_rows<float>([](const matrix<float>& x) {
    const auto gamma = some<bf16>(x.cols(), 2);
    const auto dy = some<half>(x.cols(), 3, 3);
    same_gradients<half>(x, [&](auto t, Eigen::Index i, auto dx, auto dgamma, auto dbeta) {
      rn::layer_norm_backward<decltype(t)>(dy.row(i), x.row(i), gamma, dx, dgamma, dbeta, 0);
    });
  });
}

}  // namespace

// SPDX-License-Identifier: MIT
// The tests of a gradient against its formula, the same for both norms.
#pragma once

#include <numeric>

#include "norms.hpp"

template <class Norm>
class Backward : public testing::Test {};
TYPED_TEST_SUITE_P(Backward);

// -----------------------------------------------------------------------------------------------
// Central differences.
// -----------------------------------------------------------------------------------------------

/// What loss() gains as each number of `at` grows.
template <class Loss>
matrix<double> slopes(matrix<double>& at, Loss loss) {
  constexpr double step = 1e-5;
  return matrix<double>::NullaryExpr(at.rows(), at.cols(), [&](Eigen::Index i, Eigen::Index j) {
    const double here = at(i, j);
    at(i, j) = here + step;
    const double above = loss();
    at(i, j) = here - step;
    const double below = loss();
    at(i, j) = here;
    return (above - below) / (2 * step);
  });
}

template <class Norm>
void check_slopes(rn::epsilon eps) {
  SCOPED_TRACE(testing::Message() << "eps " << eps.value << (eps.outside ? " outside" : ""));
  matrix<double> x = normals<double>(3, 5, 1), gamma = normals<double>(1, 5, 2),
                 beta = normals<double>(1, 5, 3), y(3, 5);
  const matrix<double> dy = normals<double>(3, 5, 4), beyond = normals<double>(3, 5, 5);
  std::vector<double> mean(3), rstd(3);
  // x is also the residual that goes on past the norm.
  const auto loss = [&] {
    Norm::template forward<double>(x, gamma, beta, y, eps, mean, rstd);
    return std::inner_product(dy.data(), dy.data() + dy.size(), y.data(), 0.0) +
           std::inner_product(beyond.data(), beyond.data() + beyond.size(), x.data(), 0.0);
  };
  const matrix<double> slope_x = slopes(x, loss), slope_gamma = slopes(gamma, loss),
                       slope_beta = slopes(beta, loss);
  const auto near = [](const matrix<double>& d, const matrix<double>& slope) {
    return within(values(d), values(slope), [](std::size_t) { return 1e-8L; });
  };
  const auto check = [&](const auto& statistics) {
    matrix<double> dx(3, 5), dh = beyond;
    for (const bool add : {false, true}) {
      matrix<double> dgamma = matrix<double>::Zero(1, 5), dbeta = dgamma;
      if (add) Norm::template add_backward<double>(dy, x, gamma, dh, dgamma, dbeta, statistics);
      else Norm::template backward<double>(dy, x, gamma, dx, dgamma, dbeta, statistics);
      EXPECT_TRUE(near(dgamma, slope_gamma)) << "dgamma";
      EXPECT_TRUE(near(dbeta, slope_beta)) << "dbeta";
    }
    EXPECT_TRUE(near(dx + beyond, slope_x)) << "dx";
    EXPECT_TRUE(near(dh, slope_x)) << "dh";
  };
  check(eps);
  loss();
  if (!eps.outside) check(Norm::saved(mean, rstd));
}

TYPED_TEST_P(Backward, IsTheSlopeOfForward) {
  for (const rn::epsilon eps :
       {rn::epsilon(0), rn::epsilon(1e-6), rn::epsilon(0.37), rn::epsilon(rn::outside_root(0.37))})
    check_slopes<TypeParam>(eps);
}

// -----------------------------------------------------------------------------------------------
// The formula in a wider type.
// -----------------------------------------------------------------------------------------------

/// The storage of each argument; S: of the saved statistics, void where eps is given. T: the type
/// of the arithmetic.
template <class DY_, class X_, class G_, class DX_, class D_, class S_ = void,
          class T_ = arithmetic<DY_, X_, G_, DX_>>
struct types {
  using DY = DY_;
  using X = X_;
  using G = G_;
  using DX = DX_;
  using D = D_;
  using S = S_;
  using T = T_;
};
template <class V, class D = V, class S = void>
using all = types<V, V, V, V, D, S>;

/// dx is held to so many eps (bounds.hpp) * r * (|g| + |h| * mean|g * h|) for RMSNorm, for
/// LayerNorm of r * (|g| + max(1, |h|) * (mean|g| + mean|g * h|)), and its rounding to DX. dgamma:
/// a sum of n products by fused multiply-adds is within n/2 eps of the sum of their sizes, n being
/// 32 rows at most; the sums over blocks, in double, add half a step of double each; then there is
/// the error of h in each product, and the rounding to dgamma's type. dbeta is the same without h.
template <class Norm, class Types>
void check(const matrix<typename Types::DY>& dy, const matrix<typename Types::X>& x,
           rn::epsilon eps) {
  using S = typename Types::S;
  using T = typename Types::T;
  using DX = typename Types::DX;
  using D = typename Types::D;
  SCOPED_TRACE(testing::Message() << x.rows() << " rows of " << x.cols() << ", eps " << eps.value
                                  << (eps.outside ? " outside, " : ", ")
                                  << format<typename Types::DY>::name << ' '
                                  << format<typename Types::X>::name << ' '
                                  << format<typename Types::G>::name << ' ' << format<DX>::name
                                  << ' ' << format<D>::name);
  const auto count = static_cast<std::size_t>(x.rows()), n = static_cast<std::size_t>(x.cols());
  const matrix<typename Types::G> gamma = normals<typename Types::G>(1, n, 11);
  const matrix<D> before = normals<D>(2, n, 12);
  const guarded<typename Types::DY> from(dy, n + 2, n % 5);
  const guarded<typename Types::X> in(x, n + 3, n % 16);
  guarded<DX> dx(count, n, n + 5, n % 7);
  guarded<D> dgamma(before.topRows(1), n, n % 3), dbeta(before.bottomRows(1), n, n % 4);
  real eps_of_statistics = 0;
  if constexpr (std::is_void_v<S>) {
    Norm::template backward<T>(from.rows(), in.rows(), gamma, dx.rows(), dgamma.rows(),
                               dbeta.rows(), eps);
  } else {
    matrix<T> y(x.rows(), x.cols());
    std::vector<S> mean(count), rstd(count);
    Norm::template forward<T>(x, rn::none, rn::none, y, eps, mean, rstd);
    Norm::template backward<T>(from.rows(), in.rows(), gamma, dx.rows(), dgamma.rows(),
                               dbeta.rows(), Norm::saved(mean, rstd));
    eps_of_statistics = step<S>;
  }
  const real e = std::max(step<T>, eps_of_statistics);
  using bound = bounds::of<T>;
  const real dx_eps =
      Norm::centred ? bound::layer_norm_backward.usual : bound::rms_norm_backward.usual;
  const real chain = static_cast<real>(std::min<std::size_t>(count, 32)) / 2 * step<T> +
                     static_cast<real>(count / 32 + 1) / 2 * step<double>;
  reference::row sum_gamma = values(before.row(0)), error_gamma(n),
                 sum_beta = values(before.row(1)), error_beta(n);
  for (std::size_t i = 0; i < count; ++i) {
    const auto row = static_cast<Eigen::Index>(i);
    const reference::row v = values(dy.row(row));
    const reference::gradient d = Norm::gradient(v, values(x.row(row)), values(gamma), eps);
    EXPECT_TRUE(within(values(dx.map().row(row)), d.dx, [&](std::size_t j) {
      return dx_eps * e * d.size[j] + stored_error<T, DX>(d.dx[j]) + ulp<DX>(0);
    }));
    for (std::size_t j = 0; j < n; ++j) {
      sum_gamma[j] += v[j] * d.h[j];
      error_gamma[j] +=
          std::abs(v[j]) * (chain * std::abs(d.h[j]) + e * Norm::h_error(d.h[j])) + ulp<T>(0);
      sum_beta[j] += v[j];
      error_beta[j] += chain * std::abs(v[j]);
    }
  }
  const auto rounded = [](real v) { return 0.501L * ulp<D>(v); };
  EXPECT_TRUE(within(values(dgamma.map().row(0)), sum_gamma, [&](std::size_t j) {
    return error_gamma[j] + rounded(sum_gamma[j]);
  })) << "dgamma";
  if (!Norm::centred) sum_beta = values(before.row(1));
  EXPECT_TRUE(within(values(dbeta.map().row(0)), sum_beta, [&](std::size_t j) {
    return error_beta[j] + rounded(sum_beta[j]);
  })) << "dbeta";
  EXPECT_TRUE(dx.untouched() && dgamma.untouched() && dbeta.untouched());
}

template <class Norm, class Types>
void check(std::size_t count, std::size_t n, rn::epsilon eps, double dy_scale = 1,
           double x_scale = 1, double x_centre = 0) {
  SCOPED_TRACE(testing::Message() << "dy " << dy_scale << ", x " << x_centre << " + " << x_scale);
  const auto seed = static_cast<unsigned>(n);
  check<Norm, Types>(normals<typename Types::DY>(count, n, seed, dy_scale),
                     normals<typename Types::X>(count, n, seed + 1, x_scale, x_centre), eps);
}

const std::vector<std::size_t>& gradient_lengths() {
  static const std::vector<std::size_t> some = [] {
    std::vector<std::size_t> l(130);
    for (std::size_t i = 0; i < l.size(); ++i) l[i] = i + 1;
    l.insert(l.end(), {4097, 10000});
    return l;
  }();
  return some;
}

template <class Norm, class Types>
void check_lengths() {
  for (const std::size_t n : gradient_lengths()) {
    check<Norm, Types>(3, n, 1e-6);
    check<Norm, Types>(2, n, 0.37, 1, 1, 3);
    if (std::is_void_v<typename Types::S>) check<Norm, Types>(2, n, rn::outside_root(0.37));
  }
}
TYPED_TEST_P(Backward, EveryLengthInFloat) {
  check_lengths<TypeParam, all<float>>();
}
TYPED_TEST_P(Backward, EveryLengthInDouble) {
  check_lengths<TypeParam, all<double>>();
}
TYPED_TEST_P(Backward, EveryLengthIn16Bits) {
  check_lengths<TypeParam, all<Eigen::bfloat16, float>>();
  check_lengths<TypeParam, all<Eigen::half, float>>();
}

TYPED_TEST_P(Backward, EachTypeInEachRole) {
  using Eigen::bfloat16;
  using Eigen::half;
  for (const std::size_t n : {1u, 7u, 31u, 33u, 64u, 100u, 4097u}) {
    check<TypeParam, types<bfloat16, float, half, float, bfloat16>>(3, n, 1e-6);
    check<TypeParam, types<half, bfloat16, double, half, double, float>>(3, n, 1e-6);
    check<TypeParam, types<double, float, float, double, half, double>>(3, n, 1e-6);
    check<TypeParam, types<float, float, float, float, float, void, double>>(3, n, 1e-6);
  }
}

TYPED_TEST_P(Backward, ManyRows) {
  for (const std::size_t count : {31u, 32u, 33u, 64u, 1000u}) {
    check<TypeParam, all<float>>(count, 35, 1e-6);
    check<TypeParam, all<double>>(count, 35, 1e-6);
    check<TypeParam, all<Eigen::bfloat16, float>>(count, 35, 1e-6);
  }
}

// -----------------------------------------------------------------------------------------------
// Rows of every size.
// -----------------------------------------------------------------------------------------------

TYPED_TEST_P(Backward, HugeAndTinyRows) {
  for (const std::size_t n : {2u, 5u, 100u, 5000u}) {
    for (const double eps : {0.0, 1e-6}) {
      for (const double x : {1e-20, 1e10, 1e25, 5e37})
        for (const double dy : {1e-40, 1e-20, 1.0}) {
          check<TypeParam, all<float>>(3, n, eps, dy, x);
          check<TypeParam, all<float, float, float>>(3, n, eps, dy, x);
          check<TypeParam, all<float>>(3, n, rn::outside_root(eps), dy, x);
        }
      check<TypeParam, all<float>>(3, n, eps, 1e-10, 1e-42);
      check<TypeParam, all<float, float, float>>(3, n, eps, 1e-10, 1e-42);
      check<TypeParam, all<float>>(3, n, eps, 1e30, 1e10);
      check<TypeParam, all<float>>(3, n, eps, 1e30, 1);
      for (const double x : {1e-100, 1e140, 1e200, 1e300}) {
        check<TypeParam, all<double>>(3, n, eps, 1, x);
        check<TypeParam, all<double, double, double>>(3, n, eps, 1, x);
        check<TypeParam, all<double>>(3, n, rn::outside_root(eps), 1, x);
      }
      check<TypeParam, all<double>>(3, n, eps, 1e-10, 1e-310);
      check<TypeParam, all<double, double, double>>(3, n, eps, 1e-10, 1e-310);
    }
  }
}

TYPED_TEST_P(Backward, RowsWithNothingToScale) {
  for (const std::size_t n : {1u, 2u, 100u})
    for (const rn::epsilon eps :
         {rn::epsilon(0), rn::epsilon(1e-6), rn::epsilon(rn::outside_root(0))})
      for (const float value : {0.0f, 0.1f, -3e5f}) {
        const matrix<float> dy = normals<float>(2, n, 20);
        const matrix<float> x = matrix<float>::Constant(2, dy.cols(), value);
        check<TypeParam, all<float>>(dy, x, eps);
        if (!eps.outside) check<TypeParam, all<float, float, float>>(dy, x, eps);
        check<TypeParam, all<double>>(dy.cast<double>(), x.cast<double>(), eps);
      }
}

TYPED_TEST_P(Backward, GradientsOfZero) {
  const matrix<float> x = normals<float>(2, 70, 21), dy = matrix<float>::Zero(2, 70);
  check<TypeParam, all<float>>(dy, x, 1e-6);
  check<TypeParam, all<float>>(dy, 1e25f * x, 0);
}

REGISTER_TYPED_TEST_SUITE_P(Backward, IsTheSlopeOfForward, EveryLengthInFloat, EveryLengthInDouble,
                            EveryLengthIn16Bits, EachTypeInEachRole, ManyRows, HugeAndTinyRows,
                            RowsWithNothingToScale, GradientsOfZero);

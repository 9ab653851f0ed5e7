// SPDX-License-Identifier: MIT
// The gradients' bits, whatever stands around a row, the order of the sums over rows, NaN and Inf,
// and the gradients behind an add.
#include <string>
#include <utility>

#include "norms.hpp"

namespace {

template <class Norm>
class Gradient : public testing::Test {};
using both_norms = testing::Types<norms::rms_norm, norms::layer_norm>;
TYPED_TEST_SUITE(Gradient, both_norms, norms::name);

/// dx and the sums of a call.
template <class V>
struct gradients {
  matrix<V> dx;
  matrix<float> dgamma, dbeta;
  gradients(const matrix<V>& start, Eigen::Index heads = 1)
      : dx(start), dgamma(matrix<float>::Zero(heads, start.cols())), dbeta(dgamma) {}
};
template <class V>
void expect_same(const gradients<V>& a, const gradients<V>& b, const std::string& what) {
  EXPECT_TRUE(same_bits(a.dx, b.dx)) << what;
  EXPECT_TRUE(same_bits(a.dgamma, b.dgamma)) << what;
  EXPECT_TRUE(same_bits(a.dbeta, b.dbeta)) << what;
}

template <class Norm, class V>
void check_in_place() {
  for (const std::size_t n : {3u, 64u, 77u, 5000u}) {
    const matrix<V> dy = normals<V>(3, n, 30), x = normals<V>(3, n, 31, 1, 2),
                    gamma = normals<V>(1, n, 32);
    gradients<V> apart(dy), at_dy(dy), at_x(x);
    const auto call = [&](const auto& from, const auto& in, gradients<V>& to) {
      Norm::template backward<float>(from, in, gamma, to.dx, to.dgamma, to.dbeta, 1e-6);
    };
    call(dy, x, apart);
    call(at_dy.dx, x, at_dy);
    call(dy, at_x.dx, at_x);
    expect_same(at_dy, apart, "dx over dy");
    expect_same(at_x, apart, "dx over x");
  }
}
TYPED_TEST(Gradient, MayWriteOverItsInputs) {
  check_in_place<TypeParam, float>();
  check_in_place<TypeParam, Eigen::bfloat16>();
}

template <class Norm, class V>
void check_any_batch() {
  for (const std::size_t n : {5u, 64u, 77u, 5000u}) {
    matrix<V> dy = normals<V>(40, n, 33), x = normals<V>(40, n, 34, 1, 2);
    x.row(7) = normals<V>(1, n, 36, 1e25);  // done again in another way, the others are not
    const matrix<V> gamma = normals<V>(1, n, 35);
    gradients<V> batch(dy);
    Norm::template backward<float>(dy, x, gamma, batch.dx, batch.dgamma, batch.dbeta, 1e-6);
    for (Eigen::Index i = 0; i < dy.rows(); ++i) {
      const auto shift = static_cast<std::size_t>(i);
      const guarded<V> from(dy.row(i), n, shift % 3), in(x.row(i), n, shift % 5);
      guarded<V> dx(1, n, n, shift);
      Norm::template backward<float>(from.rows(), in.rows(), gamma, dx.rows(), rn::none, rn::none,
                                     1e-6);
      EXPECT_TRUE(same_bits(dx.map().row(0), batch.dx.row(i))) << "row " << i << " of " << n;
    }
  }
}
TYPED_TEST(Gradient, DxHasTheSameBitsInAnyBatch) {
  check_any_batch<TypeParam, float>();
  check_any_batch<TypeParam, Eigen::bfloat16>();
}

TYPED_TEST(Gradient, WordsForGamma) {
  const matrix<float> dy = normals<float>(3, 70, 36), x = normals<float>(3, 70, 37),
                      ones = matrix<float>::Ones(1, 70);
  const matrix<Eigen::bfloat16> gamma = normals<Eigen::bfloat16>(1, 70, 38, 0.25);
  const matrix<float> gain = gamma.cast<float>(), gain_plus_one = gain + ones;
  const auto call = [&](const auto& word) {
    gradients<float> d(dy);
    TypeParam::template backward<float>(dy, x, word, d.dx, d.dgamma, d.dbeta, 1e-6);
    return d;
  };
  expect_same(call(rn::none), call(ones), "none");
  expect_same(call(rn::one_plus(gamma)), call(gain_plus_one), "one_plus");
  expect_same(call(rn::after_rounding(gamma)), call(gain), "after_rounding");
}

template <class Norm, class V>
void check_add() {
  const matrix<V> dy = normals<V>(3, 70, 40), h = normals<V>(3, 70, 41),
                  above = normals<V>(3, 70, 42), gamma = normals<V>(1, 70, 43);
  const auto call = [&](const auto& from, gradients<V>& to) {
    Norm::template add_backward<float>(from, h, gamma, to.dx, to.dgamma, to.dbeta, 1e-6);
  };
  gradients<V> add(above), over_dy(dy), onto_dy(dy), alone(dy);
  call(dy, add);
  for (Eigen::Index i = 0; i < 3; ++i) {
    const reference::gradient d =
        Norm::gradient(values(dy.row(i)), values(h.row(i)), values(gamma), 1e-6);
    reference::row sum = values(above.row(i));
    for (std::size_t j = 0; j < sum.size(); ++j) sum[j] += d.dx[j];
    EXPECT_TRUE(within(values(add.dx.row(i)), sum, [&](std::size_t j) {
      return 4 * step<float> * d.size[j] + 0.51L * ulp<V>(sum[j]);
    })) << format<V>::name;
  }
  Norm::template backward<float>(dy, h, gamma, alone.dx, alone.dgamma, alone.dbeta, 1e-6);
  EXPECT_TRUE(same_bits(add.dgamma, alone.dgamma));
  EXPECT_TRUE(same_bits(add.dbeta, alone.dbeta));
  call(over_dy.dx, over_dy);
  call(dy, onto_dy);
  expect_same(over_dy, onto_dy, "dh over dy");
}
TYPED_TEST(Gradient, BehindAnAdd) {
  check_add<TypeParam, float>();
  check_add<TypeParam, Eigen::bfloat16>();
}

/// What the kernel's fused multiply-add is: on plain SSE2, which has none, two roundings.
float multiply_add(float a, float b, float c) {
#if defined(ROWNORM_SSE2)
  return a * b + c;
#else
  return std::fma(a, b, c);
#endif
}

/// Rows of small integers whose sum is 0, so that h is x * r for both norms, rounded once, and the
/// statistics are given: then dgamma and dbeta have no bit that the order of the sums leaves open.
template <class Norm, class D>
void check_order(Eigen::Index count, Eigen::Index heads) {
  constexpr Eigen::Index n = 70;
  SCOPED_TRACE(testing::Message() << count << " rows, " << heads << " heads");
  matrix<float> x = normals<int>(static_cast<std::size_t>(count), n, 50, 10).cast<float>();
  for (Eigen::Index j = 0; j < n; j += 2) x.col(j + 1) = -x.col(j);
  x.col(0).array() += 1;
  x.col(1).array() -= 1;
  const matrix<float> dy = normals<float>(static_cast<std::size_t>(count), n, 51);
  const matrix<float> gamma = normals<float>(static_cast<std::size_t>(heads), n, 52);
  const matrix<double> rstd = normals<double>(1, static_cast<std::size_t>(count), 53, 0.1, 1);
  const matrix<double> mean = matrix<double>::Zero(1, count);
  const matrix<D> before = normals<D>(2 * static_cast<std::size_t>(heads), n, 54);
  matrix<D> wide(2 * heads, n + 3);  // gradients inside a wider matrix
  auto dgamma = wide.block(0, 1, heads, n), dbeta = wide.block(heads, 1, heads, n);
  dgamma = before.topRows(heads);
  dbeta = before.bottomRows(heads);
  matrix<float> dx(count, n);
  const auto rows = [&](auto* p) {
    return rn::heads(p, static_cast<std::size_t>(count / heads), static_cast<std::size_t>(heads),
                     std::size_t{n}, static_cast<std::size_t>(heads * n));
  };
  Norm::template backward<float>(rows(dy.data()), rows(x.data()), gamma, rows(dx.data()), dgamma,
                                 dbeta, Norm::saved(mean, rstd));
  matrix<D> expected = before;
  for (Eigen::Index head = 0; head < heads; ++head)
    for (Eigen::Index j = 0; j < n; ++j) {
      D& g = expected(head, j);
      D& b = expected(heads + head, j);
      const bool one_row = count == 1 && std::is_same_v<D, float>;  // adds to the gradient itself
      double total_gamma = 0, total_beta = 0;
      float gamma_of_block = one_row ? static_cast<float>(std::exchange(g, D(0))) : 0;
      float beta_of_block = 0;
      for (Eigen::Index i = 0; i < count; ++i) {
        if (i % heads == head) {
          const float h = x(i, j) * static_cast<float>(rstd(0, i));
          gamma_of_block = multiply_add(dy(i, j), h, gamma_of_block);
          beta_of_block += dy(i, j);
        }
        if ((i + 1) % 32 == 0 || i + 1 == count) {
          total_gamma += static_cast<double>(std::exchange(gamma_of_block, 0.0f));
          total_beta += static_cast<double>(std::exchange(beta_of_block, 0.0f));
        }
      }
      g = static_cast<D>(static_cast<double>(g) + total_gamma);
      if (Norm::centred) b = static_cast<D>(static_cast<double>(b) + total_beta);
    }
  EXPECT_TRUE(same_bits(dgamma, expected.topRows(heads))) << "dgamma";
  EXPECT_TRUE(same_bits(dbeta, expected.bottomRows(heads))) << "dbeta";
}
TYPED_TEST(Gradient, SumsOverRowsKeepTheirOrder) {
  for (const Eigen::Index count : {1, 31, 32, 33, 64, 100}) {
    check_order<TypeParam, float>(count, 1);
    check_order<TypeParam, double>(count, 1);
    check_order<TypeParam, Eigen::bfloat16>(count, 1);
    check_order<TypeParam, Eigen::half>(count, 1);
  }
  for (const Eigen::Index count : {3, 33, 96, 99}) check_order<TypeParam, float>(count, 3);
}

TYPED_TEST(Gradient, HeadsOfPackedRows) {
  constexpr std::size_t tokens = 5, heads = 3, length = 20, token_stride = 100;
  const matrix<float> dy = normals<float>(tokens, token_stride, 60),
                      x = normals<float>(tokens, token_stride, 61),
                      gamma = normals<float>(heads, length, 62);
  matrix<float> in_place = dy, expected = dy;
  gradients<float> all_heads(gamma, heads);
  const rn::heads<float> rows(in_place.data() + 7, tokens, heads, length, token_stride);
  const rn::heads<const float> x_rows(x.data() + 7, tokens, heads, length, token_stride);
  TypeParam::template backward<float>(rows, x_rows, gamma, rows, all_heads.dgamma, all_heads.dbeta,
                                      1e-6);
  for (Eigen::Index h = 0; h < 3; ++h) {
    const auto head = [&](auto& m) { return m.block(0, 7 + h * 20, 5, 20); };
    matrix<float> dgamma = matrix<float>::Zero(1, 20), dbeta = dgamma;
    TypeParam::template backward<float>(head(dy), head(x), gamma.row(h), head(expected), dgamma,
                                        dbeta, 1e-6);
    // Five tokens are one block, among three heads or alone.
    EXPECT_TRUE(same_bits(all_heads.dgamma.row(h), dgamma));
    EXPECT_TRUE(same_bits(all_heads.dbeta.row(h), dbeta));
  }
  EXPECT_TRUE(same_bits(in_place, expected));
}

// -----------------------------------------------------------------------------------------------
// NaN and Inf, and rows that are not there.
// -----------------------------------------------------------------------------------------------

TYPED_TEST(Gradient, NanAndInfStayInTheirRow) {
  const auto all_of = [](const auto& row, auto predicate) {
    const reference::row v = values(row);
    return std::all_of(v.begin(), v.end(), predicate);
  };
  const auto is_nan = [](real v) { return std::isnan(v); };
  constexpr float nan = std::numeric_limits<float>::quiet_NaN();
  constexpr float inf = std::numeric_limits<float>::infinity();
  for (const std::size_t n : {3u, 33u, 64u, 200u, 5000u})
    for (const Eigen::Index at : {Eigen::Index{0}, static_cast<Eigen::Index>(n) - 1}) {
      SCOPED_TRACE(testing::Message() << "number " << at << " of " << n);
      matrix<float> dy = normals<float>(6, n, 70), x = normals<float>(6, n, 71);
      gradients<float> clean(dy), d(dy), d_of_dy(dy);
      const auto call = [&](gradients<float>& to) {
        TypeParam::template backward<float>(dy, x, rn::none, to.dx, to.dgamma, to.dbeta, 1e-6);
      };
      call(clean);
      dy(4, at) = nan;
      call(d_of_dy);
      // A NaN in dy reaches its own column's sums; one in x makes h NaN all along the row.
      for (Eigen::Index j = 0; j < x.cols(); ++j) {
        EXPECT_EQ(std::isnan(d_of_dy.dgamma(0, j)), j == at) << j;
        EXPECT_EQ(std::isnan(d_of_dy.dbeta(0, j)), TypeParam::centred && j == at) << j;
      }
      dy(3, at) = inf;
      x(1, at) = nan;
      x(2, at) = -inf;
      call(d);
      EXPECT_TRUE(all_of(d.dgamma.row(0), is_nan));
      EXPECT_TRUE(same_bits(d.dx.row(0), clean.dx.row(0)));
      EXPECT_TRUE(same_bits(d.dx.row(5), clean.dx.row(5)));
      for (const Eigen::Index row : {1, 2}) EXPECT_TRUE(all_of(d.dx.row(row), is_nan)) << row;
      for (const Eigen::Index row : {3, 4})
        EXPECT_TRUE(all_of(d.dx.row(row), [](real v) { return !std::isfinite(v); })) << row;
    }
}

TYPED_TEST(Gradient, NothingToDo) {
  const matrix<float> before = normals<float>(2, 8, 80);
  gradients<float> d(before);
  d.dgamma = d.dbeta = before.row(0);
  const gradients<float> as_it_was = d;
  const rn::rows<float> no_rows(nullptr, 0, 8), no_numbers(d.dx.data(), 2, 0, 8);
  const std::vector<float> nobody;
  TypeParam::template backward<float>(no_rows, no_rows, rn::none, no_rows, d.dgamma, d.dbeta, 1e-6);
  TypeParam::template backward<float>(no_rows, no_rows, rn::none, no_rows, d.dgamma, d.dbeta,
                                      TypeParam::saved(nobody, nobody));
  TypeParam::template backward<float>(no_numbers, no_numbers, rn::none, no_numbers,
                                      d.dgamma.leftCols(0), rn::none, 1e-6);
  expect_same(d, as_it_was, "");
}

}  // namespace

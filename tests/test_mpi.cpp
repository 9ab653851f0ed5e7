// SPDX-License-Identifier: MIT
// Calls on columns of rows, on as many processes as mpiexec starts, against the formulas for whole
// rows, which each process knows; and the errors.
#include <rownorm/mpi.hpp>
#include <stdexcept>
#include <string>
#include <utility>

#include "norms.hpp"

namespace {
std::vector<int> sent;  // the bytes of each all-reduce
}
/// In place of MPI's own, which has this second name for such purposes.
extern "C" int MPI_Allreduce(const void* from, void* to, int count, MPI_Datatype type, MPI_Op op,
                             MPI_Comm comm) {
  int size;
  MPI_Type_size(type, &size);
  sent.push_back(count * size);
  return PMPI_Allreduce(from, to, count, type, op, comm);
}

namespace {

int rank_of_all() {
  int rank;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  return rank;
}
int processes() {
  int size;
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  return size;
}

/// Ways to deal D columns out: evenly, with none to the last process, with one to the first and
/// none to the second, and all to one.
constexpr int deals = 4;
struct columns_here {
  Eigen::Index begin, count;
  columns_here(Eigen::Index D, int deal) {
    const Eigen::Index p = processes(), r = rank_of_all();
    const auto first = [&](Eigen::Index rank) -> Eigen::Index {
      if (rank == 0) return 0;
      if (rank == p) return D;
      if (deal == 0) return D * rank / p;
      if (deal == 1) return p == 1 ? D : D * rank / (p - 1);
      if (deal == 2) return rank < 3 ? 1 : 1 + (D - 1) * (rank - 2) / (p - 2);
      return D;
    };
    begin = first(r);
    count = first(r + 1) - begin;
  }
  template <class M>
  auto of(M& m) const {
    return m.middleCols(begin, count);
  }
};

/// `here` of each matrix is what a call is given; beyond it, nothing may be written.
template <class T>
testing::AssertionResult zero_beyond(const columns_here& here, const matrix<T>& m) {
  for (Eigen::Index i = 0; i < m.rows(); ++i)
    for (Eigen::Index j = 0; j < m.cols(); ++j)
      if ((j < here.begin || j >= here.begin + here.count) && exact(m(i, j)) != 0)
        return testing::AssertionFailure() << "written at " << i << ", " << j;
  return testing::AssertionSuccess();
}

/// All processes have the same bits.
testing::AssertionResult same_everywhere(const std::vector<double>& v) {
  std::vector<unsigned long long> bits(v.size()), least(v.size()), most(v.size());
  std::memcpy(bits.data(), v.data(), v.size() * sizeof(double));
  const int n = static_cast<int>(v.size());
  MPI_Allreduce(bits.data(), least.data(), n, MPI_UNSIGNED_LONG_LONG, MPI_MIN, MPI_COMM_WORLD);
  MPI_Allreduce(bits.data(), most.data(), n, MPI_UNSIGNED_LONG_LONG, MPI_MAX, MPI_COMM_WORLD);
  if (least == most) return testing::AssertionSuccess();
  return testing::AssertionFailure() << "the processes have other numbers";
}

template <class Row>
reference::row part(const columns_here& here, const Row& row) {
  return reference::row(row.begin() + here.begin, row.begin() + here.begin + here.count);
}

/// 1/rms, which of the smallest doubles is none.
template <class T>
testing::AssertionResult near_rstd(double got, real expected) {
  if (expected > std::numeric_limits<double>::max() && std::isinf(got))
    return testing::AssertionSuccess();
  return within({got}, {expected}, [&](std::size_t) { return rstd_error<T> * expected; });
}

/// Rows of one matrix, all of whose columns all processes have.
struct rows_to_try {
  std::string name;
  matrix<double> x;
};
/// shift + scale * N(0, 1); and rows whose left third is another size or lies elsewhere.
std::vector<rows_to_try> all_rows(bool wide_range) {
  std::vector<rows_to_try> all;
  for (const std::size_t D : {1u, 5u, 64u, 1000u, 4099u})
    all.push_back({"normal", normals<double>(3, D, static_cast<unsigned>(D))});
  all.push_back({"zeros", matrix<double>::Zero(2, 50)});
  all.push_back({"equal", matrix<double>::Constant(2, 50, 3)});
  all.push_back({"shifted", normals<double>(3, 1000, 1, 1, 1e4)});
  matrix<double> x = normals<double>(3, 1000, 2);
  x.leftCols(333).array() += 1e3;
  all.push_back({"shifted to the left", x});
  std::vector<double> scales{1e25, 3e37, 1e-20, 1e-42};
  if (wide_range) scales = {1e25, 1e200, 3e305, 1e-200, 1e-310};
  for (const double scale : scales) {
    all.push_back({"large or small", normals<double>(3, 100, 3, scale)});
    all.push_back({"few, large or small", normals<double>(3, 5, 3, scale)});
    x = normals<double>(3, 100, 4);
    x.leftCols(33) *= scale;
    all.push_back({"large or small to the left", x});
  }
  // As large as floats are: 1/rms is no normal float.
  x = normals<double>(8, 20, 5, 0.4e38, 2.7e38);
  x.leftCols(7) *= -1;
  all.push_back({"largest", x.cwiseMin(3.3e38)});
  if (wide_range) {
    // One of these squares is a double, two of them are not.
    x = matrix<double>::Constant(2, 5, 1e154);
    x.col(1) *= -1;
    all.push_back({"squares that fit alone", x});
  }
  return all;
}

/// call(x, eps, deal) on all of those rows, rounded to X.
template <class X, class Check>
void on_all_rows(Check check) {
  constexpr bool wide = std::is_same_v<X, double>;
  constexpr bool narrow = std::is_same_v<X, Eigen::half>;
  for (const rows_to_try& rows : all_rows(wide)) {
    if (narrow && rows.x.cwiseAbs().maxCoeff() > 6e4) continue;
    const matrix<X> x = matrix<X>::NullaryExpr(
        rows.x.rows(), rows.x.cols(),
        [&](Eigen::Index i, Eigen::Index j) { return number<X>(rows.x(i, j)); });
    for (const rn::epsilon eps :
         {rn::epsilon(0), rn::epsilon(1e-5), rn::epsilon(rn::outside_root(0.37))})
      for (int deal = 0; deal < deals; ++deal) {
        SCOPED_TRACE(testing::Message() << rows.name << ", " << x.rows() << " x " << x.cols()
                                        << ", eps " << eps.value << ", deal " << deal);
        check(x, eps, columns_here(x.cols(), deal));
      }
  }
}

rn::columns columns(const columns_here&, Eigen::Index D) {
  return {MPI_COMM_WORLD, static_cast<std::size_t>(D)};
}

template <class T, class X, class G, class Y>
void check_rms_norm() {
  on_all_rows<X>([](const matrix<X>& x, rn::epsilon eps, const columns_here& here) {
    const matrix<G> gamma = normals<G>(1, static_cast<std::size_t>(x.cols()), 5);
    matrix<Y> y = matrix<Y>::Zero(x.rows(), x.cols());
    std::vector<double> rstd(static_cast<std::size_t>(x.rows()));
    rn::rms_norm<T>(columns(here, x.cols()), here.of(x), here.of(gamma), here.of(y), eps, rstd);
    for (Eigen::Index i = 0; i < x.rows(); ++i) {
      const auto expected = reference::rms_norm(values(x.row(i)), values(gamma), eps);
      EXPECT_TRUE(within(part(here, values(y.row(i))), part(here, expected.y), [&](std::size_t j) {
        const real v = expected.y[static_cast<std::size_t>(here.begin) + j];
        return rms_norm_error<T, Y>(v) + ulp<Y>(0) + ulp<T>(0);
      }));
      EXPECT_TRUE(near_rstd<T>(rstd[static_cast<std::size_t>(i)], expected.rstd));
    }
    EXPECT_TRUE(zero_beyond(here, y));
    EXPECT_TRUE(same_everywhere(rstd));
  });
}
TEST(Columns, RmsNorm) {
  check_rms_norm<float, float, float, float>();
  check_rms_norm<double, double, double, double>();
  check_rms_norm<float, Eigen::bfloat16, Eigen::bfloat16, Eigen::bfloat16>();
  check_rms_norm<float, Eigen::half, float, Eigen::half>();
  check_rms_norm<double, float, float, float>();
  check_rms_norm<float, double, float, double>();
}

template <class T, class X, class G, class Y>
void check_layer_norm() {
  on_all_rows<X>([](const matrix<X>& x, rn::epsilon eps, const columns_here& here) {
    const auto D = static_cast<std::size_t>(x.cols());
    const matrix<G> gamma = normals<G>(1, D, 6), beta = normals<G>(1, D, 7);
    matrix<Y> y = matrix<Y>::Zero(x.rows(), x.cols());
    std::vector<double> mean(static_cast<std::size_t>(x.rows())), rstd(mean);
    rn::layer_norm<T>(columns(here, x.cols()), here.of(x), here.of(gamma), here.of(beta),
                      here.of(y), eps, mean, rstd);
    for (Eigen::Index i = 0; i < x.rows(); ++i) {
      const reference::row g = values(gamma), b = values(beta);
      const auto expected = reference::layer_norm(values(x.row(i)), g, b, eps);
      EXPECT_TRUE(within(part(here, values(y.row(i))), part(here, expected.y), [&](std::size_t k) {
        const std::size_t j = static_cast<std::size_t>(here.begin) + k;
        const real v = expected.y[j];
        return layer_norm_error<T, Y>(v, std::max({std::abs(v), std::abs(g[j]), std::abs(b[j])}));
      }));
      const auto at = static_cast<std::size_t>(i);
      const real largest = x.row(i).template cast<double>().cwiseAbs().maxCoeff();
      EXPECT_TRUE(near_rstd<T>(rstd[at], expected.rstd));
      EXPECT_TRUE(within({mean[at]}, {expected.mean}, [&](std::size_t) {
        return step<T> * (std::abs(expected.mean) + largest) + ulp<double>(0);
      })) << "mean";
    }
    EXPECT_TRUE(zero_beyond(here, y));
    EXPECT_TRUE(same_everywhere(mean) && same_everywhere(rstd));
  });
}
TEST(Columns, LayerNorm) {
  check_layer_norm<float, float, float, float>();
  check_layer_norm<double, double, double, double>();
  check_layer_norm<float, Eigen::bfloat16, Eigen::bfloat16, Eigen::bfloat16>();
  check_layer_norm<float, Eigen::half, float, Eigen::half>();
}

/// Both norms with one order of arguments.
struct rms {
  using formula = norms::rms_norm;
  template <class T, class DY, class X, class G, class DX, class D, class B, class S>
  static void call(const rn::columns& where, const DY& dy, const X& x, const G& gamma, DX dx,
                   D dgamma, B, const S& statistics) {
    rn::rms_norm_backward<T>(where, dy, x, gamma, dx, dgamma, statistics);
  }
};
struct layer {
  using formula = norms::layer_norm;
  template <class T, class DY, class X, class G, class DX, class D, class B, class S>
  static void call(const rn::columns& where, const DY& dy, const X& x, const G& gamma, DX dx,
                   D dgamma, B dbeta, const S& statistics) {
    rn::layer_norm_backward<T>(where, dy, x, gamma, dx, dgamma, dbeta, statistics);
  }
};

template <class Norm, class T, class X, bool Saved = false>
void check_backward() {
  using formula = typename Norm::formula;
  on_all_rows<X>([](const matrix<X>& x, rn::epsilon eps, const columns_here& here) {
    const auto D = static_cast<std::size_t>(x.cols());
    const double size = exact(x.cwiseAbs().maxCoeff()) < 1e-30L ? 1e-10 : 1;  // dx is like dy / x
    const matrix<X> dy = normals<X>(static_cast<std::size_t>(x.rows()), D, 8, size),
                    gamma = normals<X>(1, D, 9);
    matrix<X> dx = matrix<X>::Zero(x.rows(), x.cols());
    matrix<T> dgamma = matrix<T>::Zero(1, x.cols()), dbeta = dgamma;
    const auto call = [&](const auto& statistics) {
      Norm::template call<T>(columns(here, x.cols()), here.of(dy), here.of(x), here.of(gamma),
                             here.of(dx), here.of(dgamma), here.of(dbeta), statistics);
    };
    if constexpr (Saved) {
      if (eps.outside) return;
      matrix<X> y = x;
      std::vector<double> mean(static_cast<std::size_t>(x.rows())), rstd(mean);
      formula::template forward<T>(x, rn::none, rn::none, y, eps, mean, rstd);
      call(formula::saved(mean, rstd));
    } else {
      call(eps);
    }
    reference::row sum_gamma(D), sum_beta(D), error_gamma(D), error_beta(D);
    for (Eigen::Index i = 0; i < x.rows(); ++i) {
      const reference::row v = values(dy.row(i));
      const auto d = formula::gradient(v, values(x.row(i)), values(gamma), eps);
      EXPECT_TRUE(within(part(here, values(dx.row(i))), part(here, d.dx), [&](std::size_t k) {
        const std::size_t j = static_cast<std::size_t>(here.begin) + k;
        return 4 * step<T> * d.size[j] + stored_error<T, X>(d.dx[j]) + ulp<X>(0);
      })) << "dx";
      for (std::size_t j = 0; j < D; ++j) {
        sum_gamma[j] += v[j] * d.h[j];
        error_gamma[j] +=
            step<T> * std::abs(v[j]) * (2 * std::abs(d.h[j]) + formula::h_error(d.h[j])) +
            ulp<T>(0);
        sum_beta[j] += formula::centred ? v[j] : 0;
        error_beta[j] += 2 * step<T> * std::abs(v[j]);
      }
    }
    const auto j_of = [&](std::size_t k) { return static_cast<std::size_t>(here.begin) + k; };
    EXPECT_TRUE(within(part(here, values(dgamma)), part(here, sum_gamma), [&](std::size_t k) {
      return error_gamma[j_of(k)];
    })) << "dgamma";
    EXPECT_TRUE(within(part(here, values(dbeta)), part(here, sum_beta), [&](std::size_t k) {
      return error_beta[j_of(k)];
    })) << "dbeta";
    EXPECT_TRUE(zero_beyond(here, dx) && zero_beyond(here, dgamma) && zero_beyond(here, dbeta));
  });
}
TEST(Columns, RmsNormBackward) {
  check_backward<rms, float, float>();
  check_backward<rms, double, double>();
  check_backward<rms, float, Eigen::bfloat16>();
  check_backward<rms, float, float, true>();
}
TEST(Columns, LayerNormBackward) {
  check_backward<layer, float, float>();
  check_backward<layer, double, double>();
  check_backward<layer, float, Eigen::bfloat16>();
  check_backward<layer, float, float, true>();
}

TEST(Columns, AddIsTheAddAndTheNorm) {
  const matrix<float> x = normals<float>(3, 1000, 10), before = normals<float>(3, 1000, 11);
  for (int deal = 0; deal < deals; ++deal) {
    const columns_here here(x.cols(), deal);
    matrix<float> residual = before, sum = before + x, y = x, expected = x;
    const rn::columns where = columns(here, x.cols());
    rn::add_rms_norm(where, here.of(x), here.of(residual), rn::none, here.of(y));
    rn::rms_norm(where, here.of(sum), rn::none, here.of(expected));
    EXPECT_TRUE(same_bits(matrix<float>(here.of(residual)), matrix<float>(here.of(sum))));
    EXPECT_TRUE(same_bits(y, expected));
    residual = before;
    rn::add_layer_norm(where, here.of(x), here.of(residual), rn::none, rn::none, here.of(y));
    rn::layer_norm(where, here.of(sum), rn::none, rn::none, here.of(expected));
    EXPECT_TRUE(same_bits(y, expected));
  }
}

TEST(Columns, AddBackwardIsTheGradientAddedToTheSum) {
  const matrix<float> dy = normals<float>(5, 1000, 23), h = normals<float>(5, 1000, 24),
                      gamma = normals<float>(1, 1000, 25), before = normals<float>(5, 1000, 26);
  const auto near = [&](const matrix<float>& dh, const matrix<float>& dx) {
    return ((dh - before - dx).cwiseAbs().array() <=
            4 * std::numeric_limits<float>::epsilon() * (dx.cwiseAbs() + dh.cwiseAbs()).array())
        .all();
  };
  for (int deal = 0; deal < deals; ++deal) {
    const columns_here here(h.cols(), deal);
    const rn::columns where = columns(here, h.cols());
    matrix<float> dh = before, dx = matrix<float>::Zero(5, 1000), dgamma = gamma, other = gamma;
    rn::rms_norm_backward(where, here.of(dy), here.of(h), here.of(gamma), here.of(dx),
                          here.of(other));
    rn::add_rms_norm_backward(where, here.of(dy), here.of(h), here.of(gamma), here.of(dh),
                              here.of(dgamma));
    EXPECT_TRUE(near(dh, dx));  // beyond `here` dx is zero, dh as before
    EXPECT_TRUE(same_bits(dgamma, other));
    dh = before;
    rn::layer_norm_backward(where, here.of(dy), here.of(h), here.of(gamma), here.of(dx), rn::none,
                            rn::none);
    rn::add_layer_norm_backward(where, here.of(dy), here.of(h), here.of(gamma), here.of(dh),
                                rn::none, rn::none);
    EXPECT_TRUE(near(dh, dx));  // beyond `here` dx is zero, dh as before
  }
}

TEST(Columns, WordsOfTheCall) {
  const matrix<float> x = normals<float>(3, 1000, 27), gamma = normals<float>(1, 1000, 28);
  const matrix<float> plus_one = gamma.array() + 1;
  const columns_here here(1000, 0);
  const rn::columns where = columns(here, 1000);
  matrix<float> y = x, expected = x;
  rn::rms_norm(where, here.of(x), rn::one_plus(here.of(gamma)), rn::streaming(here.of(y)));
  rn::rms_norm(where, here.of(x), here.of(plus_one), here.of(expected));
  EXPECT_TRUE(same_bits(y, expected));
}

/// What one process alone sees, all know of: a NaN or an infinity in the first column.
template <class T>
void check_not_finite() {
  for (int deal = 0; deal < deals; ++deal) {
    matrix<T> x = normals<T>(4, 100, 12), y = x, z = x;
    x(1, 0) = std::numeric_limits<T>::quiet_NaN();
    x(2, 0) = std::numeric_limits<T>::infinity();
    const columns_here here(x.cols(), deal);
    const rn::columns where = columns(here, x.cols());
    rn::rms_norm(where, here.of(x), rn::none, here.of(y));
    rn::layer_norm(where, here.of(x), rn::none, rn::none, here.of(z));
    for (Eigen::Index j = here.begin; j < here.begin + here.count; ++j) {
      EXPECT_TRUE(std::isfinite(y(0, j)) && std::isfinite(y(3, j))) << j;
      EXPECT_TRUE(std::isfinite(z(0, j)) && std::isfinite(z(3, j))) << j;
      EXPECT_TRUE(std::isnan(y(1, j)) && std::isnan(z(1, j)) && std::isnan(z(2, j))) << j;
      if (j == 0) EXPECT_TRUE(std::isnan(y(2, j)));
      else EXPECT_EQ(y(2, j), 0) << j;
    }
  }
}
TEST(Columns, NanAndInfStayInTheirRow) {
  check_not_finite<float>();
  check_not_finite<double>();
}

template <class T>
bool same_kind(T a, T b) {
  return std::isnan(a) == std::isnan(b) && std::isinf(a) == std::isinf(b);
}
/// Numbers that are none, at the first and last column, are to y and dx what they are to those of
/// whole rows: other rows keep their bits.
template <class X>
void check_not_finite_gradients() {
  using T = test::arithmetic<X, X, X>;
  const auto nan = std::numeric_limits<X>::quiet_NaN(),
             infinity = std::numeric_limits<X>::infinity();
  const matrix<X> x = normals<X>(7, 100, 19), dy = normals<X>(7, 100, 20), gamma = x.topRows(1);
  matrix<X> bad_x = x, bad_dy = dy;
  bad_x(0, 0) = bad_x(2, 99) = nan;
  bad_x(3, 0) = infinity;
  bad_dy(4, 99) = nan;
  bad_dy(6, 0) = infinity;
  const auto check = [&](auto norm, const char* name) {
    using Norm = decltype(norm);
    for (int deal = 0; deal < deals; ++deal) {
      const columns_here here(x.cols(), deal);
      const auto call = [&](matrix<X>& in, matrix<X>& dout) {
        matrix<X> dx = matrix<X>::Zero(7, 100);
        matrix<T> dgamma = matrix<T>::Zero(1, 100);
        Norm::template call<T>(columns(here, 100), here.of(dout), here.of(in), here.of(gamma),
                               here.of(dx), here.of(dgamma), rn::none, 1e-5);
        return dx;
      };
      matrix<X> good_x = x, good_dy = dy;
      const matrix<X> good = call(good_x, good_dy), bad = call(bad_x, bad_dy);
      matrix<X> whole = x;
      Norm::formula::template backward<T>(bad_dy, bad_x, gamma, whole, rn::none, rn::none, 1e-5);
      for (const Eigen::Index i : {1, 5})
        EXPECT_TRUE(same_bits(matrix<X>(bad.row(i)), matrix<X>(good.row(i))))
            << name << ", row " << i;
      for (const Eigen::Index i : {0, 2, 3, 4, 6})
        for (Eigen::Index j = here.begin; j < here.begin + here.count; ++j)
          EXPECT_TRUE(same_kind(exact(bad(i, j)), exact(whole(i, j))))
              << name << ", row " << i << ", column " << j << ": " << exact(bad(i, j)) << " and "
              << exact(whole(i, j));
    }
  };
  check(rms(), "rms_norm");
  check(layer(), "layer_norm");
}
TEST(Columns, NanAndInfStayInTheirRowsGradient) {
  check_not_finite_gradients<float>();
  check_not_finite_gradients<double>();
}

/// gamma * dy is beyond float in the first two columns, dx is not; where the two cancel, no sum
/// over the row is beyond float either.
template <class Norm>
void check_large_gradients(bool cancel) {
  matrix<float> x = normals<float>(1, 100, 13, 1e10), dy = normals<float>(1, 100, 14), dx = x;
  matrix<float> gamma = matrix<float>::Ones(1, 100), dgamma = gamma;
  gamma(0, 0) = gamma(0, 1) = dy(0, 0) = dy(0, 1) = 1e20f;
  if (cancel) {
    x(0, 0) = x(0, 1) = 0;
    dy(0, 1) = -1e20f;
  }
  for (int deal = 0; deal < deals; ++deal) {
    const columns_here here(x.cols(), deal);
    Norm::template call<float>(columns(here, x.cols()), here.of(dy), here.of(x), here.of(gamma),
                               here.of(dx), here.of(dgamma), rn::none, 0);
    const auto d = Norm::formula::gradient(values(dy), values(x), values(gamma), 0);
    EXPECT_TRUE(within(part(here, values(dx)), part(here, d.dx),
                       [&](std::size_t k) {
                         return 4 * step<float> * d.size[static_cast<std::size_t>(here.begin) + k];
                       }))
        << "deal " << deal;
  }
}
TEST(Columns, GradientsTooLargeForFloat) {
  for (const bool cancel : {false, true}) {
    check_large_gradients<rms>(cancel);
    check_large_gradients<layer>(cancel);
  }
}

/// All rows go in one message: so many doubles for each, and for RMSNorm one more row, of lengths.
TEST(Columns, OneMessageForEachCall) {
  const auto p = static_cast<std::size_t>(processes());
  const auto check = [p](auto number, int rms_numbers, int layer_numbers, int rms_gradient_numbers,
                         int layer_gradient_numbers) {
    using T = decltype(number);
    matrix<T> x = normals<T>(9, 10, 21), y = x, gradient = x.topRows(1);
    const rn::columns where(MPI_COMM_WORLD, 10 * p);
    const auto numbers = [](auto call) {
      sent.clear();
      call();
      return sent.size() == 1 ? sent[0] / static_cast<int>(sizeof(double)) : -1;
    };
    EXPECT_EQ(numbers([&] { rn::rms_norm(where, x, rn::none, y); }), rms_numbers * 10);
    EXPECT_EQ(numbers([&] { rn::add_rms_norm(where, x, y, rn::none, x); }), rms_numbers * 10);
    EXPECT_EQ(numbers([&] { rn::layer_norm(where, x, rn::none, rn::none, y); }), layer_numbers * 9);
    EXPECT_EQ(numbers([&] { rn::rms_norm_backward(where, y, x, rn::none, y, gradient); }),
              rms_gradient_numbers * 10);
    EXPECT_EQ(
        numbers([&] { rn::layer_norm_backward(where, y, x, rn::none, y, gradient, rn::none); }),
        layer_gradient_numbers * 9);
  };
  check(0.0f, 1, 4, 2, 6);
  check(0.0, 2, 5, 3, 7);
}

/// Two groups of processes, each with rows of its own number and length.
TEST(Columns, OfAPartOfTheProcesses) {
  const int group = rank_of_all() % 2;
  MPI_Comm comm;
  MPI_Comm_split(MPI_COMM_WORLD, group, rank_of_all(), &comm);
  int rank, size;
  MPI_Comm_rank(comm, &rank);
  MPI_Comm_size(comm, &size);
  const Eigen::Index D = 100 + 50 * group;
  const matrix<float> all = normals<float>(group == 0 ? 3 : 2, static_cast<std::size_t>(D), 22);
  const matrix<float> x = all.middleCols(D * rank / size, D * (rank + 1) / size - D * rank / size);
  matrix<float> y = x;
  rn::rms_norm(rn::columns(comm, static_cast<std::size_t>(D)), x, rn::none, y);
  for (Eigen::Index i = 0; i < x.rows(); ++i) {
    const reference::row expected = reference::rms_norm(values(all.row(i)), {}, 1e-6).y;
    EXPECT_TRUE(
        within(values(y.row(i)),
               {expected.begin() + D * rank / size, expected.begin() + D * (rank + 1) / size},
               [&](std::size_t) { return 4 * step<float>; }));
  }
  MPI_Comm_free(&comm);
}

// -----------------------------------------------------------------------------------------------
// Errors.
// -----------------------------------------------------------------------------------------------

TEST(Columns, AnotherLengthThanTheColumnsIsAnErrorEverywhere) {
  const matrix<float> x = normals<float>(2, 10, 15);
  matrix<float> y = x, dgamma = x.topRows(1);
  const columns_here here(10, 0);
  const std::string expected = "columns: D is 11, the columns of all processes are 10";
  const auto error = [&](auto call) {
    return error_of<std::invalid_argument>(
        [&] { call(columns(here, 11), here.of(x), here.of(y)); });
  };
  EXPECT_EQ(error([](auto where, auto in, auto out) { rn::rms_norm(where, in, rn::none, out); }),
            expected);
  EXPECT_EQ(error([](auto where, auto in, auto out) {
              rn::layer_norm(where, in, rn::none, rn::none, out);
            }),
            expected);
  EXPECT_EQ(error([&](auto where, auto in, auto out) {
              rn::rms_norm_backward(where, in, in, rn::none, out, here.of(dgamma));
            }),
            expected);
  EXPECT_EQ(error([&](auto where, auto in, auto out) {
              rn::layer_norm_backward(where, in, in, rn::none, out, here.of(dgamma), rn::none);
            }),
            expected);
  EXPECT_TRUE(same_bits(y, x));
  EXPECT_TRUE(same_bits(dgamma, x.topRows(1)));
}

TEST(Columns, ArgumentsAreChecked) {
  const matrix<float> x = normals<float>(2, 10, 16);
  matrix<float> y = x;
  EXPECT_EQ(error_of<std::invalid_argument>(
                [&] { rn::rms_norm(rn::columns(MPI_COMM_WORLD, 10), x, x.leftCols(3), y); }),
            "rms_norm: gamma has 3 numbers, the rows of x have 10");
  EXPECT_EQ(error_of<std::invalid_argument>(
                [&] { rn::rms_norm(rn::columns(MPI_COMM_NULL, 10), x, rn::none, y); }),
            "columns: comm is MPI_COMM_NULL");
  EXPECT_TRUE(same_bits(y, x));
}

TEST(Columns, MpiErrorsAreThrown) {
  EXPECT_NE(error_of<std::runtime_error>([] {
              rn::detail::fail_if_mpi_did(MPI_ERR_COMM);
            }).find("rownorm: MPI: "),
            std::string::npos);
#if defined(OPEN_MPI)  // another MPI may do something else with what is an error
  if (processes() == 2) {
    // Of two messages the shorter one is fine, the longer one does not fit.
    MPI_Comm both;
    MPI_Comm_dup(MPI_COMM_WORLD, &both);
    matrix<float> x = normals<float>(rank_of_all() == 0 ? 1 : 3, 10, 17);
    const std::string error =
        error_of<std::runtime_error>([&] { rn::rms_norm(rn::columns(both, 20), x, rn::none, x); });
    EXPECT_EQ(rank_of_all() == 0, error.find("MPI_ERR_TRUNCATE") != std::string::npos) << error;
    MPI_Comm_free(&both);
  }
#endif
}

TEST(Columns, TheCommunicatorKeepsItsErrorHandler) {
  MPI_Comm all;
  MPI_Comm_dup(MPI_COMM_WORLD, &all);
  MPI_Comm_set_errhandler(all, MPI_ERRORS_ARE_FATAL);
  matrix<float> x = normals<float>(2, 10, 18);
  rn::rms_norm(rn::columns(all, 10 * static_cast<std::size_t>(processes())), x, rn::none, x);
  MPI_Errhandler after;
  MPI_Comm_get_errhandler(all, &after);
  EXPECT_EQ(after, MPI_ERRORS_ARE_FATAL);
  MPI_Errhandler_free(&after);
  MPI_Comm_free(&all);
}

}  // namespace

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  testing::InitGoogleTest(&argc, argv);
  const int failed = RUN_ALL_TESTS();
  MPI_Finalize();
  return failed;
}

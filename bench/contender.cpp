// SPDX-License-Identifier: MIT
// rownorm, its reductions alone, memcpy and the bare loops as contenders.
#include "contender.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <rownorm/rownorm.hpp>

#include "limits.hpp"

namespace bench {

namespace {

/// Sums of a row come out here, so that they are needed.
struct found {
  double mean, variance;
};

/// The largest relative error of what was found, means relative to the standard deviation.
template <class S>
double error_of(const std::vector<found>& of, const problem& p, op what) {
  double worst = 0;
  for (std::size_t i = 0; i < of.size(); ++i) {
    const statistic& right = p.statistics(what)[i];
    const long double mean = std::fabs(of[i].mean - right.mean) * right.rstd;
    const long double variance = std::fabs(of[i].variance / right.variance - 1);
    const auto e = static_cast<double>(std::max(mean, variance));
    if (std::isnan(e)) return std::numeric_limits<double>::infinity();
    worst = std::max(worst, e);
  }
  return worst / static_cast<double>(std::numeric_limits<limits::real<S>>::epsilon());
}

/// find(i) gives what is found of row i.
template <class S, class Find>
contender finder(const char* called, role part, const problem& p, op what, Find find) {
  const auto results = std::make_shared<std::vector<found>>(p.rows);
  const auto f = [&p, find, out = results->data()] {
    for (std::size_t i = 0; i < p.rows; ++i) out[i] = find(i);
  };
  const auto error = [&p, what, f, results] {
    f();
    return error_of<S>(*results, p, what);
  };
  return {called, part, what, repeated(f), error, 1000};
}

/// A contender that writes y.
template <class F>
contender writer(const char* called, role part, const problem& p, op what, double tolerance, F f) {
  contender c = peer(called, p, what, f);
  c.part = part;
  c.tolerance = tolerance;
  return c;
}

template <class S>
using matrix = Eigen::Matrix<S, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
template <class S>
using vector = Eigen::Matrix<S, 1, Eigen::Dynamic>;

template <class S>
void add_rownorm(std::vector<contender>& all, const problem& p, op what) {
  using A = limits::real<S>;
  const auto n = static_cast<Eigen::Index>(p.length);
  const Eigen::Map<const matrix<S>> x(p.x<S>(), static_cast<Eigen::Index>(p.rows), n);
  const Eigen::Map<const vector<S>> gamma(p.gamma<S>(), n), beta(p.beta<S>(), n);
  Eigen::Map<matrix<S>> y(p.y<S>(), x.rows(), n);
  const double eps = epsilon(what), rounding = sizeof(S) == 2 ? 0.51 : 4;

  // The halves are the library's own, below its public calls.
  namespace detail = rownorm::detail;
  const auto source = detail::input(detail::to_input(x));
  if (what == op::rms_norm) {
    all.push_back(writer("rownorm", role::rownorm, p, what, rounding,
                         [=]() mutable { rownorm::rms_norm(x, gamma, y, eps); }));
    all.push_back(finder<S>(
        "sum of squares", role::reduction, p, what, [=, length = p.length](std::size_t i) {
          const A squares = detail::sum_of_squares<A>(length, source.first(i));
          return found{0, static_cast<double>(squares) / static_cast<double>(length)};
        }));
  } else {
    all.push_back(writer("rownorm", role::rownorm, p, what, rounding,
                         [=]() mutable { rownorm::layer_norm(x, gamma, beta, y, eps); }));
    all.push_back(finder<S>(
        "mean and variance", role::reduction, p, what, [=, length = p.length](std::size_t i) {
          const auto m = detail::find_moments<A>(length, source.first(i), source.second(i));
          return found{static_cast<double>(m.mean) + m.rest, m.variance};
        }));
  }
}

template <class S>
void add_limits(std::vector<contender>& all, const problem& p, op what) {
  using A = limits::real<S>;
  const std::size_t rows = p.rows, n = p.length;
  const S *x = p.x<S>(), *gamma = p.gamma<S>(), *beta = p.beta<S>();
  S* y = p.y<S>();
  const auto length = static_cast<double>(n);
  // The second half is given what the first would find.
  struct factors {
    A mean, rstd;
  };
  std::vector<factors> given;
  for (const statistic& s : p.statistics(what))
    given.push_back({static_cast<A>(s.mean), static_cast<A>(s.rstd)});
  const double rounding = sizeof(S) == 2 ? 1 : 4;

  if (what == op::rms_norm) {
    all.push_back(finder<S>("bare sum of squares", role::first_half, p, what, [=](std::size_t i) {
      return found{0, static_cast<double>(limits::sum_of_squares(n, x + i * n)) / length};
    }));
    all.push_back(writer("bare scale", role::second_half, p, what, rounding, [=] {
      for (std::size_t i = 0; i < rows; ++i)
        limits::scale(n, given[i].rstd, x + i * n, gamma, y + i * n);
    }));
  } else {
    all.push_back(
        finder<S>("bare sums around the mean", role::first_half, p, what, [=](std::size_t i) {
          const auto s = limits::sums_around(given[i].mean, n, x + i * n);
          const double rest = static_cast<double>(s.of[0]) / length;
          return found{static_cast<double>(given[i].mean) + rest,
                       static_cast<double>(s.of[1]) / length - rest * rest};
        }));
    all.push_back(writer("bare scale and shift", role::second_half, p, what, rounding, [=] {
      for (std::size_t i = 0; i < rows; ++i)
        limits::scale_and_shift(n, given[i].mean, given[i].rstd, x + i * n, gamma, beta, y + i * n);
    }));
  }
}

void add_memcpy(std::vector<contender>& all, const problem& p, op what) {
  const auto copy = [&p] { std::memcpy(p.y<std::byte>(), p.x<std::byte>(), p.bytes()); };
  const auto error = [&p, copy] {
    p.forget_result();
    copy();
    return std::memcmp(p.y<std::byte>(), p.x<std::byte>(), p.bytes()) == 0 ? 0.0 : 1.0;
  };
  all.push_back({"memcpy", role::copy, what, repeated(copy), error, 0});
}

}  // namespace

std::string name(role r) {
  switch (r) {
    case role::rownorm:
      return "rownorm";
    case role::reduction:
      return "reduction";
    case role::first_half:
      return "first half";
    case role::second_half:
      return "second half";
    case role::copy:
      return "copy";
    default:
      return "peer";
  }
}

std::vector<contender> own(const problem& p, op what) {
  std::vector<contender> all;
  with_type(p.numbers, [&](auto zero) {
    using S = decltype(zero);
    add_rownorm<S>(all, p, what);
    add_memcpy(all, p, what);
    if constexpr (limits::convertible<S>)
      if (p.length >= limits::step<S>) add_limits<S>(all, p, what);
  });
  return all;
}

}  // namespace bench

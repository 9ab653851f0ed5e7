// SPDX-License-Identifier: MIT
// rownorm's public calls as contenders, and its reductions alone.
#include <rownorm/rownorm.hpp>

#include "limits.hpp"
#include "own.hpp"

namespace bench {

namespace {

template <class S>
using matrix = Eigen::Matrix<S, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
template <class S>
using vector = Eigen::Matrix<S, 1, Eigen::Dynamic>;

/// A problem's arrays as a user of Eigen has them.
template <class S>
auto rows_of(const problem& p, S* data) {
  using map = Eigen::Map<
      std::conditional_t<std::is_const_v<S>, const matrix<std::remove_const_t<S>>, matrix<S>>>;
  return map(data, static_cast<Eigen::Index>(p.rows), static_cast<Eigen::Index>(p.length));
}
template <class S>
auto numbers_of(S* data, std::size_t count) {
  using map = Eigen::Map<
      std::conditional_t<std::is_const_v<S>, const vector<std::remove_const_t<S>>, vector<S>>>;
  return map(data, static_cast<Eigen::Index>(count));
}

template <class S>
constexpr double rounding = sizeof(S) == 2 ? 0.51 : 4;
constexpr double int8_rounding = 0.51;

using contenders = std::vector<contender>;

/// The whole call, from x to y.
template <class S>
contender forward(const char* called, role part, const problem& p, op what) {
  const double eps = epsilon(what);
  const auto x = rows_of(p, p.x<S>());
  const auto gamma = numbers_of(p.gamma<S>(), p.length), beta = numbers_of(p.beta<S>(), p.length);
  auto y = rows_of(p, p.y<S>());
  if (what == op::rms_norm)
    return writer(called, part, p, what, rounding<S>,
                  [=]() mutable { rownorm::rms_norm(x, gamma, y, eps); });
  return writer(called, part, p, what, rounding<S>,
                [=]() mutable { rownorm::layer_norm(x, gamma, beta, y, eps); });
}

/// The same on rows whose type fixes the length.
template <class S, std::size_t Length>
contender forward_fixed(const problem& p, op what) {
  const double eps = epsilon(what);
  const rownorm::rows<const S, Length> x(p.x<S>(), p.rows);
  const rownorm::rows<S, Length> y(p.y<S>(), p.rows);
  const auto gamma = numbers_of(p.gamma<S>(), p.length), beta = numbers_of(p.beta<S>(), p.length);
  const char* const called = "rownorm, length by type";
  if (what == op::rms_norm)
    return writer(called, role::beside, p, what, rounding<S>,
                  [=] { rownorm::rms_norm(x, gamma, y, eps); });
  return writer(called, role::beside, p, what, rounding<S>,
                [=] { rownorm::layer_norm(x, gamma, beta, y, eps); });
}

/// The first half alone: the library's own, below its public calls.
template <class S>
contender reduction(const problem& p, op what) {
  using A = real<S>;
  namespace detail = rownorm::detail;
  const auto rows = detail::matrix_of(detail::to_input(rows_of(p, p.x<S>())));
  const std::size_t n = p.length;
  if (what == op::rms_norm)
    return finder<S>("sum of squares", role::reduction, p, what, [=](std::size_t i) ROWNORM_FLAT {
      const double squares = detail::sum_of_squares<A>(n, rows.at_row(i));
      return found{0, squares / static_cast<double>(n)};
    });
  return finder<S>("mean and variance", role::reduction, p, what, [=](std::size_t i) ROWNORM_FLAT {
    const auto m = detail::moments_in<A>(n, rows.at_row(i), rows.at_row(i));
    return found{m.mean + m.rest, m.variance};
  });
}

template <class S>
contenders forwards(const problem& p, op what) {
  contenders all{forward<S>("rownorm", role::rownorm, p, what), reduction<S>(p, what)};
  if constexpr (std::is_same_v<S, float> || std::is_same_v<S, Eigen::bfloat16>) {
    if (p.length == 64) all.push_back(forward_fixed<S, 64>(p, what));
    if (p.length == 128) all.push_back(forward_fixed<S, 128>(p, what));
    if (p.length == 256) all.push_back(forward_fixed<S, 256>(p, what));
  }
  return all;
}

/// From eps, and beside it from the statistics that a forward call saved.
template <class S>
contenders backwards(const problem& p, op what) {
  using A = real<S>;
  const double eps = epsilon(what);
  const auto dy = rows_of(p, p.dy<S>()), x = rows_of(p, p.x<S>());
  const auto gamma = numbers_of(p.gamma<S>(), p.length);
  auto dx = rows_of(p, p.y<S>());
  auto dgamma = numbers_of(p.dgamma<A>(), p.length), dbeta = numbers_of(p.dbeta<A>(), p.length);
  std::vector<A> mean, rstd;
  for (const statistic& row : p.statistics(what)) {
    mean.push_back(static_cast<A>(row.mean));
    rstd.push_back(static_cast<A>(row.rstd));
  }
  const auto with = [&](const char* called, role part, auto f) {
    return writer(called, part, p, what, rounding<S>, f);
  };
  const char* const saved = "rownorm, saved statistics";
  if (what == op::rms_backward)
    return {with("rownorm", role::rownorm,
                 [=]() mutable { rownorm::rms_norm_backward(dy, x, gamma, dx, dgamma, eps); }),
            with(saved, role::beside, [=]() mutable {
              rownorm::rms_norm_backward(dy, x, gamma, dx, dgamma, rownorm::saved(rstd));
            })};
  return {
      with("rownorm", role::rownorm,
           [=]() mutable { rownorm::layer_norm_backward(dy, x, gamma, dx, dgamma, dbeta, eps); }),
      with(saved, role::beside, [=]() mutable {
        rownorm::layer_norm_backward(dy, x, gamma, dx, dgamma, dbeta, rownorm::saved(mean, rstd));
      })};
}

/// The fused call, and beside it the two that it fuses: a bare loop that adds, then the norm.
template <class S>
contenders add_norm(const problem& p, op what) {
  const double eps = epsilon(what);
  const auto x = rows_of(p, p.x<S>());
  const auto gamma = numbers_of(p.gamma<S>(), p.length), beta = numbers_of(p.beta<S>(), p.length);
  auto residual = rows_of(p, p.residual<S>()), y = rows_of(p, p.y<S>());
  const auto with = [&](const char* called, role part, auto f) {
    return writer(called, part, p, what, rounding<S>, f);
  };
  contenders all;
  const auto fused = [&](auto add_norm_of, auto norm_of) {
    all.push_back(with("rownorm", role::rownorm, add_norm_of));
    if constexpr (limits::convertible<S>)
      if (p.length >= limits::step<S>)
        all.push_back(
            with("bare add, then rownorm", role::beside,
                 [=, n = p.rows * p.length, from = p.x<S>(), to = p.residual<S>()]() mutable {
                   limits::add(n, from, to);
                   norm_of();
                 }));
  };
  if (what == op::add_rms)
    fused([=]() mutable { rownorm::add_rms_norm(x, residual, gamma, y, eps); },
          [=]() mutable { rownorm::rms_norm(residual, gamma, y, eps); });
  else
    fused([=]() mutable { rownorm::add_layer_norm(x, residual, gamma, beta, y, eps); },
          [=]() mutable { rownorm::layer_norm(residual, gamma, beta, y, eps); });
  return all;
}

/// int8 rows and a scale for each, and beside it the call that gives rows of x's type.
template <class S>
contenders int8(const problem& p, op what) {
  const double eps = epsilon(what);
  const auto x = rows_of(p, p.x<S>());
  const auto gamma = numbers_of(p.gamma<S>(), p.length);
  auto q = rows_of(p, p.int8());
  auto scales = numbers_of(p.scales<real<S>>(), p.rows);
  return {
      writer("rownorm", role::rownorm, p, what, int8_rounding,
             [=]() mutable { rownorm::rms_norm(x, gamma, rownorm::quantized(q, scales), eps); }),
      in_line_of(what, forward<S>("rownorm, not int8", role::beside, p, op::rms_norm))};
}

/// Query heads inside packed rows, and beside it the same rows packed densely.
template <class S>
contenders heads(const problem& p, op what) {
  const double eps = epsilon(what);
  const auto in = [&](auto* data) {
    return rownorm::heads(data, p.rows / p.packed.heads, p.packed.heads, p.length,
                          p.packed.token_stride);
  };
  const auto x = in(p.packed_x<S>());
  const auto gamma = numbers_of(p.gamma<S>(), p.length);
  auto y = in(p.packed_y<S>());
  return {writer("rownorm", role::rownorm, p, what, rounding<S>,
                 [=]() mutable { rownorm::rms_norm(x, gamma, y, eps); }),
          in_line_of(what, forward<S>("rownorm, dense rows", role::beside, p, op::rms_norm))};
}

template <class S>
contenders calls(const problem& p, op what) {
  switch (what) {
    case op::rms_backward:
    case op::layer_backward:
      return backwards<S>(p, what);
    case op::add_rms:
    case op::add_layer:
      return add_norm<S>(p, what);
    case op::rms_int8:
      return int8<S>(p, what);
    case op::rms_heads:
      return heads<S>(p, what);
    default:
      return forwards<S>(p, what);
  }
}

}  // namespace

std::vector<contender> rownorm_calls(const problem& p, op what) {
  return with_type(p.numbers, [&](auto zero) { return calls<decltype(zero)>(p, what); });
}

}  // namespace bench

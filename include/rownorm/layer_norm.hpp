// SPDX-License-Identifier: MIT
// LayerNorm: the contract of each call, its checks, one call down to the kernel; never a loop.
#pragma once

#include <cstddef>
#include <type_traits>
#include <utility>

#include "detail/arguments.hpp"
#include "detail/check.hpp"
#include "detail/here.hpp"
#include "detail/kernel.hpp"
#include "types.hpp"

namespace rownorm {
inline namespace ROWNORM_ISA {

namespace detail {

/// Checks, then the kernel, as for checked_rms_norm: what layer_norm and add_layer_norm share.
template <class T, class Where, class X, class Residual, class Gamma, class Beta, class Y,
          class Mean, class Rstd>
ROWNORM_INLINE void checked_layer_norm(const Where& where, const char* function, const X& x,
                                       const Residual& residual, const Gamma& gamma,
                                       const Beta& beta, const Y& y, epsilon eps, const Mean& mean,
                                       const Rstd& rstd) {
  static_assert(!Beta::has_words, "rownorm: one_plus and after_rounding are words for gamma");
  check_forward(function,
                forward_rows{x, residual, gamma.numbers, beta.numbers, y.y, y.scales(), mean, rstd},
                eps, y.scale());
  using A = typename arithmetic<T, X, Residual, Gamma, Beta, Y>::type;
  where.template layer_norm<A>(x.count, row_length(x), kernel_input(x, residual),
                               kernel_parameter(gamma), kernel_parameter(beta), y.kernel(x.data),
                               eps, kernel_column(mean), kernel_column(rstd));
}

/// The same with the statistics of a forward call before it.
template <class T, class Where, class X, class Gamma, class Beta, class Y, class Statistics>
ROWNORM_INLINE void checked_layer_norm_given(const Where& where, const X& x, const Gamma& gamma,
                                             const Beta& beta, const Y& y,
                                             const Statistics& saved) {
  static_assert(!Beta::has_words, "rownorm: one_plus and after_rounding are words for gamma");
  check_forward("layer_norm",
                forward_rows{x, none, gamma.numbers, beta.numbers, y.y, y.scales(), saved.mean(),
                             saved.rstd()},
                0, y.scale());
  using A = typename arithmetic<T, X, Gamma, Beta, Y>::type;
  where.template layer_norm<A>(x.count, row_length(x), input(x), kernel_parameter(gamma),
                               kernel_parameter(beta), y.kernel(x.data), saved.kernel(),
                               column<none_t>{nullptr}, column<none_t>{nullptr});
}

}  // namespace detail

/// \f$y = \gamma (x - \mu) / \sqrt{\sigma^2 + \epsilon} + \beta\f$, row by row, with the biased
/// variance \f$\sigma^2 = \mathrm{mean}((x - \mu)^2)\f$ (Ba, Kiros, Hinton 2016, arXiv:1607.06450).
/// - x, y, gamma, eps, T, errors: as for rms_norm. beta: a number for each column, or none. mean,
///   rstd: take mu and 1 / sqrt(sigma^2 + eps) of each row.
/// - Squares are summed around a shift next to the mean and corrected for what is left, so that a
///   large mean does not cancel. A row of equal numbers gives beta (at eps = 0 as well, with
///   rstd 0). Allocates nothing.
template <class T = detail::deduced, class X, class Gamma, class Beta, class Y,
          class Mean = const none_t&, class Rstd = const none_t&>
ROWNORM_FLAT void layer_norm(const X& x, const Gamma& gamma, const Beta& beta, Y&& y,
                             epsilon eps = 1e-5, Mean&& mean = none, Rstd&& rstd = none) {
  detail::checked_layer_norm<T>(
      detail::here{}, "layer_norm", detail::to_input(x), none, detail::to_parameter(gamma),
      detail::to_parameter(beta), detail::to_result(std::forward<Y>(y)), eps,
      detail::to_column(std::forward<Mean>(mean)), detail::to_column(std::forward<Rstd>(rstd)));
}

/// \f$y = \gamma (x - \mu) r + \beta\f$ with the mean and the 1 / sqrt(sigma^2 + eps) of each row
/// given, as one call keeps them for another: saved(mean, rstd). The rest as for layer_norm.
template <class T = detail::deduced, class X, class Gamma, class Beta, class Y, class Mean,
          class Rstd>
ROWNORM_FLAT void layer_norm(const X& x, const Gamma& gamma, const Beta& beta, Y&& y,
                             const saved<Mean, Rstd>& statistics) {
  static_assert(!std::is_same_v<Mean, none_t>, "rownorm: layer_norm needs saved(mean, rstd)");
  detail::checked_layer_norm_given<T>(
      detail::here{}, detail::to_input(x), detail::to_parameter(gamma), detail::to_parameter(beta),
      detail::to_result(std::forward<Y>(y)), detail::to_statistics(statistics));
}

/// residual += x, rounded to residual's type, then y = layer_norm of the residual that was stored,
/// in one pass over memory. The bits are those of the two calls. x and residual lie apart; y may be
/// x. The rest as for layer_norm.
template <class T = detail::deduced, class X, class Residual, class Gamma, class Beta, class Y,
          class Mean = const none_t&, class Rstd = const none_t&>
ROWNORM_FLAT void add_layer_norm(const X& x, Residual&& residual, const Gamma& gamma,
                                 const Beta& beta, Y&& y, epsilon eps = 1e-5, Mean&& mean = none,
                                 Rstd&& rstd = none) {
  detail::checked_layer_norm<T>(
      detail::here{}, "add_layer_norm", detail::to_input(x),
      detail::to_output(std::forward<Residual>(residual)), detail::to_parameter(gamma),
      detail::to_parameter(beta), detail::to_result(std::forward<Y>(y)), eps,
      detail::to_column(std::forward<Mean>(mean)), detail::to_column(std::forward<Rstd>(rstd)));
}

namespace detail {

/// What layer_norm_backward and add_layer_norm_backward share, as for RMSNorm.
template <class T, class Output, class Where, class DY, class X, class Gamma, class DX,
          class DGamma, class DBeta, class Statistics>
ROWNORM_INLINE void checked_layer_norm_backward(const Where& where, const char* function,
                                                const char* x_name, const char* dx_name,
                                                const DY& dy, const X& x, const Gamma& gamma,
                                                const DX& dx, const DGamma& dgamma,
                                                const DBeta& dbeta, const Statistics& statistics) {
  check_backward(function,
                 {seen("dy", dy), seen(x_name, x), seen("gamma", gamma.numbers), seen(dx_name, dx),
                  seen("dgamma", dgamma), seen("dbeta", dbeta), seen("mean", statistics.mean()),
                  seen("rstd", statistics.rstd())},
                 statistics.eps());
  using A = typename arithmetic<T, DY, X, Gamma, DX>::type;
  where.template layer_norm_backward<A>(
      x.count, row_length(x), input(dy), input(x), kernel_parameter(gamma),
      Output(dx, streams_by_size(dx, dy.data, x.data)), dgamma, dbeta, statistics.kernel());
}

}  // namespace detail

/// The gradient of layer_norm. With r = 1 / sqrt(sigma^2 + eps), h = (x - mu) * r, g = gamma * dy:
/// \f$dx = r (g - \mathrm{mean}(g) - h\,\mathrm{mean}(g h))\f$, dgamma += the sum over rows of
/// dy * h, dbeta += the sum over rows of dy (dgamma and dbeta may each be none).
/// - statistics: eps as in the forward call, or saved(mean, rstd); a saved mean may be rounded to
///   float, what it lost is found again.
/// - Shapes, aliasing, sums, scratch and errors as for rms_norm_backward.
template <class T = detail::deduced, class DY, class X, class Gamma, class DX, class DGamma,
          class DBeta, class Statistics = epsilon, detail::if_statistics<Statistics> = 0>
ROWNORM_FLAT void layer_norm_backward(const DY& dy, const X& x, const Gamma& gamma, DX&& dx,
                                      DGamma&& dgamma, DBeta&& dbeta,
                                      const Statistics& statistics = 1e-5) {
  const auto to = detail::to_output(std::forward<DX>(dx));
  detail::checked_layer_norm_backward<T, detail::output<detail::bare<decltype(to)>>>(
      detail::here{}, "layer_norm_backward", "x", "dx", detail::to_input(dy), detail::to_input(x),
      detail::to_parameter(gamma), to, detail::to_gradient(std::forward<DGamma>(dgamma)),
      detail::to_gradient(std::forward<DBeta>(dbeta)), detail::to_statistics(statistics));
}

/// The gradient of add_layer_norm: dh += the gradient of layer_norm at h, the residual after the
/// add; see add_rms_norm_backward. The rest as for layer_norm_backward.
template <class T = detail::deduced, class DY, class H, class Gamma, class DH, class DGamma,
          class DBeta, class Statistics = epsilon, detail::if_statistics<Statistics> = 0>
ROWNORM_FLAT void add_layer_norm_backward(const DY& dy, const H& h, const Gamma& gamma, DH&& dh,
                                          DGamma&& dgamma, DBeta&& dbeta,
                                          const Statistics& statistics = 1e-5) {
  const auto to = detail::to_output(std::forward<DH>(dh));
  detail::checked_layer_norm_backward<T, detail::output_sum<detail::bare<decltype(to)>>>(
      detail::here{}, "add_layer_norm_backward", "h", "dh", detail::to_input(dy),
      detail::to_input(h), detail::to_parameter(gamma), to,
      detail::to_gradient(std::forward<DGamma>(dgamma)),
      detail::to_gradient(std::forward<DBeta>(dbeta)), detail::to_statistics(statistics));
}

}  // namespace ROWNORM_ISA
}  // namespace rownorm

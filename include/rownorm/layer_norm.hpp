// SPDX-License-Identifier: MIT
// LayerNorm: the contract of each call; what they do stands in detail/calls.hpp.
#pragma once

#include <type_traits>
#include <utility>

#include "detail/calls.hpp"
#include "detail/forgotten.hpp"
#include "types.hpp"

namespace rownorm {
inline namespace ROWNORM_ISA {

/// \f$y = \gamma (x - \mu) / \sqrt{\sigma^2 + \epsilon} + \beta\f$, row by row, with the biased
/// variance \f$\sigma^2 = \mathrm{mean}((x - \mu)^2)\f$ (Ba, Kiros, Hinton 2016, arXiv:1607.06450).
/// - x, y, gamma, eps, T, errors: as for rms_norm. beta: a number for each column, or none. mean,
///   rstd: take mu and 1 / sqrt(sigma^2 + eps) of each row.
/// - Squares are summed around a shift next to the mean and corrected for what is left, so that a
///   large mean does not cancel. (Of doubles with one take T = double: float rounds them as it
///   loads them, to a multiple of 64 at 1e9.) A row of equal numbers gives beta (at eps = 0 as
///   well, with rstd 0). Allocates nothing.
template <class T = detail::deduced, class X, class Gamma, class Beta, class Y,
          class Mean = const none_t&, class Rstd = const none_t&>
ROWNORM_FLAT void layer_norm(const X& x, const Gamma& gamma, const Beta& beta, Y&& y,
                             epsilon eps = 1e-5, Mean&& mean = none, Rstd&& rstd = none) {
  detail::run_layer_norm<T>(detail::here{}, "layer_norm", x, none, gamma, beta, std::forward<Y>(y),
                            eps, std::forward<Mean>(mean), std::forward<Rstd>(rstd));
}

/// \f$y = \gamma (x - \mu) r + \beta\f$ with the mean and the 1 / sqrt(sigma^2 + eps) of each row
/// given, as one call keeps them for another: saved(mean, rstd). Keep the mean in double where this
/// call is to be as exact as the other: rounded to float, a mean of 1e6 is up to 0.03 off, and y is
/// off by that times gamma r. The rest as for layer_norm, r as for rms_norm.
template <class T = detail::deduced, class X, class Gamma, class Beta, class Y, class Mean,
          class Rstd>
ROWNORM_FLAT void layer_norm(const X& x, const Gamma& gamma, const Beta& beta, Y&& y,
                             const saved<Mean, Rstd>& statistics) {
  static_assert(!std::is_same_v<Mean, none_t>, "rownorm: layer_norm needs saved(mean, rstd)");
  detail::run_layer_norm<T>(detail::here{}, "layer_norm", x, none, gamma, beta, std::forward<Y>(y),
                            statistics);
}

/// residual += x, rounded to residual's type, then y = layer_norm of the residual that was stored,
/// in one pass over memory. The bits are those of the two calls. x and residual lie apart; y may be
/// x. The rest as for layer_norm.
template <class T = detail::deduced, class X, class Residual, class Gamma, class Beta, class Y,
          class Mean = const none_t&, class Rstd = const none_t&>
ROWNORM_FLAT void add_layer_norm(const X& x, Residual&& residual, const Gamma& gamma,
                                 const Beta& beta, Y&& y, epsilon eps = 1e-5, Mean&& mean = none,
                                 Rstd&& rstd = none) {
  detail::run_layer_norm<T>(detail::here{}, "add_layer_norm", x, std::forward<Residual>(residual),
                            gamma, beta, std::forward<Y>(y), eps, std::forward<Mean>(mean),
                            std::forward<Rstd>(rstd));
}

/// The gradient of layer_norm. With r = 1 / sqrt(sigma^2 + eps), h = (x - mu) * r, g = gamma * dy:
/// \f$dx = r (g - \mathrm{mean}(g) - h\,\mathrm{mean}(g h))\f$, dgamma += the sum over rows of
/// dy * h, dbeta += the sum over rows of dy (dgamma and dbeta may each be none).
/// - statistics: eps as in the forward call, or saved(mean, rstd); a saved mean may be rounded to
///   float, what it lost is found again.
/// - Shapes, aliasing, sums (16-bit ones too), scratch and errors as for rms_norm_backward.
template <class T = detail::deduced, class DY, class X, class Gamma, class DX, class DGamma,
          class DBeta, class Statistics = epsilon, detail::if_statistics<Statistics> = 0>
ROWNORM_FLAT void layer_norm_backward(const DY& dy, const X& x, const Gamma& gamma, DX&& dx,
                                      DGamma&& dgamma, DBeta&& dbeta,
                                      const Statistics& statistics = 1e-5) {
  detail::run_layer_norm_backward<T, false>(
      detail::here{}, "layer_norm_backward", "x", "dx", dy, x, gamma, std::forward<DX>(dx),
      std::forward<DGamma>(dgamma), std::forward<DBeta>(dbeta), statistics);
}

/// The gradient of add_layer_norm: dh += the gradient of layer_norm at h, the residual after the
/// add; see add_rms_norm_backward. The rest as for layer_norm_backward.
template <class T = detail::deduced, class DY, class H, class Gamma, class DH, class DGamma,
          class DBeta, class Statistics = epsilon, detail::if_statistics<Statistics> = 0>
ROWNORM_FLAT void add_layer_norm_backward(const DY& dy, const H& h, const Gamma& gamma, DH&& dh,
                                          DGamma&& dgamma, DBeta&& dbeta,
                                          const Statistics& statistics = 1e-5) {
  detail::run_layer_norm_backward<T, true>(
      detail::here{}, "add_layer_norm_backward", "h", "dh", dy, h, gamma, std::forward<DH>(dh),
      std::forward<DGamma>(dgamma), std::forward<DBeta>(dbeta), statistics);
}

}  // namespace ROWNORM_ISA
}  // namespace rownorm

// SPDX-License-Identifier: MIT
// RMSNorm: the contract of each call; what they do stands in detail/calls.hpp.
#pragma once

#include <cstddef>
#include <utility>

#include "detail/calls.hpp"
#include "detail/forgotten.hpp"
#include "types.hpp"

namespace rownorm {
inline namespace ROWNORM_ISA {

/// \f$y = \gamma x / \sqrt{\mathrm{mean}(x^2) + \epsilon}\f$, row by row (arXiv:1910.07467).
/// - x, y: matrices of one shape (a vector is one row); y may be quantized(q, scales) and may be x,
///   other overlaps are errors. gamma: a number for each column, or none, one_plus(gamma),
///   after_rounding(gamma). eps: a number, or outside_root(number). rstd: takes 1/rms of each row.
/// - T: float or double, the type of the arithmetic and of the 64 (double: 32) partial sums; float
///   rounds doubles as it loads them. A row whose squares leave T's range is done again in double,
///   from x as it is; zeros give zeros (at eps = 0 too, with rstd 0). Allocates nothing.
/// - Subnormals count as they are unless the caller's FTZ or DAZ makes them zeros (fp16's: never).
///   In a rounding mode that is not the default one errors double, and an int8 may be one off.
/// - Throws std::invalid_argument where a shape, stride, eps or overlap is wrong, before it writes.
template <class T = detail::deduced, class X, class Gamma, class Y, class Rstd = const none_t&>
ROWNORM_FLAT void rms_norm(const X& x, const Gamma& gamma, Y&& y, epsilon eps = 1e-6,
                           Rstd&& rstd = none) {
  detail::run_rms_norm<T>(detail::here{}, "rms_norm", x, none, detail::whole_row, gamma,
                          std::forward<Y>(y), eps, std::forward<Rstd>(rstd));
}

/// \f$y = \gamma x r\f$ with the 1/rms r of each row given, as one call keeps it for another:
/// saved(rstd). An r beyond the range of its type is found again, with eps = 0. The rest as for
/// rms_norm.
template <class T = detail::deduced, class X, class Gamma, class Y, class Rstd>
ROWNORM_FLAT void rms_norm(const X& x, const Gamma& gamma, Y&& y,
                           const saved<none_t, Rstd>& statistics) {
  detail::run_rms_norm<T>(detail::here{}, "rms_norm", x, none, detail::whole_row, gamma,
                          std::forward<Y>(y), statistics);
}

/// rms_norm with the statistic of each row from its first k numbers, k in [1, length]:
/// \f$y = \gamma x / \sqrt{\frac{1}{k} \sum_{i < k} x_i^2 + \epsilon}\f$ over all of the row
/// (pRMSNorm, section 4 of the same paper). The rest as for rms_norm.
template <class T = detail::deduced, class X, class Gamma, class Y, class Rstd = const none_t&>
ROWNORM_FLAT void partial_rms_norm(const X& x, std::size_t k, const Gamma& gamma, Y&& y,
                                   epsilon eps = 1e-6, Rstd&& rstd = none) {
  detail::run_rms_norm<T>(detail::here{}, "partial_rms_norm", x, none, detail::partial_length(k),
                          gamma, std::forward<Y>(y), eps, std::forward<Rstd>(rstd));
}

/// residual += x, rounded to residual's type, then y = rms_norm of the residual that was stored, in
/// one pass over memory: the step between two blocks of a pre-norm transformer. The bits are those
/// of the two calls. x and residual lie apart; y may be x. The rest as for rms_norm.
template <class T = detail::deduced, class X, class Residual, class Gamma, class Y,
          class Rstd = const none_t&>
ROWNORM_FLAT void add_rms_norm(const X& x, Residual&& residual, const Gamma& gamma, Y&& y,
                               epsilon eps = 1e-6, Rstd&& rstd = none) {
  detail::run_rms_norm<T>(detail::here{}, "add_rms_norm", x, std::forward<Residual>(residual),
                          detail::whole_row, gamma, std::forward<Y>(y), eps,
                          std::forward<Rstd>(rstd));
}

/// RMSNorm with a SiLU gate, as Mamba-2 has it; \f$\mathrm{silu}(z) = z / (1 + e^{-z})\f$ in T,
/// within 3 steps of T at 1.
/// - norm_first: y = rms_norm(x, gamma) * silu(z). gate_first: y = rms_norm(x * silu(z), gamma),
///   where x times its gate must be finite in T. z = -infinity gives NaN, as the formula does.
/// - x, z, y: matrices of one shape; y may be x or z. The rest as for rms_norm.
template <class T = detail::deduced, class X, class Z, class Gamma, class Y>
ROWNORM_FLAT void gated_rms_norm(const X& x, const Z& z, const Gamma& gamma, Y&& y,
                                 epsilon eps = 1e-6, gate_order order = gate_first) {
  detail::run_gated_rms_norm<T>(detail::here{}, x, z, gamma, std::forward<Y>(y), eps, order);
}

/// The gradient of rms_norm. With r = 1/rms, h = x * r and g = gamma * dy:
/// \f$dx = r (g - h\,\mathrm{mean}(g h))\f$, and dgamma += the sum over rows of dy * h.
/// - dy, x, dx: matrices of one shape; dx may be dy or x. gamma as in the forward call (what
///   after_rounding rounds is taken to have slope 1). dgamma: as many numbers as gamma, or none.
/// - statistics: eps as in the forward call, or saved(rstd), from an eps under the root.
/// - T: as for rms_norm. Sums over rows are kept in T over blocks of 32 rows, and over blocks in
///   double, in one order. A dgamma of 16 bits stops growing once a call adds less than half its
///   step (bfloat16: 1/512 of it): keep it in float where many calls add to it. Allocates sizeof(T)
///   bytes for each number of dgamma, 8 more where there are more than 32 rows, and none for one
///   row and a dgamma of T. Errors as rms_norm.
template <class T = detail::deduced, class DY, class X, class Gamma, class DX, class DGamma,
          class Statistics = epsilon, detail::if_statistics<Statistics> = 0>
ROWNORM_FLAT void rms_norm_backward(const DY& dy, const X& x, const Gamma& gamma, DX&& dx,
                                    DGamma&& dgamma, const Statistics& statistics = 1e-6) {
  detail::run_rms_norm_backward<T, false>(detail::here{}, "rms_norm_backward", "x", "dx", dy, x,
                                          gamma, std::forward<DX>(dx), std::forward<DGamma>(dgamma),
                                          statistics);
}

/// The gradient of add_rms_norm: dh += the gradient of rms_norm at h, the residual after the add.
/// dh holds what flows back into that residual from above and is then the gradient of both x and
/// the residual before the add. dh and dy, dh and h lie apart or are the same. The rest as for
/// rms_norm_backward.
template <class T = detail::deduced, class DY, class H, class Gamma, class DH, class DGamma,
          class Statistics = epsilon, detail::if_statistics<Statistics> = 0>
ROWNORM_FLAT void add_rms_norm_backward(const DY& dy, const H& h, const Gamma& gamma, DH&& dh,
                                        DGamma&& dgamma, const Statistics& statistics = 1e-6) {
  detail::run_rms_norm_backward<T, true>(detail::here{}, "add_rms_norm_backward", "h", "dh", dy, h,
                                         gamma, std::forward<DH>(dh), std::forward<DGamma>(dgamma),
                                         statistics);
}

}  // namespace ROWNORM_ISA
}  // namespace rownorm

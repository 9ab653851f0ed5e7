// SPDX-License-Identifier: MIT
// RMSNorm: the contract of each call, its checks, one call down to the kernel; never a loop.
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

inline constexpr std::size_t whole_row = static_cast<std::size_t>(-1);

/// Checks, then the kernel: what rms_norm, partial_rms_norm and add_rms_norm share. `where` runs
/// the kernel over all rows: `here`, or another of its shape. `residual` is rows, or none.
/// Inlined, as its like: structs of rows that are handed on through memory cost a row of 64 floats
/// a third of its time.
template <class T, class Where, class X, class Residual, class Gamma, class Y, class Rstd>
ROWNORM_INLINE void checked_rms_norm(const Where& where, const char* function, const X& x,
                                     const Residual& residual, std::size_t k, const Gamma& gamma,
                                     const Y& y, epsilon eps, const Rstd& rstd) {
  check_forward(function,
                forward_rows{x, residual, gamma.numbers, none, y.y, y.scales(), none, rstd}, eps,
                y.scale());
  if (k != whole_row) checks(function).statistic_length(k, seen("x", x));
  using A = typename arithmetic<T, X, Residual, Gamma, Y>::type;
  const std::size_t n = row_length(x);
  where.template rms_norm<A>(x.count, n, k != whole_row ? k : n, kernel_input(x, residual),
                             kernel_parameter(gamma), y.kernel(x.data), eps, kernel_column(rstd));
}

/// The same with the statistics of a forward call before it.
template <class T, class Where, class X, class Gamma, class Y, class Statistics>
ROWNORM_INLINE void checked_rms_norm_given(const Where& where, const X& x, const Gamma& gamma,
                                           const Y& y, const Statistics& saved) {
  check_forward(
      "rms_norm",
      forward_rows{x, none, gamma.numbers, none, y.y, y.scales(), saved.mean(), saved.rstd()}, 0,
      y.scale());
  using A = typename arithmetic<T, X, Gamma, Y>::type;
  const std::size_t n = row_length(x);
  where.template rms_norm<A>(x.count, n, n, input(x), kernel_parameter(gamma), y.kernel(x.data),
                             saved.kernel(), column<none_t>{nullptr});
}

}  // namespace detail

/// \f$y = \gamma x / \sqrt{\mathrm{mean}(x^2) + \epsilon}\f$, row by row (Zhang and Sennrich 2019).
/// - x, y: matrices of one shape (a vector is one row); y may be quantized(q, scales) and may be x,
///   other overlaps are errors. gamma: a number for each column, or none, one_plus(gamma),
///   after_rounding(gamma). eps: a number, or outside_root(number). rstd: takes 1/rms of each row.
/// - T: float or double, the type of the arithmetic and of the 64 (double: 32) partial sums; the
///   root is taken in double. A row whose squares leave T's range is done again in a wider way. A
///   row of zeros gives zeros (at eps = 0 too, with rstd 0). Allocates nothing.
/// - Throws std::invalid_argument where shapes, strides, eps or overlaps are wrong, before anything
///   is written. The paper: arXiv:1910.07467.
template <class T = detail::deduced, class X, class Gamma, class Y, class Rstd = const none_t&>
ROWNORM_FLAT void rms_norm(const X& x, const Gamma& gamma, Y&& y, epsilon eps = 1e-6,
                           Rstd&& rstd = none) {
  detail::checked_rms_norm<T>(detail::here{}, "rms_norm", detail::to_input(x), none,
                              detail::whole_row, detail::to_parameter(gamma),
                              detail::to_result(std::forward<Y>(y)), eps,
                              detail::to_column(std::forward<Rstd>(rstd)));
}

/// \f$y = \gamma x r\f$ with the 1/rms r of each row given, as one call keeps it for another:
/// saved(rstd). The rest as for rms_norm.
template <class T = detail::deduced, class X, class Gamma, class Y, class Rstd>
ROWNORM_FLAT void rms_norm(const X& x, const Gamma& gamma, Y&& y,
                           const saved<none_t, Rstd>& statistics) {
  detail::checked_rms_norm_given<T>(
      detail::here{}, detail::to_input(x), detail::to_parameter(gamma),
      detail::to_result(std::forward<Y>(y)), detail::to_statistics(statistics));
}

/// rms_norm with the statistic of each row from its first k numbers, k in [1, length]:
/// \f$y = \gamma x / \sqrt{\frac{1}{k} \sum_{i < k} x_i^2 + \epsilon}\f$ over all of the row
/// (pRMSNorm, section 4 of the same paper). The rest as for rms_norm.
template <class T = detail::deduced, class X, class Gamma, class Y, class Rstd = const none_t&>
ROWNORM_FLAT void partial_rms_norm(const X& x, std::size_t k, const Gamma& gamma, Y&& y,
                                   epsilon eps = 1e-6, Rstd&& rstd = none) {
  detail::checked_rms_norm<T>(detail::here{}, "partial_rms_norm", detail::to_input(x), none,
                              k == detail::whole_row ? k - 1 : k, detail::to_parameter(gamma),
                              detail::to_result(std::forward<Y>(y)), eps,
                              detail::to_column(std::forward<Rstd>(rstd)));
}

/// residual += x, rounded to residual's type, then y = rms_norm of the residual that was stored, in
/// one pass over memory: the step between two blocks of a pre-norm transformer. The bits are those
/// of the two calls. x and residual lie apart; y may be x. The rest as for rms_norm.
template <class T = detail::deduced, class X, class Residual, class Gamma, class Y,
          class Rstd = const none_t&>
ROWNORM_FLAT void add_rms_norm(const X& x, Residual&& residual, const Gamma& gamma, Y&& y,
                               epsilon eps = 1e-6, Rstd&& rstd = none) {
  detail::checked_rms_norm<T>(detail::here{}, "add_rms_norm", detail::to_input(x),
                              detail::to_output(std::forward<Residual>(residual)),
                              detail::whole_row, detail::to_parameter(gamma),
                              detail::to_result(std::forward<Y>(y)), eps,
                              detail::to_column(std::forward<Rstd>(rstd)));
}

namespace detail {

/// Checks, then the kernel, as for checked_rms_norm.
template <class T, class Where, class X, class Z, class Gamma, class Y>
ROWNORM_INLINE void checked_gated_rms_norm(const Where& where, const X& x, const Z& z,
                                           const Gamma& gamma, const Y& y, epsilon eps,
                                           gate_order order) {
  const argument z_seen = seen("z", z);
  const checks check("gated_rms_norm");
  check.matrix(z_seen, seen("x", x));
  check.same_or_apart(seen("y", y), z_seen);
  check_forward("gated_rms_norm", forward_rows{x, none, gamma.numbers, none, y, none, none, none},
                eps, 1);
  using A = typename arithmetic<T, X, Z, Gamma, Y>::type;
  const auto g = kernel_parameter(gamma);
  const output<Y> to(y);
  const column<none_t> no_rstd{nullptr};
  const std::size_t n = row_length(x);
  if (order == gate_first)
    where.template rms_norm<A>(x.count, n, n, input_gated(x, z), g, to, eps, no_rstd);
  else
    where.template rms_norm<A>(x.count, n, n, input(x), gated_parameter<decltype(g), Z>{g, z}, to,
                               eps, no_rstd);
}

}  // namespace detail

/// RMSNorm with a SiLU gate, as Mamba-2 has it; \f$\mathrm{silu}(z) = z / (1 + e^{-z})\f$ in T,
/// within 3 steps of T at 1.
/// - norm_first: y = rms_norm(x, gamma) * silu(z). gate_first: y = rms_norm(x * silu(z), gamma),
///   where x times its gate must be finite in T.
/// - x, z, y: matrices of one shape; y may be x or z. The rest as for rms_norm.
template <class T = detail::deduced, class X, class Z, class Gamma, class Y>
ROWNORM_FLAT void gated_rms_norm(const X& x, const Z& z, const Gamma& gamma, Y&& y,
                                 epsilon eps = 1e-6, gate_order order = gate_first) {
  detail::checked_gated_rms_norm<T>(detail::here{}, detail::to_input(x), detail::to_input(z),
                                    detail::to_parameter(gamma),
                                    detail::to_output(std::forward<Y>(y)), eps, order);
}

namespace detail {

/// What rms_norm_backward and add_rms_norm_backward share. Output is what dx is for the
/// kernel: rows that are written, or added to.
template <class T, class Output, class Where, class DY, class X, class Gamma, class DX,
          class DGamma, class Statistics>
ROWNORM_INLINE void checked_rms_norm_backward(const Where& where, const char* function,
                                              const char* x_name, const char* dx_name, const DY& dy,
                                              const X& x, const Gamma& gamma, const DX& dx,
                                              const DGamma& dgamma, const Statistics& statistics) {
  check_backward(function,
                 {seen("dy", dy), seen(x_name, x), seen("gamma", gamma.numbers), seen(dx_name, dx),
                  seen("dgamma", dgamma), seen("dbeta", none), seen("mean", none),
                  seen("rstd", statistics.rstd())},
                 statistics.eps());
  using A = typename arithmetic<T, DY, X, Gamma, DX>::type;
  where.template rms_norm_backward<A>(
      x.count, row_length(x), input(dy), input(x), kernel_parameter(gamma),
      Output(dx, streams_by_size(dx, dy.data, x.data)), dgamma, statistics.kernel());
}

}  // namespace detail

/// The gradient of rms_norm. With r = 1/rms, h = x * r and g = gamma * dy:
/// \f$dx = r (g - h\,\mathrm{mean}(g h))\f$, and dgamma += the sum over rows of dy * h.
/// - dy, x, dx: matrices of one shape; dx may be dy or x. gamma as in the forward call (what
///   after_rounding rounds is taken to have slope 1). dgamma: as many numbers as gamma, or none.
/// - statistics: eps as in the forward call, or saved(rstd), from an eps under the root.
/// - T: as for rms_norm. Sums over rows are kept in T over blocks of 32 rows, and over blocks in
///   double, in one order. Allocates sizeof(T) bytes for each number of dgamma, 8 more where there
///   are more than 32 rows, and none for one row and a dgamma of T. Errors as rms_norm.
template <class T = detail::deduced, class DY, class X, class Gamma, class DX, class DGamma,
          class Statistics = epsilon, detail::if_statistics<Statistics> = 0>
ROWNORM_FLAT void rms_norm_backward(const DY& dy, const X& x, const Gamma& gamma, DX&& dx,
                                    DGamma&& dgamma, const Statistics& statistics = 1e-6) {
  const auto to = detail::to_output(std::forward<DX>(dx));
  detail::checked_rms_norm_backward<T, detail::output<detail::bare<decltype(to)>>>(
      detail::here{}, "rms_norm_backward", "x", "dx", detail::to_input(dy), detail::to_input(x),
      detail::to_parameter(gamma), to, detail::to_gradient(std::forward<DGamma>(dgamma)),
      detail::to_statistics(statistics));
}

/// The gradient of add_rms_norm: dh += the gradient of rms_norm at h, the residual after the add.
/// dh holds what flows back into that residual from above and is then the gradient of both x and
/// the residual before the add. dh and dy, dh and h lie apart or are the same. The rest as for
/// rms_norm_backward.
template <class T = detail::deduced, class DY, class H, class Gamma, class DH, class DGamma,
          class Statistics = epsilon, detail::if_statistics<Statistics> = 0>
ROWNORM_FLAT void add_rms_norm_backward(const DY& dy, const H& h, const Gamma& gamma, DH&& dh,
                                        DGamma&& dgamma, const Statistics& statistics = 1e-6) {
  const auto to = detail::to_output(std::forward<DH>(dh));
  detail::checked_rms_norm_backward<T, detail::output_sum<detail::bare<decltype(to)>>>(
      detail::here{}, "add_rms_norm_backward", "h", "dh", detail::to_input(dy), detail::to_input(h),
      detail::to_parameter(gamma), to, detail::to_gradient(std::forward<DGamma>(dgamma)),
      detail::to_statistics(statistics));
}

}  // namespace ROWNORM_ISA
}  // namespace rownorm

// SPDX-License-Identifier: MIT
// The calls of rms_norm.hpp and layer_norm.hpp by code for the best ISA that the CPU has, whatever
// -m flags a program is built with. Needs the CMake target rownorm::dispatch; never a loop.
#pragma once

#include <cstddef>
#include <type_traits>
#include <utility>

#include "detail/dispatch_abi.hpp"
#include "detail/dispatch_cover.hpp"
#include "where.hpp"

namespace rownorm {

/// The calls below have the contracts, checks, errors, scratch and bits of those of the same names
/// in rms_norm.hpp and layer_norm.hpp, compiled for the ISA that isa() names. They cover rows (and
/// heads, Eigen, vectors) of float, double, Eigen::half and Eigen::bfloat16, where x, residual and
/// y (dy, x and dx, or dy, h and dh) are of one type, gamma and beta of that type too or, beside
/// 16-bit rows, of float; dgamma and dbeta of any. The arithmetic is double for rows of double,
/// else float. Covered are the words none, one_plus(gamma), after_rounding(gamma) (not both),
/// streaming(y), cached(y), outside_root(eps) and, in a gradient, saved(rstd) and
/// saved(mean, rstd); rstd and mean of float or double. The rest does not compile: quantized, other
/// mixtures of types, rms_norm<double> of other rows, gated_rms_norm, saved in a forward call, par,
/// columns.
namespace dispatch {

/// The ISA of this process: "avx512" (F, BW, CD, DQ, VL), "avx2" (with FMA and F16C), "neon" or
/// "base". It is chosen once, by the first call: the best that the library was built for and the
/// CPU runs, or the one that the environment variable ROWNORM_ISA names. Throws
/// std::invalid_argument (as do the calls) where that is none of them.
const char* isa();

}  // namespace dispatch

inline namespace ROWNORM_ISA {
namespace detail {

/// Where the calls of dispatch run.
struct by_isa {};

// ---------------------------------------------------------------------------------------------
// Arguments as they pass to the objects.
// ---------------------------------------------------------------------------------------------

template <class S>
using void_as = std::conditional_t<std::is_const_v<S>, const void, void>;
template <class S>
abi::matrix<void_as<S>> pass(const matrix<S>& m) {
  return {m.data, m.stride, 0, 0};
}
template <class S>
abi::matrix<void_as<S>> pass(const matrix<S, true>& m) {
  return {m.data, m.stride, m.per_token, m.token_stride};
}
inline abi::parameter pass(const no_parameter&) {
  return {nullptr, 0, 1};
}
template <class G>
abi::parameter pass(const parameter<G>& p) {
  return {p.data, p.stride, p.count};
}
template <class Indices, template <class...> class Row, class P>
abi::parameter pass(const over_indexed<Indices, Row, P>& p) {
  return pass(p.template get<0>());
}
template <class S>
abi::column<void_as<S>> pass(const column<S>& c) {
  using number = std::remove_const_t<S>;
  static_assert(is_none<number> || std::is_same_v<number, float> || std::is_same_v<number, double>,
                "rownorm: a number per row (mean, rstd) is kept as float or double");
  return {c.data, std::is_same_v<number, double>};
}
template <class T>
abi::sums pass(const row_sums<T>& s) {
  return {s.partial, s.total, s.length, s.heads, std::is_same_v<T, double>};
}
inline abi::sums pass(const row_sums<none_t>&) {
  return {};
}

template <class First, class Again>
void enter(abi::forward& call, const input<First, Again>& x) {
  call.x = pass(x.first);
}
template <class Indices, class X, class R, class Again>
void enter(abi::forward& call, const input<over_indexed<Indices, added_row, X, R>, Again>& x) {
  call.x = pass(x.first.template get<0>());
  call.residual = pass(x.first.template get<1>());
}
template <class M>
void enter(abi::backward& call, const written<M>& dx) {
  call.dx = pass(dx.y);
  call.streaming = dx.streaming;
}
template <class Indices, class M>
void enter(abi::backward& call, const over_indexed<Indices, sum_row, M>& dx) {
  call.dx = pass(dx.template get<0>());
  call.adds = true;
}
inline void enter(abi::backward& call, const not_saved& statistics) {
  call.eps = statistics.eps;
}
template <class M, class R>
void enter(abi::backward& call, const saved_columns<M, R>& statistics) {
  call.mean = pass(statistics.mean);
  call.rstd = pass(statistics.rstd);
}

template <class D>
void add_total(const abi::kernels& kernels, const abi::sums& sums, const D& gradient) {
  kernels.add_total[abi::number_of<typename D::value_type>](sums, gradient.data, gradient.stride);
}
inline void add_total(const abi::kernels&, const abi::sums&, none_t) {}

template <>
struct runner<by_isa> {
  static constexpr bool whole_rows = true;
  explicit runner(by_isa) {}

  template <class T, class X, class S, class Gamma, class Beta, class Y, class R>
  void forward(std::size_t count,
               const rms_norm_rows<T, std::size_t, X, affine<S, Gamma, Beta>, Y, found_squares, R>&
                   rows) const {
    if constexpr (is_covered<T, X, Gamma, no_parameter, Y>()) {
      constexpr abi::gain g = gain_index<S, Gamma>();
      static_assert(abi::covered(abi::number_of<S>, g));
      if (count == 0 || rows.n == 0) return;
      const abi::forward call =
          forward_call(count, rows, rows.statistic.k, column<none_t>{nullptr});
      abi::chosen().rms_norm[abi::number_of<S>][g](call);
    }
  }

  template <class T, class X, class S, class Gamma, class Beta, class Y, class M, class R>
  void forward(std::size_t count, const layer_norm_rows<T, std::size_t, X, affine<S, Gamma, Beta>,
                                                        Y, found_moments, M, R>& rows) const {
    if constexpr (is_covered<T, X, Gamma, Beta, Y>()) {
      constexpr abi::gain g = gain_index<S, Gamma>();
      constexpr abi::shift b = shift_index<S, Gamma, Beta>();
      static_assert(abi::covered(abi::number_of<S>, g, b));
      if (count == 0 || rows.n == 0) return;
      const abi::forward call = forward_call(count, rows, whole_row, rows.mean);
      abi::chosen().layer_norm[abi::number_of<S>][g][b](call);
    }
  }

  template <class... M, class DGamma>
  void backward(std::size_t count, const rms_gradient_rows<M...>& rows,
                const DGamma& dgamma) const {
    backward_by(&abi::kernels::rms_norm_backward, count, rows, dgamma, none);
  }
  template <class... M, class DGamma, class DBeta>
  void backward(std::size_t count, const layer_gradient_rows<M...>& rows, const DGamma& dgamma,
                const DBeta& dbeta) const {
    backward_by(&abi::kernels::layer_norm_backward, count, rows, dgamma, dbeta);
  }

 private:
  template <class Table, class Rows, class DGamma, class DBeta>
  static void backward_by(Table table, std::size_t count, const Rows& rows, const DGamma& dgamma,
                          const DBeta& dbeta) {
    using T = typename Rows::number;
    using X = decltype(rows.x);
    using Gamma = decltype(rows.gamma);
    if constexpr (is_covered<T, X, Gamma, no_parameter, decltype(rows.dy), decltype(rows.dx)>()) {
      if (count == 0 || rows.n == 0) return;
      const abi::kernels& kernels = abi::chosen();
      using S = typename number_in<X>::type;
      constexpr abi::shift g = shift_index<S, Gamma, no_parameter>();
      static_assert(abi::covered(abi::number_of<S>, g));
      scratch<T, DGamma> gamma_sums(dgamma, count);
      scratch<T, DBeta> beta_sums(dbeta, count);
      abi::backward call{count,
                         rows.n,
                         pass(rows.dy),
                         pass(rows.x),
                         pass(rows.gamma),
                         gain_in<Gamma>::one_plus,
                         pass(gamma_sums.sums()),
                         pass(beta_sums.sums())};
      enter(call, rows.dx);
      enter(call, rows.statistic);
      (kernels.*table)[abi::number_of<S>][g](call);
      if (!gamma_sums.in_gradient()) add_total(kernels, call.dgamma, dgamma);
      if (!beta_sums.in_gradient()) add_total(kernels, call.dbeta, dbeta);
    }
  }

  template <class Rows, class Mean>
  static abi::forward forward_call(std::size_t count, const Rows& rows, std::size_t k,
                                   const Mean& mean) {
    abi::forward call{count,
                      rows.n,
                      k,
                      {},
                      {},
                      pass(rows.y.y),
                      pass(rows.affine.gamma),
                      pass(rows.affine.beta),
                      pass(mean),
                      pass(rows.rstd),
                      rows.statistic.eps,
                      rows.y.streaming};
    enter(call, rows.x);
    return call;
  }
};

}  // namespace detail
}  // namespace ROWNORM_ISA

namespace dispatch {
inline namespace ROWNORM_ISA {

/// rownorm::rms_norm by the code of isa().
template <class T = detail::deduced, class... A>
void rms_norm(A&&... a) {
  rownorm::rms_norm<T>(detail::by_isa{}, std::forward<A>(a)...);
}
/// rownorm::partial_rms_norm by the code of isa().
template <class T = detail::deduced, class... A>
void partial_rms_norm(A&&... a) {
  rownorm::partial_rms_norm<T>(detail::by_isa{}, std::forward<A>(a)...);
}
/// rownorm::add_rms_norm by the code of isa().
template <class T = detail::deduced, class... A>
void add_rms_norm(A&&... a) {
  rownorm::add_rms_norm<T>(detail::by_isa{}, std::forward<A>(a)...);
}
/// rownorm::layer_norm by the code of isa().
template <class T = detail::deduced, class... A>
void layer_norm(A&&... a) {
  rownorm::layer_norm<T>(detail::by_isa{}, std::forward<A>(a)...);
}
/// rownorm::add_layer_norm by the code of isa().
template <class T = detail::deduced, class... A>
void add_layer_norm(A&&... a) {
  rownorm::add_layer_norm<T>(detail::by_isa{}, std::forward<A>(a)...);
}
/// rownorm::rms_norm_backward by the code of isa().
template <class T = detail::deduced, class... A>
void rms_norm_backward(A&&... a) {
  rownorm::rms_norm_backward<T>(detail::by_isa{}, std::forward<A>(a)...);
}
/// rownorm::add_rms_norm_backward by the code of isa().
template <class T = detail::deduced, class... A>
void add_rms_norm_backward(A&&... a) {
  rownorm::add_rms_norm_backward<T>(detail::by_isa{}, std::forward<A>(a)...);
}
/// rownorm::layer_norm_backward by the code of isa().
template <class T = detail::deduced, class... A>
void layer_norm_backward(A&&... a) {
  rownorm::layer_norm_backward<T>(detail::by_isa{}, std::forward<A>(a)...);
}
/// rownorm::add_layer_norm_backward by the code of isa().
template <class T = detail::deduced, class... A>
void add_layer_norm_backward(A&&... a) {
  rownorm::add_layer_norm_backward<T>(detail::by_isa{}, std::forward<A>(a)...);
}

}  // namespace ROWNORM_ISA
}  // namespace dispatch
}  // namespace rownorm

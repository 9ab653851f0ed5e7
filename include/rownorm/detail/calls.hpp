// SPDX-License-Identifier: MIT
// What the public calls share: arguments to views, the checks, then the rows of the call to where
// it runs. The contracts stand in rms_norm.hpp and layer_norm.hpp; never a loop.
#pragma once

#include <cstddef>
#include <type_traits>
#include <utility>

#include "arguments.hpp"
#include "check.hpp"
#include "here.hpp"

namespace rownorm {
inline namespace ROWNORM_ISA {
namespace detail {

// ---------------------------------------------------------------------------------------------
// The type of the arithmetic where the caller names none: double if a number is, else float.
// ---------------------------------------------------------------------------------------------

template <class V>
struct number_of {
  using type = std::remove_const_t<typename V::value_type>;
};
template <>
struct number_of<none_t> {
  using type = none_t;
};
template <class V, class M, bool W>
struct number_of<parameter_argument<V, M, W>> : number_of<V> {};
template <class V>
struct number_of<result<V>> : number_of<V> {};
template <class Q, class S>
struct number_of<result_int8_by_peak<Q, S>> : number_of<Q> {};
template <class Q>
struct number_of<result_int8<Q>> : number_of<Q> {};

struct deduced;
template <class T>
constexpr bool is_arithmetic() {
  constexpr bool wide_enough = std::is_same_v<T, float> || std::is_same_v<T, double>;
  static_assert(wide_enough, "rownorm: the arithmetic is done in float or double");
  return wide_enough;
}
template <class T, class... V>
struct arithmetic {
  using type = std::conditional_t<is_arithmetic<T>(), T, float>;
};
template <class... V>
struct arithmetic<deduced, V...> {
  using type = std::conditional_t<
      (std::is_same_v<typename number_of<std::remove_const_t<V>>::type, double> || ...), double,
      float>;
};

// ---------------------------------------------------------------------------------------------
// The calls. `where` runs the rows: `here`, or another of its shape. Inlined: structs of rows that
// are passed through memory cost a row of 64 floats a third of its time.
// ---------------------------------------------------------------------------------------------

/// The type that after_rounding rounds to is that of the rows which the second half reads.
template <class Input, class Gamma, class Beta>
ROWNORM_INLINE auto affine_of(const Input& input, const Gamma& gamma, const Beta& beta) {
  return affine<typename decltype(input.again.at_row(0u))::stored, Gamma, Beta>{gamma, beta};
}

/// residual: what x is added to, or none. k: the statistic is of the first k numbers. statistic:
/// eps, or saved(rstd).
template <class T, class Where, class X, class Residual, class Gamma, class Y,
          class Statistic = epsilon, class Rstd = const none_t&>
ROWNORM_INLINE void run_rms_norm(const Where& where, const char* function, const X& x_,
                                 Residual&& residual_, std::size_t k, const Gamma& gamma_, Y&& y_,
                                 const Statistic& statistic_ = 1e-6, Rstd&& rstd_ = none) {
  static_assert(Where::whole_rows || !is_saved<Statistic>,
                "rownorm: with saved statistics a shard of columns needs no "
                "columns(comm, D)");
  const auto x = to_input(x_);
  const auto residual = to_gradient(std::forward<Residual>(residual_));
  const auto gamma = to_parameter(gamma_);
  const auto y = to_result(std::forward<Y>(y_));
  const auto statistic = to_statistic(statistic_);
  const auto rstd = to_column(std::forward<Rstd>(rstd_));
  check_forward(function,
                forward_rows{x, residual, none, gamma.numbers, none, y.y, y.scales(), none,
                             statistic.rstd_or(rstd)},
                statistic.eps(), y.scale());
  if (k != whole_row) checks(function).statistic_length(k, seen("x", x));
  using A =
      typename arithmetic<T, decltype(x), decltype(residual), decltype(gamma), decltype(y)>::type;
  const auto input = input_of(x, residual);
  where.forward(x.count, make_rms_norm_rows<A>(
                             row_length(x), input, affine_of(input, gamma.matrix, no_parameter{}),
                             y.sink(x.data), statistic.squares(k), column_of(rstd)));
}

template <class T, class Where, class X, class Z, class Gamma, class Y>
ROWNORM_INLINE void run_gated_rms_norm(const Where& where, const X& x_, const Z& z_,
                                       const Gamma& gamma_, Y&& y_, epsilon eps = 1e-6,
                                       gate_order order = gate_first) {
  const auto x = to_input(x_);
  const auto z = to_input(z_);
  const auto gamma = to_parameter(gamma_);
  const auto y = to_output(std::forward<Y>(y_));
  check_forward("gated_rms_norm",
                forward_rows{x, none, z, gamma.numbers, none, y, none, none, none}, eps, 1);
  using A = typename arithmetic<T, decltype(x), decltype(z), decltype(gamma), decltype(y)>::type;
  const auto run = [&](const auto& input, const auto& gain) ROWNORM_LAMBDA {
    where.forward(x.count, make_rms_norm_rows<A>(
                               row_length(x), input, affine_of(input, gain, no_parameter{}),
                               written{matrix_of(y), false}, found_squares{eps}, column_of(none)));
  };
  if (order == gate_first) {
    const auto gated = over<gated_row>(matrix_of(x), matrix_of(z));
    run(input{gated, gated}, gamma.matrix);
  } else {
    run(input_of(x, none), over<gated_row>(gamma.matrix, matrix_of(z)));
  }
}

template <class T, class Where, class X, class Residual, class Gamma, class Beta, class Y,
          class Statistic = epsilon, class Mean = const none_t&, class Rstd = const none_t&>
ROWNORM_INLINE void run_layer_norm(const Where& where, const char* function, const X& x_,
                                   Residual&& residual_, const Gamma& gamma_, const Beta& beta_,
                                   Y&& y_, const Statistic& statistic_ = 1e-5, Mean&& mean_ = none,
                                   Rstd&& rstd_ = none) {
  static_assert(Where::whole_rows || !is_saved<Statistic>,
                "rownorm: with saved statistics a shard of columns needs no "
                "columns(comm, D)");
  const auto x = to_input(x_);
  const auto residual = to_gradient(std::forward<Residual>(residual_));
  const auto gamma = to_parameter(gamma_);
  const auto beta = to_parameter(beta_);
  static_assert(!decltype(beta)::has_words,
                "rownorm: one_plus and after_rounding are words for gamma");
  const auto y = to_result(std::forward<Y>(y_));
  const auto statistic = to_statistic(statistic_);
  const auto mean = to_column(std::forward<Mean>(mean_));
  const auto rstd = to_column(std::forward<Rstd>(rstd_));
  check_forward(function,
                forward_rows{x, residual, none, gamma.numbers, beta.numbers, y.y, y.scales(),
                             statistic.mean_or(mean), statistic.rstd_or(rstd)},
                statistic.eps(), y.scale());
  using A = typename arithmetic<T, decltype(x), decltype(residual), decltype(gamma), decltype(beta),
                                decltype(y)>::type;
  const auto input = input_of(x, residual);
  where.forward(x.count,
                make_layer_norm_rows<A>(row_length(x), input,
                                        affine_of(input, gamma.matrix, beta.matrix), y.sink(x.data),
                                        statistic.moments(), column_of(mean), column_of(rstd)));
}

/// Adds: dx is added to.
template <class T, bool Adds, class Where, class DY, class X, class Gamma, class DX, class DGamma,
          class Statistic = epsilon>
ROWNORM_INLINE void run_rms_norm_backward(const Where& where, const char* function,
                                          const char* x_name, const char* dx_name, const DY& dy_,
                                          const X& x_, const Gamma& gamma_, DX&& dx_,
                                          DGamma&& dgamma_, const Statistic& statistic_ = 1e-6) {
  const auto dy = to_input(dy_);
  const auto x = to_input(x_);
  const auto gamma = to_parameter(gamma_);
  const auto dx = to_output(std::forward<DX>(dx_));
  const auto dgamma = to_gradient(std::forward<DGamma>(dgamma_));
  const auto statistic = to_statistic(statistic_);
  check_backward(function,
                 {seen("dy", dy), seen(x_name, x), seen("gamma", gamma.numbers), seen(dx_name, dx),
                  seen("dgamma", dgamma), seen("dbeta", none), seen("mean", none),
                  seen("rstd", statistic.rstd_or(none))},
                 statistic.eps());
  using A = typename arithmetic<T, decltype(dy), decltype(x), decltype(gamma), decltype(dx)>::type;
  const auto rows = gradient_rows<rms_gradient_rows, A>(
      row_length(x), matrix_of(dy), matrix_of(x), gamma.matrix,
      gradient_sink<Adds>(dx, dy.data, x.data), statistic.of_gradient());
  where.backward(x.count, rows, dgamma);
}
template <class T, bool Adds, class Where, class DY, class X, class Gamma, class DX, class DGamma,
          class DBeta, class Statistic = epsilon>
ROWNORM_INLINE void run_layer_norm_backward(const Where& where, const char* function,
                                            const char* x_name, const char* dx_name, const DY& dy_,
                                            const X& x_, const Gamma& gamma_, DX&& dx_,
                                            DGamma&& dgamma_, DBeta&& dbeta_,
                                            const Statistic& statistic_ = 1e-5) {
  const auto dy = to_input(dy_);
  const auto x = to_input(x_);
  const auto gamma = to_parameter(gamma_);
  const auto dx = to_output(std::forward<DX>(dx_));
  const auto dgamma = to_gradient(std::forward<DGamma>(dgamma_));
  const auto dbeta = to_gradient(std::forward<DBeta>(dbeta_));
  const auto statistic = to_statistic(statistic_);
  check_backward(function,
                 {seen("dy", dy), seen(x_name, x), seen("gamma", gamma.numbers), seen(dx_name, dx),
                  seen("dgamma", dgamma), seen("dbeta", dbeta),
                  seen("mean", statistic.mean_or(none)), seen("rstd", statistic.rstd_or(none))},
                 statistic.eps());
  using A = typename arithmetic<T, decltype(dy), decltype(x), decltype(gamma), decltype(dx)>::type;
  const auto rows = gradient_rows<layer_gradient_rows, A>(
      row_length(x), matrix_of(dy), matrix_of(x), gamma.matrix,
      gradient_sink<Adds>(dx, dy.data, x.data), statistic.of_gradient());
  where.backward(x.count, rows, dgamma, dbeta);
}

}  // namespace detail
}  // namespace ROWNORM_ISA
}  // namespace rownorm
